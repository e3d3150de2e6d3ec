"""Weights of what speaks for a ventricular tachycardia, fitted to recordings: `python -m training.alarms --fit vt`.

A recording is true or false as a whole: an alarm is raised by the moment that speaks for it most. So a stretch of
signal counts as its most telling moment, found again after each fit (multiple-instance logistic regression).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from msgspec import structs
from numpy.typing import NDArray
from scipy.optimize import minimize

from daemon.config import Alerts
from daemon.moment import Finding, Moment
from daemon.run_evidence import WEIGHTS, RunEvidence
from daemon.tachycardia import Tachycardia
from dsp.signal import RATE_HZ
from ec57.sets import MITDB_DS1, MITDB_PACED
from rhythmd.evaluation.alarms import episodes
from rhythmd.evaluation.challenge2015 import AFTER_S, ALARM_S, BEFORE_S, MISSED_WEIGHT
from rhythmd.evaluation.scores import Reference, read_reference
from training.splits import data_folder, names
from training.tapes import tape_of

Array = NDArray[np.float64]

KIND = "ventricular_tachycardia"
STRETCH_S = 15.0
"""Signal without tachycardia is cut into such stretches: two false alarms in one are hardly worse than one."""

FALSE_WEIGHT = 0.2
"""Of a stretch without tachycardia beside one alarm of the challenge, of which there are fifty times fewer: chosen in
folds over its records, where 0.05 to 1 differed by no more than 2 points at the same false alarms a day."""

FOUND_WEIGHT = 1.0
"""Of an episode of the databases, divided by the square root of how many its record has."""

LATE_S = 1.0
"""So late may the last beat of an episode be judged."""

DECAY = 0.003
"""Of the weights squared, of evidence scaled to a spread of 1."""

FALSE_A_DAY = 12.0
"""So many false stretches a day, of mitdb's DS1 and paced records and svdb together, are what a sum of 0 costs. These
are full of ventricular beats, and four people pay most of the price. Half as many cost 7 of the challenge's 45 true
alarms, twice as many win 1."""

ROUNDS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Some seconds of a record, true or false as a whole."""

    database: str
    record: str
    true: bool
    weight: float
    evidence: Array  # (moment, number): of the moments with beats enough, fast enough; there may be none
    certain: bool  # the rule raises it whatever the sum


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """log-odds = evidence @ weights + bias."""

    weights: Array
    bias: float

    def log_odds(self, stretch: Stretch) -> float:
        if stretch.certain:
            return np.inf
        return float(np.max(stretch.evidence @ self.weights + self.bias, initial=-np.inf))


class _Probe:
    """Stands where the rule stands, and notes the evidence that it would weigh."""

    def __init__(self) -> None:
        alerts = Alerts()
        limits = structs.replace(alerts.ventricular_tachycardia, probability=1.0)
        self._rule = Tachycardia(limits, alerts.asystole, alerts.ventricular_fibrillation)
        self._run = RunEvidence(limits.beats, limits.rate_bpm, alerts.asystole.no_beat_s)
        self.seen: list[tuple[int, int, list[float]]] = []  # (at, first R peak, evidence)
        self.certain: list[int] = []  # at

    def __call__(self, moment: Moment) -> Finding | None:
        finding = self._rule(moment)
        if finding and finding.end is None:
            self.certain.append(moment.at)
        run = self._run(moment)
        if run:
            first = moment.history.r_peak_of(Alerts().ventricular_tachycardia.beats)
            self.seen.append((moment.at, first, [run.evidence[name] for name in WEIGHTS]))
        return None


def databases() -> list[Path]:
    """The records, besides the challenge's, that the weights are fitted to: none of DS2."""
    data = data_folder()
    records = [data / "mitdb" / name for name in (*MITDB_DS1, *MITDB_PACED)]
    return records + [data / database / name for database in ("svdb", "vfdb") for name in names(data / database)]


def alarm(record: Path, *, true: bool) -> Stretch:
    """A record of the challenge: the seconds in which its alarm would be ours."""
    probe = _probed(record)
    first, last = (ALARM_S - BEFORE_S) * RATE_HZ, (ALARM_S + AFTER_S) * RATE_HZ
    weight = MISSED_WEIGHT if true else 1.0
    return _stretch(record, probe, first, last, true=true, weight=weight)


def stretches(record: Path, marked: set[str]) -> list[Stretch]:
    """A record of a database: its episodes, and the rest cut into pieces."""
    probe = _probed(record)
    reference = read_reference(record, "atr")
    truth = _at_250_hz(reference, marked)
    found = [
        _stretch(record, probe, start, end + LATE_S * RATE_HZ, true=True, weight=FOUND_WEIGHT / len(truth[KIND]) ** 0.5)
        for start, end in truth[KIND]
    ]
    taken = [*truth[KIND], *truth.get("ventricular_fibrillation", [])]
    calm = [each for each in probe.seen if not any(each[0] > start and each[1] < end for start, end in taken)]
    certain = [at for at in probe.certain if not any(start < at < end + 3 * RATE_HZ for start, end in taken)]
    length = STRETCH_S * RATE_HZ
    for number, group in groupby(calm, key=lambda each: each[0] // length):
        evidence = np.array([each[2] for each in group])
        raised = any(at // length == number for at in certain)
        found.append(Stretch(record.parent.name, record.name, False, FALSE_WEIGHT, evidence, raised))
    return found


def marked_in(records: Sequence[Path]) -> dict[str, set[str]]:
    """The rhythms that each database marks at all."""
    found: dict[str, set[str]] = {}
    for record in records:
        found.setdefault(record.parent.name, set()).update(read_reference(record, "atr").rhythms)
    return found


def fit(stretches: Sequence[Stretch]) -> Fit:
    """The weights with which the most telling moments are told apart best."""
    told = [each for each in stretches if len(each.evidence)]
    moments = np.concatenate([each.evidence for each in told])
    mean, spread = moments.mean(axis=0), moments.std(axis=0) + 1e-9
    moments = (moments - mean) / spread
    counts = np.array([len(each.evidence) for each in told])
    starts, owner = np.cumsum(counts) - counts, np.repeat(np.arange(len(told)), counts)
    sign = np.where([each.true for each in told], 1.0, -1.0)
    weight = np.array([each.weight for each in told]) / sum(each.weight for each in told)
    parameters = np.zeros(moments.shape[1] + 1)
    telling = np.add.reduceat(moments, starts) / counts[:, np.newaxis]
    for _ in range(ROUNDS):
        parameters = minimize(_loss, parameters, (telling, sign, weight), jac=True, method="L-BFGS-B").x
        log_odds = moments @ parameters[:-1]
        highest = np.flatnonzero(log_odds == np.maximum.reduceat(log_odds, starts)[owner])
        telling = moments[highest[np.unique(owner[highest], return_index=True)[1]]]
    weights = parameters[:-1] / spread
    return Fit(weights, float(parameters[-1] - weights @ mean))


def _loss(parameters: Array, telling: Array, sign: Array, weight: Array) -> tuple[float, Array]:
    """Weighted logistic loss and its gradient."""
    agreement = sign * (telling @ parameters[:-1] + parameters[-1])
    pull = -weight * sign / (1 + np.exp(agreement))
    loss = weight @ np.logaddexp(0, -agreement) + DECAY * parameters[:-1] @ parameters[:-1]
    return float(loss), np.append(telling.T @ pull + 2 * DECAY * parameters[:-1], pull.sum())


def calibrated(fitted: Fit, stretches: Sequence[Stretch], days: Mapping[str, float], a_day: float) -> Fit:
    """With 0 where there are so many false stretches a day in mitdb and svdb together."""
    calm = [each for each in stretches if not each.true and each.database in {"mitdb", "svdb"}]
    log_odds = sorted((fitted.log_odds(each) for each in calm), reverse=True)
    beyond = log_odds[min(int(a_day * (days["mitdb"] + days["svdb"])), len(log_odds) - 1)]
    return Fit(fitted.weights, fitted.bias - beyond)


def false_a_day(fitted: Fit, stretches: Sequence[Stretch], days: Mapping[str, float]) -> dict[str, float]:
    """In each database."""
    counts = Counter(each.database for each in stretches if not each.true and fitted.log_odds(each) > 0)
    return {database: counts[database] / days[database] for database in days}


def days_of(records: Sequence[Path]) -> dict[str, float]:
    """Of signal in each database."""
    found: Counter[str] = Counter()
    for record in records:
        reference = read_reference(record, "atr")
        found[record.parent.name] += reference.length / reference.rate_hz / 86400  # type: ignore[assignment]
    return dict(found)


def _probed(record: Path) -> _Probe:
    probe = _Probe()
    tape_of(record).judged_by(Alerts(), {KIND: probe})
    return probe


def _stretch(record: Path, probe: _Probe, first: float, last: float, *, true: bool, weight: float) -> Stretch:
    evidence = [seen for at, _, seen in probe.seen if first <= at <= last]
    certain = any(first <= at <= last for at in probe.certain)
    moments = np.array(evidence).reshape(-1, len(WEIGHTS))
    return Stretch(record.parent.name, record.name, true, weight, moments, certain)


def _at_250_hz(reference: Reference, marked: set[str]) -> dict[str, list[tuple[float, float]]]:
    scale = RATE_HZ / reference.rate_hz
    found = episodes(reference, Alerts(), marked)
    return {kind: [(one.start * scale, one.end * scale) for one in found.get(kind, [])] for kind in (KIND, *found)}
