"""The PhysioNet/CinC challenge of 2017: which hand-held recordings of half a minute are atrial fibrillation.

`train.npz` holds the records (`delta`, `lengths`, `names`, `labels`). A record counts as atrial fibrillation when that
is the rhythm that the annotation names at its end: the persistence of the alarm is not waited for.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from daemon.app import find_model
from daemon.config import Config
from engines.backend import open_backend
from rhythmd.ahead import analyze
from rhythmd.analysis import rhythm_changes
from rhythmd.evaluation import plots, store
from rhythmd.evaluation.job import EvaluationError, Job
from rhythmd.evaluation.plots import Strip
from rhythmd.evaluation.report import Cell, Figure, Report, Row, Section, Table, number, percent
from rhythmd.recording import Recording
from rhythmd.together import Bulk

RATE_HZ, COUNTS_PER_MV = 300.0, 1000.0
LABELS = {"N": "normal", "A": "atrial fibrillation", "O": "other rhythm", "~": "too noisy"}
BATCH = 32
STRIP_S = 10.0
SHOWN = 8
AT_HAND = 6822
"""So many of the 8,528 records were there when the shipped networks were trained: every fifth of these chose only."""


def evaluate(job: Job) -> Report:
    """Analyse where needed, score, report."""
    names, labels, signals = _load(job.folder / "train.npz")
    if strangers := sorted(set(job.records or ()) - set(names)):
        raise EvaluationError(f"{job.folder / 'train.npz'}: has no {', '.join(strangers)}")
    chosen = [at for at, name in enumerate(names) if not job.records or name in job.records]
    ours = _rhythms(job, {names[at]: signals[at] for at in chosen})
    truth = {names[at]: labels[at] for at in chosen}
    sets = {"all": truth}
    if len(names) == AT_HAND:
        sets["not trained"] = {name: truth[name] for name in names[::5] if name in truth}
    facts = job.facts() | {
        "records": f"{len(chosen)}, {sum(len(signals[at]) for at in chosen) / RATE_HZ / 3600:.1f} h",
        "rules": "a record is atrial fibrillation when that is the rhythm at its end; F1 as the challenge's for A",
    }
    return Report(
        f"{job.database}: {len(chosen)} records",
        facts,
        _headline(sets, ours),
        (_matrix(truth, ours), _strips(truth, ours, dict(zip(names, signals, strict=True))), job.thresholds()),
        _data(job, truth, ours),
    )


def f1_percent(truth: Mapping[str, str], ours: Mapping[str, str]) -> float | None:
    """2 TP / (reference AF + called AF)."""
    hits = sum(label == "A" and ours[name] == "AFIB" for name, label in truth.items())
    both = sum(label == "A" for label in truth.values()) + sum(ours[name] == "AFIB" for name in truth)
    return 200 * hits / both if both else None


def _load(file: Path) -> tuple[list[str], list[str], list[np.ndarray]]:
    try:
        with np.load(file) as data:
            counts = np.cumsum(data["delta"], dtype="<i2")
            signals = np.split(counts, np.cumsum(data["lengths"])[:-1])
            return data["names"].tolist(), data["labels"].tolist(), signals
    except (OSError, KeyError, ValueError) as error:
        raise EvaluationError(f"{file}: cannot be read: {error}") from None


def _rhythms(job: Job, signals: Mapping[str, np.ndarray]) -> dict[str, str]:
    """The rhythm at each record's end, from the results kept by the same maker, else anew."""
    maker = asdict(store.Maker.of(job.config))
    file = job.results / "rhythms.json"
    try:
        kept = json.loads(file.read_text())
    except (OSError, ValueError):
        kept = {}
    found: dict[str, str] = kept["rhythms"] if kept.get("made_by") == maker else {}
    todo = [name for name in signals if name not in found]
    if todo:
        parts = [todo[at : at + BATCH] for at in range(0, len(todo), BATCH)]
        tasks = [(job.config, {name: signals[name] for name in part}) for part in parts]
        with store.progress(sum(len(signals[name]) for name in todo) / RATE_HZ) as bar:
            for (_, part), answer in store.spread(_analyze, tasks, job.jobs):
                found |= answer
                bar.update(round(sum(map(len, part.values())) / RATE_HZ / 60, 1))
        file.write_text(json.dumps({"made_by": maker, "rhythms": found}))
    return found


def _analyze(task: tuple[Config, dict[str, np.ndarray]]) -> dict[str, str]:
    config, signals = task
    model = find_model(config.engine.model)
    found = {}
    with open_backend(config.engine.backend, model) as backend:
        bulk = Bulk(backend, model)
        for name, counts in signals.items():
            recording = Recording(name, "ECG", RATE_HZ, counts.astype(float), COUNTS_PER_MV)
            analysis = analyze(recording, bulk, model.manifest.heads, config.alerts)
            found[name] = rhythm_changes(analysis.episodes)[-1][1]
    return found


def _headline(sets: Mapping[str, Mapping[str, str]], ours: Mapping[str, str]) -> Table:
    columns = ("records with it", "called so", "Se", "+P", "F1")
    rows = [Row(f"{name} ({len(truth)})", _cells(truth, ours), total=True) for name, truth in sets.items() if truth]
    note = "The challenge's winners reached about 85 on records that it kept back."
    note = f"`not trained`: the networks never saw these. {note}" if "not trained" in sets else note
    return Table("Atrial fibrillation by record", "set (records)", columns, tuple(rows), note)


def _cells(truth: Mapping[str, str], ours: Mapping[str, str]) -> tuple[Cell, ...]:
    there = {name for name, label in truth.items() if label == "A"}
    called = {name for name in truth if ours[name] == "AFIB"}
    hits = len(there & called)
    return (
        Cell(str(len(there))),
        Cell(str(len(called))),
        percent(hits, len(there)),
        percent(hits, len(called)),
        number(f1_percent(truth, ours)),
    )


def _matrix(truth: Mapping[str, str], ours: Mapping[str, str]) -> Section:
    columns = tuple(sorted({ours[name] for name in truth} | {"AFIB", "N"}))
    rows = []
    for label, words in LABELS.items():
        counts = Counter(ours[name] for name, true in truth.items() if true == label)
        whole = sum(counts.values()) or 1
        cells = (Cell(f"{counts[column]:,}", weight=counts[column] / whole) for column in columns)
        rows.append(Row(f"{label} {words}", tuple(cells)))
    note = "Columns: the rhythm that rhythmd names at the record's end. Shaded by the share of the row."
    table = Table("Every label", "reference", columns, tuple(rows), note)
    return Section("Which rhythm was taken for which", (table,))


def _strips(truth: Mapping[str, str], ours: Mapping[str, str], signals: Mapping[str, np.ndarray]) -> Section:
    missed = [name for name, label in truth.items() if label == "A" and ours[name] != "AFIB"]
    false = [name for name, label in truth.items() if label != "A" and ours[name] == "AFIB"]
    shown: Sequence[str] = [*missed[: SHOWN // 2], *false[: SHOWN // 2]]
    figures = [_figure(name, truth[name], ours[name], signals[name]) for name in shown]
    words = f"The last {STRIP_S:g} s of records missed ({len(missed)}) and false ({len(false)}). 25 mm/s, 10 mm/mV."
    return Section("Errors", (words, *figures) if figures else ())


def _figure(name: str, label: str, ours: str, counts: np.ndarray) -> Figure:
    says = f"Record {name}: {LABELS[label]} by the reference, {ours} by rhythmd."
    ecg_mv = counts[-round(STRIP_S * RATE_HZ) :] / COUNTS_PER_MV
    return Figure(says, plots.strip(Strip(ecg_mv, RATE_HZ, (), (), says)))


def _data(job: Job, truth: Mapping[str, str], ours: Mapping[str, str]) -> dict[str, Any]:
    return job.data() | {
        "report": "cinc2017",
        "failures": {},
        "f1_percent": f1_percent(truth, ours),
        "records": {name: {"label": label, "ours": ours[name]} for name, label in truth.items()},
    }
