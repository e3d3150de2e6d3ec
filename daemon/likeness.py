"""The shapes of QRS complexes: how alike those of the newest beats are, and how like those before them. Pure.

Those of one focus repeat themselves, what noise makes of a line does not; and a run that begins in the ventricles looks
as few of the wearer's beats did in the minute before.
"""

from __future__ import annotations

from collections import deque
from itertools import combinations, islice
from math import log
from statistics import fmean, median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dsp.signal import RATE_HZ
from dsp.windows import R_INDEX

Array = NDArray[np.float64]

QRS_SAMPLES = 25
"""100 ms to both sides of the R peak."""

SHIFT_SAMPLES = 4
"""So far the R peak may be found beside where it was found in the other beat."""

USUAL_S, NEW_S = 90.0, 6.0
"""The usual beats are those of the last minute and a half, less the last seconds: a run is not compared with itself."""

LIKE = 0.8
"""Correlation from which a beat is like another."""

LEAST_USUAL = 10
"""With fewer before, what is usual is not known."""

UNKNOWN = 0.7
"""How rare a beat is then: half of the beats before would be like it."""

SIZED_BEATS = 60
"""The usual size is the median of so many beats."""

SLIGHT, SLIGHT_RARITY = 0.2, 1.0
"""A beat smaller than this part of the usual size, and as rare, is a P wave that no ventricle answers: an atrium goes
on beating in the standstill of the ventricles. One that is only smaller has the usual shape: an electrode has dried."""

_MOST_USUAL = 300  # 200/min for so long


class Qrs(NamedTuple):
    """One beat's complex."""

    r_peak: int
    mv: Array  # as far as the shifts reach
    size_mv: float  # peak to peak
    sharpness: float  # natural logarithm of RMS slope over RMS: a wide complex has little
    rarity: float


class Shapes:
    """The QRS complexes of the newest beats, and of those that were usual before them."""

    def __init__(self) -> None:
        self._beats: deque[Qrs] = deque(maxlen=_MOST_USUAL)
        self._units: deque[Array] = deque(maxlen=_MOST_USUAL)  # of the same, unshifted

    def add(self, r_peak: int, ecg_mv: Array) -> None:
        """The window of the next beat, (sample,)."""
        reach = QRS_SAMPLES + SHIFT_SAMPLES
        qrs = ecg_mv[R_INDEX - reach : R_INDEX + reach]
        shifted = _unit(np.lib.stride_tricks.sliding_window_view(qrs, 2 * QRS_SAMPLES))
        usual = [unit for beat, unit in zip(self._beats, self._units, strict=True) if _was_usual(beat, r_peak)]
        rarity = UNKNOWN
        if len(usual) >= LEAST_USUAL:
            like = int(np.sum(np.max(np.stack(usual) @ shifted.T, axis=1) > LIKE))
            rarity = -log((like + 0.5) / (len(usual) + 1))
        slope, rms = float(np.sqrt(np.mean(np.diff(qrs) ** 2))), float(np.std(qrs))
        sharpness = log(max(slope, 1e-6) / max(rms, 1e-6))
        self._beats.append(Qrs(r_peak, qrs, float(np.ptp(qrs)), sharpness, rarity))
        self._units.append(shifted[SHIFT_SAMPLES])

    @property
    def usual_mv(self) -> float | None:
        """The size of a QRS complex, peak to peak; None while too few are known."""
        newest = [beat.size_mv for beat in islice(reversed(self._beats), SIZED_BEATS)]
        return median(newest) if len(newest) >= LEAST_USUAL else None

    @property
    def slight(self) -> bool:
        """Whether the newest is none that moved blood."""
        usual_mv = self.usual_mv
        newest = self._beats[-1]
        return usual_mv is not None and newest.size_mv < SLIGHT * usual_mv and newest.rarity >= SLIGHT_RARITY

    def likeness(self, beats: int) -> float:
        """Mean correlation of any two of the newest, each pair shifted to its best; 1 while there is one."""
        newest = [beat.mv for beat in islice(reversed(self._beats), beats)]
        pairs = [_correlation(one, other) for one, other in combinations(reversed(newest), 2)]
        return fmean(pairs) if pairs else 1.0

    def rarity(self, beats: int) -> float:
        """How seldom beats like the newest were: 0 where all before were like them, 4.6 where none of a hundred was."""
        return fmean(beat.rarity for beat in islice(reversed(self._beats), beats))

    def sharpness(self, beats: int) -> float:
        """The median of the newest."""
        return median(beat.sharpness for beat in islice(reversed(self._beats), beats))

    def growth(self, beats: int) -> float:
        """Natural logarithm of their size over the usual one; 0 where that is not known."""
        usual = [beat.size_mv for beat in self._beats if _was_usual(beat, self._beats[-1].r_peak)]
        if len(usual) < LEAST_USUAL:
            return 0.0
        newest = median(beat.size_mv for beat in islice(reversed(self._beats), beats))
        return log(max(newest, 1e-3) / max(median(usual), 1e-3))


def _was_usual(beat: Qrs, r_peak: int) -> bool:
    return NEW_S * RATE_HZ < r_peak - beat.r_peak < USUAL_S * RATE_HZ


def _correlation(one: Array, other: Array) -> float:
    qrs = _unit(one[np.newaxis, SHIFT_SAMPLES:-SHIFT_SAMPLES])[0]
    shifted = np.lib.stride_tricks.sliding_window_view(other, len(qrs))
    return float(np.max(_unit(shifted) @ qrs))


def _unit(rows: Array) -> Array:
    """Each row less its mean, of length 1."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    scaled: Array = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    return scaled
