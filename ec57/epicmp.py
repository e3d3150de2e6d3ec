"""Episode by episode: atrial and ventricular fibrillation, as WFDB's program epicmp.

An episode of one annotator is found when the other has one that overlaps it at all; how much they overlap is told by
the durations. Episodes of the reference give the sensitivities, episodes of the test the positive predictivities.
Atrial flutter is not fibrillation: a test that calls it so is wrong.

Episodes and durations agree with `epicmp -A -V` of WFDB 10.7, but for one thing: where the header does not tell the
record's length, epicmp compares no episode at all; here the reference's last annotation ends the comparison, as the
program's own notes intend. (Nor does an episode that ends at sample 0 end the reading, as it does there.)
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, NamedTuple

from ec57.bxb import LEARNING_S, samples
from ec57.ratio import Ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ec57.annotations import Annotation, Annotations


class Episode(NamedTuple):
    """From one sample to another."""

    start: int
    end: int


class Kind(NamedTuple):
    """The annotations that begin and end an episode."""

    begins: Callable[[Annotation], bool]
    ends: Callable[[Annotation], bool]


def rhythm(prefix: str) -> Kind:
    """Episodes that begin with a rhythm change to `prefix...` and end with one to something else."""
    return Kind(
        lambda item: item.symbol == "+" and item.aux.startswith(prefix),
        lambda item: item.symbol == "+" and not item.aux.startswith(prefix),
    )


AF = rhythm("(AFIB")
VF = Kind(lambda item: item.symbol == "[", lambda item: item.symbol == "]")
VF_RHYTHM = rhythm("(VF")
"""For databases without `[` and `]`, in which epicmp finds no episode; flutter `(VFL` is among them, as in `[`."""


@dataclass(frozen=True, slots=True)
class EpisodeScore:
    """Episodes of one kind, and how long they lasted."""

    reference_episodes: int = 0
    reference_found: int = 0
    reference_s: float = 0.0
    reference_overlap_s: float = 0.0
    test_episodes: int = 0
    test_true: int = 0
    test_s: float = 0.0
    test_overlap_s: float = 0.0

    def __add__(self, other: EpisodeScore) -> EpisodeScore:
        return EpisodeScore(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))

    def statistics(self) -> dict[str, Ratio]:
        """The standard's figures under its names; durations in seconds."""
        return {
            "episode Se": Ratio(self.reference_found, self.reference_episodes),
            "episode +P": Ratio(self.test_true, self.test_episodes),
            "duration Se": Ratio(self.reference_overlap_s, self.reference_s),
            "duration +P": Ratio(self.test_overlap_s, self.test_s),
        }


def compare(
    reference: Annotations,
    test: Annotations,
    *,
    kind: Kind,
    fs: float,
    length: int | None = None,
    start_s: float = LEARNING_S,
    minimum_s: float = 0.0,
) -> EpisodeScore:
    """Score the episodes of `test` against those of `reference` on a record of `length` samples at `fs` Hz.

    Episodes that last less than `minimum_s` are neither counted nor measured, but still overlap (epicmp's `-i`).
    """
    reference, test = reference.at(fs), test.at(fs)
    end = length if length is not None else max((item.sample for item in reference), default=0)
    period = Episode(samples(start_s, fs), end)
    minimum = samples(minimum_s, fs)
    theirs, ours = list(episodes(reference, kind, end)), list(episodes(test, kind, end))
    found, there = _scored(theirs, period, minimum), _scored(ours, period, minimum)
    overlaps = [_overlap(episode, ours) for episode in found]
    true = [_overlap(episode, theirs) for episode in there]
    return EpisodeScore(
        len(found),
        sum(overlap > 0 for overlap in overlaps),
        sum(episode.end - episode.start for episode in found) / fs,
        sum(overlaps) / fs,
        len(there),
        sum(overlap > 0 for overlap in true),
        sum(episode.end - episode.start for episode in there) / fs,
        sum(true) / fs,
    )


def episodes(annotations: Annotations, kind: Kind, end: int) -> Iterator[Episode]:
    """The episodes of a kind. One that does not end lasts to `end`, or to the last annotation if that is later."""
    start: int | None = None
    for item in annotations:
        if start is None:
            start = item.sample if kind.begins(item) else None
        elif kind.ends(item):
            yield Episode(start, item.sample)
            start = None
    if start is not None:
        yield Episode(start, max(end, annotations.items[-1].sample))


def _scored(found: list[Episode], period: Episode, minimum: int) -> list[Episode]:
    """The part of each episode that lies in the period; one that ends as the period starts counts as an empty one."""
    clipped = [
        Episode(max(episode.start, period.start), min(episode.end, period.end))
        for episode in found
        if episode.end >= period.start and max(episode.start, period.start) < period.end
    ]
    return [episode for episode in clipped if episode.end - episode.start >= minimum]


def _overlap(episode: Episode, others: list[Episode]) -> int:
    return sum(max(0, min(episode.end, other.end) - max(episode.start, other.start)) for other in others)
