"""The values that travel through the DSP rooms. Frozen; times are sample indices at 250 Hz unless named otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 250
"""The rate at which everything after the resampler runs."""

WINDOW_SAMPLES = 1000
"""4 s at 250 Hz."""

R_INDEX = 850
"""Where the R peak lies in a beat's window: 600 ms of future. More of it bought nothing (docs/decisions.md)."""

Millivolts = NDArray[np.float64]


MISSING, LEAD_OFF, SATURATED = 1, 2, 4
"""The marks that a sample may carry, as bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A stretch of one lead, contiguous with the block before it."""

    start: int  # index of the first sample
    ecg_mv: Millivolts  # (n,)
    marks: NDArray[np.uint8]  # (n,) bits; where MISSING is set, ecg_mv says nothing

    @classmethod
    def of(
        cls,
        start: int,
        ecg_mv: Millivolts,
        *,
        lead_off: bool | NDArray[np.bool_] = False,
        saturated: bool | NDArray[np.bool_] = False,
    ) -> Block:
        """A block whose non-finite values (NaN, infinities) are its missing samples."""
        marks = MISSING * ~np.isfinite(ecg_mv) | np.multiply(LEAD_OFF, lead_off) | np.multiply(SATURATED, saturated)
        return cls(start, ecg_mv, marks.astype(np.uint8))

    @property
    def missing(self) -> NDArray[np.bool_]:
        return (self.marks & MISSING).astype(bool)

    @property
    def end(self) -> int:
        """Index one past the last sample."""
        return self.start + len(self.ecg_mv)


class Fitness(Enum):
    """Whether the signal can be judged, and if not, why."""

    GOOD = "good"
    NOISY = "noisy"
    BLOCKED = "blocked"  # the amplifier comes back from a jolt
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
    scale_mv: float  # what was divided by
    missing: float  # fraction of its samples that are missing
    fitness: Fitness  # of the signal when the window was cut
    rr: NDArray[
        np.float32
    ]  # (1, RR_FEATURES): the RR intervals so far, as `dsp.intervals` has them, and is there a beat
    refused: int = 0  # candidates of the 4 s before `at` that the detector had taken for no beats by then
