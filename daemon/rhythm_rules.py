"""When each condition holds that the network sees in the rhythm: its word, averaged over a while, with hysteresis."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from statistics import mean

from daemon import config as cfg
from daemon.history import History
from daemon.moment import Finding, Moment
from dsp.signal import RATE_HZ

AF_BEATS = 24
"""Over which AF is judged: about 20 s, so that one odd beat moves nothing."""


class Fibrillation:
    """The network sees ventricular fibrillation, and goes on seeing it."""

    def __init__(self, limits: cfg.Fibrillation) -> None:
        self._limits = limits
        self._seen: deque[tuple[int, float]] = deque()  # (at, probability) of the last seconds
        self._last = 0  # the end of the last window that showed it
        self._standing: Finding | None = None

    def __call__(self, moment: Moment) -> Finding | None:
        span = int((self._limits.sustained_s + 1.0) * RATE_HZ)
        self._seen.append((moment.at, moment.rhythm["ventricular_fibrillation"]))
        while self._seen[0][0] < moment.at - span:
            self._seen.popleft()
        probability = mean(p for _, p in self._seen)
        sustained = moment.at - self._seen[0][0] >= self._limits.sustained_s * RATE_HZ
        if moment.rhythm["ventricular_fibrillation"] >= self._limits.on_probability:
            self._last = moment.at
        standing = self._standing
        if standing and probability <= self._limits.off_probability:
            self._standing = None
            return replace(standing, end=self._last)
        if not standing and sustained and probability >= self._limits.on_probability:
            first = next(at for at, p in self._seen if p >= self._limits.on_probability)
            onset = max(0, first - 2 * RATE_HZ)  # the middle of the first window that showed it
            self._standing = Finding(onset, {"probability": round(probability, 3)})
        return self._standing


class AtrialFibrillation:
    """The network sees AF in most beats and the RR intervals are irregular, for as long as the persistence asks."""

    def __init__(self, limits: cfg.AtrialFibrillation) -> None:
        self._limits = limits
        self._seen: deque[tuple[int, float]] = deque(maxlen=AF_BEATS)  # (R peak, probability), of the last minute
        self._since: int | None = None  # R peak of the first beat that seems to be in AF
        self._last = 0  # and of the last one
        self._standing: Finding | None = None

    @property
    def likely(self) -> bool:
        """AF seems to be going on, whether or not it has lasted long enough for an alert."""
        return self._since is not None

    def __call__(self, moment: Moment) -> Finding | None:
        if moment.beat is None:
            return self._standing
        self._seen.append((moment.beat.r_peak, moment.rhythm["atrial_fibrillation"]))
        while self._seen[0][0] < moment.at - 60 * RATE_HZ:
            self._seen.popleft()
        return self._judge(moment.history)

    def _judge(self, history: History) -> Finding | None:
        limits = self._limits
        full = len(self._seen) == AF_BEATS
        probability = mean(p for _, p in self._seen)
        shown = [r_peak for r_peak, p in self._seen if p >= limits.on_probability]
        if self._since is None and full and probability >= limits.on_probability and self._is_irregular(history):
            self._since = shown[0]
        if self._since is None:
            return None
        self._last = max([self._last, *shown])
        if full and probability < limits.off_probability:
            standing, self._standing, self._since = self._standing, None, None
            return replace(standing, end=self._last) if standing else None
        # Between the beats that showed it: the mean goes on for a while after it is over.
        if not self._standing and self._last - self._since >= limits.persistence_s * RATE_HZ:
            self._standing = Finding(self._since, {"probability": round(probability, 3)})
        return self._standing

    def _is_irregular(self, history: History) -> bool:
        irregularity = history.irregularity(AF_BEATS)
        return irregularity is not None and irregularity >= self._limits.irregularity


class Noise:
    """Signal that arrives but cannot be read, for as long as the persistence asks; ends at half the probability."""

    def __init__(self, limits: cfg.Noise) -> None:
        self._limits = limits
        self._seen: deque[tuple[int, float]] = deque()  # (at, probability) of the last seconds
        self._standing: Finding | None = None

    def __call__(self, at: int, probability: float) -> Finding | None:
        persistence = self._limits.persistence_s * RATE_HZ
        self._seen.append((at, probability))
        while self._seen[0][0] < at - persistence - 2 * RATE_HZ:
            self._seen.popleft()
        probability = mean(p for _, p in self._seen)
        since = self._seen[0][0]
        if self._standing and 2 * probability <= self._limits.on_probability:
            self._standing = None
        elif not self._standing and at - since >= persistence and probability >= self._limits.on_probability:
            self._standing = Finding(since, {"probability": round(probability, 3)})
        return self._standing
