"""Crops of labelled ECG, spoiled as life does, cut and spoiled on the GPU."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dsp.signal import RATE_HZ
from training.qrs.network import INPUT_LEVELS, STEP
from training.qrs.noise import Motion

FAR = 4000  # samples: so long ago, or so far off, it no longer matters
HOP = 64  # samples between two estimates of the level
LONG, TRIMMED, SHORT = 32, 2, 16  # hops
FLOOR_MV = 0.01
KNEE = 4.0


class Signals:
    """The labelled leads on the device, and for each sample how long since and until an R peak."""

    def __init__(self, path: Path, device: torch.device) -> None:
        with np.load(path) as file:
            stored = {name: file[name] for name in file.files}
        self.device = device
        self.database, self.record, self.lead = (stored[name].tolist() for name in ("database", "record", "lead"))
        self.validation = stored["validation"].tolist()
        start, beats, masks = stored["start"], stored["beats"], stored["masks"]
        since, until, known, qrs_mv = [], [], [], []
        self.beats = []
        for row in range(len(self.record)):
            counts = stored["counts"][start[row] : start[row + 1]]
            n = len(counts)
            at = np.sort(beats[beats[:, 0] == row, 1])
            marks = np.concatenate([[-FAR], at, [n + FAR]])
            index = np.arange(n)
            place = np.searchsorted(marks, index, side="right")
            since.append(np.minimum(index - marks[place - 1], FAR).astype(np.int16))
            until.append(np.minimum(marks[np.minimum(place, len(marks) - 1)] - index, FAR).astype(np.int16))
            mask = np.ones(n, bool)
            for _, first, last in masks[masks[:, 0] == row]:
                mask[max(0, first) : last] = False
            known.append(mask)
            self.beats.append(at)
            qrs_mv.append(self._qrs_mv(counts, at) * stored["lsb_mv"][row])
        put = lambda arrays: torch.from_numpy(np.concatenate(arrays)).to(device)  # noqa: E731
        self.counts = torch.from_numpy(stored["counts"]).to(device)
        self.since, self.until, self.known = map(put, (since, until, known))
        self.starts = torch.from_numpy(start).to(device)
        self.lsb_mv = torch.from_numpy(stored["lsb_mv"]).to(device)
        self.qrs_mv = torch.tensor(qrs_mv, device=device, dtype=torch.float32)
        self.of_noise = [i for i, name in enumerate(self.database) if name == "nstdb"]

    @staticmethod
    def _qrs_mv(counts: np.ndarray, beats: np.ndarray) -> float:
        inside = beats[(beats > 20) & (beats < len(counts) - 20)]
        if not len(inside):
            return 0.0
        around = counts[inside[:, None] + np.arange(-12, 13)]
        return float(np.median(np.ptp(around, axis=1)))

    def cut(self, rows: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
        """ECG in mV, samples since and until R, and whether labels are known; positions (crop, sample) are floats."""
        before = positions.floor()
        index = (self.starts[rows, None] + before.long()).clamp(max=len(self.counts) - 2)
        part = (positions - before).float()
        ecg = torch.lerp(self.counts[index].float(), self.counts[index + 1].float(), part) * self.lsb_mv[rows, None]
        return ecg, self.since[index].float() + part, self.until[index].float() - part, self.known[index]


class Sampler:
    def __init__(self, signals: Signals, samples: int, recipe: dict[str, float], device: torch.device) -> None:
        self.signals, self.samples, self.recipe, self.device = signals, samples, recipe, device
        self.motion = Motion(samples, device)
        weight = {
            "mitdb": recipe.get("mitdb", 1.6),
            "svdb": 1.0,
            "qtdb": recipe.get("qtdb", 0.8),
            "nstdb": 0.0,
            "vfdb": 0.0,
            "cinc2017": 0.0,
            "made": 0.4,
        }
        shares = [
            0.0 if signals.validation[i] and not recipe.get("all") else weight[signals.database[i]]
            for i in range(len(signals.record))
        ]
        of_cinc = [i for i, name in enumerate(signals.database) if name == "cinc2017"]
        for i in of_cinc:
            shares[i] = (
                recipe.get("cinc", 0.3)
                * sum(weight[name] for name in signals.database if name in weight)
                / len(of_cinc)
            )
        self.shares = torch.tensor(shares, device=device)
        keys = list(zip(signals.database, signals.record, strict=True))
        places: dict[tuple[str, str], list[int]] = {key: [] for key in keys}
        for i, key in enumerate(keys):
            places[key].append(i)
        other = [next((j for j in places[key] if j != i), i) for i, key in enumerate(keys)]
        self.other_lead = torch.tensor(other, device=device)
        self.noise_rows = torch.tensor(signals.of_noise, device=device)

    def rand(self, *shape: int) -> Tensor:
        return torch.rand(*shape, device=self.device)

    def some(self, crops: int, share: float) -> Tensor:
        return (self.rand(crops) < share)[:, None]

    def _positions(self, rows: Tensor, stretch: Tensor) -> Tensor:
        signals, n = self.signals, self.samples
        lengths = signals.starts[rows + 1] - signals.starts[rows]
        room = (lengths - n * stretch - 2).clamp(min=0)
        first = self.rand(len(rows)) * room
        return first.double()[:, None] + torch.arange(n, device=self.device) * stretch.double()[:, None]

    def __call__(self, crops: int) -> tuple[Tensor, Tensor, Tensor]:
        """Network input (crop, sample), signed distance to the nearest R (crop, sample), whether known."""
        rows = torch.multinomial(self.shares, crops, replacement=True)
        stretch = torch.exp(0.18 * torch.randn(crops, device=self.device)).clamp(0.6, 1.6)
        stretch = torch.where(self.rand(crops) < 0.5, torch.ones_like(stretch), stretch)
        lengths = self.signals.starts[rows + 1] - self.signals.starts[rows]
        stretch = torch.minimum(stretch, (lengths - 4) / self.samples)
        positions = self._positions(rows, stretch)
        ecg, since, until, known = self.signals.cut(rows, positions)
        since, until = since / stretch[:, None], until / stretch[:, None]
        qrs = self.signals.qrs_mv[rows][:, None]
        second, *_ = self.signals.cut(self.other_lead[rows], positions)
        angle = self.rand(crops)[:, None] * 2 * math.pi
        mixes = self.some(crops, 0.2)
        ecg = torch.where(mixes, torch.cos(angle) * ecg + torch.sin(angle) * second, ecg)
        ecg = torch.where(self.some(crops, 0.3), self._reshaped(ecg), ecg)
        ecg = ecg + self._t_waves(since, qrs) * self.some(crops, 0.12)
        ecg = ecg + self._spikes(until, qrs) * self.some(crops, 0.12)
        ecg, since, until = self._hastened(ecg, since, until)
        ecg = self._breathing(ecg)
        ecg, since, until = self._stops(ecg, since, until)
        ecg = ecg + self._noise(ecg, qrs) + self._hum(qrs) + self._artefacts(qrs)
        sign = torch.where(self.some(crops, 0.5), 1.0, -1.0)
        gain = torch.exp(torch.randn(crops, device=self.device) * 0.7)[:, None]
        ecg = ecg * sign * gain
        change = torch.exp(0.35 * torch.randn(crops, device=self.device))[:, None]
        change = torch.where(self.some(crops, 0.3), change, torch.ones_like(change))
        distance = torch.where(since < until, since, -until)
        return normalised(ecg, change), distance, known

    def _reshaped(self, ecg: Tensor) -> Tensor:
        """Other bodies, other electrodes: broader or sharper waves."""
        crops, n = ecg.shape
        hz = torch.fft.rfftfreq(n, 1 / RATE_HZ).to(self.device)
        corner = torch.exp(math.log(7) + self.rand(crops)[:, None] * math.log(6))
        smooth = 1 / (1 + (hz / corner) ** 4)
        tilt = 1 + (self.rand(crops)[:, None] * 1.5 - 0.5) * hz / 20
        odd = 1j * hz / 10 * (self.rand(crops)[:, None] - 0.5) * 2
        return torch.fft.irfft(torch.fft.rfft(ecg) * smooth * (tilt + odd), n)

    def _t_waves(self, since: Tensor, qrs: Tensor) -> Tensor:
        crops = len(since)
        late = (0.2 + 0.2 * self.rand(crops)[:, None]) * RATE_HZ
        width = (0.02 + 0.05 * self.rand(crops)[:, None]) * RATE_HZ
        size = qrs * (0.2 + 1.0 * self.rand(crops)[:, None]) * torch.where(self.some(crops, 0.5), 1.0, -1.0)
        return size * (
            torch.exp(-0.5 * ((since - late) / width) ** 2)
            - 0.5 * torch.exp(-0.5 * ((since - late - 2 * width) / width) ** 2)
        )

    def _spikes(self, until: Tensor, qrs: Tensor) -> Tensor:
        """Pacing: what the low-pass leaves of a spike before each QRS complex."""
        crops = len(until)
        early = (0.02 + 0.2 * self.rand(crops)[:, None] ** 2) * RATE_HZ
        at = early - until
        size = qrs * 1.5 * self.rand(crops)[:, None] * torch.where(self.some(crops, 0.5), 1.0, -1.0)
        width = 1.2 + self.rand(crops)[:, None]
        return size * (
            torch.exp(-0.5 * (at / width) ** 2) - 0.4 * torch.exp(-0.5 * ((at - 2.5 * width) / (1.3 * width)) ** 2)
        )

    def _hastened(self, ecg: Tensor, since: Tensor, until: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rates that few records have, up to 300 a minute: the same beats again, between the beats."""
        crops, n = ecg.shape
        chosen = torch.nonzero(self.rand(crops) < self.recipe.get("hastened", 0.12))[:, 0]
        if not len(chosen):
            return ecg, since, until
        each = (since + until)[chosen]
        rr = each.median(1, keepdim=True).values
        regular = ((each - rr).abs() > 0.12 * rr).float().mean(1, keepdim=True) < 0.1
        copies = torch.where(self.rand(len(chosen), 1) < 0.6, 2, 3)
        copies = torch.where(regular, torch.minimum(copies, (rr / 48).floor()).clamp(min=1), 1)
        index = torch.arange(n, device=self.device)
        parts = [(ecg[chosen], since[chosen], until[chosen])]
        for copy in (1, 2):
            late = torch.where(copies > copy, copy * rr / copies, torch.zeros_like(rr))
            source = index - late.round().long()
            there = (source >= 0) & (late > 0)
            source = source.clamp(min=0).expand(len(chosen), n)
            far = torch.full_like(parts[0][1], FAR)
            parts.append(
                (
                    torch.where(there, ecg[chosen].gather(1, source), torch.zeros_like(parts[0][0])),
                    torch.where(there, since[chosen].gather(1, source), far),
                    torch.where(there, until[chosen].gather(1, source), far),
                )
            )
        ecg, since, until = ecg.clone(), since.clone(), until.clone()
        ecg[chosen] = sum(part[0] for part in parts)
        since[chosen] = torch.stack([part[1] for part in parts]).amin(0)
        until[chosen] = torch.stack([part[2] for part in parts]).amin(0)
        return ecg, since, until

    def _breathing(self, ecg: Tensor) -> Tensor:
        crops, n = ecg.shape
        at = torch.arange(n, device=self.device) / RATE_HZ
        hz = 0.03 + 0.5 * self.rand(crops)[:, None]
        depth = 0.5 * self.rand(crops)[:, None] ** 2
        return ecg * (1 + depth * torch.sin(2 * math.pi * (hz * at + self.rand(crops)[:, None])))

    def _stops(self, ecg: Tensor, since: Tensor, until: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Asystole for some seconds, or the loss of an electrode: no beats, whatever the noise."""
        crops, n = ecg.shape
        index = torch.arange(n, device=self.device)
        first = self.rand(crops)[:, None] * n
        last = first + (1.5 + 14 * self.rand(crops)[:, None] ** 2) * RATE_HZ
        stops = self.some(crops, 0.12) & (index >= first) & (index < last)
        edge = (index - first).abs().minimum((index - last).abs()) / 10
        left = torch.where(stops, torch.zeros_like(ecg), ecg)
        fade = torch.where(stops, torch.exp(-edge), torch.ones_like(ecg))
        gone = stops & (edge > 1)
        far = torch.full_like(since, FAR)
        return torch.where(stops, ecg * fade, left), torch.where(gone, far, since), torch.where(gone, far, until)

    def _noise(self, ecg: Tensor, qrs: Tensor) -> Tensor:
        """By nst's definition: signal power is the squared QRS amplitude over 8."""
        crops, n = ecg.shape
        lowest = self.recipe.get("lowest_db", -8.0)
        wanted_db = lowest + (22.0 - lowest) * self.rand(crops)[:, None]
        made = self.motion(crops)
        rows = self.noise_rows[torch.randint(len(self.noise_rows), (crops,), device=self.device)]
        taken, *_ = self.signals.cut(rows, self._positions(rows, 0.7 + 0.6 * self.rand(crops)))
        taken = taken / taken.square().mean(1, keepdim=True).sqrt()
        taken = torch.where(self.some(crops, 0.6), self.motion.tilted(taken), taken)
        noise = torch.where(self.some(crops, self.recipe.get("taken", 0.3)), taken, made)
        both = self.some(crops, 0.15)
        noise = torch.where(both, 0.7 * taken + 0.7 * made, noise)
        size = qrs / 8**0.5 * 10 ** (-wanted_db / 20)
        index = torch.arange(n, device=self.device)
        first = self.rand(crops)[:, None] * n
        ramp = torch.sigmoid((index - first) / (RATE_HZ * 0.3)) * torch.ones_like(ecg)
        ramp = torch.where(self.some(crops, 0.5), 1 - ramp, ramp)
        size = torch.where(self.some(crops, 0.3), size * ramp, size)
        return noise * size * self.some(crops, self.recipe.get("noisy", 0.6))

    def _hum(self, qrs: Tensor) -> Tensor:
        crops = len(qrs)
        at = torch.arange(self.samples, device=self.device) / RATE_HZ
        hz = 45 + 17 * self.rand(crops)[:, None]
        size = qrs * 0.25 * self.rand(crops)[:, None] ** 2 * self.some(crops, 0.15)
        return size * torch.sin(2 * math.pi * (hz * at + self.rand(crops)[:, None]))

    def _artefacts(self, qrs: Tensor) -> Tensor:
        """Now and then a huge one: the level must recover, and so must we."""
        crops = len(qrs)
        at = (self.rand(crops, self.samples) < 0.3 / RATE_HZ).float()
        at *= torch.exp(1.2 * torch.randn(crops, self.samples, device=self.device))
        index = torch.arange(self.samples, device=self.device)
        first = self.rand(crops)[:, None] * self.samples
        at = at * ((index > first) & (index < first + 2500)) * self.some(crops, 0.08)
        padded = torch.nn.functional.pad(at, (self.motion.length - self.samples, 0))
        shaped = self.motion.filtered(self.motion.with_shape(padded))[:, -self.samples :]
        top = shaped.abs().amax(1, keepdim=True).clamp(min=1e-6)
        return (
            torch.where(top > 1e-5, shaped / top, torch.zeros_like(shaped))
            * qrs
            * (2 + 30 * self.rand(crops)[:, None] ** 2)
        )


def levels(ecg: Tensor) -> Tensor:
    """The level (crop, hop) that each hop is divided by, as `dsp.qrs_scale.Scale` has it."""
    crops, n = ecg.shape
    hops = n // HOP
    energy = ecg[:, : hops * HOP].reshape(crops, hops, HOP).square().mean(2)
    padded = torch.cat([energy[:, :8].repeat(1, LONG // 8), energy], 1)  # (crop, LONG + hops)
    windows = padded.unfold(1, LONG, 1)[:, :hops]  # window h: hops h - LONG .. h - 1
    windows = torch.cat([windows[:, :1].expand(-1, 8, -1), windows[:, 8:]], 1)
    largest = windows.topk(TRIMMED, 2).values.sum(2)
    trimmed = (windows.sum(2) - largest) / (LONG - TRIMMED)
    short = windows[:, :, -SHORT:].mean(2)
    return torch.minimum(trimmed, short).clamp(min=FLOOR_MV**2).sqrt()


def normalised(ecg: Tensor, change: Tensor | float = 1.0) -> Tensor:
    """What the network reads: divided by its level, bent so that nothing is too large, in 4,095 steps."""
    level = levels(ecg).repeat_interleave(HOP, 1)
    level = torch.nn.functional.pad(level[:, None], (0, ecg.shape[1] - level.shape[1]), mode="replicate")[:, 0]
    scaled = ecg / (level * change)
    bent = scaled / (scaled.abs() + KNEE)
    return (bent * INPUT_LEVELS).round() / INPUT_LEVELS * 4


def targets(distance: Tensor, known: Tensor, delays: list[int]) -> tuple[Tensor, Tensor]:
    """(crop, head, step): 1 where an R peak was `delay` steps ago, and how much each counts."""
    crops, n = distance.shape
    steps = n // STEP
    middle = distance[:, : steps * STEP].reshape(crops, steps, STEP)[:, :, STEP // 2] - 0.5
    there = ((12 - middle.abs()) / 8).clamp(0, 1)
    counts = known[:, : steps * STEP].reshape(crops, steps, STEP).all(2).float()
    wanted, weight = [], []
    for delay in delays:
        pad = (delay, 0)
        wanted.append(torch.nn.functional.pad(there, pad)[:, :steps])
        weight.append(torch.nn.functional.pad(counts, pad)[:, :steps])
    weight = torch.stack(weight, 1)
    weight[:, :, : int(2.5 * RATE_HZ / STEP)] *= 0.2
    return torch.stack(wanted, 1), weight
