"""Causal filters with memory. However the stream is cut into blocks, the output is the same, bit for bit."""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, iirnotch, tf2sos

from dsp.cascade import Cascade
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
        self._cascade = Cascade(_sections())
        self._settled = False

    def __call__(self, block: Block) -> Block:
        if not len(block.ecg_mv):
            return block
        if not self._settled:  # on the first sample, so that electrode offset does not ring
            self._cascade.settle(block.ecg_mv[0])
            self._settled = True
        return Block(block.start, self._cascade(block.ecg_mv), block.marks)
