"""Run by run: couplets, short runs (3 to 5 beats) and long runs (6 or more) of ectopic beats, as WFDB's program rxr.

Each run of one annotator is compared with the longest run that the other one has between 150 ms before its first beat
and 150 ms after its last. Runs of the reference give the sensitivity, runs of the test the positive predictivity.
Ventricular fibrillation is a long ventricular run; atrial fibrillation or flutter is a long supraventricular run, and
every normal beat in it a supraventricular one. A single beat is a run of 1.

Counts agree with `rxr -S` of WFDB 10.7, but for one thing: rxr enters each of its four passes with the annotation that
the pass before left behind, as if it stood at sample 0; here each pass starts clean. (Nor is a run within 150 ms of
sample 0 met by a long one that is not there, as it is when rxr is told to leave out no learning period.)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from ec57.beats import AAMI_CLASS
from ec57.bxb import LEARNING_S, MATCH_WINDOW_S, samples
from ec57.ratio import Ratio

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ec57.annotations import Annotation, Annotations

LONG = 6
"""Longer runs are not told apart."""

RUN_LENGTHS = {"couplet": (2, 2), "short run": (3, 5), "long run": (LONG, LONG)}

Matrix = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class RunScore:
    """How many runs of each length were met by a longest run of which length, of one kind of ectopic beat.

    Both matrices are indexed by [length in the reference][length in the test], 0 to 6; runs of the reference are
    counted in the first, runs of the test in the second.
    """

    sensitivity: Matrix
    predictivity: Matrix

    def __add__(self, other: RunScore) -> RunScore:
        return RunScore(_sum(self.sensitivity, other.sensitivity), _sum(self.predictivity, other.predictivity))

    def se(self, run: str) -> Ratio:
        """Of the reference's runs of this kind, those where the test has one at least as long as the kind's least."""
        shortest, longest = RUN_LENGTHS[run]
        rows = self.sensitivity[shortest : longest + 1]
        return Ratio(sum(sum(row[shortest:]) for row in rows), sum(sum(row) for row in rows))

    def ppv(self, run: str) -> Ratio:
        """Of the test's runs of this kind, those where the reference has one at least as long as the kind's least."""
        shortest, longest = RUN_LENGTHS[run]
        columns = [row[shortest : longest + 1] for row in self.predictivity]
        return Ratio(sum(sum(column) for column in columns[shortest:]), sum(sum(column) for column in columns))

    def statistics(self) -> dict[str, Ratio]:
        """The standard's figures under its names."""
        found = {}
        for run in RUN_LENGTHS:
            found[f"{run} Se"] = self.se(run)
            found[f"{run} +P"] = self.ppv(run)
        return found


@dataclass(frozen=True, slots=True)
class RunScores:
    """Both kinds of runs on a record."""

    ventricular: RunScore
    supraventricular: RunScore


def compare(
    reference: Annotations,
    test: Annotations,
    *,
    fs: float,
    length: int | None = None,
    start_s: float = LEARNING_S,
    window_s: float = MATCH_WINDOW_S,
    classes: Mapping[str, str] = AAMI_CLASS,
) -> RunScores:
    """Score the runs of `test` against those of `reference` on a record of `length` samples at `fs` Hz."""
    period = _Period(samples(start_s, fs), length, samples(window_s, fs))
    sides = _marks(reference.at(fs), classes), _marks(test.at(fs), classes)
    return RunScores(_score(*sides, _VENTRICULAR, period), _score(*sides, _SUPRAVENTRICULAR, period))


class _Kind(NamedTuple):
    """What makes a run, by the marks below."""

    beats: frozenset[str]
    breaks: frozenset[str]  # beats of other kinds, and the end of a readable signal
    begins: str  # an episode that is a long run by itself
    ends: str
    other_begins: str


_VENTRICULAR = _Kind(frozenset("VF"), frozenset("NQUS"), "[", "]", "{")
_SUPRAVENTRICULAR = _Kind(frozenset("S"), frozenset("NQUVF"), "{", "}", "[")


class _Period(NamedTuple):
    start: int
    end: int | None
    window: int


class _Mark(NamedTuple):
    sample: int
    what: str  # N S V F Q, [ ] { } around fibrillation of the ventricles and atria, U for unreadable, or nothing


def _marks(annotations: Annotations, classes: Mapping[str, str]) -> list[_Mark]:
    """Every annotation as the marks that runs are made of; rhythm and noise marks depend on those before them."""
    found = []
    in_af = in_vf = unreadable = False
    for item in annotations:
        what = classes.get(item.symbol, "")
        rhythm = _rhythm(item)
        if what == "N" and in_af:
            what = "S"
        elif item.symbol == "~":
            was_unreadable, unreadable = unreadable, item.subtype & 0x30 == 0x30
            what = "U" if unreadable and not was_unreadable else ""
        elif rhythm == "VF":
            what = "" if in_vf else "["
            in_vf, in_af = True, in_af and in_vf  # the other fibrillation has ended, unless this one is not new
        elif rhythm == "AF":
            what = "" if in_af else "{"
            in_af, in_vf = True, in_vf and in_af
        elif rhythm == "end of VF":
            what, in_vf = "]" if in_vf else "", False
        elif rhythm == "other":
            what = "}" if in_af else "]" if in_vf else ""
            in_af, in_vf = False, in_vf and in_af
        found.append(_Mark(item.sample, what))
    return found


def _rhythm(item: Annotation) -> str:
    if item.symbol == "[" or (item.symbol == "+" and item.aux.startswith("(VF")):
        return "VF"
    if item.symbol == "]":
        return "end of VF"
    if item.symbol == "+" and item.aux:
        return "AF" if item.aux.startswith("(AF") else "other"
    return ""


def _score(reference: list[_Mark], test: list[_Mark], kind: _Kind, period: _Period) -> RunScore:
    by_reference = _count(reference, test, kind, period)
    by_test = _count(test, reference, kind, period)
    return RunScore(by_reference, tuple(zip(*by_test, strict=True)))


def _count(ours: list[_Mark], theirs: list[_Mark], kind: _Kind, period: _Period) -> Matrix:
    """[length of our run][longest of theirs], over all of ours."""
    matrix = [[0] * (LONG + 1) for _ in range(LONG + 1)]
    longest = _LongestRun(theirs, kind)
    for run_length, first, last in _runs(ours, kind, period):
        matrix[run_length][longest(first, last)] += 1
    return tuple(map(tuple, matrix))


def _runs(marks: list[_Mark], kind: _Kind, period: _Period) -> Iterator[tuple[int, int, int]]:
    """Each run in the period: its length, and the first and last sample at which to look for its counterpart.

    A run that still lasts at the end of the record is left out, unless the annotations end before.
    """
    learning = [mark for mark in marks if mark.sample < period.start]
    scored = marks[len(learning) :]
    run_length, first, last = 0, 0, 0
    if _in_episode(learning, kind):
        run_length, first, last = LONG, period.start - period.window, period.start + period.window
        scored = scored or learning[-1:]  # it lasts on, even when nothing else is marked
    for at, (sample, what) in enumerate(scored):
        if at and period.end is not None and sample > period.end:
            return
        if what in kind.beats:
            first = first if run_length else sample - period.window
            run_length, last = min(run_length + 1, LONG), sample + period.window
        elif what == kind.begins and not run_length:
            run_length, first = LONG, sample - period.window  # rxr sets no `last` before the episode ends
        elif what == kind.ends and run_length:
            last = sample + period.window
        elif what in kind.breaks and run_length:
            yield run_length, first, last
            run_length = 0
    if run_length and scored and (period.end is None or scored[-1].sample <= period.end):
        yield run_length, first, last


def _in_episode(marks: Sequence[_Mark], kind: _Kind) -> bool:
    for mark in reversed(marks):
        if mark.what in (kind.begins, "]", "}"):
            return mark.what == kind.begins
    return False


class _LongestRun:
    """The longest run between two samples. Asked again, it must be for later ones: it reads forward only."""

    def __init__(self, marks: list[_Mark], kind: _Kind) -> None:
        self._marks = marks
        self._kind = kind
        self._at = 0
        self._episode_end = -inf

    def __call__(self, first: int, last: int) -> int:
        if self._episode_end > first:
            return LONG
        while (mark := self._now()) is not None and mark.sample < first:
            if mark.what == self._kind.begins:
                self._skip_episode()
                if self._episode_end > first:
                    return LONG
            else:
                self._at += 1
        longest = run_length = 0
        while (mark := self._now()) is not None and mark.sample <= last:
            if mark.what == self._kind.begins:
                self._skip_episode()
                return LONG
            if mark.what in self._kind.beats:
                run_length = min(run_length + 1, LONG)
                longest = max(longest, run_length)
            elif mark.what in self._kind.breaks or mark.what == self._kind.other_begins:
                run_length = 0
            self._at += 1
        return longest

    def _now(self) -> _Mark | None:
        return self._marks[self._at] if self._at < len(self._marks) else None

    def _skip_episode(self) -> None:
        """To after the mark that ends it; without one it lasts forever."""
        self._episode_end = inf
        while (mark := self._now()) is not None:
            self._at += 1
            if mark.what in (self._kind.ends, self._kind.other_begins, "U"):
                self._episode_end = mark.sample
                return


def _sum(one: Matrix, other: Matrix) -> Matrix:
    return tuple(tuple(a + b for a, b in zip(*rows, strict=True)) for rows in zip(one, other, strict=True))
