"""The DSP room's work: the parts in order, from samples to windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dsp.filters import Bandpass
from dsp.gaps import Bridge
from dsp.qrs import Detector
from dsp.qrs_network import Network
from dsp.quality import QualityMeter
from dsp.resample import Resampler
from dsp.signal import WINDOW_SAMPLES, Block, Fitness, Quality, Window
from dsp.windows import WindowCutter

SETTLED_S = 1.0
"""After this long no beat of a session that is over waits for a decision or for its window."""


class Chain:
    """One session of one lead. However the signal is cut into blocks, the same comes out, bit for bit, in one order.

    Takes blocks at the patch's rate, gives at 250 Hz the cleaned block, and of what is settled by it the changes of
    quality and the windows, by the sample that settled them.
    """

    def __init__(self, rate_hz: float, network: Network | None = None) -> None:
        self.resampler = Resampler(rate_hz)
        self._bridge = Bridge()
        self._bandpass = Bandpass()
        self._quality = QualityMeter()
        self._detector = Detector(network)
        self._cutter = WindowCutter()
        self._fitness = Fitness.GOOD
        self._rate_hz = rate_hz
        self._end: int | None = None  # index one past the newest sample, at the patch's rate
        self._judged_end = 0  # likewise at 250 Hz

    def __call__(self, block: Block) -> tuple[Block, list[Quality | Window]]:
        raw = self.resampler(self._bridge(block))
        clean = self._bandpass(raw)
        self._end = block.end
        if not len(clean.ecg_mv):
            return clean, []
        self._judged_end = clean.end
        events: list[Quality | Window] = [*self._quality(raw, clean)]
        events += self._cutter(clean, self._detector(clean))
        events.sort(key=lambda event: (event.at, isinstance(event, Window)))  # a change holds for its own sample
        return clean, [self._with_its_signal(event) for event in events]

    def finish(self) -> list[Window]:
        """The session is over: the windows of its last beats, with what they still wait for masked as missing."""
        if self._end is None:
            return []
        last = self._judged_end - 1
        silence = np.full(round(self._rate_hz * SETTLED_S), np.nan)
        _, events = self(Block.of(self._end, silence))
        return [
            replace(event, at=last, beat=replace(event.beat, at=min(event.beat.at, last)))
            for event in events
            if isinstance(event, Window) and event.beat and event.beat.r_peak <= last
        ]

    def _with_its_signal(self, event: Quality | Window) -> Quality | Window:
        if isinstance(event, Quality):
            self._fitness = event.fitness
            return event
        return replace(event, fitness=self._fitness, refused=self._detector.refused(event.at, WINDOW_SAMPLES))
