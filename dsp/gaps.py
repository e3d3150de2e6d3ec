"""Makes a stream safe to filter: every sample finite and bounded, lost ones bridged and still marked."""

from __future__ import annotations

import numpy as np

from dsp.signal import Block

LIMIT_MV = 1000.0
"""Three times the electrode offset that IEC 60601-2-47 asks a recorder to stand (300 mV): more is no ECG."""


class Bridge:
    """Holds the last good value over missing samples and clips absurd ones.

    Holding is the one bridge that needs no future; a straight line to the next sample would make every gap a delay.
    """

    def __init__(self) -> None:
        self._last_mv = 0.0

    def __call__(self, block: Block) -> Block:
        ecg_mv = np.minimum(np.maximum(block.ecg_mv, -LIMIT_MV), LIMIT_MV)  # NaN stays NaN and is missing
        if np.count_nonzero(block.marks):
            ecg_mv = self._held(ecg_mv, block.missing)
        if len(ecg_mv):
            self._last_mv = float(ecg_mv[-1])
        return Block(block.start, ecg_mv, block.marks)

    def _held(self, ecg_mv: np.ndarray, missing: np.ndarray) -> np.ndarray:
        extended = np.concatenate([[self._last_mv], ecg_mv])
        source = np.where(np.concatenate([[False], missing]), 0, np.arange(len(extended)))
        held: np.ndarray = extended[np.maximum.accumulate(source)][1:]
        return held
