"""Streaming R-peak detector: a causal network proposes, and a referee who has known the wearer for minutes decides.

Every 32 ms the network (`dsp.qrs_network`) says how likely an R peak was 300 ms ago, and how likely one was 560 ms ago,
having heard more. Peaks of the first opinion are candidates. One that the referee (`dsp.qrs_referee`) is sure of is a
beat at once; the others wait for the second opinion. The referee weighs both with what it knows of this wearer's beats
and rhythm (`dsp.qrs_memory`): noise is told from a beat by minutes, not by seconds. Where the line is calm and both
opinions are certain it is not asked: it has learned from few beats that come first, or after seconds of nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from dsp.filters import DELAY_SAMPLES
from dsp.qrs_memory import REACH_AFTER, REACH_BEFORE, Memory
from dsp.qrs_network import STEP_SAMPLES, Network, load
from dsp.qrs_referee import Referee
from dsp.qrs_scale import FIRST_SAMPLES, Scale
from dsp.signal import RATE_HZ, Beat, Block

FIRST, SECOND = 0, 1
"""The network's outputs: its opinions."""

LOWEST = -3.0  # log-odds; less is no candidate
SURE = 3.0  # log-odds that need no second opinion
LIKELY, LIKELY_IN_CALM = 0.0, -1.0  # log-odds of a beat; where no noise is about, what is in doubt is a beat
CERTAIN, CALM = 2.5, 0.1  # log-odds from which, and unrest below which, a beat is remembered, and none refused
PAUSE_SAMPLES = 2 * RATE_HZ  # after so long without a beat nothing is taken for one that is in doubt
REFRACTORY_SAMPLES = 50  # 200 ms: the heart cannot beat again sooner
RIVAL_SAMPLES = 100
REACH_SAMPLES = 18  # from where the network hears an R peak to where it is
QRS_SAMPLES = 15  # on either side of the R peak
FLOOR_MV = 0.12  # of a QRS complex, peak to peak. IEC 60601-2-27 has 0.15 mV and less not counted
UNREST_STEPS = 60  # 2 s
LONGEST_S = 4.0  # since the beat before; longer is all the same
NO_RIVAL = -5.0
LOST_IN_RR = 50  # samples: an interval that lost more may hide a beat, and is not measured

LATEST_SAMPLES = FIRST_SAMPLES + 2 * STEP_SAMPLES
"""No beat is decided later than this after its R peak, and so late only the first ones."""

_KEPT_STEPS = 128  # 4 s: no candidate looks further back
_KEPT_SAMPLES = _KEPT_STEPS * STEP_SAMPLES


@dataclass(frozen=True, slots=True)
class Candidate:
    """A peak of the network's first opinion, and the R peak it would be."""

    step: int  # that settled it
    r_peak: int  # sample of the clean ECG, counted from the first
    log_odds: float
    beside: float  # the larger log-odds of the steps before and after
    unrest: float  # how undecided the network was of late, 0 to 1
    prominence: float  # natural logarithm of the QRS complex's size over the RMS of the 2 s before
    lost: int  # samples missing from the stream up to here

    def rivals(self, others: deque[Candidate], within: int) -> list[float]:
        """Log-odds of those that follow within so many samples."""
        return [each.log_odds for each in others if 0 < each.r_peak - self.r_peak < within]


class Detector:
    """Clean ECG in, beats out: strictly increasing, each as soon as it is decided, 340 or 600 ms after its R peak."""

    def __init__(self, network: Network | None = None, referee: Referee | None = None) -> None:
        self._scale, self._network = Scale(), network or Network(load())
        self._referee = referee or Referee(self._network.weights.referee)
        self._delays = self._network.weights.delays
        self._start: int | None = None  # index of the first sample
        self._ecg_mv = np.zeros(_KEPT_SAMPLES)  # the newest
        self._lost = np.zeros(_KEPT_SAMPLES, np.int64)  # samples missing up to each of them
        self._end = 0  # samples so far
        self._opinions = np.full((_KEPT_STEPS, len(self._delays)), 2 * LOWEST, np.float32)  # the newest
        self._steps = 0  # so far
        self._waiting: deque[Candidate] = deque()
        self._weighed: tuple[Candidate, list[float]] | None = None  # the first that waits, and what is known of it
        self._decided = 0  # the step of the last decision
        self._memory = Memory()
        self._last: Candidate | None = None  # the last beat
        self._refused: deque[tuple[int, int]] = deque()  # (R peak, when decided) of what is no beat

    def __call__(self, clean: Block) -> list[Beat]:
        if not len(clean.ecg_mv):
            return []
        if self._start is None:
            self._start = clean.start
        self._ecg_mv = np.concatenate([self._ecg_mv, clean.ecg_mv])
        self._lost = np.concatenate([self._lost, self._lost[-1] + clean.missing.cumsum()])
        self._end += len(clean.ecg_mv)
        opinions = self._network(self._scale(clean.ecg_mv))
        if not len(opinions):
            return []
        self._opinions = np.concatenate([self._opinions, opinions])
        self._steps += len(opinions)
        beats: list[Beat] = []
        for candidate in self._candidates(len(opinions)):
            beats += self._decide(candidate.step)
            self._waiting.append(candidate)
        beats += self._decide(self._steps - 1)
        self._opinions = self._opinions[-_KEPT_STEPS:]
        kept = _KEPT_SAMPLES + self._end - self._steps * STEP_SAMPLES
        self._ecg_mv, self._lost = self._ecg_mv[-kept:], self._lost[-kept:]
        return beats

    def _candidates(self, new: int) -> list[Candidate]:
        """Those that the newest steps settle: only what follows a peak shows that it is one."""
        first = len(self._opinions) - new - 2
        odds: list[float] = self._opinions[first:, FIRST].tolist()  # a loop over a list: mostly it is of 3 or 4 steps
        triples = enumerate(zip(odds, odds[1:], odds[2:]), first + 1)  # noqa: B905 the shortest ends it
        peaks = [place for place, (before, middle, after) in triples if before < middle >= after and middle > LOWEST]
        return [candidate for candidate in map(self._candidate, peaks) if candidate]

    def _candidate(self, place: int) -> Candidate | None:
        step = self._steps - len(self._opinions) + place
        before, middle, after = self._opinions[place - 1 : place + 2, FIRST].tolist()
        earlier, later = exp(before - middle), exp(after - middle)
        steps = step - self._delays[FIRST] + 0.5 + (later - earlier) / (earlier + 1 + later)
        heard = round(STEP_SAMPLES * steps)
        if heard < 0:
            return None
        near_mv = np.abs(self._around(heard, REACH_SAMPLES, REACH_SAMPLES))
        r_peak = heard - REACH_SAMPLES + int(near_mv.argmax())
        around_mv = self._around(r_peak, QRS_SAMPLES, QRS_SAMPLES)
        qrs_mv = float(np.maximum.reduce(around_mv) - np.minimum.reduce(around_mv))
        if r_peak < 0 or qrs_mv < FLOOR_MV:
            return None
        past_mv = self._around(r_peak, 2 * RATE_HZ, -QRS_SAMPLES)
        recent = self._opinions[place - UNREST_STEPS : place - 3, FIRST]
        return Candidate(
            step=step + 1,
            r_peak=r_peak,
            log_odds=middle,
            beside=max(before, after),
            unrest=float(np.add.reduce(np.exp(-np.abs(recent)))) / len(recent),
            prominence=log(qrs_mv / (sqrt(float(np.add.reduce(past_mv * past_mv)) / len(past_mv)) + 1e-3)),
            lost=int(self._lost[r_peak - self._end]),
        )

    def _around(self, sample: int, before: int, after: int) -> NDArray[np.float64]:
        place = sample - self._end + len(self._ecg_mv)
        return self._ecg_mv[place - before : place + after + 1]

    def _decide(self, now: int) -> list[Beat]:
        """All that step `now` decides, in order: a candidate that waits holds up those behind it."""
        beats: list[Beat] = []
        while self._waiting:
            candidate = self._waiting[0]
            since = candidate.r_peak - self._last.r_peak if self._last else None
            if since is not None and since < REFRACTORY_SAMPLES:
                self._waiting.popleft()
                continue
            if self._weighed is None or self._weighed[0] is not candidate:  # while it waits nothing of this changes
                self._weighed = candidate, self._evidence(candidate, since)
            evidence = self._weighed[1]
            stronger = max(candidate.rivals(self._waiting, REFRACTORY_SAMPLES), default=NO_RIVAL) > candidate.log_odds
            decided, is_beat = candidate.step, True
            if stronger or self._referee.early(candidate.r_peak, evidence) < SURE:
                decided = candidate.step + self._delays[SECOND] - self._delays[FIRST]
                if now < decided:
                    break
                more = self._more_evidence(candidate, decided)
                calm = candidate.unrest < CALM
                likely = LIKELY_IN_CALM if calm and since is not None and since < PAUSE_SAMPLES else LIKELY
                certain = calm and not stronger and min(candidate.log_odds, more[0]) > CERTAIN
                is_beat = certain or self._referee.late(candidate.r_peak, [*evidence, *more]) > likely
            self._waiting.popleft()
            self._decided = max(self._decided, decided)
            if is_beat:
                beats.append(self._accept(candidate))
            else:
                self._refused.append(self._told(candidate))
        return beats

    def refused(self, at: int, within: int) -> int:
        """How many candidates of the last `within` samples had been taken for no beats when sample `at` was there.

        None in an asystole, many a second where the line is busy: noise, or a rhythm whose complexes are unlike the
        wearer's beats. To be asked in the order of `at`: what lies further back is forgotten.
        """
        while self._refused and self._refused[0][0] <= at - within:
            self._refused.popleft()
        return sum(decided <= at for _, decided in self._refused)

    def _told(self, candidate: Candidate) -> tuple[int, int]:
        """Its R peak in the ECG before the filters, and the sample with which the newest decision was made."""
        assert self._start is not None
        at = max((self._decided + 1) * STEP_SAMPLES, FIRST_SAMPLES) - 1
        return self._start + candidate.r_peak - DELAY_SAMPLES, self._start + at

    def _evidence(self, candidate: Candidate, since: int | None) -> list[float]:
        rr_s = LONGEST_S if since is None else min(since / RATE_HZ, LONGEST_S)
        shape, slope = self._memory.likeness(self._around(candidate.r_peak, REACH_BEFORE, REACH_AFTER))
        return [
            candidate.log_odds,
            candidate.beside,
            candidate.unrest,
            candidate.prominence,
            *shape,
            *slope,
            *self._memory.timing(rr_s),
            rr_s,
        ]

    def _more_evidence(self, candidate: Candidate, decided: int) -> list[float]:
        place = decided - 1 - self._steps + len(self._opinions)
        before, middle, after = self._opinions[place - 1 : place + 2, SECOND].tolist()
        near, further = (candidate.rivals(self._waiting, within) for within in (REFRACTORY_SAMPLES, RIVAL_SAMPLES))
        return [middle, max(before, after), max(near, default=NO_RIVAL), max(further, default=NO_RIVAL)]

    def _accept(self, candidate: Candidate) -> Beat:
        rr_s = None
        if self._last is not None and candidate.lost - self._last.lost <= LOST_IN_RR:
            rr_s = (candidate.r_peak - self._last.r_peak) / RATE_HZ
            self._memory.interval(rr_s)
        if candidate.log_odds > CERTAIN and candidate.unrest < CALM:
            self._memory.remember(self._around(candidate.r_peak, REACH_BEFORE, REACH_AFTER))
        self._last = candidate
        return Beat(*self._told(candidate), rr_s)
