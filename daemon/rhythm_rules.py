"""When atrial fibrillation and noise hold, which the network sees in the rhythm: its word, averaged over a while."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from itertools import accumulate, islice
from statistics import fmean

from daemon import config as cfg
from daemon.af import Irregularity
from daemon.half_minute import HalfMinute
from daemon.history import JudgedBeat
from daemon.moment import Evidence, Finding, Moment
from daemon.odds import log_odds, probability_of
from dsp.signal import RATE_HZ

AF_BEATS = 24
"""Over which the network's probability of AF is averaged: about 20 s, so that one odd beat moves nothing."""

NEUTRAL = -2.2
"""The log-odds of the network that speak neither for AF nor against it: a mean probability of 0.1. Chosen, as was its
weight beside the intervals' log-odds, on records of the 2017 challenge that it was not trained on."""

BY_BEAT, NEUTRAL_WHOLE = 0.5, -1.0
"""How much of both counts beside what the network of half a minute says, and the log-odds of that which speak neither
for AF nor against it. Chosen in five folds of the 2017 challenge, each judged by networks that had not seen it."""

LEAST_WHOLE, MOST_WHOLE = (log_odds(probability) - NEUTRAL_WHOLE for probability in (0.0, 1.0))
"""What it can say against AF, and for it."""

AF_EDGE_BEATS = 40
"""How many beats ago it began, or ended, at most, when that becomes known: about as far as the measures look back."""

FORGET_S = 60.0
"""So long without a beat, and what was before says nothing any more; but of AF that stood it tells where it ended."""


class AtrialFibrillation:
    """The beats' waveform, the RR intervals and the last half minute as a whole speak for AF together, with hysteresis.

    That names the rhythm; an alert is raised once it has lasted and was for a moment beyond doubt.

    Their log-odds are added, so that a network in doubt is carried by the intervals and the other way round.
    """

    def __init__(self, limits: cfg.AtrialFibrillation, half_minute: HalfMinute) -> None:
        self._limits = limits
        self._half_minute = half_minute
        self._on, self._off = log_odds(limits.on_probability), log_odds(limits.off_probability)
        self._sure = log_odds(limits.alarm_probability, surest=1.0)
        self._surest = 0.0  # the log-odds at their highest, of the one that is standing
        self._forget()
        self._standing: Finding | None = None
        self._lasted = False  # long enough for an alert
        self._ended = 0  # the end of the last one

    def _forget(self) -> None:
        self._irregularity = Irregularity()
        self._before: JudgedBeat | None = None
        self._seen: deque[tuple[int, float]] = deque(maxlen=AF_EDGE_BEATS)  # (R peak, probability)

    def __call__(self, moment: Moment) -> Finding | None:
        beat = moment.beat
        self._half_minute.add(moment)
        if beat is None:
            return self._told(self._standing)
        if not self._standing and self._before and beat.r_peak - self._before.r_peak > FORGET_S * RATE_HZ:
            self._forget()
        if beat.rr_s and beat.beat != "V" and not (self._before and self._before.beat == "V"):
            self._irregularity.add(beat.rr_s)
        self._before = beat
        self._seen.append((beat.r_peak, moment.rhythm["atrial_fibrillation"]))
        return self._told(self._judge())

    def _judge(self) -> Finding | None:
        intervals = self._irregularity.log_odds()
        if intervals is None:
            return self._standing
        probability = fmean([p for _, p in islice(reversed(self._seen), AF_BEATS)])
        # What few intervals began they must go on to say: a record of half a minute is judged by its end.
        end = self._off if self._irregularity.is_whole() else self._on
        together = self._with_the_whole(BY_BEAT * (intervals + log_odds(probability) - NEUTRAL), end)
        standing = self._standing
        if standing and together < end:
            self._standing, self._ended = None, max(standing.onset, self._edge(began=False))
            return replace(standing, end=self._ended)
        self._surest = max(self._surest, together) if standing else together
        if not standing and together >= self._on:
            evidence: Evidence = {"probability": round(probability_of(together), 3)}
            self._standing, self._lasted = Finding(max(self._ended, self._edge(began=True)), evidence), False
        return self._standing

    def _with_the_whole(self, by_beat: float, end: float) -> float:
        """The log-odds with what half a minute says in one piece, which is asked only where that decides."""
        decided = by_beat + MOST_WHOLE < self._on
        if self._standing:
            settled = self._surest >= self._sure or by_beat + MOST_WHOLE < self._sure
            decided = by_beat + LEAST_WHOLE >= end and settled
        whole = None if decided else self._half_minute.log_odds()
        return by_beat if whole is None else by_beat + whole - NEUTRAL_WHOLE

    def _edge(self, *, began: bool) -> int:
        """The R peak at which the network changed its mind: on one side of it, its words for AF sum up to most."""
        seen = list(self._seen) if not began else list(reversed(self._seen))
        sums = list(accumulate(log_odds(p) - NEUTRAL for _, p in seen))
        return seen[sums.index(max(sums))][0]

    def _told(self, finding: Finding | None) -> Finding | None:
        """Brief until it has lasted, and been sure."""
        if finding is None:
            return None
        if not self._lasted:
            until = self._edge(began=False) if finding.end is None else finding.end
            lasted = until - finding.onset >= self._limits.persistence_s * RATE_HZ
            self._lasted = lasted and self._surest >= self._sure
        return replace(finding, brief=not self._lasted)


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
        probability = fmean([p for _, p in self._seen])
        since = self._seen[0][0]
        if self._standing and 2 * probability <= self._limits.on_probability:
            self._standing = None
        elif not self._standing and at - since >= persistence and probability >= self._limits.on_probability:
            self._standing = Finding(since, {"probability": round(probability, 3)})
        return self._standing
