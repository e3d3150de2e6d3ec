"""The PhysioNet/CinC challenge of 2015: which of a bedside monitor's alarms were true.

`labels.csv` beside the records names the alarm that sounded at sample 30,000 and says whether it was true. It is ours
too when an alert of its kind stands open within the 13 s before or the 2 s after. A true alarm that is not ours counts
five times.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rhythmd.evaluation import plots, store
from rhythmd.evaluation.alarms import Alarm, read_alarms
from rhythmd.evaluation.job import EvaluationError, Job
from rhythmd.evaluation.plots import Label, Strip
from rhythmd.evaluation.report import Cell, Figure, Report, Row, Section, Table, number, percent
from rhythmd.evaluation.strips import labels, read_claim
from rhythmd.recording import read

KIND_OF = {
    "Asystole": "asystole",
    "Bradycardia": "extreme_bradycardia",
    "Tachycardia": "extreme_tachycardia",
    "Ventricular_Flutter_Fib": "ventricular_fibrillation",
    "Ventricular_Tachycardia": "ventricular_tachycardia",
}
ALARM_S, BEFORE_S, AFTER_S = 120.0, 13.0, 2.0
MISSED_WEIGHT = 5
STRIP_S = 10.0
SHOWN = 24


@dataclass(frozen=True, slots=True)
class Case:
    """One alarm of the monitor, and ours."""

    record: str
    alarm: str
    true: bool
    ours: bool

    @property
    def outcome(self) -> str:
        return {(True, True): "TP", (False, True): "FP", (True, False): "FN", (False, False): "TN"}[
            self.true, self.ours
        ]


def score(cases: Iterable[Case]) -> float | None:
    """100 (TP + TN) / (TP + TN + FP + 5 FN)."""
    counts = Counter(case.outcome for case in cases)
    right = counts["TP"] + counts["TN"]
    whole = right + counts["FP"] + MISSED_WEIGHT * counts["FN"]
    return 100 * right / whole if whole else None


def is_ours(alarms: Iterable[Alarm], kind: str, rate_hz: float) -> bool:
    """Whether an alert of this kind stands open around the alarm: raised by then, and not ended before."""
    first, last = (ALARM_S - BEFORE_S) * rate_hz, (ALARM_S + AFTER_S) * rate_hz
    return any(one.kind == kind and one.raised <= last and (one.end is None or one.end >= first) for one in alarms)


def evaluate(job: Job) -> Report:
    """Analyse where needed, score, report."""
    labelled = _labels(job)
    failures = store.refresh([job.folder / name for name, *_ in labelled], job.results, job.config, jobs=job.jobs)
    cases = []
    for name, alarm, true in labelled:
        if name not in failures:
            rate_hz = store.load(job.results, name).rate_hz
            cases.append(Case(name, alarm, true, is_ours(read_alarms(job.results, name), KIND_OF[alarm], rate_hz)))
    if not cases:
        raise EvaluationError("; ".join(failures.values()) or f"{job.folder}: nothing to score")
    facts = job.facts() | {
        "records": f"{len(cases)} alarms, first ECG lead alone",
        "rules": f"an alarm at {ALARM_S:g} s is ours when an alert of its kind stands open within the {BEFORE_S:g} s "
        f"before or the {AFTER_S:g} s after; score 100 (TP + TN) / (TP + TN + FP + {MISSED_WEIGHT} FN)",
    }
    return Report(
        f"{job.database}: {len(cases)} alarms",
        facts,
        _headline(cases),
        (_by_record(cases), _strips(job, cases), job.thresholds()),
        _data(job, cases, failures),
        failures,
    )


def _labels(job: Job) -> list[tuple[str, str, bool]]:
    """(record, alarm, whether it was true)."""
    file = job.folder / "labels.csv"
    with file.open(newline="") as lines:
        rows = [(row[0], row[1], row[2].strip()) for row in csv.reader(lines) if row and row[0] != "record"]
    for record, alarm, true in rows:
        if alarm not in KIND_OF or true not in {"0", "1"}:
            raise EvaluationError(
                f"{file}: record {record}: {alarm},{true} is not one of {', '.join(KIND_OF)} with 0 or 1"
            )
    known = {record for record, *_ in rows}
    if strangers := [name for name in job.records or () if name not in known]:
        raise EvaluationError(f"{file}: no label for {', '.join(strangers)}")
    return [(record, alarm, true == "1") for record, alarm, true in rows if not job.records or record in job.records]


def _counts(cases: Sequence[Case]) -> dict[str, Any]:
    counts = Counter(case.outcome for case in cases)
    return {name: counts[name] for name in ("TP", "FP", "FN", "TN")} | {"score": score(cases)}


def _headline(cases: Sequence[Case]) -> Table:
    rows = [_row(alarm, [case for case in cases if case.alarm == alarm]) for alarm in KIND_OF]
    columns = ("alarms", "TP", "FP", "FN", "TN", "Se", "Sp", "score")
    note = (
        "Se: true alarms that are ours. Sp: false alarms that are not. The best real-time entry of the challenge "
        "reached 81.4 on the records that it kept back, with pulse waves beside the ECG."
    )
    return Table("Alarms that are ours too", "alarm", columns, (*rows, _row("all", cases, total=True)), note)


def _row(head: str, cases: Sequence[Case], *, total: bool = False) -> Row:
    counts = _counts(cases)
    cells = (
        Cell(str(len(cases))),
        *(Cell(str(counts[name])) for name in ("TP", "FP", "FN", "TN")),
        percent(counts["TP"], counts["TP"] + counts["FN"], digits=1),
        percent(counts["TN"], counts["TN"] + counts["FP"], digits=1),
        number(counts["score"]),
    )
    return Row(head, cells, total)


def _by_record(cases: Sequence[Case]) -> Section:
    rows = [
        Row(case.record, (Cell(case.alarm), Cell("true" if case.true else "false"), Cell(case.outcome)))
        for case in cases
    ]
    return Section(
        "Alarm by alarm", (Table("Every alarm", "record", ("alarm", "label", "ours"), tuple(rows)),), folded=True
    )


def _strips(job: Job, cases: Sequence[Case]) -> Section:
    wrong = sorted((case for case in cases if case.outcome in {"FN", "FP"}), key=lambda case: case.outcome)
    shown = [case for case in wrong if case.outcome == "FN"][: SHOWN // 2]
    shown += [case for case in wrong if case.outcome == "FP"][: SHOWN - len(shown)]
    words = (
        f"Missed alarms first; {len(shown)} of {len(wrong)} errors. 25 mm/s, 10 mm/mV; above, the monitor's "
        "alarm; below, what rhythmd said."
    )
    return Section("Errors", (words, *(_figure(job, case) for case in shown)) if shown else ())


def _figure(job: Job, case: Case) -> Figure:
    recording = read(str(job.folder / case.record))
    rate_hz = recording.rate_hz
    last = min(len(recording.counts), round((ALARM_S + AFTER_S) * rate_hz))
    first = max(0, last - round(STRIP_S * rate_hz))
    what = "true alarm missed" if case.true else "false alarm taken over"
    says = f"Record {case.record}, lead {recording.lead}, {STRIP_S:g} s up to the alarm: {case.alarm}, {what}."
    alarm = Label(min(ALARM_S, (last - 1) / rate_hz) - first / rate_hz, "the monitor's alarm", wrong=True)
    said = labels("rhythmd", read_claim(job.results, case.record, rate_hz), first, last, rate_hz, set())
    return Figure(says, plots.strip(Strip(recording.ecg_mv[first:last], rate_hz, (alarm,), said, says)))


def _data(job: Job, cases: Sequence[Case], failures: dict[str, str]) -> dict[str, Any]:
    by_alarm = {alarm: _counts([case for case in cases if case.alarm == alarm]) for alarm in KIND_OF}
    return job.data() | {
        "report": "challenge2015",
        "failures": failures,
        "all": _counts(cases),
        "by_alarm": by_alarm,
        "records": [asdict(case) | {"outcome": case.outcome} for case in cases],
    }
