"""Premature beats for people who have none: a piece of the pause before a normal beat is taken out of the recording, or
a ventricular beat of somebody else is put between two of theirs.

Few people in the public databases have many premature beats, and these are soon known by heart. This makes such beats
of hundreds of others, whose normal ones the network sees as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.labels import CALM, NORMAL, ONE_BEAT, N, S, V, bits

MOST_CUTS = 48
EARLIEST, LATEST = 0.55, 0.85
"""Of the usual interval: how early such beats come."""

AFTER_QRS, BEFORE_R = 40, (45, 65)
"""Samples around the two beats that stay as they were: a QRS complex, and P wave with QRS."""

SEEK = 8
"""Samples by which a cut may be longer or shorter, to be where both ends meet."""

REGULAR = 0.08
"""The most by which three intervals of four of a run differ from the usual one."""

AFTER_V = (90, 300)
"""Samples of the donor that follow on the R peak of a ventricular beat: at least, and at most."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """How a run is put together of pieces: from `at` on, in the time that results, the next one.

    Sample x of a piece is sample `x + shift` of the lead `row`, times `gain`, in units of the packed leads' counts.
    """

    at: NDArray[np.float32]  # (MOST_CUTS,) rising; infinite where there is none
    shift: NDArray[np.float32]  # (MOST_CUTS + 1,) before the first cut, after the first, ...
    row: NDArray[np.int64]
    gain: NDArray[np.float32]

    @classmethod
    def whole(cls, row: int) -> Cuts:
        """Nothing was cut."""
        return cls.of([], [0.0], [row], [1.0])

    @classmethod
    def of(cls, at: list[float], shift: list[float], row: list[int], gain: list[float]) -> Cuts:
        rest = MOST_CUTS - len(at)
        return cls(
            np.array([*at, *[np.inf] * rest], np.float32),
            np.array([*shift, *[shift[-1]] * rest], np.float32),
            np.array([*row, *[row[-1]] * rest], np.int64),
            np.array([*gain, *[gain[-1]] * rest], np.float32),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Donor:
    """Somebody's ventricular beats, to be put between the beats of somebody else."""

    row: int
    counts: NDArray[np.int16]  # the whole lead
    beats: NDArray[np.int64]  # (beat, 3): the R peak before, the ventricular one, the one after
    gain: float  # with which, in counts, his signal is about as large as the other's


def is_regular(windows: NDArray[np.int64]) -> bool:
    """Normal beats only, evenly spaced, each with its window."""
    intervals = np.diff(windows[:, 0])
    if len(intervals) < 8 or not (windows[:, 1] == 1).all() or not (windows[:, 2] == ONE_BEAT[N]).all():
        return False
    return bool(np.quantile(np.abs(intervals / np.median(intervals) - 1), 0.75) < REGULAR)


class _Splice:
    """Pieces one after another, of the host's signal and of a donor's."""

    def __init__(self, row: int, counts: NDArray[np.int16]) -> None:
        self._host, self._counts = row, counts.astype(float)
        self._at: list[float] = []
        self._shift, self._row, self._gain = [0.0], [row], [1.0]

    @property
    def is_whole(self) -> bool:
        return not self._at

    @property
    def has_room(self) -> bool:
        """For two cuts more."""
        return len(self._at) + 2 <= MOST_CUTS

    @property
    def shift(self) -> int:
        """From the time that results to that of the piece that is going on."""
        return int(self._shift[-1])

    def take_out(self, before: int, samples: int) -> None:
        """So many samples of the host, up to its sample `before`; some more or less, so that both ends meet."""
        tried = np.arange(samples - SEEK, samples + SEEK + 1)
        samples = int(tried[np.abs(self._counts[before - tried] - self._counts[before]).argmin()])
        self._go_on(before - samples - self.shift, self._host, before, 1.0)

    def put_in(
        self, donor: Donor, beat: NDArray[np.int64], between: tuple[int, int], early: int, pause: int
    ) -> int | None:
        """A donor's ventricular beat between two R peaks of the host, `early` samples after the first of them.

        After `pause`, or the donor's own if that is shorter, the host goes on before the P wave of the second. Returns
        where the beat's R peak comes to be; None, and nothing done, where the donor's beats are too close.
        """
        was, peak, following = (int(place) for place in beat)
        lead_in = min(early - AFTER_QRS, BEFORE_R[1], peak - was - AFTER_QRS)
        tail = min(min(pause, following - peak) - BEFORE_R[1], AFTER_V[1])
        leaves, comes_back = between[0] + early - lead_in, between[1] - BEFORE_R[1]
        near = np.arange(-SEEK, SEEK + 1)
        if lead_in < BEFORE_R[0] // 2 or tail < AFTER_V[0] or comes_back < SEEK or peak - lead_in < SEEK:
            return None
        theirs = donor.gain * donor.counts[peak - lead_in + near]
        enters = peak - lead_in + int(near[np.abs(theirs - self._counts[leaves]).argmin()])
        self._go_on(leaves - self.shift, donor.row, enters, donor.gain)
        placed, ends = peak - self.shift, peak + tail
        ours = self._counts[comes_back + near]
        comes_back += int(near[np.abs(ours - donor.gain * donor.counts[ends]).argmin()])
        self._go_on(ends - self.shift, self._host, comes_back, 1.0)
        return placed

    def _go_on(self, at: int, row: int, sample: int, gain: float) -> None:
        """From `at` on, in the time that results, with that sample of that lead."""
        self._at.append(float(at))
        self._shift.append(float(sample - at))
        self._row.append(row)
        self._gain.append(gain)

    def cuts(self) -> Cuts:
        return Cuts.of(self._at, self._shift, self._row, self._gain)


def made_premature(
    windows: NDArray[np.int64],
    row: int,
    counts: NDArray[np.int16],
    rng: np.random.Generator,
    donor: Donor | None = None,
    *,
    supraventricular: bool = True,
) -> tuple[NDArray[np.int64], Cuts]:
    """Windows (place, is it a beat, truths) of the signal `counts`, lead `row`, with premature beats, and how.

    Some of his beats come early (`supraventricular`), and beats of the donor, if there is one, stand between.
    """
    places = windows[:, 0].astype(int)
    usual = float(np.median(np.diff(places)))
    ratio, begins, goes_on = rng.uniform(EARLIEST, LATEST), rng.uniform(0.02, 0.3), rng.choice([0.0, 0.0, 0.5, 0.85])
    donors_ratio, donated, made_up = rng.uniform(0.45, 0.85), rng.uniform(0.03, 0.25), rng.uniform(0.8, 1.05)
    splice = _Splice(row, counts)
    made: list[tuple[int, int, int, int]] = []
    was = False
    for index, (place, is_beat, truth, rhythm) in enumerate(windows.tolist()):
        may, before = index >= 4 and splice.has_room, int(places[index - 1])
        label = truth
        was = may and supraventricular and bool(rng.random() < (goes_on if was else begins))
        if was:
            wanted = min(max(rng.normal(ratio, 0.04), EARLIEST), LATEST) * usual
            samples = round(place - before - wanted)
            end = place - int(rng.integers(*BEFORE_R))
            was = 10 + SEEK <= samples <= end - before - AFTER_QRS - SEEK
            if was:
                splice.take_out(end, samples)
                label = ONE_BEAT[S]
        elif may and donor and rng.random() < donated:
            early = round(min(max(rng.normal(donors_ratio, 0.05), 0.4), 0.95) * usual)
            pause = round((2 * usual - early) * made_up)  # what came early is mostly made up for
            beat = donor.beats[rng.integers(len(donor.beats))]
            placed = splice.put_in(donor, beat, (before, place), early, pause)
            if placed is not None:
                made.append((placed, 1, ONE_BEAT[V], CALM))
        made.append((place - splice.shift, is_beat, label, rhythm))
    found = np.array(made, np.int64)
    if not splice.is_whole:
        found[found[:, 3] == bits(NORMAL), 3] = CALM
    return found, splice.cuts()
