"""How alike the newest beats are: those of one focus repeat themselves, what noise makes of a line does not. Pure."""

from __future__ import annotations

from collections import deque
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from dsp.windows import R_INDEX

QRS_SAMPLES = 25
"""100 ms to both sides of the R peak."""

SHIFT_SAMPLES = 4
"""So far the R peak may be found beside where it was found in the other beat."""


class Likeness:
    """The QRS complexes of the newest beats."""

    def __init__(self, beats: int) -> None:
        self._seen: deque[NDArray[np.float64]] = deque(maxlen=beats)

    def add(self, ecg: NDArray[np.float32]) -> None:
        """The window of the next beat, (sample,)."""
        reach = QRS_SAMPLES + SHIFT_SAMPLES
        self._seen.append(ecg[R_INDEX - reach : R_INDEX + reach].astype(np.float64))

    def __call__(self) -> float:
        """Mean correlation of any two of them, each pair shifted to its best; 1 while there is one."""
        pairs = [_correlation(one, other) for one, other in combinations(self._seen, 2)]
        return float(np.mean(pairs)) if pairs else 1.0


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    qrs = _unit(one[np.newaxis, SHIFT_SAMPLES:-SHIFT_SAMPLES])[0]
    shifted = np.lib.stride_tricks.sliding_window_view(other, len(qrs))
    return float(np.max(_unit(shifted) @ qrs))


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row less its mean, of length 1."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    scaled: NDArray[np.float64] = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    return scaled
