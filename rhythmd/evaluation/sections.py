"""What a report says of records with reference annotations, part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.kinds import KINDS
from ec57.annotations import Annotations
from ec57.epicmp import Kind
from ec57.sumstats import gross
from rhythmd.evaluation import alarms, plots, store, strips, tables
from rhythmd.evaluation.job import Job
from rhythmd.evaluation.report import Figure, Gallery, Row, Section, Table, percent
from rhythmd.evaluation.scores import Compared, Reference

RUNS_NOTE = "Couplets are runs of 2, short runs of 3 to 5, long runs of 6 or more; as `rxr`."
ALARM_WITHIN_S = 10.0
"""What is asked of the lethal alarms."""

FEWEST_DRAWN = 5
"""Episodes, for a distribution of their delays."""

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


def headline(scored: Scored, groups: Mapping[str, Sequence[str]]) -> Table:
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


def beat_sections(scored: Scored, groups: Mapping[str, Sequence[str]]) -> list[Section]:
    beats = scored.part("beats")
    matrices = [
        tables.matrix(f"{group}: {len(names)} records", gross([beats[name] for name in names]))
        for group, names in groups.items()
    ]
    pooled = gross(beats.values())
    rr = "–" if pooled.rr_error_ms is None else f"{pooled.rr_error_ms:.1f} ms"
    rr = f"RR intervals: root mean square error {rr}. Shutdown: {pooled.shutdown_s} s."
    escapes = {name: both.escapes_normal.beats for name, both in scored.compared.items()}
    return [
        Section("Which beats were taken for which", (*matrices[:1], rr)),
        *([Section("The same, by set of records", tuple(matrices[1:]), folded=True)] if matrices[1:] else []),
        Section(
            "Ectopic beats",
            (tables.by_group("Beats, gross, with counts", groups, beats), tables.busy(groups, beats)),
        ),
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


def rhythm_sections(scored: Scored, groups: Mapping[str, Sequence[str]]) -> list[Section]:
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


def alarm_section(job: Job, kinds: Mapping[str, alarms.KindScore]) -> Section:
    drawn = [
        _delay_figure(kind, score.delays_s) for kind, score in kinds.items() if len(score.delays_s) >= FEWEST_DRAWN
    ]
    return Section("Alarms", (tables.alarms(kinds, job.config.alerts), *([Gallery(tuple(drawn))] if drawn else [])))


def _delay_figure(kind: str, delays_s: Sequence[float]) -> Figure:
    words = f"{kind}, {len(delays_s)} episodes: seconds from onset to alarm"
    if not KINDS[kind].latching:
        end = 15.0 if sorted(delays_s)[int(0.9 * len(delays_s))] <= 15 else 60.0
        return Figure(words, plots.histogram(delays_s, step=end / 30, end=end, unit="s", says=words))
    words += f", {sum(delay > ALARM_WITHIN_S for delay in delays_s)} later than {ALARM_WITHIN_S:g}"
    return Figure(words, plots.histogram(delays_s, step=0.5, end=15.0, unit="s", says=words, limit=ALARM_WITHIN_S))


def delay_section(scored: Scored) -> Section:
    detected = [ms for run in scored.runs.values() for ms in run.detected_ms]
    decided = [ms for run in scored.runs.values() for ms in run.decided_ms]
    table = tables.delays(
        "From the R peak to the newest sample that was needed, in ms",
        {"QRS detected": detected, "beat judged and published": decided},
        "By sample index, whole records: what the machine takes to compute comes on top (`make bench`).",
    )
    words = "R peak to detection, all beats; later ones in the last bin"
    drawn = plots.histogram(detected, step=10, end=600, unit="ms", says=words)
    return Section("Delay of beats", (table, Gallery((Figure(words, drawn),))))


def strip_section(job: Job, scored: Scored) -> Section:
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
    if not worst:
        return Section("Worst records first", ("No error in any record.",))
    shown = [
        Section(
            f"{name}, wrong {unit}: {sum(error.size for error in errors[name]):.0f}",
            (
                strips.in_words(errors[name]),
                *strips.figures(scored.references[name], scored.claims[name], errors[name]),
            ),
        )
        for name in worst[: strips.RECORDS]
    ]
    words = (
        f"{len(worst)} of {len(errors)} records have errors; of the worst, the first error of each of the commonest "
        "kinds. 25 mm/s, 10 mm/mV; the reference's labels above, rhythmd's below, disagreements in bold red."
    )
    return Section("Worst records first", (words, *shown))
