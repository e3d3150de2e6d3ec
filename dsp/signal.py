"""The values that travel through the DSP rooms. Frozen; times are sample indices at 250 Hz unless named otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 250
"""The rate at which everything after the resampler runs."""

Millivolts = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A stretch of one lead, contiguous with the block before it."""

    start: int  # index of the first sample
    ecg_mv: Millivolts  # (n,)
    missing: NDArray[np.bool_]  # (n,) true where no sample arrived; ecg_mv is meaningless there
    lead_off: bool = False  # as the patch itself reports it
    saturated: bool = False  # likewise

    @classmethod
    def of(cls, start: int, ecg_mv: Millivolts, *, lead_off: bool = False, saturated: bool = False) -> Block:
        """A block whose non-finite values (NaN, infinities) are its missing samples."""
        return cls(start, ecg_mv, ~np.isfinite(ecg_mv), lead_off, saturated)

    @property
    def end(self) -> int:
        """Index one past the last sample."""
        return self.start + len(self.ecg_mv)


class Fitness(Enum):
    """Whether the signal can be judged, and if not, why."""

    GOOD = "good"
    NOISY = "noisy"
    SATURATED = "saturated"
    FLAT = "flat"
    LEAD_OFF = "lead_off"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Quality:
    """Sent when the fitness changes."""

    fitness: Fitness
    at: int  # the sample at which the change was decided


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat."""

    r_peak: int
    at: int  # the newest sample that the decision needed
    rr_s: float | None  # to the beat before; None for the first one


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """What the network reads: one beat with its past, or the last seconds when no beat came."""

    at: int  # the newest sample in it, or the one that decided the beat if that came later
    beat: Beat | None  # None: a time-out window
    ecg: NDArray[np.float32]  # (1, 1, 1, sample), normalised; 0 where missing
    missing: float  # fraction of its samples that are missing
    fitness: Fitness  # of the signal when the window was cut
