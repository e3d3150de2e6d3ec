"""The last half minute of ECG in one piece, for the network that names its rhythm. Pure but for that network.

The network of the beats sees 4 s at a time. Whether the atria fibrillate or beats come early, one after the other, is
told by how they follow on each other, P waves and all, over half a minute. Learned by `python -m training.half_minute`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache

import numpy as np
from numpy.typing import NDArray

from daemon.moment import Moment
from daemon.odds import log_odds
from dsp.filters import DELAY_SAMPLES
from dsp.half_minute import SAMPLES, picture
from dsp.signal import R_INDEX, RATE_HZ, WINDOW_SAMPLES
from engines.backend import Backend, open_backend
from engines.model import SHIPPED, load

LEAST_SAMPLES = 8 * RATE_HZ
"""With less nothing is said; the network learned from 9 s on."""

AGAIN_SAMPLES, AGAIN_WHOLE_SAMPLES = 5 * RATE_HZ, 15 * RATE_HZ
"""Nor is it asked anew sooner, and of a half minute that is whole: it takes as long as twenty windows of a beat, and a
person may fibrillate for years."""


class HalfMinute:
    """Windows in, as they come; what they show together out."""

    def __init__(self, network: Callable[[], Backend]) -> None:
        self._network = network  # asked for anew each time, so that the rest can be put away without it
        self._pieces: deque[tuple[int, NDArray[np.float64]]] = deque()  # (index one past them, mV), one after another
        self._peaks: deque[int] = deque()
        self._end: int | None = None  # of the newest piece; samples lie where the filter put them: late by its delay
        self._again: int | None = None  # the end from which the network is asked anew
        self._said = 0.0

    def add(self, moment: Moment) -> None:
        """The next window."""
        end = moment.at + 1
        if moment.beat:
            self._peaks.append(moment.beat.r_peak + DELAY_SAMPLES)
            end = self._peaks[-1] - R_INDEX + WINDOW_SAMPLES
        if self._end is None:  # what is missing of the first window is what was before the first sample
            self._end = end - WINDOW_SAMPLES + round(moment.missing * WINDOW_SAMPLES)
        if end > self._end:
            self._pieces.append((end, moment.ecg_mv[-min(end - self._end, WINDOW_SAMPLES) :].copy()))
            self._end = end
        while self._pieces and self._pieces[0][0] <= self._end - SAMPLES:
            self._pieces.popleft()
        while self._peaks and self._peaks[0] < self._end - SAMPLES:
            self._peaks.popleft()

    def log_odds(self) -> float | None:
        """That it is atrial fibrillation; None of too little."""
        if self._end is None or sum(len(ecg_mv) for _, ecg_mv in self._pieces) < LEAST_SAMPLES:
            return None
        if self._again is None or self._end >= self._again:
            ecg_mv, known = self._joined(self._end - SAMPLES)
            peaks = np.array(self._peaks, np.int64) - (self._end - SAMPLES)
            (answer,) = self._network().infer(*picture(ecg_mv, known, peaks))
            self._again = self._end + (AGAIN_WHOLE_SAMPLES if known.all() else AGAIN_SAMPLES)
            self._said = log_odds(float(answer[0, 0]))
        return self._said

    def _joined(self, first: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The samples from `first` on, and which of them are known."""
        ecg_mv, known = np.zeros(SAMPLES), np.zeros(SAMPLES, bool)
        for end, piece_mv in self._pieces:
            there = min(len(piece_mv), end - first)
            ecg_mv[end - first - there : end - first] = piece_mv[-there:]
            known[end - first - there : end - first] = True
        return ecg_mv, known


@cache
def shipped() -> Backend:
    """Always on the CPU: it is asked every 5 s at most, and only while the rhythm is in doubt."""
    return ExitStack().enter_context(open_backend("onnxruntime", load(SHIPPED / "rhythm1.onnx")))
