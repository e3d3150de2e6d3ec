"""Cuts and normalises what the network reads: one window for each beat, and one whenever beats stay away."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from dsp.filters import DELAY_SAMPLES
from dsp.intervals import FEATURES, Intervals, features
from dsp.qrs import LATEST_SAMPLES
from dsp.signal import R_INDEX, RATE_HZ, WINDOW_SAMPLES, Beat, Block, Fitness, Window

TIME_OUT_SAMPLES = 3 * RATE_HZ // 2
"""No window for 1.5 s: the last 4 s are judged without a beat, so that asystole and fibrillation are seen too."""

AGAIN_SAMPLES = 282
"""And again while no beat comes: the third time 4.37 s after the last one. A beat that ended a pause of 4 s is found by
then, so that an asystole of 4 s is told at once and a pause of less is none."""

RR_FEATURES = FEATURES + 1
"""The last one says whether there is a beat in the window: 1 or 0."""

INPUT_SHAPES = (1, 1, 1, WINDOW_SAMPLES), (1, RR_FEATURES)
"""Of what the network reads: the window and the intervals."""

NORMALISATION = "rms"
"""What a model's manifest calls the way in which `normalise` makes its inputs."""

FLOOR_MV = 0.01
"""The least RMS a window is divided by, so that amplifier noise is not blown up into a rhythm."""

CLIP = 20.0
"""In units of the window's RMS: one artefact must not drive the network's inputs out of every range it has seen."""

_HISTORY = WINDOW_SAMPLES + LATEST_SAMPLES  # so old may a beat be when it is decided


def normalise(ecg_mv: np.ndarray, missing: np.ndarray, scale: float | None = None) -> NDArray[np.float32]:
    """Band-passed ECG `(sample,)` in mV to the network's input `(1, 1, 1, sample)`.

    Divided by its own RMS over the samples that are there, so that gain and electrode position do not matter; 0 where
    missing, which is the value a band-passed signal has when it says nothing. `scale`: `scale_mv` of the same.
    """
    scaled = np.minimum(np.maximum(ecg_mv / (scale or scale_mv(ecg_mv, missing)), -CLIP), CLIP)
    if np.count_nonzero(missing):
        scaled[missing] = 0.0
    return scaled.astype(np.float32).reshape(1, 1, 1, -1)


def scale_mv(ecg_mv: np.ndarray, missing: np.ndarray) -> float:
    """What `normalise` divides by."""
    present = ecg_mv[~missing] if np.count_nonzero(missing) else ecg_mv
    rms_mv = sqrt(float(np.add.reduce(present * present)) / len(present)) if len(present) else 0.0
    return max(rms_mv, FLOOR_MV)


class WindowCutter:
    """Clean signal and beats in, windows out, in the order in which their last sample comes."""

    def __init__(self) -> None:
        self._clean_mv = np.zeros(_HISTORY)
        self._missing = np.ones(_HISTORY, bool)  # there is nothing before the first sample
        self._new: list[Block] = []  # not in there yet: what no window needed so far
        self._end: int | None = None  # index one past them
        self._waiting: deque[Beat] = deque()
        self._last_at = 0
        self._quiet = False  # the last window was without a beat
        self._intervals = Intervals()  # of the beats whose windows were cut

    def __call__(self, clean: Block, beats: list[Beat]) -> Iterator[Window]:
        if self._end is None:
            self._last_at = clean.start - 1
        self._new.append(clean)
        self._end = clean.end
        self._waiting += beats
        due = [(beat, at, self._remembered(beat)) for beat, at in self._due()]
        if due:
            self._join()
            intervals = features(
                np.array([remembered for *_, remembered in due])
            )  # of all at once: it is a fifth of the work
            for (beat, at, _), of_now in zip(due, intervals, strict=True):
                yield self._cut(beat, at, of_now)

    def _remembered(self, beat: Beat | None) -> list[float]:
        if beat:
            self._intervals.add(beat.rr_s)
        return self._intervals.remembered()

    def _due(self) -> Iterator[tuple[Beat | None, int]]:
        """Whose windows are complete, None for nobody's, and with which sample."""
        assert self._end is not None
        while True:
            time_out_at = self._last_at + (AGAIN_SAMPLES if self._quiet else TIME_OUT_SAMPLES)
            found = bool(self._waiting) and self._waiting[0].at <= time_out_at  # nobody is without a beat who has one
            at = _complete_at(self._waiting[0]) if found else time_out_at
            if at >= self._end:
                return
            self._last_at, self._quiet = at, not found
            yield (self._waiting.popleft() if found else None), at

    def _join(self) -> None:
        self._clean_mv = np.concatenate([self._clean_mv[-_HISTORY:], *(block.ecg_mv for block in self._new)])
        self._missing = np.concatenate([self._missing[-_HISTORY:], *(block.missing for block in self._new)])
        self._new.clear()

    def _cut(self, beat: Beat | None, at: int, intervals: NDArray[np.float32]) -> Window:
        assert self._end is not None
        start = beat.r_peak + DELAY_SAMPLES - R_INDEX if beat else at + 1 - WINDOW_SAMPLES
        place = len(self._clean_mv) - (self._end - start)
        span = slice(place, place + WINDOW_SAMPLES)
        ecg_mv, missing = self._clean_mv[span], self._missing[span]
        scale = scale_mv(ecg_mv, missing)
        ecg = normalise(ecg_mv, missing, scale)
        rr = np.empty((1, RR_FEATURES), np.float32)
        rr[0, :-1], rr[0, -1] = intervals, beat is not None
        return Window(at, beat, ecg, scale, np.count_nonzero(missing) / WINDOW_SAMPLES, Fitness.GOOD, rr)


def _complete_at(beat: Beat) -> int:
    """The sample with which its window is complete and the beat decided."""
    return max(beat.at, beat.r_peak + DELAY_SAMPLES - R_INDEX + WINDOW_SAMPLES - 1)
