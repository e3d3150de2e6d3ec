"""Causal filters with memory. However the stream is cut into blocks, the output is the same, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.signal import butter, iirnotch, sosfilt, sosfilt_zi, tf2sos

from dsp.signal import RATE_HZ, Block

LOW_HZ, HIGH_HZ = 0.5, 40.0
"""The monitoring band of IEC 60601-2-27. 0.5 Hz takes baseline wander out and leaves the ST segment distorted:
this daemon judges rhythm, never ST."""

MAINS_HZ = (50.0, 60.0)
"""Both, always: above 40 Hz there is nothing to lose, and no one has to know where the wearer lives."""

DELAY_SAMPLES = 2
"""By how much the band-pass delays an R peak. Measured on mitdb DS1: the median shift of the peak of a QRS complex."""


def _sections() -> np.ndarray:
    highpass = butter(2, LOW_HZ, "highpass", fs=RATE_HZ, output="sos")
    lowpass = butter(2, HIGH_HZ, "lowpass", fs=RATE_HZ, output="sos")
    notches = [tf2sos(*iirnotch(mains_hz, Q=4.0, fs=RATE_HZ)) for mains_hz in MAINS_HZ]
    return np.concatenate([highpass, lowpass, *notches])


class Bandpass:
    """0.5 - 40 Hz (Butterworth, 12 dB per octave on each side) with the mains frequencies notched out."""

    def __init__(self) -> None:
        self._sections = _sections()
        self._state: np.ndarray | None = None

    def __call__(self, block: Block) -> Block:
        if not len(block.ecg_mv):
            return block
        if self._state is None:  # start settled on the first sample, so that electrode offset does not ring
            self._state = sosfilt_zi(self._sections) * block.ecg_mv[0]
        ecg_mv, self._state = sosfilt(self._sections, block.ecg_mv, zi=self._state)
        return replace(block, ecg_mv=ecg_mv)
