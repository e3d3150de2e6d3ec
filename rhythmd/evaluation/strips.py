"""Which errors are shown: of the worst records, the first of each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ec57 import epicmp
from ec57.annotations import Annotations
from ec57.annotations import read as read_annotations
from ec57.beats import AAMI_CLASS
from ec57.bxb import LEARNING_S, Pair, pair_beats, samples
from ec57.epicmp import Episode
from rhythmd.evaluation import plots
from rhythmd.evaluation.plots import Label, Strip
from rhythmd.evaluation.report import Figure
from rhythmd.evaluation.scores import Reference
from rhythmd.recording import read

STRIP_S = 10.0
BEFORE_S = 5.0
LETTER_S = 0.08  # of a label, as wide as so much ECG
RECORDS = 12
PER_RECORD = 3


@dataclass(frozen=True, slots=True)
class Error:
    """A disagreement with the reference."""

    sample: int
    what: str
    size: float = 1.0  # by which records are ordered: beats, or seconds of an episode
    marks: tuple[int | None, ...] = ()  # samples of the annotations that disagree


def beat_error(pair: Pair) -> str | None:
    """What is wrong with a pair; None where the standard's figures for QRS, VEB and SVEB hold nothing against it."""
    if pair.test in "OX":
        return f"missed beat ({pair.reference})"
    if pair.reference in "OX":
        return f"extra beat, called {pair.test}"
    wrong = {"V": "NSFQ", "S": "NVFQ", "N": "SV", "F": "S"}.get(pair.reference, "")
    return f"{pair.reference} called {pair.test}" if pair.test in wrong else None


def beat_errors(reference: Reference, claim: Annotations, start_s: float = LEARNING_S) -> list[Error]:
    pairs = pair_beats(reference.marks, claim, fs=reference.rate_hz, length=reference.length, start_s=start_s)
    return [
        Error(pair.sample, what, marks=(pair.reference_sample, pair.test_sample))
        for pair in pairs
        if (what := beat_error(pair))
    ]


def episode_errors(reference: Reference, claim: Annotations, kind: epicmp.Kind, start_s: float) -> list[Error]:
    """Stretches of ventricular fibrillation that one side has and the other has not."""
    theirs, ours = (list(epicmp.episodes(marks, kind, reference.length)) for marks in (reference.marks, claim))
    start = samples(start_s, reference.rate_hz)
    found = [(episode, "ventricular fibrillation missed") for episode in _less(theirs, ours)]
    found += [(episode, "false ventricular fibrillation") for episode in _less(ours, theirs)]
    return [
        Error(max(episode.start, start), what, (episode.end - max(episode.start, start)) / reference.rate_hz)
        for episode, what in sorted(found)
        if episode.end > start
    ]


def _less(episodes: list[Episode], others: list[Episode]) -> Iterator[Episode]:
    """What is left of the episodes outside the others."""
    for episode in episodes:
        start = episode.start
        for other in sorted(others):
            if other.end <= start or other.start >= episode.end:
                continue
            if other.start > start:
                yield Episode(start, other.start)
            start = max(start, other.end)
        if start < episode.end:
            yield Episode(start, episode.end)


def worst_first(errors: Mapping[str, list[Error]]) -> list[str]:
    """Records with errors, those with most first."""
    sizes = {name: sum(error.size for error in found) for name, found in errors.items() if found}
    return sorted(sizes, key=lambda name: -sizes[name])


def first_of_each(errors: list[Error], rate_hz: float, most: int = PER_RECORD) -> list[Error]:
    """The first error of each kind, the commonest kinds first, none within another's strip; in order of time."""
    counts = Counter[str]()
    firsts: dict[str, Error] = {}
    for error in errors:
        counts[error.what] += 1
        firsts.setdefault(error.what, error)
    shown: list[Error] = []
    for what, _ in counts.most_common():
        error = firsts[what]
        if len(shown) < most and all(abs(error.sample - other.sample) > BEFORE_S * rate_hz for other in shown):
            shown.append(error)
    return sorted(shown, key=lambda error: error.sample)


def in_words(errors: list[Error]) -> str:
    """How many of which kind, the commonest first."""
    counts = Counter(error.what for error in errors)
    return ", ".join(f"{count} × {what}" for what, count in counts.most_common()) + "."


def figures(reference: Reference, claim: Annotations, errors: list[Error]) -> list[Figure]:
    """Strips of a record's first errors."""
    recording = read(str(reference.path))
    shown = first_of_each(errors, reference.rate_hz)
    wrong = {sample for error in errors for sample in error.marks if sample is not None}
    return [_figure(reference, claim, recording.ecg_mv, recording.lead, error, wrong) for error in shown]


def _figure(
    reference: Reference, claim: Annotations, ecg_mv: np.ndarray, lead: str, error: Error, wrong: set[int]
) -> Figure:
    rate_hz = reference.rate_hz
    first = max(0, min(error.sample - round(BEFORE_S * rate_hz), len(ecg_mv) - round(STRIP_S * rate_hz)))
    last = min(len(ecg_mv), first + round(STRIP_S * rate_hz))
    says = (
        f"Record {reference.path.name}, lead {lead}, {clock(first / rate_hz)} to {clock(last / rate_hz)}: "
        f"{error.what} at {clock(error.sample / rate_hz)}."
    )
    strip = Strip(
        ecg_mv[first:last],
        rate_hz,
        labels("reference", reference.marks, first, last, rate_hz, wrong),
        labels("rhythmd", claim, first, last, rate_hz, wrong),
        says,
    )
    return Figure(says, plots.strip(strip))


def labels(
    annotator: str, marks: Annotations, first: int, last: int, rate_hz: float, wrong: set[int]
) -> tuple[Label, ...]:
    """What an annotator said between two samples, after who it is and the rhythm that held when they began."""
    found: list[Label] = []
    rhythms = [Label(0.0, annotator, rhythm=True)]
    for item in marks:
        if item.symbol == "+" and item.aux and item.sample <= first:
            rhythms = [Label(0.0, f"{annotator}: {item.aux.lstrip('(')}", rhythm=True)]
        if not first <= item.sample < last:
            continue
        at_s = (item.sample - first) / rate_hz
        if item.symbol in AAMI_CLASS or item.symbol in "!~":
            found.append(Label(at_s, item.symbol, wrong=item.sample in wrong))
        elif item.symbol in "[]" or (item.symbol == "+" and item.aux and item.sample > first):
            _append(rhythms, Label(at_s, item.aux.lstrip("(") or item.symbol, rhythm=True))
    return (*rhythms, *found)


def _append(rhythms: list[Label], label: Label) -> None:
    """Where the one before would be written over, both are written there."""
    last = rhythms[-1]
    if label.at_s < last.at_s + len(last.text) * LETTER_S:
        rhythms[-1] = replace(last, text=f"{last.text}, {label.text}")
    else:
        rhythms.append(label)


def clock(seconds: float) -> str:
    """Minutes and seconds into the record."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def read_claim(results: Path, record: str, rate_hz: float) -> Annotations:
    """What rhythmd said, in the record's samples."""
    return read_annotations(results / record, "rhy").at(rate_hz)
