"""Follow the alerts of a rhythmd daemon: `from rhythmd import Subscriber`. Needs pyzmq and msgspec alone."""

from daemon.messages import Alert, Beat, Message, Status, Wave
from rhythmd.subscriber import Received, Subscriber

__all__ = ["Alert", "Beat", "Message", "Received", "Status", "Subscriber", "Wave"]
__version__ = "0.1.0"
