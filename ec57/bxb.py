"""Beat by beat: the comparison of EC57 clause 4.3, with the choices that WFDB's program bxb makes.

Every beat of either annotator is paired once: with a beat of the other one within the match window, or with nothing.
Nothing is written `O`, or `X` where the other annotator had declared the signal unreadable. Five minutes are given for
learning. Counts agree with `bxb -S` of WFDB 10.7, oddities included; where one is kept, a comment says so.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

from ec57.beats import AAMI_CLASS, FOREVER, NOTHING, UNCOUNTED, UNREADABLE, Beat, beats
from ec57.ratio import Ratio

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ec57.annotations import Annotations

LEARNING_S = 300.0
MATCH_WINDOW_S = 0.15

_CLASSES = frozenset(AAMI_CLASS.values())
_ALONE = frozenset({NOTHING, UNREADABLE})


class Pair(NamedTuple):
    """Two beats that belong together, or one that is alone."""

    reference: str  # N S V F Q; O or X for an extra beat of the test; * for one during ventricular fibrillation
    test: str  # N S V F Q; O or X for a beat that was missed
    reference_sample: int | None
    test_sample: int | None
    rr_error: int | None  # samples; the intervals that end here, when both have one

    @property
    def sample(self) -> int:
        """Where to look."""
        found = self.test_sample if self.reference_sample is None else self.reference_sample
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class BeatScore:
    """How often each reference class met each test class, and what follows from it.

    Keys of `pairs` are those of the standard's matrix: `Vn` is a ventricular beat that the test called normal.
    """

    pairs: Mapping[str, int]
    rr_intervals: int = 0
    rr_squared_error_ms2: float = 0.0
    shutdown_s: int = 0

    def __add__(self, other: BeatScore) -> BeatScore:
        return BeatScore(
            dict(Counter(self.pairs) + Counter(other.pairs)),
            self.rr_intervals + other.rr_intervals,
            self.rr_squared_error_ms2 + other.rr_squared_error_ms2,
            self.shutdown_s + other.shutdown_s,
        )

    def count(self, reference: str, test: str) -> int:
        """Beats of any of the `reference` classes that the test put into any of the `test` classes."""
        return sum(self.pairs.get(row + column, 0) for row in reference for column in test)

    @property
    def qrs_se(self) -> Ratio:
        """Sensitivity of detection: beats found, of those there."""
        return Ratio(self.count("NSVFQ", "nsvfq"), self.count("NSVFQ", "nsvfqox"))

    @property
    def qrs_ppv(self) -> Ratio:
        """Positive predictivity of detection: beats there, of those found."""
        return Ratio(self.count("NSVFQ", "nsvfq"), self.count("NSVFQOX", "nsvfq"))

    @property
    def veb_se(self) -> Ratio:
        """Sensitivity to ventricular ectopic beats."""
        return Ratio(self.count("V", "v"), self.count("V", "nsvfqox"))

    @property
    def veb_ppv(self) -> Ratio:
        """A fusion or unclassifiable beat called ventricular is no error: its ventricular part is real."""
        return Ratio(self.count("V", "v"), self.count("NSVOX", "v"))

    @property
    def veb_fpr(self) -> Ratio:
        """Beats falsely called ventricular, of all that are not."""
        false = self.count("NSOX", "v")
        return Ratio(false, self.count("NSFQOX", "nsfq") + false)

    @property
    def sveb_se(self) -> Ratio:
        """Sensitivity to supraventricular ectopic beats."""
        return Ratio(self.count("S", "s"), self.count("S", "nsvfqox"))

    @property
    def sveb_ppv(self) -> Ratio:
        """An unclassifiable beat called supraventricular is no error; a fusion beat is one."""
        return Ratio(self.count("S", "s"), self.count("NSVFOX", "s"))

    @property
    def rr_error_ms(self) -> float | None:
        """Root mean square error of the RR intervals."""
        return sqrt(self.rr_squared_error_ms2 / self.rr_intervals) if self.rr_intervals else None

    def statistics(self) -> dict[str, Ratio]:
        """The standard's figures under its names."""
        return {
            "QRS Se": self.qrs_se,
            "QRS +P": self.qrs_ppv,
            "VEB Se": self.veb_se,
            "VEB +P": self.veb_ppv,
            "VEB FPR": self.veb_fpr,
            "SVEB Se": self.sveb_se,
            "SVEB +P": self.sveb_ppv,
        }


def compare(
    reference: Annotations,
    test: Annotations,
    *,
    fs: float,
    length: int | None = None,
    start_s: float = LEARNING_S,
    window_s: float = MATCH_WINDOW_S,
    classes: Mapping[str, str] = AAMI_CLASS,
) -> BeatScore:
    """Score `test` against `reference` on a record of `length` samples at `fs` Hz.

    Without a length the comparison ends with the reference. Another start, window or table of classes than bxb's is
    for developers; say so when you report such a number.
    """
    walk = _Walk(reference, test, fs, length, start_s, window_s, classes)
    pairs: Counter[str] = Counter()
    intervals, squared_error = 0, 0
    for pair in walk:
        if _is_counted(pair):
            pairs[pair.reference + pair.test.lower()] += 1
        if pair.rr_error is not None:
            intervals += 1
            squared_error += pair.rr_error**2
    return BeatScore(dict(pairs), intervals, squared_error * (1000.0 / fs) ** 2, walk.shutdown_s)


def pair_beats(
    reference: Annotations,
    test: Annotations,
    *,
    fs: float,
    length: int | None = None,
    start_s: float = LEARNING_S,
    window_s: float = MATCH_WINDOW_S,
    classes: Mapping[str, str] = AAMI_CLASS,
) -> list[Pair]:
    """The pairs that `compare` counts, in order: those whose two labels differ are the errors to look at."""
    return [pair for pair in _Walk(reference, test, fs, length, start_s, window_s, classes) if _is_counted(pair)]


def _is_counted(pair: Pair) -> bool:
    if pair.reference in _CLASSES:
        return pair.test in _CLASSES | _ALONE
    return pair.reference in _ALONE and pair.test in _CLASSES


class _Annotator:
    """A place in a list of beats: the current one and the next."""

    def __init__(self, beats: list[Beat]) -> None:
        self._beats = beats
        self._at = 0

    @property
    def now(self) -> Beat:
        return self._beats[min(self._at, len(self._beats) - 1)]

    @property
    def next(self) -> Beat:
        return self._beats[min(self._at + 1, len(self._beats) - 1)]

    def step(self) -> None:
        self._at += 1


class _Walk:
    """Both annotators in step through the record; iterating it (once) yields the pairs."""

    def __init__(
        self,
        reference: Annotations,
        test: Annotations,
        fs: float,
        length: int | None,
        start_s: float,
        window_s: float,
        classes: Mapping[str, str],
    ) -> None:
        self._fs = fs
        self._start, self._window = samples(start_s, fs), samples(window_s, fs)
        self._end = length
        if length is not None and length < self._start:
            raise ValueError(f"the record of {length} samples ends before the comparison starts, at {self._start}")
        self._reference = _Annotator(beats(reference.at(fs), self._window, length, classes, is_reference=True))
        self._test = _Annotator(beats(test.at(fs), self._window, length, classes, is_reference=False))

    @property
    def shutdown_s(self) -> int:
        """Seconds for which the test had declared the signal unreadable, as far as it was read."""
        return int((self._test.now.shutdown_ticks + samples(0.5, self._fs)) / samples(1, self._fs))

    def __iter__(self) -> Iterator[Pair]:
        reference, test, window = self._reference, self._test, self._window
        while reference.now.sample < self._start:
            reference.step()
        while test.next.sample < self._start:
            test.step()

        # The test's last beat of the learning period may belong to the first one of the reference after it.
        ahead = reference.now.sample - test.now.sample
        if ahead <= window and ahead < abs(reference.now.sample - test.next.sample):
            yield self._matched()
        else:
            test.step()
            # An unmatched beat of the test just after the start may belong to the learning period: it is not held
            # against it.
            distance = abs(reference.now.sample - test.now.sample)
            if test.now.sample - self._start <= window and abs(reference.now.sample - test.next.sample) < distance:
                test.step()

        while self._goes_on():
            if test.now.sample < reference.now.sample:
                yield self._matched() if self._is_match(test, reference) else self._extra()
            else:
                yield self._matched() if self._is_match(reference, test) else self._missed()

    def _goes_on(self) -> bool:
        if self._end is None:
            return self._reference.now.sample != FOREVER
        return min(self._reference.now.sample, self._test.now.sample) <= self._end

    def _is_match(self, early: _Annotator, late: _Annotator) -> bool:
        """Whether the beat that comes first belongs to the other annotator's current one.

        Not so when the next beat of the early one is as near or nearer; unless that next beat is claimed by the late
        annotator's next one, which at more than 200 beats a minute happens.
        """
        distance = late.now.sample - early.now.sample
        rival = abs(late.now.sample - early.next.sample)
        claimed = abs(late.next.sample - early.next.sample) < rival
        return distance <= self._window and (distance < rival or claimed)

    def _matched(self) -> Pair:
        reference, test = self._reference.now, self._test.now
        pair = Pair(reference.label, test.label, reference.sample, test.sample, self._rr_error())
        self._reference.step()
        self._test.step()
        return pair

    def _extra(self) -> Pair:
        reference, test = self._reference.now, self._test.now
        if reference.fibrillation.hold(test.sample):
            nothing = UNCOUNTED
        else:
            nothing = UNREADABLE if reference.shutdown.hold(test.sample) else NOTHING
        pair = Pair(nothing, test.label, None, test.sample, self._rr_error())
        self._test.step()
        return pair

    def _missed(self) -> Pair:
        reference = self._reference.now
        nothing = UNREADABLE if self._test.now.shutdown.hold(reference.sample) else NOTHING
        pair = Pair(reference.label, nothing, reference.sample, None, self._rr_error())
        self._reference.step()
        return pair

    def _rr_error(self) -> int | None:
        """Taken at extra and missed beats too, as bxb does: there it compares intervals that do not correspond."""
        reference_rr, test_rr = self._reference.now.rr, self._test.now.rr
        return reference_rr - test_rr if reference_rr > 0 and test_rr > 0 else None


def samples(seconds: float, fs: float) -> int:
    """Seconds in samples, rounded as WFDB rounds them: 150 ms at 250 Hz are 38."""
    return int(seconds * fs + 0.5)
