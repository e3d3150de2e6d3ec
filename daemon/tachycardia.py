"""Ventricular tachycardia: what its beats, the waveform, rate and regularity say, added up. Pure."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

from daemon import config as cfg
from daemon.history import History
from daemon.moment import Evidence, Finding, Moment
from daemon.odds import probability_of
from daemon.run_evidence import RunEvidence
from daemon.waves import Waves
from dsp.signal import RATE_HZ

SURE = 0.73
"""Probability of ventricular beats that need no further evidence: of all of a run but one."""

LEAST_ALIKE = 0.7
"""Correlation of its beats below which a run may be what noise made, however sure the network is of each."""

OF_IT = 0.5
"""Probability from which the network finds a beat to be one of it, though the judge may not."""

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
        self._run = RunEvidence(limits.beats, limits.rate_bpm, asystole.no_beat_s)
        self._standing: Finding | None = None
        self._last = 0  # R peak of the last beat of it
        self._others = 0  # beats since

    def __call__(self, moment: Moment) -> Finding | None:
        self._waves.add(moment)
        waved = self._waved(moment)
        if moment.beat is not None:
            begun = self._begun(moment) or waved
            if begun or moment.beat.beat == "V" or moment.beat.ventricular >= OF_IT:
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

    def _begun(self, moment: Moment) -> Finding | None:
        run = self._run(moment)
        if run is None:
            return None
        history, beats = moment.history, self._limits.beats
        told: Evidence = {"beats": beats, "rate_bpm": round(run.rate_bpm, 1)}
        if self._is_sure(history) and run.evidence["alike"] >= LEAST_ALIKE:
            return Finding(history.run.r_peaks[0], told | {"beats": len(history.run.r_peaks)})
        probability = probability_of(run.log_odds)
        if probability < self._limits.probability:
            return None
        return Finding(history.r_peak_of(beats), told | {"probability": round(probability, 3)})

    def _is_sure(self, history: History) -> bool:
        beats = self._limits.beats
        if history.run.beat != "V" or len(history.run.r_peaks) < beats:
            return False
        return sorted(beat.ventricular for beat in history.newest(beats))[1] >= SURE
