"""The kinds of rhythms that are made up, and how often each is."""

from __future__ import annotations

import numpy as np

from training.labels import ONE_BEAT, S
from training.sveb.rhythms import Plan, Rhythm, premature_p

MOST_PREMATURE = 24
"""Beats of one atrial tachycardia, after the first."""


class Ectopy(Rhythm):
    """Premature atrial beats: alone, in bigeminy or in runs of atrial tachycardia, with P waves of their own."""

    def __init__(self, usual: float, rng: np.random.Generator, *, escapes: bool) -> None:
        super().__init__(usual, rng, escapes=escapes)
        self._often = rng.uniform(0.02, 0.25) if rng.random() < 0.8 else rng.uniform(0.3, 0.6)
        self._goes_on = rng.choice([0.0, 0.0, 0.4, 0.85, 0.95])
        self._one_focus = rng.random() < 0.7

    def episode(self) -> None:
        if self.rng.random() >= self._often:
            return self.sinus()
        p_gain = self.premature_p if self._one_focus else premature_p(self.rng)
        self.premature(p_gain)
        interval, beats = self.node.interval * self.rng.uniform(0.45, 0.85), 0
        while self.rng.random() < self._goes_on and beats < MOST_PREMATURE:
            self.add(interval * self.about(0.025), p_gain, ONE_BEAT[S])
            beats += 1
        return self.compensate()


class Junction(Rhythm):
    """The AV junction escapes after a pause, or takes over for a while, slower or faster than the sinus node."""

    def episode(self) -> None:
        which = self.rng.random()
        if which < 0.75:
            self.sinus(self.number(3, 12))
        elif which < 0.9:
            self.junction(max(self.junctional, 1.02) * self.rng.uniform(1.0, 1.5))
            self.junction(self.junctional, int(self.rng.choice([0, 0, 1, 3, 8])), 0.03)
            if self.rng.random() < 0.3:  # and a beat of the atria catches it
                self.add(self.node.interval * self.rng.uniform(0.5, 0.8), premature_p(self.rng), ONE_BEAT[S])
        else:
            self.junction(self.rng.uniform(0.6, 1.0), self.number(2, 14), 0.02)
            self.pause(1.05, 2.2)


class PrematureRhythm(Rhythm):
    """Nearly all beats are premature and without a P wave, and there is hardly a sinus beat to compare them with.

    A pause ends each row of them.
    """

    def episode(self) -> None:
        part = self.early + self.rng.choice([0.0, 0.15, 0.3])
        if len(self.beats) < 12:
            self.sinus(3)
        beats = min(self.rng.geometric(self.rng.choice([0.1, 0.25, 0.4])), 25)
        self.junction(min(part, 1.05), beats, 0.02)
        pause = self.rng.uniform(1.3, 3.0)
        for _ in range(self.rng.choice([1, 1, 1, 2, 3])):
            self.add(self.node.interval * pause * self.about(0.1))
            pause = self.rng.uniform(1.0, 1.8)


class Mixed(Rhythm):
    """Atria that fibrillate and flutter now and then, and after it a sinus beat or, if it `escapes`, the junction's."""

    def episode(self) -> None:
        self.sinus(self.number(2, 14))
        which = self.rng.random()
        if which < 0.35:
            (self.fibrillate if self.rng.random() < 0.5 else self.flutter)(self.number(3, 30))
            self._end()
        elif which < 0.5:
            self.fibrillate(self.number(2, 12))
            self.flutter(self.number(2, 20))
            self._end()
        elif which < 0.8:
            self.premature(self.premature_p)
            self.compensate()

    def _end(self) -> None:
        if self.escapes and self.rng.random() < 0.6:
            self.junction(self.rng.uniform(1.1, 2.2))
            self.junction(max(self.junctional, 1.0), int(self.rng.choice([0, 1, 3, 6, 9])), 0.03)
        else:
            self.pause(1.0, 2.2)


class Irregular(Rhythm):
    """A sinus node that breathes, wanders and pauses: early beats, and none of them premature."""

    irregular = True

    def episode(self) -> None:
        self.sinus(self.number(3, 15))
        if self.rng.random() < 0.4:
            self.add(self.node.interval * self.rng.choice([1.5, 2.0, self.rng.uniform(1.2, 3.0)]))


class Fibrillation(Rhythm):
    """Atria that fibrillate or flutter all the time."""

    ALL = 96  # beats: more than a run has

    def begin(self) -> None:
        """With no sinus beat."""

    def episode(self) -> None:
        which = self.rng.random()
        if which < 0.5:
            self.fibrillate(self.ALL)
        elif which < 0.8:
            self.flutter(self.ALL)
        else:
            self.flutter(self.number(4, self.ALL))
            self.fibrillate(self.number(0, 20))


class Block(Rhythm):
    """A beat is left out, by the AV node after its P wave or by the sinus node with it: in groups, or seldom."""

    def __init__(self, usual: float, rng: np.random.Generator, *, escapes: bool) -> None:
        super().__init__(usual, rng, escapes=escapes)
        self._group = int(rng.choice([1, 2, 2, 3, 4, 6]))  # beats
        self._in_av_node = rng.random() < 0.65
        self._shorter = rng.uniform(0.85, 1.0)  # than two intervals: the PR interval is, after the pause
        self._blocked = rng.uniform(0.95, 1.05)

    def episode(self) -> None:
        group = self._group if self.rng.random() < 0.85 else self.number(2, 9)
        if group > 1:
            self.sinus(group - 1)
        elif self.rng.random() < 0.04:  # every second one is, and for a while none
            self.sinus(self.number(5, 40))
        if self._in_av_node:
            blocked = (self.node.interval * self._blocked,)
            self.add(2 * self.node.interval * self.about(0.02) * self._shorter, blocked=blocked)
        else:
            self.pause(1.4, 2.05)


class Exercise(Rhythm):
    """A sinus node that makes the heart race, until P waves lie on T waves: fast is not premature. Some beats are."""

    races = True

    def episode(self) -> None:
        self.sinus(self.number(3, 15))
        if self.rng.random() < 0.1:
            self.premature(self.premature_p)
            self.compensate()


KINDS: dict[str, tuple[float, type[Rhythm]]] = {
    "ectopy": (0.28, Ectopy),
    "junction": (0.13, Junction),
    "rhythm": (0.10, PrematureRhythm),
    "mix": (0.16, Mixed),
    "irregular": (0.08, Irregular),
    "af": (0.10, Fibrillation),
    "block": (0.06, Block),
    "exercise": (0.09, Exercise),
}
"""How often each is made."""


def planned(kind: str, usual: float, count: int, rng: np.random.Generator, *, escapes: bool) -> Plan:
    """`count` beats of this kind, of a person with this usual sinus interval in samples."""
    rhythm = KINDS[kind][1](usual, rng, escapes=escapes)
    rhythm.begin()
    while len(rhythm.beats) < count:
        rhythm.episode()
    return Plan(rhythm.beats[:count], rhythm.flutter_hz)
