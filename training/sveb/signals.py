"""The packed signals on the device that trains, what is done to them, and the beats cut from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool1d, pad

from dsp.beat_picture import CLIP, POINT_SAMPLES, POINTS, R_POINT, USUAL_BEATS
from dsp.signal import R_INDEX, WINDOW_SAMPLES
from dsp.windows import FLOOR_MV
from training.packed import Packed

WINDOW_BEFORE, WINDOW_AFTER = R_INDEX // POINT_SAMPLES, (WINDOW_SAMPLES - R_INDEX) // POINT_SAMPLES
"""Points of a beat's window (`dsp.windows`) before its R peak and from there on."""

LEAST_KNOWN = 50
"""Points of a window: the power of what is less is not that of an ECG."""

MIXED = 0.3
"""Of the runs as they were recorded: with a part of another lead in them."""


class Signals:
    """The packed signals on one device."""

    def __init__(self, packed: Packed, how: dict[str, Any], device: torch.device) -> None:
        self._how, self._device = how, device
        self._counts, self._start, self._lsb_mv = (
            torch.from_numpy(each).to(device) for each in (packed.counts, packed.start, packed.lsb_mv)
        )
        self._noise = np.flatnonzero(np.isin(packed.database, ("nstdb", "made")))
        self._length = np.diff(packed.start)
        self._partner = torch.from_numpy(_partners(packed)).to(device)

    def spoiled(self, drawn: dict[str, Tensor], rng: np.random.Generator) -> Tensor:
        """Runs as `training.sveb.runs` draws them, with other leads and noise in them: `(run, beat, POINTS)`."""
        made, count = len(drawn["kept"]), len(drawn["row"])
        known = drawn["known"]
        ecg_mv = torch.cat([self.made(drawn), self._mixed(drawn["row"][made:], drawn["place"][made:], rng)])
        rms_mv = ((ecg_mv.square() * known).sum(1) / known.sum(1).clamp(min=1)).sqrt().clamp(min=1e-4)[:, None]
        ecg_mv[:made] += rms_mv[:made] * drawn["waves"]
        ecg_mv = ecg_mv + rms_mv * self._noises(count, ecg_mv.shape[1], rng)
        ecg_mv = ecg_mv * self._column(np.where(rng.random(count) < self._how["flipped"], -1, 1))
        smooth = avg_pool1d(ecg_mv[:, None], 5, 1, 2)[:, 0]
        tilt = self._column(np.clip(rng.normal(0, 0.3, count), -0.6, 0.6))  # the spectrum's
        ecg_mv = ecg_mv + torch.where(tilt > 0, 2 * tilt, tilt) * (ecg_mv - smooth)
        return pictures(ecg_mv * known, known, drawn["at"])

    def made(self, drawn: dict[str, Tensor]) -> Tensor:
        """The first runs, whose rhythms are made up, in mV; without what their atria write."""
        count = len(drawn["kept"])
        row, place = drawn["row"][:count], drawn["place"][:count]
        begins, ends, level = drawn["line_begins"], drawn["line_ends"], drawn["added_level"]
        part = ((place - begins) / (ends - begins).clamp(min=1)).clamp(0, 1)
        line = torch.lerp(self._signal(row, begins), self._signal(row, ends), part)
        ecg_mv = self._signal(row, place)
        ecg_mv = torch.where(drawn["kept"] == 1, ecg_mv, line + drawn["kept"] * (ecg_mv - line))
        added = self._signal(row, drawn["added"]) - self._signal(row, level)
        return ecg_mv + added.masked_fill(level <= 0, 0.0)

    def _mixed(self, row: Tensor, place: Tensor, rng: np.random.Generator) -> Tensor:
        """Recorded runs in mV, some with up to as much of another lead."""
        ecg_mv, partner = self._signal(row, place), self._partner[row]
        other = self._signal(partner, place)
        share = self._column((2 * rng.random(len(row)) - 1) * (rng.random(len(row)) < MIXED))
        share = share * (partner != row)[:, None]
        return ecg_mv + share * other * (_rms(ecg_mv) / _rms(other).clamp(min=1e-4))

    def _noises(self, count: int, points: int, rng: np.random.Generator) -> Tensor:
        """In parts of the signal's RMS: of electrodes and muscles in some, white in others."""
        row = rng.choice(self._noise, count)
        length = self._length[row]
        begin = (rng.random(count) * np.maximum(length - POINT_SAMPLES * points - 2, 1)).astype(np.int64)
        place = self._there(begin)[:, None] + POINT_SAMPLES * torch.arange(points, device=self._device)
        noise = self._signal(self._there(row), (place % self._there(length - 2)[:, None]).float())
        size = (rng.random(count) < self._how["noisy"]) * 10 ** (-rng.uniform(3, 25, count) / 20)
        white = (rng.random(count) < 0.3) * rng.uniform(0, 0.08, count)
        noise = noise / _rms(noise).clamp(min=1e-4)
        return noise * self._column(size) + torch.randn_like(noise) * self._column(white)

    def _signal(self, row: Tensor, place: Tensor) -> Tensor:
        """In mV, at any places `(run, point)` between samples."""
        place = place.clamp(min=0)
        before = place.floor().long()
        index = self._start[row][:, None] + before
        left, right = (self._counts[each.clamp(max=len(self._counts) - 1)].float() for each in (index, index + 1))
        return torch.lerp(left, right, place - before) * self._lsb_mv[row][:, None]

    def _there(self, values: NDArray[np.int64]) -> Tensor:
        return torch.as_tensor(values, dtype=torch.int64, device=self._device)

    def _column(self, values: NDArray[Any]) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self._device)[:, None]


def pictures(ecg_mv: Tensor, known: Tensor, at: Tensor) -> Tensor:
    """`dsp.beat_picture.picture` of all beats of runs, `(run, beat, POINTS)`.

    The signal `(run, point)` is in mV, 0 where not known; `at` says where R peaks are, `(run, beat)` in points.
    """
    before, after = max(WINDOW_BEFORE, R_POINT), max(WINDOW_AFTER, POINTS - R_POINT)
    padded, there = pad(ecg_mv, (before, after)), pad(known.float(), (before, after))
    power, counted = (pad(each.double().cumsum(1), (1, 0)) for each in (padded.square(), there))
    first, end = at + before - WINDOW_BEFORE, at + before + WINDOW_AFTER
    power, counted = (each.gather(1, end) - each.gather(1, first) for each in (power, counted))
    rms_mv = (power / counted.clamp(min=LEAST_KNOWN)).float().clamp(min=FLOOR_MV**2).sqrt()
    recent = pad(rms_mv, (USUAL_BEATS - 1, 0), value=torch.nan).unfold(1, USUAL_BEATS, 1)
    usual_mv = recent.nanmedian(2).values
    points = at[:, :, None] + before - R_POINT + torch.arange(POINTS, device=ecg_mv.device)
    cut = padded.gather(1, points.flatten(1)).view(points.shape)
    return (cut / usual_mv[:, :, None]).clamp(-CLIP, CLIP)


def _rms(values: Tensor) -> Tensor:
    return values.square().mean(1, keepdim=True).sqrt()


def _partners(packed: Packed) -> NDArray[np.int64]:
    """Of each lead, another lead of its record; itself where there is none."""
    names = np.char.add(np.char.add(packed.database, "/"), packed.record)
    _, first, of_record = np.unique(names, return_index=True, return_inverse=True)
    last = np.zeros(len(first), np.int64)
    np.maximum.at(last, of_record, np.arange(len(names)))
    own = np.arange(len(names))
    return np.where(last[of_record] == own, first[of_record], last[of_record]).astype(np.int64)
