"""A beat as the network that follows beats one after the other reads it: its T-P segment, P wave, QRS complex and T."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsp.signal import R_INDEX

POINTS, POINT_SAMPLES, R_POINT = 192, 2, 120
"""At 125 Hz, from 0.96 s before the R peak to 0.57 s after it."""

USUAL_BEATS = 9
"""The picture is divided by the median RMS of the windows of so many beats, itself the last: how large its P wave is
can then be compared with those before, and one artefact changes nothing."""

CLIP = 20.0
_FIRST = R_INDEX - R_POINT * POINT_SAMPLES


def picture(ecg_mv: NDArray[np.float64], usual_mv: float) -> NDArray[np.float32]:
    """A beat's window `(WINDOW_SAMPLES,)` in mV, and that median, to `(1, POINTS)`.

    What is no number, which would be a bug, becomes 0: what the network remembers would never be a number again.
    """
    points = ecg_mv[_FIRST : _FIRST + POINTS * POINT_SAMPLES : POINT_SAMPLES]
    return np.nan_to_num(np.clip(points / usual_mv, -CLIP, CLIP)).astype(np.float32)[None]
