"""Scores as tables: every record, gross, average."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from daemon.config import Alerts
from daemon.kinds import KINDS
from ec57.bxb import BeatScore
from ec57.ratio import Ratio, f1_percent
from ec57.sumstats import average, gross
from rhythmd.evaluation.alarms import KindScore
from rhythmd.evaluation.report import NOTHING, Cell, Row, Table, number, percent
from rhythmd.evaluation.scores import BUSY, average_of_busy

F1_OF = {
    "QRS F1": ("QRS Se", "QRS +P"),
    "VEB F1": ("VEB Se", "VEB +P"),
    "SVEB F1": ("SVEB Se", "SVEB +P"),
}
BEAT_COLUMNS = (
    "QRS Se",
    "QRS +P",
    "QRS F1",
    "VEB Se",
    "VEB +P",
    "VEB FPR",
    "VEB F1",
    "SVEB Se",
    "SVEB +P",
    "SVEB F1",
)


def ratio_cell(name: str, ratio: Ratio) -> Cell:
    return percent(ratio.part, ratio.whole, digits=3 if name.endswith("FPR") else 2)


def beat_cells(score: BeatScore) -> tuple[Cell, ...]:
    ratios = score.statistics()
    return tuple(
        number(f1_percent(*(ratios[part] for part in F1_OF[name]))) if name in F1_OF else ratio_cell(name, ratios[name])
        for name in BEAT_COLUMNS
    )


def beats_by_group(
    groups: Mapping[str, Sequence[str]], standard: Mapping[str, BeatScore], escapes_normal: Mapping[str, BeatScore]
) -> Table:
    """The headline: gross and average of each set of records."""
    columns = {"beats": "NSVFQ", **dict.fromkeys(("QRS Se", "QRS +P", "QRS F1"), ""), "V": "V"}
    columns |= {**dict.fromkeys(("VEB Se", "VEB +P", "VEB F1"), ""), "S": "S"}
    columns |= dict.fromkeys(("SVEB Se", "SVEB +P", "SVEB F1"), "")
    rows = []
    for group, names in groups.items():
        chosen = [standard[name] for name in names]
        pooled = gross(chosen)
        figures = dict(zip(BEAT_COLUMNS, beat_cells(pooled), strict=True))
        counts = {name: Cell(f"{pooled.count(labels, 'nsvfqox'):,}") for name, labels in columns.items() if labels}
        escapes = gross([escapes_normal[name] for name in names])
        cells = [counts.get(name) or Cell(figures[name].text) for name in columns]
        last = number(f1_percent(escapes.sveb_se, escapes.sveb_ppv))
        rows.append(Row(f"{group} ({len(names)})", (*cells, last), total=True))
        means = average(chosen)
        cells = [number(means[name]) if name in means else Cell("") for name in columns]
        rows.append(Row("  average", (*cells, Cell(""))))
    return Table(
        "Beats by set of records: gross, and average below it",
        "set (records)",
        (*columns, "SVEB F1, e j n as N"),
        tuple(rows),
        "Gross figures pool all beats; averages weigh every record alike and leave out those with nothing to count. "
        "The last column counts supraventricular escape beats as normal, as most papers do; the standard's tools, and "
        "all other columns, count them as S.",
    )


def busy(groups: Mapping[str, Sequence[str]], scores: Mapping[str, BeatScore]) -> Table:
    """Averages over the records where they mean something."""
    rows = []
    for group, names in groups.items():
        cells: list[Cell] = []
        for label in "VS":
            records, means = average_of_busy([scores[name] for name in names], label, BUSY)
            cells += [Cell(str(records)), *map(number, means)]
        rows.append(Row(f"{group} ({len(names)})", tuple(cells)))
    columns = [f"{name} {figure}" for name in ("VEB", "SVEB") for figure in ("records", "Se", "+P")]
    caption = f"Average over the records with at least {BUSY} ectopic beats of the class"
    return Table(caption, "set (records)", tuple(columns), tuple(rows))


def by_record(caption: str, scores: Mapping[str, Any], note: str = "") -> Table:
    """A table with a row for each record, then gross and average, of any score of `ec57`."""
    columns = tuple(next(iter(scores.values())).statistics())
    rows = [Row(name, _cells(score)) for name, score in scores.items()]
    rows.append(Row("gross", _cells(gross(scores.values())), total=True))
    means = average(scores.values())
    rows.append(Row("average", tuple(number(means[name], 3 if "FPR" in name else 2) for name in columns), total=True))
    return Table(caption, "record", columns, tuple(rows), note)


def by_group(caption: str, groups: Mapping[str, Sequence[str]], scores: Mapping[str, Any], note: str = "") -> Table:
    """Gross figures of each set of records, of any score of `ec57`."""
    columns = tuple(next(iter(scores.values())).statistics())
    rows = [
        Row(f"{group} ({len(names)})", _cells(gross([scores[name] for name in names])), total=group == "all")
        for group, names in groups.items()
    ]
    return Table(caption, "set (records)", columns, tuple(rows), note)


def _cells(score: Any) -> tuple[Cell, ...]:
    return tuple(ratio_cell(name, ratio) for name, ratio in score.statistics().items())


def matrix(caption: str, score: BeatScore) -> Table:
    """The matrix of bxb: what the reference called N S V F Q, and what rhythmd made of it."""
    names = {"N": "normal", "S": "supraventricular", "V": "ventricular", "F": "fusion", "Q": "unclassifiable"}
    columns = {"n": "N", "s": "S", "v": "V", "f": "F", "q": "Q", "o": "missed", "x": "in shutdown"}
    heads = {**{key: f"{key} {name}" for key, name in names.items()}, "O": "no beat", "X": "no beat, in shutdown"}
    rows = []
    for label, head in heads.items():
        counts = [score.count(label, column) for column in columns]
        whole = sum(counts) or 1
        cells = [Cell(f"{count:,}", weight=count / whole if count else 0.0) for count in counts]
        rows.append(Row(head, tuple(cells if label not in "OX" else [*cells[:5], Cell(NOTHING), Cell(NOTHING)])))
    note = "Rows: the reference. Columns: rhythmd. Shaded by the share of the row."
    return Table(caption, "reference", tuple(columns.values()), tuple(rows), note)


def alarms(scores: Mapping[str, KindScore], limits: Alerts) -> Table:
    """Every kind of alert against the reference."""
    columns = (
        "priority", "action", "alerts", "per day", "episodes", "found", "alerts that are true",
        "false per day", "false per day, in records without", "median delay s", "worst 5 % s", "longest s",
    )  # fmt: skip
    rows = []
    for kind, score in scores.items():
        known = score.known_records > 0
        delays = score.delays_s
        rows.append(
            Row(
                kind,
                (
                    Cell(KINDS[kind].priority),
                    Cell(limits.action(kind)),
                    Cell(str(score.alerts)),
                    number(score.alerts_per_day, 1),
                    Cell(str(score.episodes) if known else NOTHING),
                    percent(score.found, score.episodes, digits=1),
                    percent(score.true, score.alerts - score.neutral, digits=1) if known else Cell(NOTHING),
                    _per_day(score.all_false_per_day, score.false, score.known_records, score.known_s),
                    _per_day(score.false_per_day, score.false_in_free, score.free_records, score.free_s),
                    *(number(_quantile(delays, at), 1) for at in (0.5, 0.95, 1.0)),
                ),
            )
        )
    return Table(
        "Alerts against the reference, whole records",
        "kind",
        columns,
        tuple(rows),
        "An alert is true when it meets an episode of its kind in the reference, 150 ms given on either side; episodes "
        "come from the reference's beats by the kind's own definition and thresholds, or from its rhythm marks. What "
        "tells of fast beats within ventricular fibrillation or flutter is neither true nor false. False "
        "alerts per patient-day are told of all records, and of those without any episode of the kind (beside it: how "
        "many, in how many records and hours). "
        "Delay is from the onset of the reference's episode to the sample at which the daemon raised the alert; 0 "
        "where it stood open already. A dash: the reference does not tell.",
    )


def _per_day(false_per_day: float | None, false: int, records: int, seconds: float) -> Cell:
    if false_per_day is None:
        return Cell(NOTHING)
    return Cell(f"{false_per_day:.1f}", f"{false} in {records}, {seconds / 3600:.1f} h")


def _quantile(values: Sequence[float], at: float) -> float | None:
    return float(np.quantile(values, at)) if values else None


def delays(caption: str, rows: Mapping[str, Sequence[float]], note: str) -> Table:
    """How long beats took, in milliseconds."""
    columns: dict[str, Callable[[Sequence[float]], float | None]] = {
        "1 %": lambda values: _quantile(values, 0.01),
        "median": lambda values: _quantile(values, 0.5),
        "90 %": lambda values: _quantile(values, 0.9),
        "99 %": lambda values: _quantile(values, 0.99),
        "longest": lambda values: _quantile(values, 1.0),
    }
    made = [
        Row(name, (Cell(f"{len(values):,}"), *(number(column(values), 0) for column in columns.values())))
        for name, values in rows.items()
    ]
    return Table(caption, "ms", ("beats", *columns), tuple(made), note)
