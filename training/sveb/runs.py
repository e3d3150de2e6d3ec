"""Which runs of beats a step is trained on: of annotated people, of the challenge, and with made-up rhythms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from dsp.beat_picture import POINT_SAMPLES
from dsp.intervals import FEATURES, REMEMBERED, features, log_rr
from dsp.signal import R_INDEX, RATE_HZ, WINDOW_SAMPLES
from training.labels import ANY_BEAT, ONE_BEAT, OTHER, N, V, bits
from training.packed import Packed
from training.retimed import BEFORE_R, BEFORE_R_PART, QRS, REGULAR, may_be_retimed
from training.runs import ANNOTATED, STRETCH, as_detected, shared_weights
from training.sveb.kinds import KINDS, planned
from training.sveb.timing import LEAD_IN, Timing, timed

BEATS, POINTS_OF_RUN = 96, 12288
"""Beats of a run at most, and its points: 98 s."""

AFTER_R = WINDOW_SAMPLES - R_INDEX + 10
"""Samples that a beat needs after it."""

NOT_S = bits(N, V)
"""What is known of the beats of a record with atrial fibrillation."""

HOST_BEATS = 40
"""Of a stretch of a long recording that hosts made-up rhythms; one of the challenge is taken whole."""

CLEAR, LARGE = 2.0, 0.06
"""A host's P wave is visible when it is so many times its own scatter, and so much of the QRS complex."""

HOSTS = {"cinc2017": 0.6, "qtdb": 0.2, "annotated": 0.2}
"""How often they are drawn: from many people before from few."""

USUAL_SINUS = 110, 420
"""Samples: bounds of the usual sinus interval of a made-up rhythm."""

P_SEEN = 0.7
"""How often atria that fibrillate now and then are made of a host with visible P waves, so that its junction can
escape. With P waves that are not visible a junctional beat looks like any other."""

MADE = ("kept", "line_begins", "line_ends", "added", "added_level", "waves")
"""What `training.sveb.timing.Timing` says more of the runs that are made up: they come first."""


@dataclass(frozen=True, slots=True)
class Host:
    """A stretch of a regular, normal recording."""

    row: int  # of the packed leads
    peaks: NDArray[np.int64]
    p_visible: bool
    origin: str  # a key of HOSTS


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive beats of one lead. What pads them has the truth ANY_BEAT."""

    row: np.int64
    place: NDArray[np.float32]  # (POINTS_OF_RUN,) the sample that stands at each point
    known: NDArray[np.bool_]
    at: NDArray[np.int64]  # (BEATS,) the point of each R peak, as a detector would find it
    truth: NDArray[np.int64]
    rr: NDArray[np.float32]  # (BEATS, FEATURES)


class Runs(Dataset[dict[str, Tensor]]):
    """`runs[step]`: the fields of `Run` and, of its first ones, MADE; each `(run, ...)`.

    Step by step from the seed alone, so that a training that goes on is one that never stopped.
    """

    def __init__(self, packed: Packed, how: dict[str, Any]) -> None:
        self._how, self._length = how, np.diff(packed.start)
        windows = packed.windows[packed.windows[:, 2] == 1].astype(np.int64)
        self._beats = windows[np.lexsort((windows[:, 1], windows[:, 0]))]
        self._first = np.searchsorted(self._beats[:, 0], np.arange(len(packed.record) + 1))
        self._anchors, self._edges = self._annotated_beats(packed)
        challenge = np.flatnonzero((packed.database == "cinc2017") & ~packed.validation)
        self._normal, self._fibrillating = (
            [row for row in challenge.tolist() if self._is_all(row, truth)] for truth in (ONE_BEAT[N], NOT_S)
        )
        self.hosts = self._find_hosts(packed)
        self._by_origin = {
            (name, seen): [host for host in self.hosts if host.origin == name and host.p_visible >= seen]
            for name in HOSTS
            for seen in (False, True)
        }

    def __len__(self) -> int:
        return int(self._how["steps"])

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rng, how = np.random.default_rng([self._how["seed"], step]), self._how
        made = [self.made(str(rng.choice(list(KINDS), p=_shares())), rng) for _ in range(how["made"])]
        runs = [run for run, _ in made] + [self._annotated(rng) for _ in range(how["annotated"])]
        runs += [self._whole(self._normal, rng) for _ in range(how["normal"])]
        runs += [self._whole(self._fibrillating, rng) for _ in range(how["fibrillating"])]
        return stacked(runs, [timing for _, timing in made])

    def made(self, kind: str, rng: np.random.Generator) -> tuple[Run, Timing]:
        """A rhythm of this kind, of any host or, where junctional beats come, of one whose P waves are visible."""
        escapes = kind in {"junction", "rhythm"} or (kind == "mix" and bool(rng.random() < P_SEEN))
        host = self._host(rng, seen=escapes)
        usual = float(np.clip(np.median(np.diff(host.peaks)) * np.exp(rng.normal(0, 0.12)), *USUAL_SINUS))
        plan = planned(kind, usual, BEATS + 4, rng, escapes=escapes)
        timing = timed(plan, host.peaks, int(self._length[host.row]), POINTS_OF_RUN, rng)
        truth = np.array([each.truth for each in plan.beats])
        return _run(host.row, timing.place, timing.known, timing.r_peaks, truth, rng), timing

    def _annotated(self, rng: np.random.Generator) -> Run:
        """With a beat of one class anywhere in it."""
        anchor = self._anchors[min(int(np.searchsorted(self._edges, rng.random())), len(self._anchors) - 1)]
        row = self._beats[anchor, 0]
        first, last = self._first[row], self._first[row + 1]
        begin = int(np.clip(anchor - rng.integers(10, BEATS), first, max(first, last - BEATS)))
        return self._as_recorded(self._beats[begin : min(begin + BEATS + 8, last)], rng)

    def _whole(self, rows: list[int], rng: np.random.Generator) -> Run:
        return self._as_recorded(self._of_row(rows[rng.integers(len(rows))]), rng)

    def _as_recorded(self, beats: NDArray[np.int64], rng: np.random.Generator) -> Run:
        """But for a heart that beats a little faster or slower."""
        row, begin = int(beats[0, 0]), beats[0, 1] - LEAD_IN
        faster = 1 + STRETCH * (2 * rng.random() - 1)
        place = begin + np.arange(POINTS_OF_RUN) * POINT_SAMPLES * faster
        last = self._length[row] - 1
        known = (place >= 0) & (place < last)
        return _run(row, np.minimum(place, last), known, (beats[:, 1] - begin) / faster, beats[:, 3], rng)

    def _of_row(self, row: int) -> NDArray[np.int64]:
        return self._beats[self._first[row] : self._first[row + 1]]

    def _is_all(self, row: int, truth: int) -> bool:
        beats = self._of_row(row)
        return len(beats) >= 12 and bool((beats[:, 3] == truth).all())

    def _annotated_beats(self, packed: Packed) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Of the beats around which runs are drawn, their indices and cumulated probabilities."""
        row, truth = self._beats[:, 0], self._beats[:, 3]
        may = ~packed.validation[row] & np.isin(packed.database[row], ANNOTATED) & np.isin(truth, ONE_BEAT)
        chosen = np.flatnonzero(may)
        patients = np.char.add(np.char.add(packed.database, "/"), packed.record)
        _, patient = np.unique(patients, return_inverse=True)
        classes, shares = np.log2(truth[chosen]).astype(np.int64), np.array(self._how["shares"])
        weights = shared_weights(classes, patient[row[chosen]], shares, self._how["patient_power"])
        return chosen, np.cumsum(weights) / weights.sum()

    def _host(self, rng: np.random.Generator, *, seen: bool) -> Host:
        hosts = self._by_origin[str(rng.choice(list(HOSTS), p=list(HOSTS.values()))), seen]
        hosts = hosts or [host for host in self.hosts if host.p_visible >= seen]
        return hosts[rng.integers(len(hosts))]

    def _find_hosts(self, packed: Packed) -> list[Host]:
        found = []
        for row in self._normal:
            found.append((row, self._of_row(row)[:, 1], REGULAR, "cinc2017"))
        for row in np.flatnonzero(np.isin(packed.database, ANNOTATED) & ~packed.validation).tolist():
            beats, database = self._of_row(row), packed.database[row]
            normal = beats[:, 3] == ONE_BEAT[N]
            if database == "mitdb":
                normal &= (beats[:, 4] & bits(OTHER)) > 0
            origin, step, varies = ("qtdb", 1, REGULAR) if database == "qtdb" else ("annotated", 5, 0.1)
            for begin in range(0, len(beats) - HOST_BEATS, step * HOST_BEATS):
                stretch = slice(begin, begin + HOST_BEATS)
                if normal[stretch].all():
                    found.append((row, beats[stretch, 1], varies, origin))
        return [
            Host(row, peaks, _p_visible(packed.counts[packed.start[row] : packed.start[row + 1]], peaks), origin)
            for row, peaks, varies, origin in found
            if may_be_retimed(peaks, varies)
        ]


def stacked(runs: list[Run], timings: list[Timing]) -> dict[str, Tensor]:
    """As `Runs` gives them; the timings are those of the first runs."""
    drawn = {name: np.stack([getattr(run, name) for run in runs]) for name in Run.__slots__}
    for name in MADE:
        of_made = [getattr(timing, name).astype(np.float32) for timing in timings]
        drawn[name] = np.array(of_made, np.float32).reshape(-1, POINTS_OF_RUN)
    return {name: torch.from_numpy(values) for name, values in drawn.items()}


def rr_features(r_peaks: NDArray[np.int64]) -> NDArray[np.float32]:
    """Of beats with these R peaks in samples, from the first one of a session on: `(beat, FEATURES)`, as the daemon's.

    What is known of a beat ends with the interval before it.
    """
    history = np.full(REMEMBERED + len(r_peaks), np.nan)
    history[REMEMBERED + 1 :] = log_rr(np.maximum(np.diff(r_peaks), 1) / RATE_HZ)
    return features(sliding_window_view(history, REMEMBERED)[1:])


def _run(
    row: int,
    place: NDArray[np.float64],
    known: NDArray[np.bool_],
    r_peaks: NDArray[np.float64],
    truth: NDArray[np.int64],
    rng: np.random.Generator,
) -> Run:
    """R peaks in samples from the first point; they are found as a detector would."""
    beats = np.stack([np.round(r_peaks).astype(np.int64), np.ones_like(truth), truth, truth], axis=1)
    beats = as_detected(beats, rng)
    inside = (beats[:, 0] > 0) & (beats[:, 0] < POINT_SAMPLES * POINTS_OF_RUN - AFTER_R)
    beats = beats[inside][:BEATS]
    count = len(beats)
    at, truths, rr = np.zeros(BEATS, np.int64), np.full(BEATS, ANY_BEAT), np.zeros((BEATS, FEATURES), np.float32)
    at[:count], truths[:count] = np.round(beats[:, 0] / POINT_SAMPLES), beats[:, 2]
    if count:
        rr[:count] = rr_features(beats[:, 0])
    return Run(np.int64(row), place.astype(np.float32), known, at, truths, rr)


def _shares() -> list[float]:
    return [share for share, _ in KINDS.values()]


def _p_visible(counts: NDArray[np.int16], peaks: NDArray[np.int64]) -> bool:
    """Whether what comes before the QRS complexes stands out over its own scatter and is large enough."""
    ecg, found = counts.astype(float), []
    for peak, interval in zip(peaks[1:], np.diff(peaks), strict=True):
        before = int(min(BEFORE_R, BEFORE_R_PART * interval))
        if peak - before < 1 or peak > len(ecg) - 2:
            continue
        p_wave = ecg[peak - before : peak - QRS + 1]
        p_wave = np.interp(np.linspace(0, len(p_wave) - 1, 26), np.arange(len(p_wave)), p_wave)
        found.append(p_wave - np.linspace(p_wave[0], p_wave[-1], 26))
    if len(found) < 6:
        return False
    usual = np.median(found, axis=0)
    scatter = 1.48 * np.median(np.abs(found - usual))
    height, r_wave = np.abs(usual).max(), np.median(np.abs(ecg[np.clip(peaks, 0, len(ecg) - 1)]))
    return bool(height > CLEAR * max(scatter, 1e-6) and height > LARGE * max(r_wave, 1e-6))
