"""Records with reference annotations, compared by the rules of `ec57`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ec57 import epicmp, header, record
from ec57.annotations import Annotations, read
from ec57.beats import AAMI_CLASS, ESCAPES_NORMAL
from ec57.bxb import BeatScore
from ec57.sets import SETS
from ec57.sumstats import average
from rhythmd.evaluation.job import EvaluationError

BUSY = 10
"""Beats of a class, for a record's percentages of it to mean something."""

VF_BOTH = epicmp.Kind(
    lambda item: epicmp.VF.begins(item) or epicmp.VF_RHYTHM.begins(item),
    lambda item: epicmp.VF.ends(item) or epicmp.VF_RHYTHM.ends(item),
)
"""For references that mark fibrillation by `[` and `]` alone: ours marks it by rhythms."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The truth about a record, in its own samples."""

    path: Path  # without suffix
    marks: Annotations
    rate_hz: float
    length: int

    @property
    def has_beats(self) -> bool:
        return any(item.symbol in AAMI_CLASS for item in self.marks)

    @property
    def rhythms(self) -> set[str]:
        """Labels of the rhythm changes, such as `(AFIB`; empty where the annotators marked none."""
        return {item.aux for item in self.marks if item.symbol == "+" and item.aux.startswith("(")}


def read_reference(path: Path, extension: str) -> Reference:
    """Raises OSError, or ValueError as every error of `ec57` is."""
    clock = header.read(path)
    marks = read(path, extension).at(clock.rate_hz)
    length = clock.length if clock.length is not None else max((item.sample for item in marks), default=0)
    return Reference(path, marks, clock.rate_hz, length)


def average_of_busy(scores: Sequence[BeatScore], label: str, least: int) -> tuple[int, list[float | None]]:
    """(records, mean Se and +P of class `label`) over the records with at least so many beats of it."""
    busy = [score for score in scores if score.count(label, "nsvfqox") >= least]
    means = average(busy)
    name = {"V": "VEB", "S": "SVEB"}[label]
    return len(busy), [means.get(f"{name} {figure}") for figure in ("Se", "+P")]


@dataclass(frozen=True, slots=True)
class Compared:
    """One record's scores."""

    standard: record.RecordScore
    escapes_normal: record.RecordScore  # supraventricular escape beats count as normal, as papers count them


def compare(reference: Reference, results: Path, *, extension: str, vf: epicmp.Kind, start_s: float) -> Compared:
    """Score the `.rhy` annotations of a record in the folder `results`."""
    standard, escapes_normal = (
        record.compare(
            reference.path,
            results / reference.path.name,
            reference_extension=extension,
            test_extension="rhy",
            start_s=start_s,
            vf=vf,
            classes=classes,
        )
        for classes in (AAMI_CLASS, ESCAPES_NORMAL)
    )
    return Compared(standard, escapes_normal)


def vf_kind(references: Sequence[Reference]) -> tuple[str, epicmp.Kind]:
    """(in words, how to find ventricular fibrillation in these references and in ours)."""
    if any(label.startswith("(VF") for reference in references for label in reference.rhythms):
        return "rhythms (VF..., as `python -m ec57 --vf-rhythm`", epicmp.VF_RHYTHM
    return "[ and ] in the reference, rhythms (VF... in ours", VF_BOTH


def groups(database: str, records: Sequence[str], wanted: Sequence[str] | None) -> dict[str, list[str]]:
    """The sets of records to report, all of them first; those named, or those known for a folder of this name.

    Raises EvaluationError for a name that no set has.
    """
    known: Mapping[str, Sequence[str]] = SETS.get(database, {})
    if wanted is not None:
        everywhere = {name: names for sets in (*SETS.values(), known) for name, names in sets.items()}
        if strangers := [name for name in wanted if name not in everywhere]:
            raise EvaluationError(f"--groups {','.join(strangers)}: no such set; there are {', '.join(everywhere)}")
        known = {name: everywhere[name] for name in wanted}
    found = {name: [record for record in records if record in names] for name, names in known.items()}
    return {"all": list(records), **{name: names for name, names in found.items() if 0 < len(names) < len(records)}}
