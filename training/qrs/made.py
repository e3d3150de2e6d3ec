"""Made-up beats at rates that few recordings have: regular trains of simple waves, 25 to 300 a minute."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dsp.signal import RATE_HZ


def train_of_beats(seconds: float, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """ECG in mV and its R peaks: one shape, the rate another one every 8 to 30 s."""
    at_s, since_s = [], 1.0
    while since_s < seconds - 1:
        rr_s = 60 / np.exp(rng.uniform(np.log(25), np.log(300)))
        until_s = since_s + max(rng.uniform(8, 30), 4 * rr_s)
        jitter = rng.uniform(0, 0.03)
        while since_s < min(until_s, seconds - 1):
            at_s.append(since_s)
            since_s += rr_s * (1 + jitter * rng.standard_normal())
    r_s = np.array(at_s)
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    ecg_mv = 0.01 * rng.exponential() * rng.standard_normal(len(time_s))
    width_s, is_triangle = rng.uniform(0.03, 0.13), rng.random() < 0.5
    second, has_t = rng.uniform(-0.8, 0.3) * (rng.random() < 0.6), rng.random() < 0.6
    for r_peak_s, rr_s in zip(r_s, np.diff(r_s, append=r_s[-1] + 1), strict=True):
        near = slice(max(0, int((r_peak_s - 0.3) * RATE_HZ)), int((r_peak_s + 0.8) * RATE_HZ))
        from_r_s = time_s[near] - r_peak_s
        ecg_mv[near] += _wave(from_r_s, width_s, is_triangle)
        ecg_mv[near] += second * _wave(from_r_s - 0.7 * width_s, width_s, is_triangle)
        if has_t:
            t_s = min(0.3, 0.55 * rr_s)
            ecg_mv[near] += 0.2 * np.exp(-0.5 * ((from_r_s - t_s) / min(0.035, 0.1 * rr_s)) ** 2)
    size_mv = np.exp(rng.uniform(np.log(0.25), np.log(4.0))) * rng.choice((-1, 1))
    return size_mv * ecg_mv, np.rint(r_s * RATE_HZ).astype(np.int64)


def _wave(at_s: NDArray[np.float64], width_s: float, is_triangle: bool) -> NDArray[np.float64]:  # noqa: FBT001
    if is_triangle:
        return np.clip(1 - np.abs(at_s) / (width_s / 2), 0, None)
    return np.exp(-0.5 * (at_s / (width_s / 4)) ** 2)
