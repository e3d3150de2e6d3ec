"""Beats and silences told to the rules: what the tests of the decisions share."""

from __future__ import annotations

import numpy as np

from daemon import config as cfg
from daemon.alerts import AlertBook
from daemon.episodes import Episodes
from daemon.history import History
from daemon.likeness import Shapes
from daemon.moment import Moment
from daemon.rules import rules_of
from dsp.half_minute import SAMPLES
from dsp.signal import R_INDEX, RATE_HZ, WINDOW_SAMPLES

DECIDED_S = 0.6  # from an R peak to the sample with which its window is complete
TIME_OUT_S, AGAIN_S = 1.5, 1.0


WANDER_MV = 0.06 * np.sin(np.arange(WINDOW_SAMPLES) / 40.0)
"""What a line without beats looks like: 0.12 mV peak to peak."""

WIDTH = {"V": 9.0}
"""Samples from the middle of a QRS complex to where it has fallen to a third; of others 5."""


def window_of(letter: str) -> np.ndarray:
    """A window with such a beat at R, in mV: a ventricular one is wide, and points the other way."""
    place = (np.arange(WINDOW_SAMPLES) - R_INDEX) / WIDTH.get(letter, 5.0)
    qrs = np.exp(-(place**2)) - 0.3 * np.exp(-((place - 2.0) ** 2))
    ecg_mv: np.ndarray = WANDER_MV + (-1.2 if letter == "V" else 1.0) * qrs
    return ecg_mv


class Story:
    """Beats and silences told to all rules, and the alerts that come of it, in seconds."""

    def __init__(self, limits: cfg.Alerts | None = None) -> None:
        limits = limits or cfg.Alerts()
        self.rules = rules_of(limits, lambda: self)
        self.history = History()
        self.shapes = Shapes()
        self.quiet_since = 0
        self.quiet = False  # the last window was without a beat
        self.book = AlertBook(limits, "test")
        self.r_peak = self.at = 0
        self.episodes = Episodes()
        self.events = []
        self.changes = []
        self.fibrillates: list[tuple[int, float]] = []  # (at, probability)
        self.half_minute: float | None = None  # what the network of it says of fibrillation; None: what the beats say
        self.asked = 0

    def beats(
        self,
        letters: str,
        rr_s: float | list[float] = 0.8,
        *,
        unknown_rr=False,
        ventricular: float | None = None,
        ecg: np.ndarray | None = None,
        **probabilities: float,
    ) -> Story:
        """One beat for each letter, each `rr_s` after the one before."""
        intervals = rr_s if isinstance(rr_s, list) else [rr_s] * len(letters)
        for letter, interval_s in zip(letters, intervals, strict=True):
            first = not self.r_peak
            self.r_peak += round(interval_s * RATE_HZ)
            self.at, self.quiet = self.r_peak + round(DECIDED_S * RATE_HZ), False
            known = None if first or unknown_rr else interval_s
            wide = ventricular if ventricular is not None else 0.9 if letter == "V" else 0.0
            ecg_mv = window_of(letter) if ecg is None else ecg
            self.shapes.add(self.r_peak, ecg_mv)
            slight = self.shapes.slight
            self.quiet_since = self.quiet_since if slight else self.r_peak
            beat = self.history.add(self.r_peak, self.at, known, letter, 0.9, wide, slight=slight)
            self._tell(beat, ecg_mv, probabilities)
        return self

    def silence(
        self,
        seconds: float,
        missing: float = 0.0,
        *,
        ecg: np.ndarray = WANDER_MV,
        refused: int = 0,
        **probabilities: float,
    ) -> Story:
        """Time-out windows for so long."""
        until = self.at + seconds * RATE_HZ
        while self.at + (wait := round(RATE_HZ * (AGAIN_S if self.quiet else TIME_OUT_S))) <= until:
            self.at, self.quiet = self.at + wait, True
            self._tell(None, ecg, probabilities, missing, refused)
        return self

    def infer(self, *_: np.ndarray) -> tuple[np.ndarray, ...]:
        """What the network of half a minute says: what that of the beats said, in the mean."""
        lately = np.mean([probability for at, probability in self.fibrillates if at > self.at - SAMPLES])
        said = lately if self.half_minute is None else self.half_minute
        self.asked += 1
        return (np.array([[said, 1.0 - said, 0.0, 0.0]]),)

    def forget(self) -> None:
        """It is asked about half a minute, and has no memory."""

    def _tell(self, beat, ecg_mv, probabilities, missing=0.0, refused=0) -> None:
        rhythm = {"ventricular_fibrillation": 0.0, "atrial_fibrillation": 0.0, "noise": 0.0} | probabilities
        self.fibrillates.append((self.at, rhythm["atrial_fibrillation"]))
        standing = set()
        moment = Moment(
            self.at, beat, self.quiet_since, rhythm, missing, self.history, standing, self.shapes, ecg_mv, refused
        )
        for kind, rule in self.rules.items():
            finding = rule(moment)
            if finding and finding.end is None:
                standing.add(kind)
            self.changes += self.episodes.note(kind, finding, self.at)
            self.events += self.book.note(kind, None if finding and finding.brief else finding, self.at)

    def alerts(self, kind: str) -> list[tuple[float, float, float | None]]:
        """(onset, raised, end) of each alert of this kind, in seconds."""
        latest = {event.id: event for event in self.events if event.kind == kind}
        return [
            (each.onset / RATE_HZ, each.raised / RATE_HZ, None if each.end is None else each.end / RATE_HZ)
            for each in latest.values()
        ]

    @property
    def kinds(self) -> set[str]:
        return {event.kind for event in self.events}

    @property
    def rhythm(self) -> str:
        return self.episodes.rhythm
