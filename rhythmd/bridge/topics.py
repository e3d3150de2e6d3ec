"""Where what is published, with which urgency, and which statuses are worth it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.messages import Message, Status

ALERTS, STRIPS, STATUSES = 0, 1, 2
"""Ranks: the lower is sent first and dropped last."""


@dataclass(frozen=True, slots=True)
class Post:
    """One message for the broker."""

    message_id: str
    rank: int
    topic: str
    payload: bytes
    retain: bool = False


def topic_of(prefix: str, device: str, daemon: str, topic: str) -> str:
    """`alert.asystole` of bed-3 is `rhythmd/DEVICE/bed-3/alert/asystole`."""
    return "/".join((prefix, device, daemon, *topic.split(".")))


def online_topic(prefix: str, device: str) -> str:
    return f"{prefix}/{device}/online"


def rank_of(message: Message) -> int:
    return STATUSES if isinstance(message, Status) else ALERTS


def is_news(status: Status, last: Status | None, age_s: float, every_s: float) -> bool:
    """Whether this status is to be published, `age_s` after the last one that was."""
    return last is None or age_s >= every_s or _matters(status) != _matters(last)


def _matters(status: Status) -> tuple[object, ...]:
    return (
        status.port,
        status.silent,
        status.quality,
        status.battery_low,
        status.rhythm,
        status.open_alerts,
        status.calling,
        status.ledger,
        status.engine,
        status.technical,
        status.storage,
    )
