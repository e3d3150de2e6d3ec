"""The subscriber's side: everything that a daemon publishes, and the alerts of the last while from its ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from daemon.config import ConfigError
from rhythmd.desk import Access
from rhythmd.subscriber import Mark, Received, Subscriber

TOPICS = ("alert.", "event.", "answered", "beat", "clock", "status", "wave")
LOOK_BACK = 300
"""Serials of the ledger: what fills the alarm list of a monitor that has just begun. They jump after a crash."""

TURN_S = 0.5


def follow(address: str, keys: Access | None, turn: Callable[[], None]) -> Iterator[Received]:
    """For ever. `turn` is called at least twice a second, also while no daemon is there."""
    with _subscriber(address, ("alert.", "event.", "answered"), None, keys) as first:
        while first.mark is None:  # what stands, however long ago it was told
            if received := first.receive(TURN_S):
                yield received
            turn()
    since = Mark(first.mark.ledger, max(0, first.mark.serial - LOOK_BACK))
    with _subscriber(address, TOPICS, since, keys) as subscriber:
        while True:
            if received := subscriber.receive(TURN_S):
                yield received
            turn()


def _subscriber(address: str, topics: tuple[str, ...], since: Mark | None, keys: Access | None) -> Subscriber:
    try:
        return Subscriber(address, topics, since=since, keys=keys)
    except ValueError as error:
        raise ConfigError(str(error)) from None
