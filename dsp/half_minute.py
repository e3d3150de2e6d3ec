"""The last half minute of ECG in one piece, as the network that names its rhythm reads it."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

POINTS, POINT_SAMPLES = 3840, 2
"""30.7 s at 125 Hz."""

SAMPLES = POINTS * POINT_SAMPLES

COLUMN = 64
"""Points of which the network makes one column of what it sees."""

STRETCH = 120
"""Points, about a second. The picture is divided by the median of their RMS: one artefact changes nothing."""

FLOOR_MV = 1e-3
CLIP = 8.0

MARK_SAMPLES = 3
"""So far to either side an R peak is marked."""


def picture(
    ecg_mv: NDArray[np.float64], known: NDArray[np.bool_], peaks: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Band-passed ECG `(SAMPLES,)`, which of it is known, and where in it R peaks lie, as the network reads them.

    Returns ECG and marks, `(1, 2, POINTS)`, and which columns are known, `(1, POINTS / COLUMN)`.
    """
    marks = np.zeros(SAMPLES, np.float32)
    for offset in range(-MARK_SAMPLES, MARK_SAMPLES + 1):
        place = peaks + offset
        marks[place[(place >= 0) & (place < SAMPLES)]] = 1.0
    points, there = np.where(known, ecg_mv, 0.0)[1::POINT_SAMPLES], known[1::POINT_SAMPLES]
    counted = there.reshape(-1, STRETCH).sum(1)
    squares = (points * points).reshape(-1, STRETCH).sum(1)
    powers = np.sort(squares[2 * counted > STRETCH] / counted[2 * counted > STRETCH])
    scale_mv = max(sqrt(powers[(len(powers) - 1) // 2]), FLOOR_MV) if len(powers) else FLOOR_MV
    drawn = np.empty((1, 2, POINTS), np.float32)
    drawn[0, 0] = np.clip(points / scale_mv, -CLIP, CLIP)
    drawn[0, 1] = marks[1::POINT_SAMPLES] * there
    columns = np.asarray(there.reshape(1, -1, COLUMN).any(2))
    return drawn, columns.astype(np.float32)
