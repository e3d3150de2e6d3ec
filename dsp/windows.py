"""Cuts and normalises what the network reads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WINDOW_SAMPLES = 1000
"""4 s at 250 Hz."""

R_INDEX = 850
"""Where the R peak lies in a beat's window: 600 ms of future. Looking further ahead bought nothing (docs/decisions.md)."""

FLOOR_MV = 0.01
"""The least RMS a window is divided by, so that amplifier noise is not blown up into a rhythm."""

CLIP = 20.0
"""In units of the window's RMS: one artefact must not drive the network's inputs out of every range it has seen."""


def normalise(ecg_mv: np.ndarray, missing: np.ndarray) -> NDArray[np.float32]:
    """Band-passed ECG `(sample,)` in mV to the network's input `(1, 1, 1, sample)`.

    Divided by its own RMS over the samples that are there, so that gain and electrode position do not matter; 0 where
    missing, which is the value a band-passed signal has when it says nothing.
    """
    present = ecg_mv[~missing]
    rms_mv = float(np.sqrt(np.mean(present * present))) if len(present) else 0.0
    scaled = np.where(missing, 0.0, np.clip(ecg_mv / max(rms_mv, FLOOR_MV), -CLIP, CLIP))
    return scaled.astype(np.float32).reshape(1, 1, 1, -1)
