"""What this wearer's beats have looked like and when they came: evidence for and against the next candidate."""

from __future__ import annotations

from math import log
from statistics import median
from typing import NamedTuple

import numpy as np

BEFORE, AFTER = 25, 34  # samples of a shape around its R peak: 100 and 136 ms
SHIFT = 3  # samples by which noise may have moved the R peak
REACH_BEFORE, REACH_AFTER = BEFORE + SHIFT, AFTER + SHIFT

_SHIFTED = np.arange(2 * SHIFT + 1)[:, None] + np.arange(BEFORE + 1 + AFTER)
"""Where the shape lies for each shift: numpy's functions beside plain indices cost more than the sums they wrap."""

SHAPES = 32
EVERY = 8
"""Of the certain beats one in so many is remembered: 32 shapes are some minutes, and a burst of noise spoils few."""

RR_MEMORY = 8  # intervals
LONGEST_RR_S = 3.0  # more is a pause or a gap, no rhythm
SMALL_MV = 1e-6  # nothing is divided by zero


class Likeness(NamedTuple):
    """How much a stretch of ECG resembles the beats remembered."""

    best: float  # correlation with the most similar one
    several: float  # mean over the four most similar
    gain: float  # natural logarithm of its size over that of the most similar


class Timing(NamedTuple):
    """How an interval fits those before it."""

    ratio: float  # natural logarithm of its length over the usual one
    spread: float  # of the usual ones, as a fraction of their median


class Memory:
    """The shapes of certain beats, and the last RR intervals."""

    def __init__(self) -> None:
        self._shapes = np.zeros((SHAPES, BEFORE + 1 + AFTER))  # of length 1
        self._sizes_mv = np.ones(SHAPES)
        self._remembered = 0
        self._since = 0  # certain beats
        self._rr_s: list[float] = []

    def remember(self, around_mv: np.ndarray) -> None:
        """A certain beat: the ECG from REACH_BEFORE before to REACH_AFTER after its R peak."""
        self._since += 1
        if self._remembered >= EVERY and self._since < EVERY:
            return
        self._since = 0
        shape_mv = around_mv[SHIFT:-SHIFT] - np.mean(around_mv[SHIFT:-SHIFT])
        size_mv = float(np.sqrt(np.sum(shape_mv * shape_mv))) + SMALL_MV
        place = self._remembered % SHAPES
        self._shapes[place], self._sizes_mv[place] = shape_mv / size_mv, size_mv
        self._remembered += 1

    def likeness(self, around_mv: np.ndarray) -> Likeness:
        """Of the same stretch around what may be an R peak."""
        if not self._remembered:
            return Likeness(0.0, 0.0, 0.0)
        shifted_mv = around_mv[_SHIFTED]
        shifted_mv -= np.add.reduce(shifted_mv, axis=1, keepdims=True) / shifted_mv.shape[1]
        sizes_mv = np.sqrt(np.add.reduce(shifted_mv * shifted_mv, axis=1)) + SMALL_MV
        alike = self._shapes @ shifted_mv.T / sizes_mv  # (shape, shift)
        shape, shift = divmod(int(alike.argmax()), alike.shape[1])
        ranked = np.sort(np.maximum.reduce(alike, axis=1)).tolist()
        gain = log(float(sizes_mv[shift] / self._sizes_mv[shape]))
        return Likeness(ranked[-1], sum(ranked[-4:]) / 4, gain)

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
