"""Beats and silences told to the rules: what the tests of the decisions share."""

from __future__ import annotations

import numpy as np

from daemon import config as cfg
from daemon.alerts import AlertBook
from daemon.episodes import Episodes
from daemon.history import History
from daemon.moment import Moment
from daemon.rules import rules_of
from dsp.signal import RATE_HZ

DECIDED_S = 0.6  # from an R peak to the sample with which its window is complete
TIME_OUT_S = 1.5


class Story:
    """Beats and silences told to all rules, and the alerts that come of it, in seconds."""

    def __init__(self, limits: cfg.Alerts | None = None) -> None:
        limits = limits or cfg.Alerts()
        self.rules = rules_of(limits)
        self.history = History()
        self.book = AlertBook(limits, "test")
        self.r_peak = self.at = 0
        self.episodes = Episodes()
        self.events = []
        self.changes = []

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
            self.at = self.r_peak + round(DECIDED_S * RATE_HZ)
            known = None if first or unknown_rr else interval_s
            wide = ventricular if ventricular is not None else 0.9 if letter == "V" else 0.0
            self._tell(self.history.add(self.r_peak, self.at, known, letter, 0.9, wide), 0.0, probabilities, ecg)
        return self

    def silence(self, seconds: float, missing: float = 0.0, **probabilities: float) -> Story:
        """Time-out windows for so long."""
        until = self.at + seconds * RATE_HZ
        while self.at + TIME_OUT_S * RATE_HZ <= until:
            self.at += round(TIME_OUT_S * RATE_HZ)
            self._tell(None, missing, probabilities)
        return self

    def _tell(self, beat, missing, probabilities, ecg=None) -> None:
        rhythm = {"ventricular_fibrillation": 0.0, "atrial_fibrillation": 0.0, "noise": 0.0} | probabilities
        standing = set()
        for kind, rule in self.rules.items():
            finding = rule(Moment(self.at, beat, self.r_peak, rhythm, missing, self.history, standing, ecg))
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
