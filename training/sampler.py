"""Draws the windows of a step: beats by class and patient, rhythms by stratum and patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.cutter import Cutter, Spoiler, normalise
from training.layout import BEATS
from training.packed import AFTER_R, Packed
from training.records import NOISE, UNKNOWN

R_JITTER = 6
"""Samples by which a detector may miss the peak that the annotations put there."""

STRETCH = 0.05
"""The share by which the heart is made faster or slower."""

LOWEST_DB = {"beats": -3.0, "rhythms": 3.0}
"""A QRS complex can be judged in more noise than a P wave or a fibrillation can."""


@dataclass(frozen=True, slots=True)
class Batch:
    windows: Tensor  # (window, 1, 1, sample)
    beat: Tensor  # (window,) labels, UNKNOWN where there is none
    rhythm: Tensor  # likewise


class Draw:
    """Indices in proportion to fixed weights."""

    def __init__(self, weights: NDArray[np.float64], device: torch.device) -> None:
        self._edges = torch.from_numpy(np.cumsum(weights) / weights.sum()).to(device)

    def __call__(self, count: int) -> Tensor:
        chances = torch.rand(count, dtype=torch.float64, device=self._edges.device)
        return torch.searchsorted(self._edges, chances).clamp(max=len(self._edges) - 1)


def shared_weights(
    groups: NDArray[np.int64],
    patients: NDArray[np.int64],
    sizes: NDArray[np.float64],
    shares: NDArray[np.float64],
    power: float,
) -> NDArray[np.float64]:
    """A weight for each item, so that group g gets `shares[g]` and each patient in it (his size there) ** power."""
    keys, index = np.unique(np.stack([groups, patients]), axis=1, return_inverse=True)
    index = index.reshape(-1)
    totals = np.bincount(index, sizes)
    of_patient = totals**power
    of_group = np.bincount(keys[0], of_patient, minlength=len(shares))
    part = np.asarray(shares)[keys[0]] * of_patient / of_group[keys[0]]
    return part[index] * sizes / totals[index]


class Sampler:
    """Training windows without end, spoiled and normalised."""

    def __init__(self, packed: Packed, cutter: Cutter, config: dict[str, dict[str, float]]) -> None:
        device = cutter.device
        self._cutter = cutter
        self._counts = {part: int(config["training"][part]) for part in ("beats", "rhythms")}
        _, patient = np.unique(np.char.add(np.char.add(packed.database, "/"), packed.record), return_inverse=True)
        trains = ~packed.validation
        power = config["training"]["patient_power"]

        beats = packed.beats[trains[packed.beats[:, 0]]]
        shares = np.array([config["beats"][label] for label in BEATS])
        weights = shared_weights(beats[:, 2], patient[beats[:, 0]], np.ones(len(beats)), shares, power)
        self._beats, self._draw_beat = torch.from_numpy(beats).to(device), Draw(weights, device)

        strata = dict(config["rhythms"])
        self._drowned = round(strata.pop("made_noise") * self._counts["rhythms"])
        if unknown := set(packed.strata) ^ set(strata):
            raise ValueError(f"config [rhythms]: the strata of the data and of the config differ in {sorted(unknown)}")
        spans = packed.spans[trains[packed.spans[:, 0]]]
        lengths = (spans[:, 2] - spans[:, 1] + 1).astype(float)
        shares = np.array([strata[name] for name in packed.strata])
        weights = shared_weights(spans[:, 4], patient[spans[:, 0]], lengths, shares, 0.0)
        self._spans, self._draw_span = torch.from_numpy(spans).to(device), Draw(weights, device)

        noise = [row for row, name in enumerate(packed.database) if name in ("nstdb", "made")]
        drowning = [row for row in noise if packed.record[row] != "bw"]
        self._spoil = Spoiler(cutter, *(torch.tensor(rows, device=device) for rows in (noise, drowning)))

    def __call__(self) -> Batch:
        parts = [self._beat_windows(), self._rhythm_windows()]
        windows, beat, rhythm = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
        return Batch(windows, beat, rhythm)

    def _stretch(self, count: int) -> Tensor:
        return 1 + STRETCH * (2 * torch.rand(count, device=self._cutter.device) - 1)

    def _beat_windows(self) -> tuple[Tensor, Tensor, Tensor]:
        count = self._counts["beats"]
        row, r_peak, beat, rhythm = self._beats[self._draw_beat(count)].T
        r_peak = r_peak + torch.randint(-R_JITTER, R_JITTER + 1, (count,), device=self._cutter.device)
        ecg_mv, missing = self._cutter.cut(row, r_peak, self._stretch(count))
        return normalise(*self._spoil(ecg_mv, missing, LOWEST_DB["beats"])), beat, rhythm

    def _rhythm_windows(self) -> tuple[Tensor, Tensor, Tensor]:
        count = self._counts["rhythms"]
        row, first, last, rhythm, _ = self._spans[self._draw_span(count)].T
        chance = torch.rand(count, device=self._cutter.device)
        anywhere = first + (chance * (last - first + 1)).long() - AFTER_R
        snaps = torch.rand(count, device=self._cutter.device) < 0.6
        r_peak = torch.where(snaps, self._cutter.snapped(row, anywhere), anywhere)
        ecg_mv, missing = self._cutter.cut(row, r_peak, self._stretch(count))
        drowns = torch.arange(count, device=self._cutter.device) < self._drowned
        ecg_mv = torch.where(drowns[:, None], self._spoil.drowned(ecg_mv), ecg_mv)
        rhythm = torch.where(drowns, NOISE, rhythm)
        windows = normalise(*self._spoil(ecg_mv, missing, LOWEST_DB["rhythms"]))
        return windows, torch.full_like(rhythm, UNKNOWN), rhythm
