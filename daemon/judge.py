"""The judge's work: a window or a change of the signal in, judged beats and alerts out. Pure but for the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

import numpy as np

from daemon import config as cfg
from daemon import half_minute, premature
from daemon.alerts import AlertBook, AlertEvent
from daemon.beat_referee import evidence, shipped
from daemon.episodes import Episode, Episodes
from daemon.history import History, JudgedBeat
from daemon.likeness import Shapes
from daemon.messages import BeatClass
from daemon.moment import Finding, Moment, Rule
from daemon.premature import Follower, Premature, is_supraventricular
from daemon.rhythm_rules import Noise
from daemon.rules import is_busy, rules_of
from daemon.waves import either
from dsp.signal import RATE_HZ, Fitness, Quality, Window
from engines.backend import Backend
from engines.model import Head

LETTERS: dict[str, BeatClass] = {"normal": "N", "supraventricular": "S", "ventricular": "V"}

RHYTHMS = {"atrial_fibrillation", "ventricular_fibrillation", "ventricular_tachycardia", "noise"}
"""What is asked of the rhythm head; it may know others."""

MOST_MISSING_OF_BEAT = 0.5
"""Of a window: with more, the beat is not classified."""

TECHNICAL = {
    Fitness.LEAD_OFF: "lead_off",
    Fitness.FLAT: "lead_off",  # skin is never so quiet
    Fitness.SATURATED: "lead_off",  # an open input drifts to the rail
    Fitness.LOST: "signal_lost",
}

UNHEARD = {*TECHNICAL, Fitness.BLOCKED}
"""No beat can be seen, so none is missed; a blocked amplifier is soon itself again, and nobody need be told."""

ASKED_ALL_THE_SAME = {
    (Fitness.NOISY, "ventricular_fibrillation"),
    (Fitness.NOISY, "asystole"),
    (Fitness.BLOCKED, "ventricular_fibrillation"),
}
"""Noise that comes and goes may never last long enough to be told: it must not silence these, though it cannot end
them. The network tells noise from fibrillation by itself, and noise that hides an asystole shows beats. A jolt
may hide the one, not the other."""


class Condition(Enum):
    """What the daemon itself reports of patch and engine; the names are kinds of alerts."""

    SILENT = "signal_lost"
    ABSENT = "patch_lost"
    ENGINE = "engine_failing"
    STORAGE = "storage_failing"


FIBRILLATES = "atrial_fibrillation"
"""While it stands every beat comes early or late, and none is premature."""

SURE = 0.7
"""From this probability on a beat is one that later ones are compared with."""

NOT_UNLIKELY = 0.05
"""The probability of a ventricular beat from which the referee is asked whether it is one."""

LIKELY, LIKELY_IN_NOISE, SOME_NOISE = -0.4, 0.2, 0.01
"""Its log-odds from which one is; and likewise where the network holds noise for more probable than SOME_NOISE."""


class Judge:
    """One patch's beats, rhythm and alerts, from the first sample on."""

    def __init__(
        self,
        engine: Backend,
        heads: tuple[Head, ...],
        alerts: cfg.Alerts,
        origin: str,
        start: int = 0,
        rules: Mapping[str, Rule] | None = None,
        whole: Callable[[], Backend] = half_minute.shipped,
        follower: Callable[[], Follower] = Premature,
    ) -> None:
        """`whole` gives the network of half a minute, `follower` whoever follows the beats of a session."""
        shipped(), whole(), premature.shipped()  # what is wrong with their files is to be told at the start
        self._engine = engine
        self._labels = {head.name: head.labels for head in heads}
        if set(self._labels.get("beat", ())) != set(LETTERS) or not set(self._labels.get("rhythm", ())) >= RHYTHMS:
            needed = f"a head `beat` with {', '.join(LETTERS)} and a head `rhythm` with {', '.join(sorted(RHYTHMS))}"
            raise cfg.ConfigError(
                f"engine.model: the manifest must have {needed}; choose a model made for this version"
            )
        self._rules = rules_of(alerts, whole) if rules is None else rules
        self.book = AlertBook(alerts, origin)
        self.episodes = Episodes()
        self.history = History()
        self.shapes = Shapes()
        self.fitness = Fitness.GOOD
        self._conditions: set[Condition] = set()
        self._noted: set[str] = set()  # kinds of which something was found when they were last asked about
        self._noise = Noise(alerts.noise)
        self._follower = follower
        self._follow = follower()
        self._quiet_since = start
        self._no_beat_s = alerts.asystole.no_beat_s
        self._waves = alerts.ventricular_fibrillation.on_probability

    def window(self, window: Window) -> list[JudgedBeat | AlertEvent | Episode]:
        """Run the network on a window and decide what it means."""
        answers = self._engine.infer(window.ecg, window.rr)
        by_head = {
            name: dict(zip(labels, answer[0].tolist(), strict=True))
            for (name, labels), answer in zip(self._labels.items(), answers, strict=True)
        }
        ecg_mv = window.ecg.reshape(-1) * np.float64(window.scale_mv)
        if window.beat and window.fitness is Fitness.GOOD:
            self.shapes.add(window.beat.r_peak, ecg_mv)
        beat = self._judge_beat(window, by_head["beat"], by_head["rhythm"])
        out: list[JudgedBeat | AlertEvent | Episode] = [beat] if beat else []
        if window.fitness in UNHEARD:
            self._quiet_since = window.at  # an electrode that was off has not stopped a heart
        if window.fitness in TECHNICAL:  # which has its own alarm: what else it looks like is not told
            self.shapes = self.shapes if window.fitness is Fitness.LOST else Shapes()  # and may be on elsewhere now
        if window.fitness is not Fitness.GOOD:
            self.history.break_off()  # what cannot be judged is a technical alarm, and alerts that stand go on standing
        standing: set[str] = set()
        moment = Moment(
            window.at,
            beat,
            self._quiet_since,
            by_head["rhythm"],
            window.missing,
            self.history,
            standing,
            self.shapes,
            ecg_mv,
            window.refused,
        )
        if window.fitness not in TECHNICAL:
            out += self._note("noise", self._noise(window.at, self._unreadable(moment, window.fitness)), window.at)
        for kind, rule in self._rules.items():
            if window.fitness is not Fitness.GOOD and (window.fitness, kind) not in ASKED_ALL_THE_SAME:
                continue
            finding = rule(moment)
            if window.fitness is not Fitness.GOOD and (finding is None or finding.end is not None):
                continue  # what stands goes on standing
            if finding and finding.end is None:
                standing.add(kind)
            out += self._note(kind, finding, window.at)
        return out

    def quality(self, quality: Quality) -> list[AlertEvent | Episode]:
        """The signal's fitness changed."""
        before, self.fitness = TECHNICAL.get(self.fitness), quality.fitness
        now = TECHNICAL.get(quality.fitness)
        changes: list[AlertEvent | Episode] = []
        for kind in sorted({before, now} - {None}, key=str):
            assert kind is not None
            changes += self._technical(kind, quality.at, {"fitness": quality.fitness.value})
        return changes

    def condition(self, condition: Condition, *, holds: bool, at: int) -> list[AlertEvent | Episode]:
        """The daemon reports that a patch or engine condition begins or ends."""
        (self._conditions.add if holds else self._conditions.discard)(condition)
        return self._technical(condition.value, at, {})

    def skipped(self, gone: int, to: int) -> list[AlertEvent | Episode]:
        """Samples from `gone` to `to` never came: that is no asystole, and what follows is taken for good at first.

        The loss is told as `signal_lost`, unless the daemon had noticed it while it lasted and told of it then.
        """
        self._engine.forget()
        self.history.break_off()
        self.shapes, self._follow, self._quiet_since = Shapes(), self._follower(), to
        untold = to > gone and self.fitness is not Fitness.LOST and Condition.ABSENT not in self._conditions
        out = self.quality(Quality(Fitness.GOOD, to))
        if Condition.SILENT in self._conditions:
            return [*out, *self.condition(Condition.SILENT, holds=False, at=to)]
        if untold:
            out += self._note("signal_lost", Finding(gone, end=to), gone)
        return out

    def _unreadable(self, moment: Moment, fitness: Fitness) -> float:
        """The probability of noise. A line on which no beat was found for long, though much goes on, is such a one,
        unless it is told as fibrillation: asystole is withheld there, and one of the three must be told.
        """
        silent = moment.at - moment.quiet_since >= self._no_beat_s * RATE_HZ
        if fitness in {Fitness.NOISY, Fitness.BLOCKED} or (silent and is_busy(moment) and either(moment) < self._waves):
            return 1.0
        return moment.rhythm["noise"]

    def _technical(self, kind: str, at: int, evidence: dict[str, float | int | str]) -> list[AlertEvent | Episode]:
        holds = TECHNICAL.get(self.fitness) == kind or any(each.value == kind for each in self._conditions)
        return self._note(kind, Finding(at, evidence) if holds else None, at)

    def _note(self, kind: str, finding: Finding | None, at: int) -> list[AlertEvent | Episode]:
        if finding is None and kind not in self._noted:
            return []  # as almost always
        (self._noted.add if finding else self._noted.discard)(kind)
        told = None if finding and finding.brief else finding
        return [*self.episodes.note(kind, finding, at), *self.book.note(kind, told, at)]

    def _judge_beat(
        self, window: Window, probabilities: dict[str, float], rhythm: dict[str, float]
    ) -> JudgedBeat | None:
        if window.beat is None:
            return None
        label = max(probabilities, key=probabilities.__getitem__)
        letter, probability, ventricular = LETTERS["normal"], 0.0, probabilities["ventricular"]
        if not can_be_judged(window):
            letter, ventricular = "Q", 0.0
        else:
            normal, early, _ = self._follow(window)[0].tolist()
            seen = probabilities["supraventricular"] / max(probabilities["normal"], 1e-9)
            if self.is_ventricular(window, probabilities, rhythm):
                letter, probability = "V", ventricular
            elif is_supraventricular(early / max(normal, 1e-9), seen) and FIBRILLATES not in self._noted:
                letter, probability = "S", max(early, probabilities["supraventricular"])
            else:
                probability = normal
        if letter != "Q" and probabilities[label] > SURE:
            self.shapes.surely(LETTERS[label])
        slight = letter != "Q" and self.shapes.slight
        if not slight:
            self._quiet_since = max(self._quiet_since, window.beat.r_peak)
        r_peak, at, rr_s = window.beat.r_peak, window.at, window.beat.rr_s
        return self.history.add(r_peak, at, rr_s, letter, probability, ventricular, slight=slight)

    def is_ventricular(self, window: Window, beat: dict[str, float], rhythm: dict[str, float]) -> bool:
        """Asked about each beat that can be judged, with the network's probabilities."""
        if beat["ventricular"] < NOT_UNLIKELY:
            return False
        likely = LIKELY_IN_NOISE if rhythm["noise"] > SOME_NOISE else LIKELY
        return shipped()(evidence(beat, rhythm, window.rr[0], self.shapes)) > likely


def can_be_judged(window: Window) -> bool:
    """The beat in it, if there is one."""
    return window.fitness is Fitness.GOOD and window.missing <= MOST_MISSING_OF_BEAT
