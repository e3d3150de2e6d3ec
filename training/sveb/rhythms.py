"""Rhythms that nobody had, and of whose beats the truth is known: which beats come when, and with which P waves.

A few people have nearly all supraventricular beats of the public records, and a network knows them before it knows what
makes such a beat. So normal recordings of many people are put into these times (`training.sveb.timing`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import log, pi, sin

import numpy as np

from dsp.signal import RATE_HZ
from training.labels import ONE_BEAT, N, S

FASTEST_SINUS, SLOWEST_SINUS = 75, 420
"""Samples from beat to beat: 200 and 36/min."""

EARLIEST, LATEST = 0.45, 0.87
"""Of the sinus interval: what a premature beat comes after."""

CONDUCTED = 85
"""Samples that the AV node needs at least between two beats of a flutter."""


class Atria(IntEnum):
    """What they do until a beat comes."""

    SINUS = 0
    FIBRILLATING = 1
    FLUTTERING = 2


@dataclass(frozen=True, slots=True)
class Planned:
    """One beat. Samples are those of RATE_HZ."""

    interval: float  # samples since the beat before
    p_gain: float  # 1: its P wave as it is; 0: none; below 0: turned round
    truth: int  # a set of classes
    atria: Atria
    sinus: float  # samples: the sinus interval of that moment, after which the QT interval goes
    blocked: tuple[float, ...] = ()  # so many samples before its own P wave there is one that no beat follows


@dataclass(frozen=True, slots=True)
class Plan:
    """A rhythm of one person."""

    beats: list[Planned]
    flutter_hz: float


class SinusNode:
    """Its interval, which breathes and drifts, and in some people finds another rate: step by step, however fast."""

    def __init__(self, usual: float, rng: np.random.Generator, *, irregular: bool, races: bool) -> None:
        self.interval, self._usual, self._rng = usual, usual, rng
        self._wanders = races or rng.random() < (0.6 if irregular else 0.25)
        self._fastest = max(log(105 / usual), -0.85)
        self._slowest = min(log(min(SLOWEST_SINUS, 1.6 * usual) / usual), 0.3)
        self._breath = rng.uniform(0.03, 0.22) if irregular else rng.uniform(0.0, 0.08)
        self._beats_per_breath, self._phase = rng.uniform(3, 9), rng.uniform(0, 2 * pi)
        self._drift = rng.uniform(0, 0.02)
        self._pace = rng.uniform(0.01, 0.05) if races else 0.03  # of the way in a beat; how often to another goal, too
        self._level = self._goal = 0.0  # logarithms, over the usual interval
        if races:
            self._fastest = self._goal = log(rng.uniform(FASTEST_SINUS, 115) / usual)
            self._level = float(rng.choice([0.0, 0.0, self._goal]))

    def next(self, number: int) -> float:
        """The interval before the beat of this number, in samples; without breath it is `interval`."""
        if self._wanders and self._rng.random() < self._pace:
            self._goal = self._rng.uniform(self._fastest, self._slowest)
        self._level += self._pace * (self._goal - self._level) + self._drift * self._rng.normal()
        self.interval = float(np.clip(self._usual * np.exp(self._level), FASTEST_SINUS, SLOWEST_SINUS))
        breath = self._breath * sin(2 * pi * number / self._beats_per_breath + self._phase)
        return self.interval * float(np.exp(breath + 0.01 * self._rng.normal()))


class Rhythm:
    """What the rhythms have in common. A kind draws the habits of its person at first, and goes on by `episode`."""

    irregular = races = False

    def __init__(self, usual: float, rng: np.random.Generator, *, escapes: bool) -> None:
        self.rng, self.escapes = rng, escapes
        self.beats: list[Planned] = []
        self.node = SinusNode(usual, rng, irregular=self.irregular, races=self.races)
        self.flutter_hz = rng.uniform(3.6, 5.8)
        self.early = rng.uniform(0.5, 0.85)  # of the sinus interval
        self.premature_p = premature_p(rng)
        self.compensation = rng.uniform(1.0, 1.35)
        self.junctional = rng.uniform(0.9, 1.6)  # its interval, of the sinus node's
        self.junctional_p = junctional_p(rng)

    def begin(self) -> None:
        self.sinus(self.number(2, 8))

    def episode(self) -> None:
        raise NotImplementedError

    def add(
        self,
        interval: float,
        p_gain: float = 1.0,
        truth: int = ONE_BEAT[N],
        atria: Atria = Atria.SINUS,
        blocked: tuple[float, ...] = (),
    ) -> None:
        self.beats.append(Planned(float(interval), p_gain, truth, atria, self.node.interval, blocked))

    def sinus(self, count: int = 1) -> None:
        for _ in range(count):
            self.add(self.node.next(len(self.beats)))

    def pause(self, least: float, most: float) -> None:
        """A sinus beat after so many sinus intervals."""
        self.add(self.node.interval * self.rng.uniform(least, most))

    def premature(self, p_gain: float) -> None:
        part = np.clip(self.rng.normal(self.early, 0.04), EARLIEST, LATEST)
        self.add(self.node.interval * part, p_gain, ONE_BEAT[S])

    def compensate(self) -> None:
        """The sinus beat after a premature one."""
        self.add(self.node.interval * self.compensation * self.about(0.03))

    def junction(self, part: float, count: int = 1, spread: float = 0.0) -> None:
        """Beats of the AV junction, after so much of a sinus interval each."""
        for _ in range(count):
            self.add(self.node.interval * part * self.about(spread), self.junctional_p, ONE_BEAT[S])

    def fibrillate(self, count: int) -> None:
        spread, usual = self.rng.uniform(0.1, 0.3), self.node.interval * self.rng.uniform(0.55, 1.0)
        for _ in range(count):
            self.add(np.clip(usual * self.about(spread), 88, 560), 0.0, atria=Atria.FIBRILLATING)

    def flutter(self, count: int) -> None:
        """Every second, third or fourth wave is conducted, always the same or nearly, or now one and now another."""
        wave, steady = RATE_HZ / self.flutter_hz, self.rng.choice([0.9, 1.0]) * (self.rng.random() < 0.6)
        usual = self.rng.choice([2, 3, 4], p=[0.5, 0.15, 0.35])
        for _ in range(count):
            waves = int(usual if self.rng.random() < steady else self.rng.choice([2, 3, 4]))
            waves = max(waves, int(np.ceil(CONDUCTED / wave)))
            self.add(waves * wave * self.about(0.015), 0.0, atria=Atria.FLUTTERING)

    def number(self, least: int, below: int) -> int:
        return int(self.rng.integers(least, below))

    def about(self, spread: float) -> float:
        return float(np.exp(spread * self.rng.normal()))


def premature_p(rng: np.random.Generator) -> float:
    """Gain of the P wave of a premature atrial beat: as it was, hidden, turned round, small or large."""
    ranges = [(1.0, 1.0), (0.0, 0.0), (-1.0, -0.3), (0.2, 0.5), (1.5, 2.2)]
    return float(rng.uniform(*ranges[rng.choice(5, p=[0.4, 0.2, 0.18, 0.1, 0.12])]))


def junctional_p(rng: np.random.Generator) -> float:
    """Of a junctional beat: hidden in the QRS complex, or against the usual direction."""
    return 0.0 if rng.random() < 0.65 else float(rng.uniform(-1.0, -0.3))
