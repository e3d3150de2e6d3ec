"""The shapes of QRS complexes: how alike those of the newest beats are, and how like those before them. Pure.

Those of one focus repeat themselves, what noise makes of a line does not; and a run that begins in the ventricles looks
as few of the wearer's beats did in the minute before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import combinations, islice
from math import log
from statistics import fmean, median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dsp.signal import R_INDEX, RATE_HZ

Array = NDArray[np.float64]

QRS_SAMPLES = 25
"""100 ms to both sides of the R peak."""

SHIFT_SAMPLES = 4
"""So far the R peak may be found beside where it was found in the other beat."""

REACH = QRS_SAMPLES + SHIFT_SAMPLES
SHIFTED = np.arange(2 * SHIFT_SAMPLES + 1)[:, None] + np.arange(2 * QRS_SAMPLES)
"""(shift, sample): a complex at each of its shifts, cut from what lies within `REACH` of the R peak."""

USUAL_S, NEW_S = 90.0, 6.0
"""The usual beats are those of the last minute and a half, less the last seconds: a run is not compared with itself."""

LIKE = 0.8
"""Correlation from which a beat is like another."""

LEAST_USUAL = 10
"""With fewer before, what is usual is not known."""

UNKNOWN = 0.7
"""How rare a beat is then: half of the beats before would be like it."""

SURE_BEATS = 64
SIZED_BEATS = 60
"""The usual size is the median of so many beats."""

SLIGHT, SLIGHT_RARITY = 0.2, 1.0
"""A beat smaller than this part of the usual size, and as rare, is a P wave that no ventricle answers: an atrium goes
on beating in the standstill of the ventricles. One that is only smaller has the usual shape: an electrode has dried."""

_KEPT = 300  # beats: 200/min for so long


class Qrs(NamedTuple):
    """One beat's complex."""

    shifted: Array  # (shift, sample), each of length 1
    near_mv: Array  # it, and what lies within a shift of it
    size_mv: float  # peak to peak
    rarity: float

    @property
    def sharpness(self) -> float:
        """Natural logarithm of RMS slope over RMS: a wide complex has little."""
        slope, centred = self.near_mv[1:] - self.near_mv[:-1], self.near_mv - self.near_mv.mean()
        energy = max(float(centred @ centred) / len(centred), 1e-12)
        return 0.5 * log(max(float(slope @ slope) / len(slope), 1e-12) / energy)


class Shapes:
    """The QRS complexes of the newest beats, and of those that were usual before them."""

    def __init__(self) -> None:
        self._newest: deque[Qrs] = deque(maxlen=SIZED_BEATS)
        self._r_peaks = np.zeros(2 * _KEPT, np.int64)  # of the beats so far, in order, with room for as many more
        self._units = np.zeros((2 * _KEPT, 2 * QRS_SAMPLES))  # their complexes, unshifted
        self._sizes_mv = np.zeros(2 * _KEPT)
        self._end = 0
        self._sure: dict[str, deque[Array]] = {letter: deque(maxlen=SURE_BEATS) for letter in "NSV"}  # of each kind

    def add(self, r_peak: int, ecg_mv: Array) -> None:
        """The window of the next beat, (sample,)."""
        qrs = ecg_mv[R_INDEX - REACH : R_INDEX + REACH]
        shifted = _unit(qrs[SHIFTED])
        usual = self._units[self._usual(r_peak)]
        rarity = UNKNOWN
        if len(usual) >= LEAST_USUAL:
            like = int(np.count_nonzero((usual @ shifted.T).max(axis=1) > LIKE))
            rarity = -log((like + 0.5) / (len(usual) + 1))
        size_mv = float(qrs.max() - qrs.min())
        self._newest.append(Qrs(shifted, qrs.copy(), size_mv, rarity))
        self._keep(r_peak, shifted[SHIFT_SAMPLES], size_mv)

    def likenesses(self, letter: str) -> list[float]:
        """Of the newest to each of the last that surely were of this kind, the most alike first."""
        sure = np.array(self._sure[letter]).reshape(-1, 2 * QRS_SAMPLES)
        likenesses: list[float] = np.sort((self._newest[-1].shifted @ sure.T).max(axis=0))[::-1].tolist()
        return likenesses

    def surely(self, letter: str) -> None:
        """The newest is of this kind."""
        self._sure[letter].append(self._newest[-1].shifted[SHIFT_SAMPLES].copy())  # not its shifts too

    def _keep(self, r_peak: int, unit: Array, size_mv: float) -> None:
        if self._end == 2 * _KEPT:
            self._end = _KEPT
            for kept in (self._r_peaks, self._units, self._sizes_mv):
                kept[:_KEPT] = kept[_KEPT:]
        self._r_peaks[self._end], self._units[self._end], self._sizes_mv[self._end] = r_peak, unit, size_mv
        self._end += 1

    def _usual(self, r_peak: int) -> slice:
        """Which of those that are kept were usual before this R peak."""
        start = max(0, self._end - _KEPT)
        known = self._r_peaks[start : self._end]
        first = int(np.searchsorted(known, r_peak - round(USUAL_S * RATE_HZ), "right"))
        last = int(np.searchsorted(known, r_peak - round(NEW_S * RATE_HZ), "left"))
        return slice(start + first, start + max(first, last))

    @property
    def usual_mv(self) -> float | None:
        """The size of a QRS complex, peak to peak; None while too few are known."""
        return median(beat.size_mv for beat in self._newest) if len(self._newest) >= LEAST_USUAL else None

    @property
    def relative_size(self) -> float:
        """Natural logarithm of the newest one's size over the median."""
        return log(max(self._newest[-1].size_mv, 1e-3) / max(median(beat.size_mv for beat in self._newest), 1e-3))

    @property
    def slight(self) -> bool:
        """Whether the newest is none that moved blood."""
        newest = self._newest[-1]
        if newest.rarity < SLIGHT_RARITY:
            return False
        usual_mv = self.usual_mv
        return usual_mv is not None and newest.size_mv < SLIGHT * usual_mv

    def likeness(self, beats: int) -> float:
        """Mean correlation of any two of the newest, each pair shifted to its best; 1 while there is one."""
        newest = [beat.shifted for beat in self._last(beats)]
        pairs = [float((other @ one[SHIFT_SAMPLES]).max()) for other, one in combinations(newest, 2)]
        return fmean(pairs) if pairs else 1.0

    def rarity(self, beats: int) -> float:
        """How seldom beats like the newest were: 0 where all before were like them, 4.6 where none of a hundred was."""
        return fmean(beat.rarity for beat in self._last(beats))

    def sharpness(self, beats: int) -> float:
        """The median of the newest."""
        return median(beat.sharpness for beat in self._last(beats))

    def growth(self, beats: int) -> float:
        """Natural logarithm of their size over the usual one; 0 where that is not known."""
        usual_mv = self._sizes_mv[self._usual(int(self._r_peaks[self._end - 1]))]
        if len(usual_mv) < LEAST_USUAL:
            return 0.0
        newest_mv = median(beat.size_mv for beat in self._last(beats))
        return log(max(newest_mv, 1e-3) / max(float(np.median(usual_mv)), 1e-3))

    def _last(self, beats: int) -> Iterator[Qrs]:
        """The newest first."""
        return islice(reversed(self._newest), beats)


def _unit(rows: Array) -> Array:
    """Each row less its mean, of length 1."""
    centred = rows - np.add.reduce(rows, axis=1, keepdims=True) / rows.shape[1]
    lengths = np.sqrt(np.add.reduce(centred * centred, axis=1, keepdims=True))
    scaled: Array = centred / np.maximum(lengths, 1e-9)
    return scaled
