"""Ventricular tachycardia: what its beats, the waveform, rate and regularity say, added up. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from statistics import fmean

from daemon import config as cfg
from daemon.history import History, JudgedBeat
from daemon.likeness import Likeness
from daemon.moment import Evidence, Finding, Moment
from daemon.odds import log_odds, probability_of
from daemon.waves import Waves
from dsp.signal import RATE_HZ

HARDLY = 0.1
"""A probability of a ventricular beat below which it is none: a run neither begins nor ends with such a one."""

MOST_UNEVEN = 1.25
"""The longest interval of a regular run, as a multiple of their mean: couplets with their pauses have more."""

DOUBTED_WEIGHT = 1.0
"""Of the least ventricular beat but one, beside the mean of all: one beat that the network takes wrongly is forgiven,
two are hardly a run."""

LEAST_ALIKE = 0.5
"""Correlation of its beats below which a run is what noise made, however sure the network is of each."""

ALIKE_WEIGHT, ALIKE = 6.0, 0.8
"""Of how much more than so alike they are."""

UNEVEN_WEIGHT = -4.0
"""Of the longest interval over the mean, less 1."""

NOISE_WEIGHT, LEAST_NOISE = -0.6, -2.0
"""Of the log-odds of noise, which looks wide and fast too. Below the least it is no noise, and how little of none says
nothing."""

NEUTRAL = -1.5
"""The sum that speaks neither for tachycardia nor against it."""

OVER_BEATS = 3
OVER_S = 3.0
"""It is over with so many beats that are none of it, or so long without any."""


class Tachycardia:
    """Enough ventricular beats in a row, fast enough; or waves of it, for as long as fibrillation must last.

    The network often takes one of a run for another class, so its probabilities are weighed rather than its words.
    """

    def __init__(self, limits: cfg.Tachycardia, asystole: cfg.Asystole, fibrillation: cfg.Fibrillation) -> None:
        self._limits = limits
        self._asystole = asystole
        self._waves = Waves(fibrillation)
        self._likeness = Likeness(limits.beats)
        self._noise: deque[float] = deque(maxlen=limits.beats)  # its probability with each of the newest beats
        self._standing: Finding | None = None
        self._last = 0  # R peak of the last beat of it
        self._others = 0  # beats since

    def __call__(self, moment: Moment) -> Finding | None:
        self._waves.add(moment)
        waved = self._waved(moment)
        if moment.beat is not None:
            self._noise.append(moment.rhythm["noise"])
            if moment.ecg is not None:
                self._likeness.add(moment.ecg)
            begun = self._begun(moment.history) or waved
            if begun or moment.beat.beat == "V":
                self._last, self._others = moment.beat.r_peak, 0
                self._standing = self._standing or begun
            else:
                self._others += 1
        elif waved:
            self._last, self._others = self._waves.last, 0
            self._standing = self._standing or waved
        silent = moment.at - moment.quiet_since > OVER_S * RATE_HZ and not waved
        standing = self._standing
        if standing and (self._others >= OVER_BEATS or silent):
            self._standing = None
            return replace(standing, end=self._last)
        return standing

    def _waved(self, moment: Moment) -> Finding | None:
        """What the waveform alone tells. Beats that are there must be fast; often none can be found."""
        waves = self._waves
        if not waves.last_long_enough or waves.tachycardia <= waves.fibrillation:
            return None
        intervals = moment.history.intervals(self._limits.beats, self._asystole.no_beat_s) if moment.beat else None
        if intervals and 60.0 / fmean(intervals) <= self._limits.rate_bpm:
            return None
        return Finding(waves.onset, {"probability": round(waves.either, 3)})

    def _begun(self, history: History) -> Finding | None:
        beats = self._limits.beats
        intervals = history.intervals(beats, self._asystole.no_beat_s)
        if intervals is None:
            return None
        rate_bpm = 60.0 / fmean(intervals)
        if rate_bpm <= self._limits.rate_bpm:
            return None
        alike = self._likeness()
        if alike < LEAST_ALIKE:
            return None
        evidence: Evidence = {"beats": beats, "rate_bpm": round(rate_bpm, 1)}
        if history.run.beat == "V" and len(history.run.r_peaks) >= beats:
            return Finding(history.run.r_peaks[0], evidence | {"beats": len(history.run.r_peaks)})
        probability = self._probability(history.newest(beats), intervals, alike)
        if probability < self._limits.probability:
            return None
        return Finding(history.r_peak_of(beats), evidence | {"probability": round(probability, 3)})

    def _probability(self, beats: list[JudgedBeat], intervals: list[float], alike: float) -> float:
        if min(beats[0].ventricular, beats[-1].ventricular) < HARDLY:
            return 0.0  # a beat before or after a run is not in it
        uneven = max(intervals) / fmean(intervals)
        if uneven > MOST_UNEVEN:
            return 0.0
        ventricular = sorted(log_odds(beat.ventricular) for beat in beats)
        evidence = fmean(ventricular) + DOUBTED_WEIGHT * ventricular[1] + UNEVEN_WEIGHT * (uneven - 1.0)
        evidence += ALIKE_WEIGHT * (alike - ALIKE)
        return probability_of(evidence + NOISE_WEIGHT * max(log_odds(fmean(self._noise)), LEAST_NOISE) - NEUTRAL)
