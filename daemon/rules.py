"""When each physiological condition holds. Pure: a moment in, a finding out; times are sample indices at 250 Hz.

Here what the beats tell, and the table of all rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import fmean

import numpy as np

from daemon import config as cfg
from daemon.half_minute import HalfMinute, shipped
from daemon.messages import BeatClass
from daemon.moment import Evidence, Finding, Moment, Rule
from daemon.rhythm_rules import AtrialFibrillation
from daemon.tachycardia import Tachycardia
from daemon.waves import Fibrillation, either
from dsp.signal import R_INDEX, RATE_HZ
from engines.backend import Backend

MOST_MISSING = 0.25
"""Of the last 4 s. With more, no beat seen does not mean that there was none, until 4 s of what was there had none."""

RECENT_SAMPLES = 20 * RATE_HZ
"""So old may an interval be by which a rate is told: a dozen at 40/min, and none of another session an hour ago."""

MOST_UNCOUNTED = 1.75
"""What since the last beat is so many times as large as beats are is no silent heart, but motion, or beats that the
detector cannot make out. In vfdb and challenge2015 true asystoles have up to 1.8, and 9 of 14 false ones more."""

MOST_REFUSED = 5
"""Of the candidates of 4 s that the detector took for no beats. In the true asystoles of vfdb and challenge2015 it
refused 0 to 3; where beats were there that it could not make out, or noise, 6 to 22."""

T_WAVE_S, QRS_S = 0.4, 0.2
"""What belongs to the beat before, and to the one that ends the silence."""

HYSTERESIS = 0.05
"""Of a heart-rate limit: the rate must come back by this much before the alarm ends."""

PAUSE_APART = 1.125
"""With its longest interval left out a bradycardia may be this much above its limit; beyond, it is a normal rhythm with
one long pause, which has its own kind."""


class Asystole:
    """No beat for some seconds, though the signal is fit and does not fibrillate; ends with a beat.

    Withheld by what raises ventricular fibrillation or tachycardia if it goes on, so that one is always raised; and
    while the line is busy, which is told as noise if it goes on.
    """

    def __init__(self, limits: cfg.Asystole, fibrillation: cfg.Fibrillation) -> None:
        self._limits = limits
        self._fibrillation = fibrillation
        self._standing: Finding | None = None

    def __call__(self, moment: Moment) -> Finding | None:
        standing, self._standing = self._standing, None
        if moment.standing & {"ventricular_fibrillation", "ventricular_tachycardia"}:
            return None
        if standing:
            if moment.beat is not None and not moment.beat.slight:
                return replace(standing, end=moment.beat.r_peak)
            self._standing = standing
        else:
            standing = self._begun(moment)
            self._standing = standing if standing and standing.end is None else None
        return standing

    def _begun(self, moment: Moment) -> Finding | None:
        if moment.beat is None or moment.beat.slight:
            onset, no_beat_s, end = moment.quiet_since, (moment.at - moment.quiet_since) / RATE_HZ, None
        else:  # the next window would have told, but the beat came first
            no_beat_s, end = moment.beat.rr_s or 0.0, moment.beat.r_peak
            onset = end - round(no_beat_s * RATE_HZ)
        least_s = self._limits.no_beat_s
        if no_beat_s < least_s or moment.missing > max(MOST_MISSING, 1 - least_s / no_beat_s):
            return None
        if either(moment) >= self._fibrillation.on_probability or is_busy(moment):
            return None
        return Finding(onset, {"no_beat_s": round(no_beat_s, 2)}, end)


def is_busy(moment: Moment) -> bool:
    """Whether more goes on since the last beat than in any silent heart."""
    return moment.refused > MOST_REFUSED or uncounted(moment) > MOST_UNCOUNTED


def uncounted(moment: Moment) -> float:
    """How large the signal is since the last beat, peak to peak, beside the wearer's QRS complexes; 0 if not known."""
    usual_mv = moment.shapes.usual_mv
    if usual_mv is None:
        return 0.0
    if moment.beat is None:
        end, silent = len(moment.ecg_mv), moment.at - moment.quiet_since
    else:
        end, silent = R_INDEX - round(QRS_S * RATE_HZ), round((moment.beat.rr_s or 0.0) * RATE_HZ)
    start = max(0, end - silent + round(T_WAVE_S * RATE_HZ))
    return float(np.ptp(moment.ecg_mv[start:end])) / max(usual_mv, 0.001) if start < end else 0.0


class RunOf:
    """A run of ectopic beats, unless something graver explains it."""

    def __init__(self, beat: BeatClass, limits: cfg.Run, unless: str) -> None:
        self._beat = beat
        self._limits = limits
        self._unless = unless
        self._standing: Finding | None = None
        self._last = 0  # R peak of its newest beat

    def __call__(self, moment: Moment) -> Finding | None:
        run = moment.history.run
        standing, self._standing = self._standing, None
        if self._unless in moment.standing:
            return None
        over = moment.at - moment.quiet_since > 2 * RATE_HZ
        if run.beat == self._beat and len(run.r_peaks) >= self._limits.beats and not over:
            self._last = run.r_peaks[-1]
            evidence: Evidence = {"rate_bpm": round(run.rate_bpm(self._limits.beats), 1)}
            self._standing = Finding(run.r_peaks[0], evidence)
            return self._standing
        return replace(standing, end=self._last) if standing else None


class Couplet:
    """Exactly two ventricular beats in a row: known when the third beat is not one."""

    def __call__(self, moment: Moment) -> Finding | None:
        ended = moment.history.ended
        if moment.beat is None or ended is None or ended.beat != "V" or len(ended.r_peaks) != 2:
            return None
        return Finding(ended.r_peaks[0], {"rate_bpm": round(ended.rate_bpm(2), 1)}, end=ended.r_peaks[1])


class FrequentPvc:
    """Many ventricular beats within a minute; ends at half as many."""

    def __init__(self, limits: cfg.FrequentPvc) -> None:
        self._limits = limits
        self._standing: Finding | None = None

    def __call__(self, moment: Moment) -> Finding | None:
        r_peaks = moment.history.r_peaks("V", since=moment.at - 60 * RATE_HZ)
        if len(r_peaks) >= self._limits.per_minute and not self._standing:
            self._standing = Finding(r_peaks[-1], {"per_minute": len(r_peaks)})
        elif 2 * len(r_peaks) <= self._limits.per_minute:
            self._standing = None
        return self._standing


class ExtremeRate:
    """The mean rate over some beats is beyond a limit; `sign` is -1 for too slow, 1 for too fast.

    An interval as long as an asystole has had its own alarm, and says nothing of the rate of the beats around it.
    """

    def __init__(self, limits: cfg.ExtremeRate, asystole: cfg.Asystole, sign: int) -> None:
        self._limits = limits
        self._asystole = asystole
        self._sign = sign
        self._standing: Finding | None = None

    def __call__(self, moment: Moment) -> Finding | None:
        limits = self._limits
        newest = moment.history.newest(2 * limits.beats)  # some of which came after a loss
        known = [(beat.rr_s, beat.r_peak) for beat in newest if beat.rr_s and beat.r_peak > moment.at - RECENT_SAMPLES]
        counted = [pair for pair in known if pair[0] < self._asystole.no_beat_s][: limits.beats - 1]
        if len(counted) < limits.beats - 1:
            return self._standing
        intervals = [rr_s for rr_s, _ in counted]
        rate_bpm = 60.0 / fmean(intervals)
        beyond_bpm = self._sign * (rate_bpm - limits.rate_bpm)
        if beyond_bpm > 0 and not self._standing and not self._is_one_pause(intervals):
            onset = counted[-1][1] - round(intervals[-1] * RATE_HZ)
            self._standing = Finding(onset, {"rate_bpm": round(rate_bpm, 1), "beats": limits.beats})
        elif beyond_bpm < -HYSTERESIS * limits.rate_bpm:
            self._standing = None
        return self._standing

    def _is_one_pause(self, intervals: list[float]) -> bool:
        others = sorted(intervals)[:-1]
        return self._sign < 0 and len(others) > 0 and 60.0 / fmean(others) > PAUSE_APART * self._limits.rate_bpm


class Pause:
    """A long RR interval that is not yet asystole: known with the beat that ends it."""

    def __init__(self, limits: cfg.Pause, asystole: cfg.Asystole) -> None:
        self._limits = limits
        self._asystole = asystole

    def __call__(self, moment: Moment) -> Finding | None:
        rr_s = moment.beat.rr_s if moment.beat else None
        if moment.beat is None or rr_s is None or not self._limits.rr_s <= rr_s < self._asystole.no_beat_s:
            return None
        onset = moment.beat.r_peak - round(rr_s * RATE_HZ)
        return Finding(onset, {"rr_s": round(rr_s, 2)}, end=moment.beat.r_peak)


def rules_of(alerts: cfg.Alerts, whole: Callable[[], Backend] = shipped) -> dict[str, Rule]:
    """Every physiological rule, in the order in which they are judged: later ones see what earlier ones found."""
    return {
        "ventricular_fibrillation": Fibrillation(alerts.ventricular_fibrillation),
        "ventricular_tachycardia": Tachycardia(
            alerts.ventricular_tachycardia, alerts.asystole, alerts.ventricular_fibrillation
        ),
        "asystole": Asystole(alerts.asystole, alerts.ventricular_fibrillation),
        "extreme_bradycardia": ExtremeRate(alerts.extreme_bradycardia, alerts.asystole, -1),
        "extreme_tachycardia": ExtremeRate(alerts.extreme_tachycardia, alerts.asystole, 1),
        "atrial_fibrillation": AtrialFibrillation(alerts.atrial_fibrillation, HalfMinute(whole)),
        "ventricular_run": RunOf("V", alerts.ventricular_run, unless="ventricular_tachycardia"),
        "supraventricular_run": RunOf("S", alerts.supraventricular_run, unless="atrial_fibrillation"),
        "ventricular_couplet": Couplet(),
        "frequent_pvc": FrequentPvc(alerts.frequent_pvc),
        "pause": Pause(alerts.pause, alerts.asystole),
    }
