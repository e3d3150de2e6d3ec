"""Noise made on the GPU, by the thousand crops: what electrodes do when their wearer moves, and other nuisances.

Nothing here was fitted to nstdb's `em`, which the noise stress test adds: families as wide as we could think of.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import sosfreqz
from torch import Tensor

from dsp.filters import _sections
from dsp.signal import RATE_HZ


class Motion:
    """Crops of made-up noise, after the daemon's band-pass, with an RMS of 1."""

    def __init__(self, samples: int, device: torch.device) -> None:
        self.samples, self.device = samples, device
        self.length = 2 ** math.ceil(math.log2(samples * 1.15))  # the filter's start is cut off
        self.hz = torch.fft.rfftfreq(self.length, 1 / RATE_HZ).to(device)
        response = sosfreqz(_sections(), worN=2 * np.pi * self.hz.cpu().numpy() / RATE_HZ)[1]
        self.response = torch.tensor(response, dtype=torch.complex64, device=device)

    def random(self, *shape: int) -> Tensor:
        return torch.rand(*shape, device=self.device)

    def between(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * self.random(*shape)

    def log_between(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.exp(self.between(math.log(low), math.log(high), *shape))

    def __call__(self, crops: int) -> Tensor:
        kinds = self.random(crops, 4)
        share = torch.where(kinds < 0.45, torch.zeros_like(kinds), self.log_between(0.1, 1.0, crops, 4))
        share[:, 0] = torch.where(share.sum(1) == 0, torch.ones_like(share[:, 0]), share[:, 0])
        parts = [self._coloured(crops), self._events(crops), self._paces(crops), self._coloured(crops)]
        noise = sum(share[:, k, None] * _unit(part) for k, part in enumerate(parts))
        power = torch.where(
            self.random(crops) < 0.5, self.between(0.6, 2.2, crops), torch.ones(crops, device=self.device)
        )
        noise = _unit(noise)
        noise = noise.sign() * (noise.abs() + 1e-6) ** power[:, None]  # sharper or blunter than a sum of shapes can be
        envelope = self._envelope(crops)
        noise = noise * torch.where((self.random(crops) < 0.5)[:, None], envelope, torch.ones_like(envelope))
        return _unit(self.filtered(noise)[:, -self.samples :])

    def filtered(self, noise: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(noise) * self.response, self.length)

    def _shaped(self, crops: int, power: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(torch.randn(crops, self.length, device=self.device))
        return torch.fft.irfft(spectrum * power, self.length)

    def _coloured(self, crops: int) -> Tensor:
        """Noise that falls with the frequency, between two edges, in bursts."""
        slope = self.between(0.0, 2.2, crops)[:, None]
        low, high = self.log_between(0.1, 3, crops)[:, None], self.log_between(2, 40, crops)[:, None]
        hz = self.hz.clamp(min=0.05)
        power = hz**-slope / (1 + (low / hz) ** 4) / (1 + (hz / high) ** 4) * self._uneven(crops)
        return _unit(self._shaped(crops, power)) * self._envelope(crops)

    def _uneven(self, crops: int) -> Tensor:
        """A spectrum with some hills."""
        octave = torch.log2(self.hz.clamp(min=0.1))
        gain = torch.zeros(crops, len(self.hz), device=self.device)
        for _ in range(3):
            centre, width = self.between(-2, 5.3, crops)[:, None], self.between(0.15, 1.5, crops)[:, None]
            gain += self.between(-1.5, 2.0, crops)[:, None] * torch.exp(-0.5 * ((octave - centre) / width) ** 2)
        return torch.exp(gain)

    def tilted(self, noise: Tensor) -> Tensor:
        """Recorded noise with another spectrum: the same hand, another electrode."""
        crops, n = noise.shape
        hz = torch.fft.rfftfreq(n, 1 / RATE_HZ).to(self.device).clamp(min=0.3)
        slope = self.between(-1.2, 1.5, crops)[:, None]
        gain = (hz / 5) ** slope / (1 + (hz / self.log_between(8, 60, crops)[:, None]) ** 4)
        return _unit(torch.fft.irfft(torch.fft.rfft(noise) * gain, n))

    def _envelope(self, crops: int) -> Tensor:
        """Comes and goes, over parts of a second to many."""
        corner = self.log_between(0.03, 2.0, crops)[:, None]
        slow = _unit(self._shaped(crops, 1 / (1 + (self.hz / corner) ** 4)))
        return torch.exp(self.between(0.0, 1.6, crops)[:, None] * slow).clamp(max=20)

    def _events(self, crops: int) -> Tensor:
        """Bumps, steps that relax and wavelets, each with its own size and width, at random instants."""
        total = torch.zeros(crops, self.length, device=self.device)
        for _ in range(3):
            rate = self.log_between(0.15, 4.0, crops)[:, None] / RATE_HZ
            spread = self.between(0.2, 1.2, crops)[:, None]
            at = (self.random(crops, self.length) < rate).float()
            size = torch.exp(spread * torch.randn(crops, self.length, device=self.device))
            sign = torch.where(self.random(crops, self.length) < self.random(crops)[:, None], 1.0, -1.0)
            total += self.with_shape(at * size * sign)
        return total

    def _paces(self, crops: int) -> Tensor:
        """The same again and again, as of steps or strokes: a rhythm that is not the heart's."""
        period = self.log_between(0.3, 1.5, crops)[:, None] * RATE_HZ
        count = int(self.length / (0.3 * RATE_HZ)) + 1
        jitter = self.between(0.0, 0.2, crops)[:, None]
        gaps = period * (1 + jitter * torch.randn(crops, count, device=self.device)).clamp(min=0.2)
        at = torch.cumsum(gaps, 1).long().clamp(max=self.length - 1)
        size = torch.exp(self.between(0.05, 0.5, crops)[:, None] * torch.randn(crops, count, device=self.device))
        impulses = torch.zeros(crops, self.length, device=self.device).scatter_add_(1, at, size)
        impulses[:, -1] = 0
        return self.with_shape(impulses)

    def with_shape(self, impulses: Tensor) -> Tensor:
        """Each crop's impulses with one shape: a bump, its slope or curvature, or a step that relaxes."""
        crops = len(impulses)
        width_s = self.log_between(0.01, 0.35, crops)[:, None]
        omega = 2 * math.pi * self.hz
        bump = torch.exp(-0.5 * (omega * width_s) ** 2)
        order = torch.randint(0, 3, (crops, 1), device=self.device)
        slope = 1j * omega * width_s
        turned = torch.where(order == 0, torch.ones_like(slope), torch.where(order == 1, slope, slope * slope))
        decay_s = self.log_between(0.03, 1.5, crops)[:, None]
        relaxing = 1 / (1 / decay_s + 1j * omega) / (1 + 1j * omega * 0.15 * width_s)
        step = self.random(crops)[:, None] < 0.4
        phase = torch.exp(1j * self.between(-1.5, 1.5, crops)[:, None])
        shape = torch.where(step, relaxing, bump * turned * phase)
        return _unit(torch.fft.irfft(torch.fft.rfft(impulses) * shape, self.length))


def qrs_size_mv(ecg_mv: NDArray[np.float64], r_peaks: NDArray[np.int64]) -> float:
    """The usual size of a QRS complex, peak to peak: what the size of noise is measured by."""
    inside = r_peaks[(r_peaks > 20) & (r_peaks < len(ecg_mv) - 20)]
    return float(np.median(np.ptp(ecg_mv[inside[:, None] + np.arange(-12, 13)], axis=1)))


def stressed(
    ecg_mv: NDArray[np.float64], qrs_mv: float, taken: list[NDArray[np.float64]], rng: np.random.Generator
) -> NDArray[np.float64]:
    """With noise from 12 down to -5 dB, for half a minute to two and a half, and pauses of up to two."""
    spoiled = ecg_mv.copy()
    at = int(rng.uniform(10, 90) * RATE_HZ)
    while len(ecg_mv) - at > 2000:
        length = min(int(rng.uniform(30, 150) * RATE_HZ), len(ecg_mv) - at)
        if rng.random() < 0.25:
            source = taken[rng.integers(len(taken))]
            noise = np.resize(source[rng.integers(max(1, len(source) - length)) :], length)
            noise = noise / np.sqrt(np.mean(noise**2))
        else:
            noise = Motion(length, torch.device("cpu"))(1)[0].numpy()
        spoiled[at : at + length] += noise * qrs_mv / 8**0.5 * 10 ** (-rng.uniform(-5, 12) / 20)
        at += length + int(rng.uniform(5, 120) * RATE_HZ)
    return spoiled


def _unit(values: Tensor) -> Tensor:
    values = values - values.mean(1, keepdim=True)
    return values / values.square().mean(1, keepdim=True).sqrt().clamp(min=1e-6)
