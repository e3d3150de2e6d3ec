"""Evaluation of a folder of records with reference annotations, by the rules of EC57."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ec57.__main__ import as_json
from ec57.bxb import LEARNING_S, MATCH_WINDOW_S, BeatScore
from ec57.sets import WHAT_SETS_ARE
from rhythmd.evaluation import alarms, anchors, scores, sections, store, strips
from rhythmd.evaluation.job import EvaluationError, Job
from rhythmd.evaluation.report import Report
from rhythmd.evaluation.scores import Compared, Reference
from rhythmd.evaluation.sections import Scored


def evaluate(job: Job) -> Report:
    """Analyse where needed, score, report."""
    names, left_out = _records(job)
    failures: dict[str, str] = {}
    references: dict[str, Reference] = {}
    for name in names:
        try:
            references[name] = scores.read_reference(job.folder / name, job.reference)
        except (OSError, ValueError) as error:
            failures[name] = str(error)
    failures |= store.refresh([job.folder / name for name in references], job.results, job.config, jobs=job.jobs)
    scored = _scored(job, {name: ref for name, ref in references.items() if name not in failures}, failures)
    if not scored.compared:
        raise EvaluationError("; ".join(failures.values()) or f"{job.folder}: nothing to score")
    groups = scores.groups(job.database, list(scored.compared), job.groups)
    return _report(job, scored, groups, failures, left_out)


def _records(job: Job) -> tuple[list[str], list[str]]:
    """(to score, without a reference)."""
    if job.records is not None:
        return list(job.records), []
    every = sorted(path.stem for path in job.folder.glob("*.hea"))
    if not every:
        raise EvaluationError(f"{job.folder}: no WFDB records here (no .hea)")
    marked = [name for name in every if (job.folder / f"{name}.{job.reference}").exists()]
    if not marked:
        raise EvaluationError(
            f"{job.folder}: no record has reference annotations (.{job.reference}); name theirs with --reference"
        )
    return marked, [name for name in every if name not in marked]


def _scored(job: Job, references: dict[str, Reference], failures: dict[str, str]) -> Scored:
    words, vf = scores.vf_kind(list(references.values()))
    compared: dict[str, Compared] = {}
    runs, claims = {}, {}
    for name, reference in references.items():
        try:
            compared[name] = scores.compare(reference, job.results, extension=job.reference, vf=vf, start_s=job.start_s)
        except ValueError as error:  # shorter than the learning time, say
            failures[name] = f"{name}: {error}"
            continue
        runs[name] = store.load(job.results, name)
        claims[name] = strips.read_claim(job.results, name, reference.rate_hz)
    kept = {name: reference for name, reference in references.items() if name in compared}
    return Scored(kept, compared, runs, claims, vf, words)


def _report(
    job: Job, scored: Scored, groups: Mapping[str, Sequence[str]], failures: dict[str, str], left_out: list[str]
) -> Report:
    names = list(scored.compared)
    heard = [alarms.read_alarms(job.results, name) for name in names]
    kinds = alarms.score(list(scored.references.values()), heard, job.config.alerts)
    standard = "" if job.start_s == LEARNING_S else " (not the standard's)"
    facts = job.facts() | {
        "records": f"{len(names)}, {scored.hours:.1f} h, first ECG lead; reference .{job.reference}",
        "rules": f"ANSI/AAMI EC57: the first {job.start_s:g} s{standard} are not scored, beats match within "
        f"{MATCH_WINDOW_S * 1000:g} ms; ventricular fibrillation by {scored.vf_words}",
    }
    if job.database in WHAT_SETS_ARE and len(groups) > 1:
        facts["sets"] = WHAT_SETS_ARE[job.database]
    if left_out:
        facts["left out"] = f"{' '.join(left_out)}: no .{job.reference}"
    beats = scored.part("beats")
    parts = [
        *filter(None, [anchors.section(job.database, groups, beats, kinds)]),
        *(sections.beat_sections(scored, groups) if scored.has_beats else []),
        *sections.rhythm_sections(scored, groups),
        sections.alarm_section(job, kinds),
        *([sections.delay_section(scored)] if any(run.detected_ms for run in scored.runs.values()) else []),
        sections.strip_section(job, scored),
        job.thresholds(),
    ]
    return Report(
        f"{job.database}: {len(names)} records",
        facts,
        sections.headline(scored, groups),
        tuple(part for part in parts if part.parts),
        _data(job, scored, groups, kinds, failures),
        failures,
    )


def _data(
    job: Job,
    scored: Scored,
    groups: Mapping[str, Sequence[str]],
    kinds: Mapping[str, alarms.KindScore],
    failures: dict[str, str],
) -> dict[str, Any]:
    standard = {name: both.standard for name, both in scored.compared.items()}
    escapes = {name: both.escapes_normal for name, both in scored.compared.items()}
    return job.data() | {
        "report": "annotations",
        "start_s": job.start_s,
        "vf_by": scored.vf_words,
        "failures": failures,
        "groups": {name: list(names) for name, names in groups.items()},
        "records": list(standard),
        "tables": as_json(standard),
        "escapes_normal": as_json(escapes)["beats"],
        "by_group": {
            group: _pooled(as_json({name: standard[name] for name in names}))
            | {
                "escapes_normal": _pooled(as_json({name: escapes[name] for name in names}))["beats"],
                "average_of_busy": _busy([standard[name].beats for name in names]),
            }
            for group, names in groups.items()
        },
        "alarms": {
            kind: asdict(score) | {"false_per_day": score.false_per_day, "all_false_per_day": score.all_false_per_day}
            for kind, score in kinds.items()
        },
        "delays_ms": {
            name: {"detected": _counted(run.detected_ms), "decided": _counted(run.decided_ms)}
            for name, run in scored.runs.items()
        },
    }


def _busy(found: Sequence[BeatScore]) -> dict[str, Any]:
    """Averages over the records with enough ectopic beats of the class."""
    averages = {label: scores.average_of_busy(found, label, scores.BUSY) for label in "VS"}
    return {label: {"records": records, "Se": se, "+P": ppv} for label, (records, (se, ppv)) in averages.items()}


def _counted(values: Sequence[int]) -> dict[str, int]:
    """How often each came."""
    return {str(value): count for value, count in sorted(Counter(values).items())}


def _pooled(tables_: dict[str, Any]) -> dict[str, Any]:
    return {name: {"gross": table["gross"], "average": table["average"]} for name, table in tables_.items()}
