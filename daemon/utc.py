"""When samples were taken, by the host's UTC: a mapping for people. What is decided never asks it.

The host's clock may be wrong at boot and be set by NTP or GPS while the daemon runs, and a patch's crystal is not the
host's. A sample's place in the recording does not move for that; its UTC is set anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from time import monotonic, time
from typing import Literal, NamedTuple

from daemon.reporting import TimeLine

OFF_S = 1.0
"""A mapping that is off by more is set anew."""

OBSERVED_S = 60.0
"""What comes late for so long is not late: the patch's clock is slower than ours."""

MOST_DRIFT = 0.01
"""No crystal is off by more. A recording that is played faster than it was made keeps its own time."""


class HostTime(NamedTuple):
    """Both clocks of the host at one moment, in seconds."""

    utc_s: float
    monotonic_s: float


def host_time() -> HostTime:
    return HostTime(time(), monotonic())


@dataclass(frozen=True, slots=True)
class Change:
    """The mapping was set anew; `sample` is the one that it is anchored to."""

    why: Literal["start", "session", "stepped", "drifted"]
    sample: int
    by_s: float = 0.0  # how far the same sample's UTC moved; not told where the samples between are lost


class UtcKeeper:
    """Keeps a time line fitting to the host's UTC. All moments given to it are monotonic."""

    def __init__(self, line: TimeLine, now: Callable[[], HostTime] = host_time) -> None:
        self._line = line
        self._now = now
        self._newest = 0
        self._late_s = float("inf")  # the least of the observed time
        self._observed_from_s = 0.0
        self._anchor(0, now().monotonic_s)

    def session(self, sample: int, read_s: float) -> Change:
        """After a loss, `sample` was read at `read_s`."""
        self._newest = sample
        self._anchor(sample, read_s)
        return Change("session", sample)

    def heard(self, newest: int, read_s: float) -> None:
        """Sample `newest` was read at `read_s`: it may have been on the way for a while, but came from no future."""
        self._newest = newest
        self._late_s = min(self._late_s, read_s - self._due_s(newest))

    def look(self) -> Change | None:
        """To be called about once a second."""
        now = self._now()
        step_s = now.utc_s - now.monotonic_s - self._offset_s
        if abs(step_s) > OFF_S:
            self._anchor(self._newest, self._due_s(self._newest))
            return Change("stepped", self._newest, step_s)
        if now.monotonic_s - self._observed_from_s < OBSERVED_S:
            return None
        drift_s, self._late_s, self._observed_from_s = self._late_s, float("inf"), now.monotonic_s
        if not OFF_S < abs(drift_s) <= MOST_DRIFT * (now.monotonic_s - self._at_s):
            return None
        self._anchor(self._newest, self._due_s(self._newest) + drift_s)
        return Change("drifted", self._newest, drift_s)

    def _due_s(self, sample: int) -> float:
        """When `sample` is read, by the mapping as it stands."""
        return self._at_s + (sample - self._sample) / self._line.rate_hz

    def _anchor(self, sample: int, at_s: float) -> None:
        now = self._now()
        self._sample, self._at_s = sample, at_s
        self._offset_s = now.utc_s - now.monotonic_s
        self._line.anchor(sample, datetime.fromtimestamp(at_s + self._offset_s, timezone.utc))
        self._late_s, self._observed_from_s = float("inf"), now.monotonic_s
