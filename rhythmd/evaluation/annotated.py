"""Evaluation of a folder of records with reference annotations, by the rules of EC57."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ec57.__main__ import as_json
from ec57.annotations import Annotations
from ec57.bxb import LEARNING_S, MATCH_WINDOW_S
from ec57.epicmp import Kind
from ec57.sumstats import gross
from rhythmd.evaluation import alarms, plots, scores, store, strips, tables
from rhythmd.evaluation.job import EvaluationError, Job
from rhythmd.evaluation.report import Cell, Figure, Report, Row, Section, Table, percent
from rhythmd.evaluation.scores import Compared, Reference

RUNS_NOTE = "Couplets are runs of 2, short runs of 3 to 5, long runs of 6 or more; as `rxr`."
EPISODES_NOTE = "Episodes that overlap at all are found; durations in seconds tell how much. As `epicmp`."


@dataclass(frozen=True, slots=True)
class Scored:
    """Everything known about the records that could be scored."""

    references: Mapping[str, Reference]
    compared: Mapping[str, Compared]
    runs: Mapping[str, store.Run]
    claims: Mapping[str, Annotations]
    vf: Kind
    vf_words: str

    def part(self, name: str) -> dict[str, Any]:
        return {record: getattr(both.standard, name) for record, both in self.compared.items()}

    @property
    def has_beats(self) -> bool:
        return any(reference.has_beats for reference in self.references.values())

    @property
    def hours(self) -> float:
        return sum(run.duration_s for run in self.runs.values()) / 3600


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
    if left_out:
        facts["left out"] = f"{' '.join(left_out)}: no .{job.reference}"
    sections = [
        *(_beat_sections(scored, groups) if scored.has_beats else []),
        *_rhythm_sections(scored, groups),
        _alarm_section(job, kinds),
        *([_delay_section(scored)] if any(run.detected_ms for run in scored.runs.values()) else []),
        _strip_section(job, scored),
        job.thresholds(),
    ]
    headline = _headline(scored, groups)
    return Report(
        f"{job.database}: {len(names)} records",
        facts,
        headline,
        tuple(section for section in sections if section.parts),
        _data(job, scored, groups, kinds, failures),
        failures,
    )


def _headline(scored: Scored, groups: Mapping[str, Sequence[str]]) -> Table:
    if scored.has_beats:
        escapes = {name: both.escapes_normal.beats for name, both in scored.compared.items()}
        return tables.beats_by_group(groups, scored.part("beats"), escapes)
    rows = []
    for title, part in (("ventricular fibrillation", "vf"), ("atrial fibrillation", "af")):
        for group, names in groups.items():
            pooled = gross([scored.part(part)[name] for name in names])
            cells = [percent(ratio.part, ratio.whole) for ratio in pooled.statistics().values()]
            rows.append(Row(f"{title}, {group} ({len(names)})", tuple(cells), total=True))
    columns = ("episode Se", "episode +P", "duration Se", "duration +P")
    return Table("Episodes, gross", "rhythm, set (records)", columns, tuple(rows), EPISODES_NOTE)


def _beat_sections(scored: Scored, groups: Mapping[str, Sequence[str]]) -> list[Section]:
    beats = scored.part("beats")
    matrices = []
    for group, names in groups.items():
        pooled = gross([beats[name] for name in names])
        matrices.append(tables.matrix(f"{group}: {len(names)} records", pooled))
    errors = gross(beats.values())
    rr = "–" if errors.rr_error_ms is None else f"{errors.rr_error_ms:.1f} ms"
    escapes = {name: both.escapes_normal.beats for name, both in scored.compared.items()}
    return [
        Section("Which beats were taken for which", (*matrices[:1], f"RR intervals: root mean square error {rr}.")),
        *([Section("The same, by set of records", tuple(matrices[1:]), folded=True)] if matrices[1:] else []),
        Section("Beats by record", (tables.by_record("Beats, as `bxb`", beats),), folded=True),
        Section(
            "Beats by record, escape beats normal",
            (tables.by_record("Supraventricular escape beats (e, j, n) count as N, not S", escapes),),
            folded=True,
        ),
        Section(
            "Couplets and runs",
            tuple(
                tables.by_group(f"{title} runs, gross", groups, scored.part(part), RUNS_NOTE)
                for title, part in (("Ventricular", "ventricular_runs"), ("Supraventricular", "supraventricular_runs"))
            ),
        ),
        Section(
            "Couplets and runs by record",
            tuple(
                tables.by_record(f"{title} runs", scored.part(part))
                for title, part in (("Ventricular", "ventricular_runs"), ("Supraventricular", "supraventricular_runs"))
            ),
            folded=True,
        ),
    ]


def _rhythm_sections(scored: Scored, groups: Mapping[str, Sequence[str]]) -> list[Section]:
    if not any(reference.rhythms for reference in scored.references.values()):
        return [Section("Fibrillation", ("The reference marks no rhythms: episodes cannot be scored.",))]
    titles = (("Atrial fibrillation", "af"), ("Ventricular fibrillation and flutter", "vf"))
    return [
        Section(
            "Fibrillation",
            tuple(
                tables.by_group(f"{title}, gross", groups, scored.part(part), EPISODES_NOTE) for title, part in titles
            ),
        ),
        Section(
            "Fibrillation by record",
            tuple(tables.by_record(title, scored.part(part)) for title, part in titles),
            folded=True,
        ),
    ]


def _alarm_section(job: Job, kinds: Mapping[str, alarms.KindScore]) -> Section:
    drawn = [
        Figure(
            f"{kind}: from onset to alarm, {len(score.delays_s)} episodes.",
            f"Median {sorted(score.delays_s)[len(score.delays_s) // 2]:.1f} s, longest {max(score.delays_s):.1f} s.",
            plots.histogram(score.delays_s, unit="s", says=f"Delays of {kind} in seconds", limit=10.0),
        )
        for kind, score in kinds.items()
        if len(score.delays_s) >= 8
    ]
    return Section("Alarms", (tables.alarms(kinds, job.config.alerts), *drawn))


def _delay_section(scored: Scored) -> Section:
    detected = [ms for run in scored.runs.values() for ms in run.detected_ms]
    decided = [ms for run in scored.runs.values() for ms in run.decided_ms]
    table = tables.delays(
        "From the R peak to the newest sample that was needed, in ms",
        {"QRS detected": detected, "beat judged and published": decided},
        "By sample index, whole records: what the machine takes to compute comes on top (`make bench`).",
    )
    figure = Figure(
        "From the R peak to its detection.",
        "The table says the same.",
        plots.histogram(detected, unit="ms", says="Histogram of QRS detection delay in milliseconds"),
    )
    return Section("Delay of beats", (table, figure))


def _strip_section(job: Job, scored: Scored) -> Section:
    if scored.has_beats:
        errors = {
            name: strips.beat_errors(reference, scored.claims[name], job.start_s)
            for name, reference in scored.references.items()
        }
        unit = "beats"
    else:
        errors = {
            name: strips.episode_errors(reference, scored.claims[name], scored.vf, job.start_s)
            for name, reference in scored.references.items()
        }
        unit = "seconds of ventricular fibrillation"
    worst = strips.worst_first(errors)
    rows = [Row(name, (Cell(f"{sum(error.size for error in errors[name]):.0f}"),)) for name in worst[: strips.RECORDS]]
    drawn = [
        figure
        for name in worst[: strips.RECORDS]
        for figure in strips.figures(scored.references[name], scored.claims[name], errors[name])
    ]
    if not worst:
        return Section("Worst records first", ("No error in any record.",))
    table = Table("Records with most errors", "record", (f"wrong {unit}",), tuple(rows))
    words = (
        "Of each of these records, the first error of its commonest kinds. 25 mm/s, 10 mm/mV; the reference's labels "
        "above, rhythmd's below, disagreements in bold."
    )
    return Section("Worst records first", (words, table, *drawn))


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
            | {"escapes_normal": _pooled(as_json({name: escapes[name] for name in names}))["beats"]}
            for group, names in groups.items()
        },
        "alarms": {kind: asdict(score) | {"false_per_day": score.false_per_day} for kind, score in kinds.items()},
        "delays_ms": {
            name: {"detected": run.detected_ms, "decided": run.decided_ms} for name, run in scored.runs.items()
        },
    }


def _pooled(tables_: dict[str, Any]) -> dict[str, Any]:
    return {name: {"gross": table["gross"], "average": table["average"]} for name, table in tables_.items()}
