"""What goes when the disk's share is used up: the oldest first, alarms last.

Signal of finished hours goes first, their annotations stay; then strips of recorded events, then annotations of hours,
then strips of alarms. What is being written is never touched.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from rhythmd.records.form import ANNOTATOR
from rhythmd.records.hour import Hour, hours, thin
from rhythmd.records.keeping import FILES, read_all

SPARE_BYTES = 16 * 2**20
"""Of the disk, left to others: the daemon's ledger may share it."""

SPARE_SHARE = 0.1
"""Or this part of it, if that is less."""


MOST_AT_ONCE = 20
"""Each costs some milliseconds, and signal goes on coming: who lowers the budget of a year must not halt the recorder
until its watchdog ends it.
"""


@dataclass(frozen=True, slots=True)
class Removable:
    """Something that may go, with what it is called in the log."""

    what: str
    remove: Callable[[], None]


def used_bytes(folder: Path) -> int:
    """What the folder takes on the disk."""
    total = 0
    for place, _, files in os.walk(folder):
        for file in files:
            with suppress(OSError):
                total += 512 * Path(place, file).stat().st_blocks
    return total


def short_bytes(folder: Path, keep_bytes: float) -> float:
    """By how much the folder is too large, or the disk too full; 0 or less is well."""
    disk = os.statvfs(folder)
    spare = min(SPARE_BYTES, SPARE_SHARE * disk.f_blocks * disk.f_frsize)
    return max(used_bytes(folder) - keep_bytes, spare - disk.f_bavail * disk.f_frsize)


def make_room(root: Path, keep_bytes: float) -> list[str]:
    """Remove until the budget is kept, nothing is left that may go, or MOST_AT_ONCE went. What went."""
    gone: list[str] = []
    if short_bytes(root, keep_bytes) <= 0:
        return gone
    for each in islice(removable(root), MOST_AT_ONCE):
        each.remove()
        gone.append(each.what)
        if short_bytes(root, keep_bytes) <= 0:
            break
    return gone


def removable(root: Path) -> Iterator[Removable]:
    """In the order in which they go."""
    finished = [hour for hour in hours(root / "hours") if not hour.growing]
    for hour in finished:
        if hour.has_signal:
            yield Removable(f"the signal of {hour.path.name}", lambda hour=hour: _thin(hour))  # type: ignore[misc]
    kept = sorted(read_all(root / "strips"), key=lambda one: one.opened.utc)
    kept = [one for one in kept if one.signal != "awaited"]
    for one in kept:
        if one.opened.action == "record":
            yield Removable(f"the strip {one.name}", lambda one=one: _strip(root, one.name))  # type: ignore[misc]
    for hour in finished:
        yield Removable(f"the annotations of {hour.path.name}", lambda hour=hour: _hour(hour))  # type: ignore[misc]
    for one in kept:
        if one.opened.action == "alarm":
            yield Removable(f"the strip {one.name}", lambda one=one: _strip(root, one.name))  # type: ignore[misc]


def thin_hours(root: Path, ended_before: datetime) -> None:
    """Without full disclosure: the signal of hours that no strip can need any more goes at once."""
    for hour in hours(root / "hours", signal=True):
        if hour.has_signal and not hour.growing and hour.ends < ended_before:
            _thin(hour)


def _thin(hour: Hour) -> None:
    try:
        thin(hour)
    except OSError:  # no room for the new header
        _hour(hour)


def _hour(hour: Hour) -> None:
    for suffix in (".hea", ".dat", f".{ANNOTATOR}"):
        hour.path.with_suffix(suffix).unlink(missing_ok=True)


def _strip(root: Path, name: str) -> None:
    for suffix in FILES:
        (root / "strips" / f"{name}{suffix}").unlink(missing_ok=True)
