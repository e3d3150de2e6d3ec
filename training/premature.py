"""Premature beats made from normal ones: a piece of the pause before a beat is taken out of the recording.

Few people in the public databases have many supraventricular beats, and their beats are soon known by heart. This makes
such beats of hundreds of others, whose normal ones the network sees as well.
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

    Sample x of a piece is sample `x + shift` of the lead `row`, times `gain`.
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
    gain: float  # by which his signal is as large as the other's, about


def is_regular(windows: NDArray[np.int64]) -> bool:
    """Normal beats only, evenly spaced, each with its window."""
    intervals = np.diff(windows[:, 0])
    if len(intervals) < 8 or not (windows[:, 1] == 1).all() or not (windows[:, 2] == ONE_BEAT[N]).all():
        return False
    return bool(np.quantile(np.abs(intervals / np.median(intervals) - 1), 0.75) < REGULAR)


class _Piecing:
    """Pieces one after another; `shift` leads from the time that results to that of the host."""

    def __init__(self, row: int, counts: NDArray[np.int16]) -> None:
        self.counts = counts.astype(float)
        self._row = row
        self.at: list[float] = []
        self.shifts, self.rows, self.gains = [0.0], [row], [1.0]

    @property
    def shift(self) -> int:
        return int(self.shifts[-1])

    def cut(self, end: int, samples: int) -> None:
        """The piece of `samples` before host sample `end` is left out; some more or less, so that both ends meet."""
        tried = np.arange(samples - SEEK, samples + SEEK + 1)
        samples = int(tried[np.abs(self.counts[end - tried] - self.counts[end]).argmin()])
        self._go_on(end - samples - self.shift, self._row, self.shift + samples, 1.0)

    def insert(self, donor: Donor, beat: NDArray[np.int64], after: int, early: int, pause: int) -> int | None:
        """A ventricular beat `early` samples after the host's R peak `after`, before the beat that is `pause` later.

        Returns where its R peak came to be; None, and nothing done, if the piece would be too short.
        """
        was, peak, following = (int(place) for place in beat)
        lead_in = min(early - AFTER_QRS, BEFORE_R[1], peak - was - AFTER_QRS)
        tail = min(pause - BEFORE_R[1], following - peak - BEFORE_R[1], AFTER_V[1])
        if lead_in < BEFORE_R[0] // 2 or tail < AFTER_V[0]:
            return None
        leaves = after + early - lead_in
        tried = peak - lead_in + np.arange(-SEEK, SEEK + 1)
        if tried[0] < 0 or peak + tail + SEEK >= len(donor.counts) or leaves >= len(self.counts):
            return None
        enters = int(tried[np.abs(donor.gain * donor.counts[tried] - self.counts[leaves]).argmin()])
        joint = leaves - self.shift
        self._go_on(joint, donor.row, enters - joint, donor.gain)
        return peak - (enters - joint)

    def resume(self, donor: Donor, donor_end: int, host_from: int) -> None:
        """Back to the host, near its sample `host_from`, when the donor's `donor_end` is reached."""
        tried = np.clip(host_from + np.arange(-SEEK, SEEK + 1), 0, len(self.counts) - 1)
        host_from = int(tried[np.abs(self.counts[tried] - donor.gain * donor.counts[donor_end]).argmin()])
        joint = donor_end - self.shift
        self._go_on(joint, self._row, host_from - joint, 1.0)

    def _go_on(self, at: int, row: int, shift: int, gain: float) -> None:
        self.at.append(float(at))
        self.shifts.append(float(shift))
        self.rows.append(row)
        self.gains.append(gain)

    def cuts(self) -> Cuts:
        return Cuts.of(self.at, self.shifts, self.rows, self.gains)


def made_premature(
    windows: NDArray[np.int64],
    counts: NDArray[np.int16],
    rng: np.random.Generator,
    row: int = 0,
    donor: Donor | None = None,
    supraventricular: bool = True,  # noqa: FBT001, FBT002
) -> tuple[NDArray[np.int64], Cuts]:
    """Windows (place, is it a beat, truths) of the signal `counts`, lead `row`, with premature beats, and how."""
    places = windows[:, 0]
    usual = float(np.median(np.diff(places)))
    begins, goes_on = rng.uniform(0.02, 0.3), rng.choice([0.0, 0.0, 0.5, 0.85])
    ratio = rng.uniform(EARLIEST, LATEST)
    v_begins, v_ratio, compensates = rng.uniform(0.03, 0.25), rng.uniform(0.45, 0.85), rng.uniform(0.8, 1.05)
    pieces = _Piecing(row, counts)
    made: list[tuple[int, int, int, int]] = []
    was = False
    for index in range(len(windows)):
        place, is_beat, truth, rhythm = (int(value) for value in windows[index])
        room = index >= 4 and len(pieces.at) + 2 <= MOST_CUTS
        was = room and supraventricular and bool(rng.random() < (goes_on if was else begins))
        if was:
            wanted = min(max(rng.normal(ratio, 0.04), EARLIEST), LATEST) * usual
            samples = round(place - int(places[index - 1]) - wanted)
            end = place - int(rng.integers(*BEFORE_R))
            most = end - int(places[index - 1]) - AFTER_QRS
            was = 10 + SEEK <= samples <= most - SEEK
            if was:
                pieces.cut(end, samples)
                truth = ONE_BEAT[S]
        elif room and donor is not None and rng.random() < v_begins:
            early = round(min(max(rng.normal(v_ratio, 0.05), 0.4), 0.95) * usual)
            pause = round((2 * usual - early) * compensates)
            beat = donor.beats[rng.integers(len(donor.beats))]
            peak = pieces.insert(donor, beat, int(places[index - 1]), early, pause)
            if peak is not None:
                made.append((peak, 1, ONE_BEAT[V], CALM))
                tail = min(pause - BEFORE_R[1], int(beat[2] - beat[1]) - BEFORE_R[1], AFTER_V[1])
                pieces.resume(donor, int(beat[1]) + tail, place - BEFORE_R[1])
        made.append((place - pieces.shift, is_beat, truth, rhythm))
    found = np.array(made, np.int64)
    if pieces.at:
        normal = found[:, 3] == bits(NORMAL)
        found[normal, 3] = CALM
    return found, pieces.cuts()
