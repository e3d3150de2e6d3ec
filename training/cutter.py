"""Cuts windows from packed signals on the GPU, thousands at a time, and spoils them as life does."""

from __future__ import annotations

import torch
from torch import Tensor

from dsp.signal import R_INDEX, RATE_HZ, WINDOW_SAMPLES
from dsp.windows import CLIP, FLOOR_MV
from training.packed import Packed

COLOURED = 0.4
"""By how much, in nepers, the gain at a frequency is another one: 3.5 dB."""


class Cutter:
    """The packed signals on one device. Rows and positions are tensors there; windows come in mV with their mask."""

    def __init__(self, packed: Packed, device: torch.device) -> None:
        self.counts = torch.from_numpy(packed.counts).to(device)
        self.lost = torch.from_numpy(packed.missing()).to(device)
        self.start = torch.from_numpy(packed.start).to(device)
        self.lsb_mv = torch.from_numpy(packed.lsb_mv).to(device)
        self.device = device
        names = [f"{database}/{record}" for database, record in zip(packed.database, packed.record, strict=True)]
        last = {name: row for row, name in enumerate(names)}
        first = {name: row for row, name in reversed(list(enumerate(names)))}
        other = [first[name] if last[name] == row else last[name] for row, name in enumerate(names)]
        self.partner = torch.tensor(other, device=device)  # (lead,) the other one of the record, or itself

    def at(self, rows: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Signal in mV at whole positions (window, sample) of leads (window, 1 or sample), and what is missing."""
        start, end = self.start[rows], self.start[rows + 1]
        index = start + positions
        absent = (positions < 0) | (index >= end)
        index = index.clamp(min=0, max=len(self.counts) - 1)
        return self.counts[index] * self.lsb_mv[rows], absent | self.lost[index]

    def cut(
        self, rows: Tensor, r_peaks: Tensor, stretch: Tensor | None = None, pieces: tuple[Tensor, ...] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Windows with `r_peaks` at R_INDEX; `stretch` (window,) speeds the heart up around it.

        `pieces`: of each run of as many windows, of what it is put together (`training.premature.Cuts`).
        """
        offsets = torch.arange(WINDOW_SAMPLES, device=self.device) - R_INDEX
        if stretch is None:
            return self.at(rows[:, None], r_peaks[:, None] + offsets)
        exact = r_peaks[:, None] + offsets * stretch[:, None]
        of_each, gain = rows[:, None], torch.ones(1, 1, device=self.device)
        if pieces is not None:
            at, shift, row, size = pieces
            of_runs = exact.view(len(at), -1)
            piece = torch.searchsorted(at, of_runs, right=True)
            exact = (of_runs + shift.gather(1, piece)).view_as(exact)
            of_each = row.gather(1, piece).view_as(exact)
            gain = size.gather(1, piece).view_as(exact) * self.lsb_mv[rows, None] / self.lsb_mv[of_each]
        before = exact.floor().long()
        left_mv, left_missing = self.at(of_each, before)
        right_mv, right_missing = self.at(of_each, before + 1)
        return gain * torch.lerp(left_mv, right_mv, exact - before), left_missing | right_missing


def normalise(ecg_mv: Tensor, missing: Tensor) -> Tensor:
    """`dsp.windows.normalise` for many windows: `(window, 1, 1, sample)`."""
    present = (~missing).sum(1, keepdim=True).clamp(min=1)
    rms_mv = (ecg_mv.square().masked_fill(missing, 0).sum(1, keepdim=True) / present).sqrt()
    scaled = (ecg_mv / rms_mv.clamp(min=FLOOR_MV)).clamp(-CLIP, CLIP).masked_fill(missing, 0)
    return scaled[:, None, None, :]


class Spoiler:
    """Augmentation. Each effect hits a random share of the windows."""

    def __init__(self, cutter: Cutter, noise_rows: Tensor, drowning_rows: Tensor) -> None:
        self._cutter = cutter
        self._noise_rows = noise_rows
        self._drowning_rows = drowning_rows

    def __call__(
        self, ecg_mv: Tensor, missing: Tensor, run: Tensor, runs: int, lowest_db: float
    ) -> tuple[Tensor, Tensor]:
        """Half of the runs with noise, down to a signal-to-noise ratio of `lowest_db`; gaps, hum, turned leads.

        `run` (window,) is the number of each window's run, below `runs`: what it suffers, all its windows suffer.
        """
        windows = len(ecg_mv)
        noise_mv = self._noise(self._noise_rows, windows)
        wanted_db = (lowest_db + self._random(runs) * (25.0 - lowest_db))[run] + 3 * (self._random(windows) - 0.5)
        level = self._level(ecg_mv, noise_mv, wanted_db) * (self._random(runs) < 0.5)[run, None]
        ecg_mv = ecg_mv + level * noise_mv + self._hum(run, runs) * _rms(ecg_mv)
        turned = torch.where(self._random(runs) < 0.3, -1.0, 1.0)
        gain = torch.exp(0.5 * torch.randn(runs, device=ecg_mv.device))
        return ecg_mv * (turned * gain)[run, None], missing | self._gaps(windows)

    def mixture(self, rows: Tensor, partner: Tensor, part: float) -> Tensor:
        """How much of the other lead is added in each run, in `part` of them: another place for the electrodes."""
        share = (2 * self._random(len(rows)) - 1) * (self._random(len(rows)) < part) * (rows != partner)
        return share * self._cutter.lsb_mv[rows] / self._cutter.lsb_mv[partner]  # it goes with the lead's RMS

    def coloured(self, ecg_mv: Tensor, run: Tensor, runs: int, part: float) -> Tensor:
        """`part` of the runs with another spectrum, by some decibels: waves broader, sharper, of other sizes."""
        knots_hz = torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0], device=ecg_mv.device)
        hz = torch.fft.rfftfreq(WINDOW_SAMPLES, 1 / RATE_HZ, device=ecg_mv.device).clamp(0.5, 32.0)
        above = torch.searchsorted(knots_hz, hz, right=True).clamp(max=len(knots_hz) - 1)
        part_way = torch.log(hz / knots_hz[above - 1]) / torch.log(knots_hz[above] / knots_hz[above - 1])
        size = COLOURED * torch.randn(runs, len(knots_hz), device=ecg_mv.device) * (self._random(runs) < part)[:, None]
        gain = torch.exp(torch.lerp(size[:, above - 1], size[:, above], part_way))
        return torch.fft.irfft(torch.fft.rfft(ecg_mv) * gain[run], n=WINDOW_SAMPLES)

    def drowned(self, ecg_mv: Tensor) -> Tensor:
        """The windows under so much muscle noise or motion that nothing can be told from them."""
        noise_mv = self._noise(self._drowning_rows, len(ecg_mv))
        return ecg_mv + self._level(ecg_mv, noise_mv, -25.0 + 13.0 * self._random(len(ecg_mv))) * noise_mv

    def _level(self, ecg_mv: Tensor, noise_mv: Tensor, wanted_db: Tensor) -> Tensor:
        return _rms(ecg_mv) / _rms(noise_mv).clamp(min=1e-3) * 10 ** (-wanted_db[:, None] / 20)

    def _random(self, windows: int) -> Tensor:
        return torch.rand(windows, device=self._cutter.device)

    def _noise(self, choice: Tensor, windows: int) -> Tensor:
        rows = choice[torch.randint(len(choice), (windows,), device=self._cutter.device)]
        lengths = self._cutter.start[rows + 1] - self._cutter.start[rows] - 2 * WINDOW_SAMPLES
        at = WINDOW_SAMPLES + (self._random(windows) * lengths).long()
        noise_mv, _ = self._cutter.cut(rows, at)
        return noise_mv

    def _hum(self, run: Tensor, runs: int) -> Tensor:
        """What the notches leave of the mains."""
        cycles = (48 + 14 * self._random(runs))[run] / 250
        index = torch.arange(WINDOW_SAMPLES, device=self._cutter.device)
        phase = cycles[:, None] * index + self._random(len(run))[:, None]
        size = (0.3 * self._random(runs) ** 2 * (self._random(runs) < 0.2))[run]
        return size[:, None] * torch.sin(2 * torch.pi * phase)

    def _gaps(self, windows: int) -> Tensor:
        """A recording that has just begun, or frames that were lost."""
        index = torch.arange(WINDOW_SAMPLES, device=self._cutter.device)
        begun = (self._random(windows) < 0.08) * 800 * self._random(windows)
        first = WINDOW_SAMPLES * self._random(windows)
        length = (self._random(windows) < 0.1) * 10 ** (1 + 1.4 * self._random(windows))
        lost = (index >= first[:, None]) & (index < (first + length)[:, None])
        return (index < begun[:, None]) | lost


def _rms(ecg_mv: Tensor) -> Tensor:
    return ecg_mv.square().mean(1, keepdim=True).sqrt()
