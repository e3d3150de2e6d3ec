"""Which of the messages that wait for a contact go out now. Pure: time and time of day are handed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rhythmd.notify.config import Contact, minutes
from rhythmd.notify.rules import CALLS, URGENCY, Case, Notice

FIRST_RETRY_S = 5.0
LONGEST_RETRY_S = 300.0
LONGEST_RETRY_HIGH_S = 60.0

W = TypeVar("W", bound="Waiting")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A notice on its way to one of its contact's addresses."""

    notice: Notice
    target: str


@dataclass(frozen=True, slots=True)
class Pace:
    """How many messages one address may get now, and when it was last in vain. A new one may get all."""

    tokens: float
    at_s: float
    failures: int = 0  # in a row
    failed_s: float = 0.0

    def at(self, now_s: float, contact: Contact) -> Pace:
        """Time has passed."""
        grown = self.tokens + max(0.0, now_s - self.at_s) * contact.most_per_hour / 3600
        return Pace(min(float(contact.most_at_once), grown), max(now_s, self.at_s), self.failures, self.failed_s)

    def sent(self, now_s: float, contact: Contact) -> Pace:
        """A message went out."""
        now = self.at(now_s, contact)
        return Pace(now.tokens - 1.0, now.at_s)

    def failed(self, now_s: float, contact: Contact) -> Pace:
        """A message could not be sent. It costs nothing."""
        now = self.at(now_s, contact)
        return Pace(now.tokens, now.at_s, self.failures + 1, now_s)


def fresh(contact: Contact, now_s: float) -> Pace:
    return Pace(float(contact.most_at_once), now_s)


def ready(waiting: Sequence[W], contact: Contact, pace: Pace, now_s: float, minute_of_day: int) -> list[W]:
    """What goes out now, as one message; nothing when all of it must wait."""
    awake = [one for one in waiting if not _sleeps(one.notice, contact, minute_of_day)]
    high = any(one.notice.priority == "high" for one in awake)
    if not awake or now_s < pace.failed_s + _retry_s(pace.failures, high=high):
        return []
    kept_back = 0.0 if high else contact.most_at_once / 3
    return awake if pace.at(now_s, contact).tokens >= 1.0 + kept_back else []


def in_hours(minute_of_day: int, hours: str) -> bool:
    """Whether it is within `22:00-07:00`."""
    span = minutes(hours)
    if span is None:
        return False
    begin, end = span
    return begin <= minute_of_day < end if begin <= end else minute_of_day >= begin or minute_of_day < end


def expired(waiting: Iterable[W], now_s: float) -> list[W]:
    """What nobody needs to be told any more."""
    return [one for one in waiting if now_s > one.notice.expires_s]


def obsolete(waiting: Iterable[W], cases: Mapping[str, Case]) -> list[W]:
    """Repeats and escalations of what somebody has answered meanwhile, or of what is over."""
    calling = {key for key, case in cases.items() if case.calls}
    return [one for one in waiting if one.notice.what in CALLS and one.notice.case.key not in calling]


def too_many(waiting: Sequence[W], most: int) -> list[W]:
    """The oldest of the lowest priority, beyond so many."""
    by_worth = sorted(waiting, key=lambda one: URGENCY.index(one.notice.case.alert.priority), reverse=True)
    return by_worth[: max(0, len(waiting) - most)]


def _sleeps(notice: Notice, contact: Contact, minute_of_day: int) -> bool:
    # By the alert's own priority: that a lethal alarm is over may be told at night, as the alarm was.
    return notice.case.alert.priority in contact.quiet_priorities and in_hours(minute_of_day, contact.quiet)


def _retry_s(failures: int, *, high: bool) -> float:
    if not failures:
        return 0.0
    longest_s = LONGEST_RETRY_HIGH_S if high else LONGEST_RETRY_S
    return float(min(longest_s, FIRST_RETRY_S * 2.0 ** min(failures - 1, 10)))
