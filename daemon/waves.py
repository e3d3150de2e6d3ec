"""Ventricular fibrillation, and what the network sees of tachycardia: waves that last some seconds. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from statistics import fmean

from daemon import config as cfg
from daemon.moment import Finding, Moment
from dsp.signal import RATE_HZ

CLEARLY = 2.0
"""So many times as likely a tachycardia must be for a fibrillation that stands to be over."""


LEAST_MV = 0.1
"""Peak to peak in 4 s. A quieter line is none of either, whatever hiss looks like once it is magnified: the finest
fibrillation of vfdb and cudb has 0.3 mV."""


def either(moment: Moment) -> float:
    """The probability of ventricular fibrillation or tachycardia: one is told from the other much less surely."""
    return sum(_seen(moment))


def _seen(moment: Moment) -> tuple[float, float]:
    """The probabilities of fibrillation and of tachycardia."""
    if moment.size_mv < LEAST_MV:
        return 0.0, 0.0
    rhythm = moment.rhythm
    return rhythm["ventricular_fibrillation"], rhythm.get("ventricular_tachycardia", 0.0)


class Waves:
    """What the network has seen in the last seconds."""

    def __init__(self, limits: cfg.Fibrillation) -> None:
        self._limits = limits
        self._seen: deque[tuple[int, float, float]] = deque()  # (at, fibrillation, either)
        self.last = 0  # the end of the last window that showed either

    def add(self, moment: Moment) -> None:
        span = int((self._limits.sustained_s + 1.0) * RATE_HZ)
        fibrillation, tachycardia = _seen(moment)
        self._seen.append((moment.at, fibrillation, fibrillation + tachycardia))
        while self._seen[0][0] < moment.at - span:
            self._seen.popleft()
        if fibrillation + tachycardia >= self._limits.on_probability:
            self.last = moment.at

    @property
    def fibrillation(self) -> float:
        return fmean([p for _, p, _ in self._seen])

    @property
    def tachycardia(self) -> float:
        return self.either - self.fibrillation

    @property
    def either(self) -> float:
        return fmean([p for _, _, p in self._seen])

    @property
    def last_long_enough(self) -> bool:
        sustained = self._seen[-1][0] - self._seen[0][0] >= self._limits.sustained_s * RATE_HZ
        return sustained and self.either >= self._limits.on_probability

    @property
    def onset(self) -> int:
        """The middle of the first window that showed either."""
        first = next(at for at, _, p in self._seen if p >= self._limits.on_probability)
        return max(0, first - 2 * RATE_HZ)


class Fibrillation:
    """The network sees ventricular fibrillation, and goes on seeing it.

    What it gives to tachycardia counts too, or one that it cannot tell from the other would be neither. It is called
    what is likelier.
    """

    def __init__(self, limits: cfg.Fibrillation) -> None:
        self._limits = limits
        self._waves = Waves(limits)
        self._standing: Finding | None = None

    def __call__(self, moment: Moment) -> Finding | None:
        waves = self._waves
        waves.add(moment)
        standing = self._standing
        if standing:
            if waves.tachycardia > CLEARLY * waves.fibrillation or waves.either <= self._limits.off_probability:
                self._standing = None
                return replace(standing, end=waves.last)
        elif waves.last_long_enough and waves.fibrillation >= waves.tachycardia:
            self._standing = Finding(waves.onset, {"probability": round(waves.either, 3)})
        return self._standing
