"""What this wearer's beats have looked like and when they came: evidence for and against the next candidate."""

from __future__ import annotations

from math import log
from statistics import median
from typing import NamedTuple

import numpy as np

BEFORE, AFTER = 25, 34  # samples of a shape around its R peak: 100 and 136 ms
SHIFT = 3  # samples by which noise may have moved the R peak
REACH_BEFORE, REACH_AFTER = BEFORE + SHIFT, AFTER + SHIFT

LENGTH = BEFORE + 1 + AFTER
_SHIFTED = np.arange(2 * SHIFT + 1)[:, None] + np.arange(LENGTH)
"""Where the shape lies for each shift: numpy's functions beside plain indices cost more than the sums they wrap."""

SHAPES = 32
EVERY = 8
"""Of the certain beats one in so many is remembered: 32 shapes are some minutes, and a burst of noise spoils few."""

RR_MEMORY = 8  # intervals
LONGEST_RR_S = 3.0  # more is a pause or a gap, no rhythm
SMALL_MV = 1e-6  # nothing is divided by zero


class Likeness(NamedTuple):
    """How much a stretch of ECG, or its slope, resembles that of the beats remembered."""

    best: float  # correlation with the most similar one
    several: float  # mean over the four most similar
    gain: float  # natural logarithm of its size over that of the most similar


class Timing(NamedTuple):
    """How an interval fits those before it."""

    ratio: float  # natural logarithm of its length over the usual one
    spread: float  # of the usual ones, as a fraction of their median


class Memory:
    """The shapes of certain beats, and their slopes, which slow noise moves less; and the last RR intervals."""

    def __init__(self) -> None:
        self._finders = np.zeros((2 * SHAPES, LENGTH))  # times a stretch: how much of each shape, then slope, is in it
        self._sizes_mv = np.ones((2, SHAPES))
        self._remembered = 0
        self._since = 0  # certain beats
        self._rr_s: list[float] = []

    def remember(self, around_mv: np.ndarray) -> None:
        """A certain beat: the ECG from REACH_BEFORE before to REACH_AFTER after its R peak."""
        self._since += 1
        if self._remembered >= EVERY and self._since < EVERY:
            return
        self._since = 0
        place = self._remembered % SHAPES
        shape_mv = around_mv[SHIFT:-SHIFT]
        slope_mv = np.diff(shape_mv)
        self._sizes_mv[:, place] = sizes_mv = _sizes_mv(shape_mv[None])[:, 0]
        self._finders[place] = (shape_mv - np.mean(shape_mv)) / sizes_mv[0]
        self._finders[SHAPES + place] = -np.diff(slope_mv - np.mean(slope_mv), prepend=0, append=0) / sizes_mv[1]
        self._remembered += 1

    def likeness(self, around_mv: np.ndarray) -> tuple[Likeness, Likeness]:
        """Of the same stretch around what may be an R peak: of its shape, and of its slope."""
        if not self._remembered:
            return Likeness(0.0, 0.0, 0.0), Likeness(0.0, 0.0, 0.0)
        shifted_mv = around_mv[_SHIFTED]
        sizes_mv = _sizes_mv(shifted_mv)
        alike = (self._finders @ shifted_mv.T).reshape(2, SHAPES, -1) / sizes_mv[:, None]  # (of what, shape, shift)
        places = alike.reshape(2, -1).argmax(axis=1).tolist()
        ranked = np.maximum.reduce(alike, axis=2)
        ranked.sort(axis=1)

        def told(of: int) -> Likeness:
            shape, shift = divmod(places[of], len(_SHIFTED))
            best = ranked[of, -4:].tolist()
            return Likeness(best[-1], sum(best) / 4, log(sizes_mv[of, shift] / self._sizes_mv[of, shape]))

        return told(0), told(1)

    def interval(self, rr_s: float) -> None:
        """One more, between two beats with nothing lost between them."""
        if rr_s < LONGEST_RR_S:
            self._rr_s = [*self._rr_s[1 - RR_MEMORY :], rr_s]

    def timing(self, rr_s: float) -> Timing:
        if not self._rr_s:
            return Timing(0.0, 1.0)
        usual_s = median(self._rr_s)
        spread = median(abs(each - usual_s) for each in self._rr_s) / usual_s
        return Timing(log(rr_s / usual_s), spread)


def _sizes_mv(stretches_mv: np.ndarray) -> np.ndarray:
    """Of stretches (stretch, sample), without their mean: (2, stretch), how large they and their slopes are."""
    sizes_mv = np.empty((2, len(stretches_mv)))
    for of, each in enumerate((stretches_mv, stretches_mv[:, 1:] - stretches_mv[:, :-1])):
        squares, total = np.add.reduce(each * each, axis=1), np.add.reduce(each, axis=1)
        sizes_mv[of] = np.sqrt(np.maximum(squares - total * total / each.shape[1], 0.0))
    return sizes_mv + SMALL_MV
