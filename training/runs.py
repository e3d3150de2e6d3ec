"""Which windows a step is trained on: runs of consecutive windows of one person, drawn by class and patient.

All on the CPU and in numpy, because the RR intervals are put into numbers by the daemon's own `dsp.intervals`. A step's
runs follow from the seed and its number alone, so a training that goes on is the one that was never interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dsp.intervals import REMEMBERED, features, log_rr
from dsp.signal import RATE_HZ
from training.labels import AF, ANY_BEAT, ANY_RHYTHM, CALM, NOISE, NORMAL, ONE_BEAT, OTHER, VF, VT, N, S, V, bits
from training.layout import BEATS
from training.packed import Packed
from training.premature import Cuts, Donor, is_regular, made_premature

OFFSET, JITTER, SLIP = 5, 1, 8
"""Samples: by how much a detector is off all through a run, from beat to beat, and now and then."""

STRETCH = 0.08
"""The share by which the heart of a run is made faster or slower."""

MOST_MISSED, MOST_FALSE = 0.03, 0.02
"""Of the beats of a run, in one run of two: what the detector does."""

MADE_OF = {"cinc2017": 0.6, "qtdb": 0.4}
"""Whose normal beats are made premature, and how often: those of many people who hardly have such beats."""

ANNOTATED = ("mitdb", "svdb", "qtdb")
TAUGHT = ("cinc2017", "vfdb", "cudb")
"""Whose beats somebody annotated, and whose beats other networks tell (`training.teach`)."""

RHYTHM_CLASS = {
    bits(AF): "AF",
    bits(VF): "VF",
    bits(VT): "VT",
    bits(NORMAL): "normal",
    CALM: "calm",
    bits(OTHER): "other",
    bits(NOISE): "noise",
}


@dataclass(frozen=True, slots=True)
class Runs:
    """Arrays `(run, window, ...)`; windows that pad a run are judged, but nothing is known of them."""

    rows: NDArray[np.int64]  # (run,) of the lead
    places: NDArray[np.int64]  # where R_INDEX lies
    rr: NDArray[np.float32]  # (run, window, RR_FEATURES)
    beat: NDArray[np.int64]  # truths
    rhythm: NDArray[np.int64]
    beats: NDArray[np.int64]  # the windows with a beat, in order
    before: NDArray[np.int64]  # how many beats came before
    stretch: NDArray[np.float32]  # (run,)
    drowned: NDArray[np.bool_]  # by noise that is added
    cut_at: NDArray[np.float32]  # (run, cut): see training.premature.Cuts
    cut_shift: NDArray[np.float32]  # (run, cut + 1)
    cut_row: NDArray[np.int64]
    cut_gain: NDArray[np.float32]

    @classmethod
    def of(cls, runs: list[dict[str, Any]]) -> Runs:
        return cls(**{field.name: np.stack([run[field.name] for run in runs]) for field in fields(cls)})


def run_of(
    row: int, windows: NDArray[np.int64], count: int, stretch: float, cuts: Cuts | None = None
) -> dict[str, Any]:
    """`count` windows (place, is it a beat, beat and rhythm truth) of one lead, of which the first begins a session."""
    windows, cuts = windows[:count], cuts or Cuts.whole(row)
    padded = np.concatenate([windows, np.repeat(windows[-1:], count - len(windows), axis=0)])
    padded[len(windows) :, 1:] = 0, ANY_BEAT, ANY_RHYTHM
    is_beat = padded[:, 1].astype(bool)
    beats = np.flatnonzero(is_beat)
    so_far = np.cumsum(is_beat)  # the beat of a window itself included
    history = np.concatenate([np.full(REMEMBERED + 1, np.nan), _log_rr(padded, stretch)])
    known = features(sliding_window_view(history, REMEMBERED))  # after no beat, one, two...
    return {
        "rows": np.int64(row),
        "places": padded[:, 0],
        "rr": np.concatenate([known[so_far], is_beat[:, None]], axis=1, dtype=np.float32),
        "beat": padded[:, 2].copy(),
        "rhythm": padded[:, 3].copy(),
        "beats": np.concatenate([beats, np.zeros(count - len(beats), np.int64)]),
        "before": so_far - is_beat,
        "stretch": np.float32(stretch),
        "drowned": np.zeros(count, bool),
        "cut_at": cuts.at,
        "cut_shift": cuts.shift,
        "cut_row": cuts.row,
        "cut_gain": cuts.gain,
    }


def _log_rr(windows: NDArray[np.int64], stretch: float) -> NDArray[np.float64]:
    """Between the beats among the windows."""
    return log_rr(np.diff(windows[windows[:, 1] == 1, 0]) / RATE_HZ / stretch)


def as_detected(windows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """The windows as a detector would have placed them: a little off, some missed, some false."""
    windows = windows.copy()
    count = len(windows)
    off = rng.integers(-OFFSET, OFFSET + 1) + rng.integers(-JITTER, JITTER + 1, count)
    slips = rng.random(count) < 0.03
    windows[:, 0] += off + slips * rng.integers(-SLIP, SLIP + 1, count)
    if count and rng.random() < 0.5:
        windows = windows[rng.random(count) >= rng.random() * MOST_MISSED]
    if rng.random() < 0.5 and len(windows) > 1:
        chosen = np.flatnonzero(rng.random(len(windows)) < rng.random() * MOST_FALSE)
        false = windows[chosen]
        false[:, 0] += rng.integers(50, 120, len(false))
        of_v = false[:, 2] == ONE_BEAT[V]  # the waves of such a beat are as broad as the beat
        false[:, 1], false[:, 2] = 1, np.where(of_v, ANY_BEAT, ONE_BEAT[N])
        windows = np.concatenate([windows, false])
    windows = windows[np.argsort(windows[:, 0], kind="stable")]
    return windows[np.diff(windows[:, 0], prepend=-RATE_HZ) >= 50] if len(windows) else windows


def shared_weights(
    groups: NDArray[np.int64],
    patients: NDArray[np.int64],
    shares: NDArray[np.float64],
    power: float,
) -> NDArray[np.float64]:
    """A weight for each window: group g gets `shares[g]`, and each patient in it (his windows there) ** power."""
    keys, index, totals = np.unique(np.stack([groups, patients]), axis=1, return_inverse=True, return_counts=True)
    index = index.reshape(-1)
    of_patient = totals.astype(float) ** power
    of_group = np.bincount(keys[0], of_patient, minlength=len(shares))
    part = np.asarray(shares)[keys[0]] * of_patient / of_group[keys[0]]
    weights: NDArray[np.float64] = part[index] / totals[index]
    return weights


def strata(packed: Packed) -> NDArray[np.str_]:
    """Of each window, the database and what its rhythm is; empty where nothing is known."""
    names = np.full(len(packed.windows), "", dtype="<U24")
    databases = packed.database[packed.windows[:, 0]]
    for truth, name in RHYTHM_CLASS.items():
        chosen = packed.windows[:, 4] == truth
        names[chosen] = np.char.add(databases[chosen], f"_{name}")
    return names


class Plan:
    """`plan[step]` is what that step is trained on, by why it was drawn.

    `beat`: runs around a beat of each class; `single`: beats without the memory of the ones before; `made`: runs with
    premature beats made from normal ones; `taught`: runs around a beat of each class that `training.teach` told;
    `rhythm`: runs around a window of each rhythm.
    """

    def __init__(self, packed: Packed, config: dict[str, dict[str, Any]]) -> None:
        how = self._how = config["training"]
        self._windows = packed.windows.astype(np.int64)
        self._first = np.searchsorted(self._windows[:, 0], np.arange(len(packed.record) + 1))
        self._counts, self._start = packed.counts, packed.start
        _, patient = np.unique(np.char.add(np.char.add(packed.database, "/"), packed.record), return_inverse=True)
        row, beat = self._windows[:, 0], self._windows[:, 3]
        trains, database = ~packed.validation[row], packed.database[row]

        shares = np.array([config["beats"][name] for name in BEATS])
        of_beats, of_taught = (
            self._of_classes(trains & np.isin(database, names), beat, patient[row], shares)
            for names in (ANNOTATED, TAUGHT)
        )
        if how["taught_runs"] and not np.isin(beat[trains & (database == "cinc2017")], ONE_BEAT[S]).any():
            raise SystemExit("nobody told beats: run training.teach, or train with --set training.taught_runs=0")

        chosen = np.flatnonzero(trains & np.isin(database, ANNOTATED) & (beat == ONE_BEAT[V]))
        nothing = np.zeros(len(chosen), np.int64)
        self._of_ventricular = _Choice(chosen, nothing, patient[row[chosen]], np.ones(1), how["patient_power"])

        is_beat = self._windows[:, 2] == 1  # in a recording of the challenge none may have been found
        chosen = np.flatnonzero(trains & is_beat & np.isin(database, list(MADE_OF)) & (beat == ONE_BEAT[N]))
        group = np.searchsorted(list(MADE_OF), database[chosen])
        of_normal = _Choice(chosen, group, patient[row[chosen]], np.array(list(MADE_OF.values())), 0.0)

        names = strata(packed)
        wanted = {name: share for name, share in config["rhythms"].items() if name in names[trains]}
        chosen = np.flatnonzero(trains & np.isin(names, list(wanted)))
        numbers = {name: number for number, name in enumerate(wanted)}
        group = np.array([numbers[name] for name in names[chosen].tolist()])
        of_rhythms = _Choice(chosen, group, patient[row[chosen]], np.array(list(wanted.values())), 0.0)
        self._choices = {"beat": of_beats, "single": of_beats, "made": of_normal}
        self._choices |= {"taught": of_taught, "rhythm": of_rhythms}

    def _of_classes(
        self, may: NDArray[np.bool_], beat: NDArray[np.int64], patient: NDArray[np.int64], shares: NDArray[np.float64]
    ) -> _Choice:
        """Of the windows that may be, those of which the class is known."""
        chosen = np.flatnonzero(may & np.isin(beat, ONE_BEAT))
        label = np.log2(beat[chosen]).astype(np.int64)
        return _Choice(chosen, label, patient[chosen], shares, self._how["patient_power"])

    def __len__(self) -> int:
        return int(self._how["steps"])

    def __getitem__(self, step: int) -> dict[str, Runs]:
        rng = np.random.default_rng([self._how["seed"], step])
        drawn = {}
        for name, choice in self._choices.items():
            anchors = choice(self._how[f"{name}_runs"], rng)
            if name == "single" and len(anchors):
                drawn[name] = self._singles(anchors, rng)
            elif len(anchors):
                runs = [self._run(name, anchor, rng) for anchor in anchors]
                if name == "rhythm":
                    _drown(runs[: round(self._how["drowned"] * len(runs))], rng)
                drawn[name] = Runs.of(runs)
        return drawn

    def _run(self, name: str, anchor: int, rng: np.random.Generator) -> dict[str, Any]:
        """A run with the window `anchor` anywhere in it."""
        row = int(self._windows[anchor, 0])
        first, last = self._first[row], self._first[row + 1]
        stretch = 1 + STRETCH * (2 * rng.random() - 1)
        count = self._how[f"{name}_windows"]
        start = np.clip(anchor - rng.integers(count), first, max(first, last - count))
        windows, cuts = self._windows[start : min(start + count + 8, last), 1:], None
        if name == "made":
            windows = windows[windows[:, 1] == 1]
            windows = windows[np.argsort(windows[:, 0])]
            if is_regular(windows):
                donor = self._donor(row, rng) if rng.random() < self._how["donated"] else None
                early = donor is None or bool(rng.random() < 0.5)
                windows, cuts = made_premature(windows, row, self._lead(row), rng, donor, supraventricular=early)
        detected = as_detected(windows, rng)
        return run_of(row, detected if len(detected) else windows, count, stretch, cuts)

    def _lead(self, row: int) -> NDArray[np.int16]:
        return self._counts[self._start[row] : self._start[row + 1]]

    def _donor(self, host: int, rng: np.random.Generator) -> Donor | None:
        """Ventricular beats of one stretch of one person, each with normal beats around it."""
        anchor = int(self._of_ventricular(1, rng)[0])
        row = int(self._windows[anchor, 0])
        near = self._windows[max(self._first[row], anchor - 60) : min(self._first[row + 1], anchor + 60)]
        near = near[near[:, 2] == 1]
        middle = np.flatnonzero(near[1:-1, 3] == ONE_BEAT[V]) + 1
        beats = near[middle[:, None] + [-1, 0, 1], 1]
        beats = beats[(np.diff(beats, axis=1) >= [75, 150]).all(1)]
        if not len(beats):
            return None
        counts, normal = self._lead(row), self._windows[self._first[host] : self._first[host + 1], 1]
        height = np.median(np.abs(self._lead(host)[normal])) / max(np.median(np.abs(counts[beats[:, 0]])), 1.0)
        sign = 1.0 if rng.random() < 0.7 else -1.0
        return Donor(row, counts, beats, sign * float(height * np.exp(0.3 * rng.standard_normal())))

    def _singles(self, anchors: NDArray[np.int64], rng: np.random.Generator) -> Runs:
        """Runs of one beat each, with its intervals; what a network remembers of those before it is not told."""
        count = len(anchors)
        row = self._windows[anchors, 0]
        stretch = 1 + STRETCH * (2 * rng.random(count) - 1)
        back = anchors[:, None] + np.arange(-REMEMBERED, 1)
        places = self._windows[np.maximum(back, 0), 1] + rng.integers(-JITTER, JITTER + 1, back.shape)
        places = np.where(back >= self._first[row, None], places, np.nan)
        known = features(log_rr(np.maximum(np.diff(places, axis=1), 1) / RATE_HZ / stretch[:, None]))
        off = rng.integers(-OFFSET, OFFSET + 1, count) + (rng.random(count) < 0.03) * rng.integers(
            -SLIP, SLIP + 1, count
        )
        nothing = np.zeros((count, 1), np.int64)
        return Runs(
            rows=row,
            places=self._windows[anchors, 1:2] + off[:, None],
            rr=np.concatenate([known, np.ones((count, 1), np.float32)], axis=1)[:, None],
            beat=self._windows[anchors, 3:4],
            rhythm=self._windows[anchors, 4:5],
            beats=nothing,
            before=nothing,
            stretch=stretch.astype(np.float32),
            drowned=nothing.astype(bool),
            cut_at=np.full((count, 1), np.inf, np.float32),
            cut_shift=np.zeros((count, 2), np.float32),
            cut_row=np.repeat(row[:, None], 2, axis=1),
            cut_gain=np.ones((count, 2), np.float32),
        )


class _Choice:
    """Windows, drawn in proportion to their weights."""

    def __init__(
        self,
        windows: NDArray[np.int64],
        groups: NDArray[np.int64],
        patients: NDArray[np.int64],
        shares: NDArray[np.float64],
        power: float,
    ) -> None:
        weights = shared_weights(groups, patients, shares, power)
        self._windows, self._edges = windows, np.cumsum(weights) / weights.sum()

    def __call__(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        return self._windows[np.minimum(np.searchsorted(self._edges, rng.random(count)), len(self._edges) - 1)]


def _drown(runs: list[dict[str, Any]], rng: np.random.Generator) -> None:
    """From somewhere on there is nothing but noise, and what the detector finds there is nothing to report."""
    for run in runs:
        run["drowned"][rng.integers(len(run["drowned"])) :] = True
        run["beat"][run["drowned"]], run["rhythm"][run["drowned"]] = ONE_BEAT[N], bits(NOISE)
