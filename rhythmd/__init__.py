"""Follow the alerts of a rhythmd daemon: `from rhythmd import Subscriber`. Needs pyzmq and msgspec alone."""

from daemon.messages import Alert, Answered, Beat, Clock, Message, Status, Wave
from rhythmd.subscriber import Mark, Received, Subscriber
from rhythmd.subscribers import Subscribers

__all__ = [
    "Alert",
    "Answered",
    "Beat",
    "Clock",
    "Mark",
    "Message",
    "Received",
    "Status",
    "Subscriber",
    "Subscribers",
    "Wave",
]
__version__ = "0.1.0"
