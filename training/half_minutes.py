"""Which half minutes a step is trained on, and how they are cut and spoiled: the pictures of `dsp.half_minute`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool1d, max_pool1d

from dsp.half_minute import CLIP, COLUMN, FLOOR_MV, MARK_SAMPLES, POINT_SAMPLES, POINTS, SAMPLES, STRETCH
from dsp.signal import RATE_HZ
from training import labels
from training.packed import Packed
from training.retimed import Retimed, may_be_retimed, retimed, waves

CLASSES = ("atrial_fibrillation", "normal", "other", "noise")
AF, NORMAL, OTHER, NOISE = (1 << place for place in range(len(CLASSES)))
"""As sets, see `training.labels`."""

OF_LABELS = {labels.AF: AF, labels.NORMAL: NORMAL, labels.OTHER: OTHER, labels.NOISE: NOISE}

CHALLENGE = {AF: 0.25, NORMAL: 0.37, OTHER: 0.32, NOISE: 0.06}
"""How often records of the challenge with these labels are drawn."""

HOLTER = {"fibrillating": 0.25, "svdb": 0.35, "mitdb": 0.30, "qtdb": 0.10}
"""And half minutes of people whose beats were annotated: in atrial fibrillation, and others."""

STEP = 5 * RATE_HZ
"""From one half minute of a long recording to the next."""

LEAST_BEATS = 10
SHORTEST_S = 9.0


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A batch. Rows are pictures."""

    row: NDArray[np.int64]  # of the packed leads
    end: NDArray[np.int64]  # one past the last sample, within the lead
    span: NDArray[np.int64]  # samples before it that are known
    truth: NDArray[np.int64]  # a set of classes
    retimed: list[Retimed]  # of the first rows
    waves: NDArray[np.float64]  # (retimed, point)


class Plan:
    """Draws batches. Step by step from the seed alone, so that a training that goes on is one that never stopped."""

    def __init__(self, packed: Packed, how: dict[str, Any]) -> None:
        self._how, self._length = how, np.diff(packed.start)
        of_challenge = np.flatnonzero((packed.database == "cinc2017") & ~packed.validation)
        truth = record_truth(packed)
        self._records = {each: of_challenge[truth[of_challenge] == each] for each in CHALLENGE}
        self._peaks = {int(row): peaks_of(packed, row) for row in self._records[NORMAL]}
        self._peaks = {row: peaks for row, peaks in self._peaks.items() if may_be_retimed(peaks)}
        halves = _holter(packed)
        fibrillating = halves[:, 2] == AF
        self._holter = {"fibrillating": _by_row(halves[fibrillating])} | {
            name: _by_row(halves[~fibrillating & (packed.database[halves[:, 0]] == name)])
            for name in ("svdb", "mitdb", "qtdb")
        }

    def __call__(self, step: int) -> Drawn:
        rng = np.random.default_rng([self._how["seed"], step])
        batch = self._how["batch"]
        made, holter = (round(self._how[part] * batch) for part in ("retimed", "holter"))
        rows = [self._retimed(rng) for _ in range(made)]
        rows += [self._record(rng) for _ in range(batch - made - holter)]
        rows += [self._half_minute(rng) for _ in range(holter)]
        row, end, span, truth = np.array([each[:4] for each in rows], np.int64).T
        changed = [each[4] for each in rows[:made]]
        at_s = np.arange(POINTS) * POINT_SAMPLES / RATE_HZ
        added = [waves(rng, at_s) * each.fibrillates for each in changed]
        return Drawn(row, end, span, truth, changed, np.array(added).reshape(made, POINTS))

    def _span(self, rng: np.random.Generator) -> int:
        return SAMPLES if rng.random() < self._how["whole"] else int(rng.uniform(SHORTEST_S * RATE_HZ, SAMPLES))

    def _record(self, rng: np.random.Generator) -> tuple[Any, ...]:
        truth = int(rng.choice(list(CHALLENGE), p=list(CHALLENGE.values())))
        row = int(rng.choice(self._records[truth]))
        length = int(self._length[row])
        span = min(self._span(rng), length)
        return row, rng.integers(span, length, endpoint=True), span, truth

    def _half_minute(self, rng: np.random.Generator) -> tuple[Any, ...]:
        people = self._holter[str(rng.choice(list(HOLTER), p=list(HOLTER.values())))]
        of_one = people[rng.integers(len(people))]
        row, end, truth = of_one[rng.integers(len(of_one))]
        return row, end, self._span(rng), truth

    def _retimed(self, rng: np.random.Generator) -> tuple[Any, ...]:
        row = int(rng.choice(list(self._peaks)))
        changed = retimed(self._peaks[row], SHORTEST_S, self._how["whole"], rng)
        return row, SAMPLES, SAMPLES, AF if changed.fibrillates else NORMAL | OTHER, changed


def record_truth(packed: Packed) -> NDArray[np.int64]:
    """Of each lead of the challenge, its label as a set of one class; 0 of others."""
    truth = np.zeros(len(packed.record), np.int64)
    rows, first = np.unique(packed.windows[:, 0], return_index=True)
    truth[rows] = [_classes(int(rhythm)) for rhythm in packed.windows[first, 4]]
    return np.where(packed.database == "cinc2017", truth, 0)


def peaks_of(packed: Packed, row: int) -> NDArray[np.int64]:
    """R peaks of a lead, as they were detected or annotated."""
    first, last = np.searchsorted(packed.windows[:, 0], [row, row + 1])
    windows = packed.windows[first:last]
    return np.sort(windows[windows[:, 2] == 1, 1]).astype(np.int64)


def _classes(rhythm: int) -> int:
    """From the sets of `training.labels` to those of here."""
    return sum(ours for theirs, ours in OF_LABELS.items() if rhythm >> theirs & 1)


def _holter(packed: Packed) -> NDArray[np.int64]:
    """(lead, end, truth) of the half minutes of which the annotations say whether the atria fibrillate."""
    found = []
    for row in np.flatnonzero(np.isin(packed.database, ("mitdb", "svdb", "qtdb")) & ~packed.validation):
        first, last = np.searchsorted(packed.windows[:, 0], [row, row + 1])
        place, truth = packed.windows[first:last, 1], np.array(list(map(_classes, packed.windows[first:last, 4])))
        if packed.database[row] != "mitdb":  # nobody says that any of these fibrillates
            truth &= ~AF
        for end in range(SAMPLES, int(packed.start[row + 1] - packed.start[row]), STEP):
            inside = truth[slice(*np.searchsorted(place, [end - SAMPLES, end]))]
            if len(inside) < LEAST_BEATS:
                continue
            common, any_of = int(np.bitwise_and.reduce(inside)), int(np.bitwise_or.reduce(inside))
            known = common or any_of & ~AF
            if (any_of & AF and common != AF) or known in (0, AF | NORMAL | OTHER | NOISE):
                continue  # it begins or ends there
            found.append((row, end, known))
    return np.array(found, np.int64).reshape(-1, 3)


def _by_row(halves: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [halves[halves[:, 0] == row] for row in np.unique(halves[:, 0])]


class Pictures:
    """The packed signals on one device, and what the network reads of them."""

    def __init__(self, packed: Packed, how: dict[str, Any], device: torch.device) -> None:
        self._how, self.device = how, device
        marked = np.zeros(len(packed.counts), bool)
        beats = packed.windows[packed.windows[:, 2] == 1]
        at = packed.start[beats[:, 0]] + beats[:, 1]
        for offset in range(-MARK_SAMPLES, MARK_SAMPLES + 1):
            marked[np.clip(at + offset, 0, len(marked) - 1)] = True
        self._counts, self._marked, self._start, self._lsb_mv = (
            torch.from_numpy(each).to(device) for each in (packed.counts, marked, packed.start, packed.lsb_mv)
        )
        self._noise = np.flatnonzero(np.isin(packed.database, ("nstdb", "made")))
        self._length = np.diff(packed.start)

    def plain(self, rows: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """As the daemon would draw them: `(picture, 2, POINTS)`, and which columns are known."""
        row, end, one = self._tensor(rows), self._tensor(ends), torch.ones(len(rows), device=self.device)
        return _picture(*self._cut(row, end, self._tensor(np.minimum(ends, SAMPLES)), one))

    def spoiled(self, drawn: Drawn, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Likewise, with what makes training hard: other heart rates, noise, other leads, moments without signal."""
        count, how = len(drawn.row), self._how
        stretch = torch.exp(self._float(np.clip(rng.normal(0, 0.07, count), -0.15, 0.15)))
        row, end, span = (self._tensor(each) for each in (drawn.row, drawn.end, drawn.span))
        ecg_mv, marks, known = self._cut(row, end, span, stretch)
        if made := len(drawn.retimed):
            ecg_mv[:made], marks[:made], known[:made] = self._retimed(drawn)
        rms_mv = (ecg_mv.square().sum(1) / known.sum(1).clamp(min=1)).sqrt().clamp(min=1e-4)[:, None]
        ecg_mv = ecg_mv + known * rms_mv * self._noises(count, rng)
        ecg_mv = ecg_mv * self._float(np.where(rng.random(count) < how["flipped"], -1, 1))[:, None]
        smooth = avg_pool1d(ecg_mv[:, None], 5, 1, 2)[:, 0]
        tilt = self._float(np.clip(rng.normal(0, 0.3, count), -0.6, 0.6))[:, None]  # the spectrum's
        ecg_mv = ecg_mv + torch.where(tilt > 0, 2 * tilt, tilt) * (ecg_mv - smooth)
        pictures, columns = _picture(ecg_mv, marks, known)
        first, length = rng.integers(0, POINTS, count), (rng.random(count) < 0.3) * rng.integers(30, 375, count)
        point = torch.arange(POINTS, device=self.device)
        gone = (point >= self._tensor(first)[:, None]) & (point < self._tensor(first + length)[:, None])
        pictures = pictures.masked_fill(gone[:, None], 0.0)
        if rng.random() < how["unmarked"]:
            pictures[:, 1] = 0.0
        return pictures, columns

    def _cut(self, row: Tensor, end: Tensor, span: Tensor, stretch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        back = torch.arange(POINTS - 1, -1, -1, device=self.device) * POINT_SAMPLES * stretch[:, None]
        place = end[:, None] - 1 - back
        known = (back < span[:, None]) & (place >= 0)
        marks = self._marked[self._start[row][:, None] + place.clamp(min=0).long()]
        return self._signal(row, place) * known, marks & known, known

    def _signal(self, row: Tensor, place: Tensor) -> Tensor:
        """In mV, at any place between samples."""
        before = place.clamp(min=0).floor().long()
        index = self._start[row][:, None] + before
        left, right = (self._counts[each.clamp(max=len(self._counts) - 1)].float() for each in (index, index + 1))
        return torch.lerp(left, right, place.clamp(min=0) - before) * self._lsb_mv[row][:, None]

    def _retimed(self, drawn: Drawn) -> tuple[Tensor, Tensor, Tensor]:
        each, row = drawn.retimed, self._tensor(drawn.row[: len(drawn.retimed)])

        def of(name: str) -> Tensor:
            return self._float(np.array([getattr(one, name) for one in each]))

        in_p, known = of("in_p"), of("known").bool()
        line = torch.lerp(self._signal(row, of("p_begins")), self._signal(row, of("p_ends")), in_p.clamp(min=0))
        ecg_mv = torch.where((in_p >= 0) & of("without_p").bool()[:, None], line, self._signal(row, of("place")))
        rms_mv = ecg_mv.square().mean(1, keepdim=True).sqrt()
        return (ecg_mv + rms_mv * self._float(drawn.waves)) * known, of("marked").bool() & known, known

    def _noises(self, count: int, rng: np.random.Generator) -> Tensor:
        """In parts of the signal's RMS: of electrodes and muscles in some, white in others."""
        row = rng.choice(self._noise, count)
        end = (SAMPLES + rng.random(count) * (self._length[row] - SAMPLES)).astype(np.int64)
        one = torch.ones(count, device=self.device)
        noise, *_ = self._cut(self._tensor(row), self._tensor(end), self._tensor(np.full(count, SAMPLES)), one)
        size = (rng.random(count) < self._how["noisy"]) * 10 ** (-rng.uniform(0, 20, count) / 20)
        white = (rng.random(count) < 0.3) * rng.uniform(0, 0.1, count)
        noise = noise / noise.square().mean(1, keepdim=True).sqrt().clamp(min=1e-4)
        return noise * self._float(size)[:, None] + torch.randn_like(noise) * self._float(white)[:, None]

    def _tensor(self, values: NDArray[np.int64]) -> Tensor:
        return torch.as_tensor(values, dtype=torch.int64, device=self.device)

    def _float(self, values: Sequence[float] | NDArray[Any]) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=self.device)


def _picture(ecg_mv: Tensor, marks: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """`dsp.half_minute.picture`, of many and from points."""
    counted = known.view(len(known), -1, STRETCH).sum(2)
    power = ecg_mv.square().view(len(known), -1, STRETCH).sum(2) / counted.clamp(min=1)
    usual = power.masked_fill(2 * counted <= STRETCH, torch.nan).nanmedian(1, keepdim=True).values
    scaled = (ecg_mv / usual.nan_to_num(0.0).sqrt().clamp(min=FLOOR_MV)).clamp(-CLIP, CLIP)
    columns = max_pool1d(known.float()[:, None], COLUMN)[:, 0]
    return torch.stack([scaled, marks.float()], 1), columns
