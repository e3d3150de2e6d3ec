"""When each physiological condition holds. Pure: a moment in, a finding out; times are sample indices at 250 Hz."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from statistics import mean

from daemon import config as cfg
from daemon.history import History, JudgedBeat
from daemon.messages import BeatClass
from dsp.signal import RATE_HZ

Evidence = dict[str, float | int | str]


@dataclass(frozen=True, slots=True)
class Moment:
    """One judged window, and all that is known with it."""

    at: int
    beat: JudgedBeat | None  # None: a time-out window
    last_r_peak: int  # or the first sample, before any beat
    rhythm: Mapping[str, float]  # probabilities of the network's rhythm head
    missing: float  # fraction of the window
    history: History
    standing: AbstractSet[str]  # kinds that hold now, of those judged before this one


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition holds; with `end`, it has come and gone."""

    onset: int
    evidence: Evidence = field(default_factory=dict)
    end: int | None = None


Rule = Callable[[Moment], Finding | None]

MOST_MISSING = 0.25
"""Of the last 4 s. With more, no beat seen does not mean that there was none."""

HYSTERESIS = 0.05
"""Of a heart-rate limit: the rate must come back by this much before the alarm ends."""

AF_BEATS = 24
"""Over which AF is judged: about 20 s, so that one odd beat moves nothing."""


class Asystole:
    """No beat for some seconds, though the signal is fit and does not fibrillate."""

    def __init__(self, limits: cfg.Asystole) -> None:
        self._limits = limits

    def __call__(self, moment: Moment) -> Finding | None:
        no_beat_s = (moment.at - moment.last_r_peak) / RATE_HZ
        fibrillates = moment.rhythm["ventricular_fibrillation"] >= 0.5
        if no_beat_s < self._limits.no_beat_s or fibrillates or moment.missing > MOST_MISSING:
            return None
        return Finding(moment.last_r_peak, {"no_beat_s": round(no_beat_s, 2)})


class Fibrillation:
    """The network sees ventricular fibrillation, and goes on seeing it."""

    def __init__(self, limits: cfg.Fibrillation) -> None:
        self._limits = limits
        self._seen: deque[tuple[int, float]] = deque()  # (at, probability) of the last seconds
        self._standing: Finding | None = None

    def __call__(self, moment: Moment) -> Finding | None:
        span = int((self._limits.sustained_s + 1.0) * RATE_HZ)
        self._seen.append((moment.at, moment.rhythm["ventricular_fibrillation"]))
        while self._seen[0][0] < moment.at - span:
            self._seen.popleft()
        probability = mean(p for _, p in self._seen)
        sustained = moment.at - self._seen[0][0] >= self._limits.sustained_s * RATE_HZ
        if self._standing and probability <= self._limits.off_probability:
            self._standing = None
        elif not self._standing and sustained and probability >= self._limits.on_probability:
            onset = self._seen[0][0] - 2 * RATE_HZ  # half of the first window that showed it
            self._standing = Finding(onset, {"probability": round(probability, 3)})
        return self._standing


class Tachycardia:
    """Enough consecutive ventricular beats, fast enough; ends with three others, or none for 3 s."""

    def __init__(self, limits: cfg.Tachycardia) -> None:
        self._limits = limits
        self._standing: Finding | None = None
        self._others = 0

    def __call__(self, moment: Moment) -> Finding | None:
        run = moment.history.run
        if moment.beat is None:
            if moment.at - moment.last_r_peak > 3 * RATE_HZ:
                self._standing = None
            return self._standing
        self._others = 0 if moment.beat.beat == "V" else self._others + 1
        if self._others >= 3:
            self._standing = None
        elif run.beat == "V" and len(run.r_peaks) >= self._limits.beats and not self._standing:
            rate_bpm = run.rate_bpm(self._limits.beats)
            if rate_bpm > self._limits.rate_bpm:
                evidence: Evidence = {"beats": len(run.r_peaks), "rate_bpm": round(rate_bpm, 1)}
                self._standing = Finding(run.r_peaks[0], evidence)
        return self._standing


class RunOf:
    """A run of ectopic beats, unless something graver explains it."""

    def __init__(self, beat: BeatClass, limits: cfg.Run, unless: str) -> None:
        self._beat = beat
        self._limits = limits
        self._unless = unless

    def __call__(self, moment: Moment) -> Finding | None:
        run = moment.history.run
        over = moment.at - moment.last_r_peak > 2 * RATE_HZ
        if run.beat != self._beat or len(run.r_peaks) < self._limits.beats or over or self._unless in moment.standing:
            return None
        return Finding(run.r_peaks[0], {"rate_bpm": round(run.rate_bpm(self._limits.beats), 1)})


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
        minute_ago = moment.at - 60 * RATE_HZ
        per_minute = moment.history.count("V", minute_ago)
        if per_minute >= self._limits.per_minute and not self._standing:
            self._standing = Finding(max(0, minute_ago), {"per_minute": per_minute})
        elif 2 * per_minute < self._limits.per_minute:
            self._standing = None
        return self._standing


class ExtremeRate:
    """The mean rate over some beats is beyond a limit; `sign` is -1 for too slow, 1 for too fast."""

    def __init__(self, limits: cfg.ExtremeRate, sign: int) -> None:
        self._limits = limits
        self._sign = sign
        self._standing: Finding | None = None

    def __call__(self, moment: Moment) -> Finding | None:
        rate_bpm = moment.history.rate_bpm(self._limits.beats)
        if rate_bpm is None:
            return self._standing
        beyond_bpm = self._sign * (rate_bpm - self._limits.rate_bpm)
        if beyond_bpm > 0 and not self._standing:
            onset = moment.history.r_peak_of(self._limits.beats)
            self._standing = Finding(onset, {"rate_bpm": round(rate_bpm, 1), "beats": self._limits.beats})
        elif beyond_bpm < -HYSTERESIS * self._limits.rate_bpm:
            self._standing = None
        return self._standing


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


class AtrialFibrillation:
    """The network sees AF in most beats and the RR intervals are irregular, for as long as the persistence asks."""

    def __init__(self, limits: cfg.AtrialFibrillation) -> None:
        self._limits = limits
        self._probabilities: deque[float] = deque(maxlen=AF_BEATS)
        self._since: int | None = None  # AF seems to have begun there
        self._persisted = False

    @property
    def likely(self) -> bool:
        """AF seems to be going on, whether or not it has lasted long enough for an alert."""
        return self._since is not None

    def __call__(self, moment: Moment) -> Finding | None:
        if moment.beat is not None:
            self._probabilities.append(moment.rhythm["atrial_fibrillation"])
            self._judge(moment)
        if self._since is None:
            return None
        self._persisted |= moment.at - self._since >= self._limits.persistence_s * RATE_HZ
        return Finding(self._since, {"probability": round(mean(self._probabilities), 3)}) if self._persisted else None

    def _judge(self, moment: Moment) -> None:
        probability = mean(self._probabilities)
        full = len(self._probabilities) == AF_BEATS
        if self._since is not None:
            if probability < self._limits.off_probability:
                self._since, self._persisted = None, False
        elif full and probability >= self._limits.on_probability:
            irregularity = moment.history.irregularity(AF_BEATS)
            if irregularity is not None and irregularity >= self._limits.irregularity:
                self._since = moment.history.r_peak_of(AF_BEATS)


def rules_of(alerts: cfg.Alerts) -> dict[str, Rule]:
    """Every physiological rule, in the order in which they are judged: later ones see what earlier ones found."""
    return {
        "ventricular_fibrillation": Fibrillation(alerts.ventricular_fibrillation),
        "asystole": Asystole(alerts.asystole),
        "ventricular_tachycardia": Tachycardia(alerts.ventricular_tachycardia),
        "extreme_bradycardia": ExtremeRate(alerts.extreme_bradycardia, -1),
        "extreme_tachycardia": ExtremeRate(alerts.extreme_tachycardia, 1),
        "atrial_fibrillation": AtrialFibrillation(alerts.atrial_fibrillation),
        "ventricular_run": RunOf("V", alerts.ventricular_run, unless="ventricular_tachycardia"),
        "supraventricular_run": RunOf("S", alerts.supraventricular_run, unless="atrial_fibrillation"),
        "ventricular_couplet": Couplet(),
        "frequent_pvc": FrequentPvc(alerts.frequent_pvc),
        "pause": Pause(alerts.pause, alerts.asystole),
    }
