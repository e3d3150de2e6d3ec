"""What every drawing of an ECG has in common, for whatever page: paper true to scale, and the trace on it as SVG."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MM_PER_S, MM_PER_MV = 25.0, 10.0
"""ECG paper, as everywhere."""


def grid(width_mm: float, height_mm: float, step_mm: int) -> str:
    """A path in millimetres: a line every `step_mm`, both ways."""
    across = "".join(f"M{x} 0V{height_mm:g}" for x in range(0, int(width_mm + 0.01) + 1, step_mm))
    return across + "".join(f"M0 {y}H{width_mm:g}" for y in range(0, int(height_mm + 0.01) + 1, step_mm))


def trace(ecg_mv: NDArray[np.float64]) -> str:
    """A path in samples and hundredths of a millivolt, broken where samples are missing."""
    there = np.isfinite(ecg_mv)
    values = np.round(np.nan_to_num(ecg_mv) * 100).astype(int).tolist()
    path: list[str] = []
    for at, value in enumerate(values):
        if not there[at]:
            continue
        if at and there[at - 1]:
            path.append(f"{'l' if path[-1][0] == 'M' else ''}1 {value - values[at - 1]}")
        else:
            path.append(f"M{at} {value}")
    return " ".join(path)
