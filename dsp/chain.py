"""The DSP room's work: the parts in order, from samples to windows."""

from __future__ import annotations

from dataclasses import replace

from dsp.filters import Bandpass
from dsp.gaps import Bridge
from dsp.qrs import Detector
from dsp.quality import QualityMeter
from dsp.resample import Resampler
from dsp.signal import Block, Fitness, Quality, Window
from dsp.windows import WindowCutter


class Chain:
    """One session of one lead. However the signal is cut into blocks, the same comes out, bit for bit, in one order.

    Takes blocks at the patch's rate, gives at 250 Hz the cleaned block, and of what is settled by it the changes of
    quality and the windows, by the sample that settled them.
    """

    def __init__(self, rate_hz: float) -> None:
        self.resampler = Resampler(rate_hz)
        self._bridge = Bridge()
        self._bandpass = Bandpass()
        self._quality = QualityMeter()
        self._detector = Detector()
        self._cutter = WindowCutter()
        self._fitness = Fitness.GOOD

    def __call__(self, block: Block) -> tuple[Block, list[Quality | Window]]:
        raw = self.resampler(self._bridge(block))
        clean = self._bandpass(raw)
        if not len(clean.ecg_mv):
            return clean, []
        events: list[Quality | Window] = [*self._quality(raw, clean)]
        events += self._cutter(clean, self._detector(clean))
        events.sort(key=lambda event: (event.at, isinstance(event, Window)))  # a change holds for its own sample
        return clean, [self._with_fitness(event) for event in events]

    def _with_fitness(self, event: Quality | Window) -> Quality | Window:
        if isinstance(event, Quality):
            self._fitness = event.fitness
            return event
        return replace(event, fitness=self._fitness)
