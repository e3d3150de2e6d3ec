"""What speaks for the newest beats being a run of ventricular tachycardia: nine numbers, and the sum of them. Pure.

Each has a weight in the log-odds, fitted together by `python -m training.alarms --fit vt`: what the network makes of
the beats is one witness among others. Their shape and rate, against what was usual in the minute before, find runs of
which it is in doubt; how alike they are, and how little noise it sees, keep out those that noise made. Each number is
bounded to where almost all of those lie from which was learned.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import log
from statistics import fmean, median
from typing import NamedTuple

from daemon.history import History
from daemon.moment import Moment
from daemon.odds import log_odds

HIDDEN = 1.6
"""An interval longer than this multiple of the median hides a beat that was not found, if no other is so long."""

USUAL_BEATS, LEAST_USUAL, APART = 60, 6, 5
"""The usual rate is that of so many beats, at least so many, that came before the last few before the run."""

WEIGHTS: Mapping[str, float] = {
    "ventricular": 0.23,  # log-odds of the least ventricular beat but one: one that is taken wrongly is forgiven
    "tachycardia": 0.68,  # log-odds that the network sees tachycardia in the rhythm, beyond -2
    "noise": -3.90,  # log-odds of noise, which looks wide and fast too; below -2 it is no noise, however little of it
    "alike": 3.04,  # correlation of the beats with one another
    "rare": 1.36,  # how seldom such beats were in the minute and a half before
    "sharp": -3.15,  # a wide complex is less so
    "growth": -1.32,  # of the complex: motion is larger than any beat
    "quickening": 3.57,  # natural logarithm of the rate over the usual one
    "uneven": -1.42,  # the longest interval over the mean, less 1: couplets with their pauses have more
}
NEUTRAL = 19.38
"""The sum that speaks neither for tachycardia nor against it."""


class Run(NamedTuple):
    """The newest beats, enough and fast enough to be a run of something."""

    rate_bpm: float
    evidence: Mapping[str, float]

    @property
    def log_odds(self) -> float:
        """Of a tachycardia."""
        return sum(WEIGHTS[name] * value for name, value in self.evidence.items()) - NEUTRAL


class RunEvidence:
    """Of the newest `beats`, when they are faster than `rate_bpm`."""

    def __init__(self, beats: int, rate_bpm: float, longest_s: float) -> None:
        self._beats = beats
        self._rate_bpm = rate_bpm
        self._longest_s = longest_s
        self._noise: deque[float] = deque(maxlen=beats)  # its probability with each of the newest beats
        self._tachycardia: deque[float] = deque(maxlen=beats)

    def __call__(self, moment: Moment) -> Run | None:
        """To be asked with every beat. None when there are too few in a row, or they are too slow."""
        if moment.beat is None:
            return None
        self._noise.append(moment.rhythm["noise"])
        self._tachycardia.append(moment.rhythm.get("ventricular_tachycardia", 0.0))
        intervals = moment.history.intervals(self._beats, self._longest_s)
        if intervals is None:
            return None
        intervals = _with_hidden(intervals)
        rate_bpm = 60.0 / fmean(intervals)
        return Run(rate_bpm, self._evidence(moment, intervals)) if rate_bpm > self._rate_bpm else None

    def _evidence(self, moment: Moment, intervals: list[float]) -> dict[str, float]:
        history, shapes = moment.history, moment.shapes
        ventricular = sorted(log_odds(beat.ventricular) for beat in history.newest(self._beats))
        return {
            "ventricular": ventricular[1],
            "tachycardia": max(log_odds(fmean(self._tachycardia)) + 2.0, 0.0),
            "noise": max(log_odds(fmean(self._noise)), -2.0),
            "alike": max(shapes.likeness(self._beats), 0.3),
            "rare": min(shapes.rarity(self._beats), 4.0),
            "sharp": min(max(shapes.sharpness(self._beats), -2.2), -0.8),
            "growth": min(max(shapes.growth(self._beats), -1.5), 1.5),
            "quickening": min(max(self._quickening(history, intervals), -0.2), 0.8),
            "uneven": min(max(intervals) / fmean(intervals) - 1.0, 0.6),
        }

    def _quickening(self, history: History, intervals: list[float]) -> float:
        before = history.newest(self._beats + APART + USUAL_BEATS)[self._beats + APART :]
        usual = [beat.rr_s for beat in before if beat.rr_s and beat.rr_s < self._longest_s]
        return log(median(usual) / fmean(intervals)) if len(usual) >= LEAST_USUAL else 0.0


def _with_hidden(intervals: list[float]) -> list[float]:
    """One that is twice as long as the others halved: the detector may refuse one strange beat of a run."""
    usual = median(intervals)
    long = [interval > HIDDEN * usual for interval in intervals]
    if sum(long) != 1:
        return intervals
    return [interval / 2 if is_long else interval for interval, is_long in zip(intervals, long, strict=True)]
