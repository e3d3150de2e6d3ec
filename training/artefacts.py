"""Made-up motion artefacts: what an electrode does when its wearer moves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from dsp.signal import RATE_HZ


def motion_mv(seconds: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Steps that relax, bumps and bursts, about one a second, before any filter."""
    artefact_mv = np.zeros(seconds * RATE_HZ)
    for _ in range(seconds):
        shape = (_relaxing_step, _bump, _burst)[rng.integers(3)](rng)
        at = rng.integers(len(artefact_mv))
        shape = shape[: len(artefact_mv) - at]
        artefact_mv[at : at + len(shape)] += rng.choice((-1, 1)) * rng.lognormal(0, 0.7) * shape
    return artefact_mv


def _relaxing_step(rng: np.random.Generator) -> NDArray[np.float64]:
    decay_s = rng.uniform(0.03, 1.5)
    rise = min(1.0, rng.uniform(0.002, 0.08))
    at_s = np.arange(int(5 * decay_s * RATE_HZ)) / RATE_HZ
    return np.exp(-at_s / decay_s) - np.exp(-at_s / (rise * decay_s))


def _bump(rng: np.random.Generator) -> NDArray[np.float64]:
    return np.hanning(int(rng.uniform(0.06, 0.6) * RATE_HZ)) ** rng.uniform(0.5, 3)


def _burst(rng: np.random.Generator) -> NDArray[np.float64]:
    samples = int(rng.uniform(0.3, 4.0) * RATE_HZ)
    radius, hz = rng.uniform(0.8, 0.97), rng.uniform(1, 12)  # of a resonance that colours white noise
    poles = [1, -2 * radius * np.cos(2 * np.pi * hz / RATE_HZ), radius**2]
    burst = lfilter([1], poles, rng.normal(size=samples)) * np.hanning(samples)
    scaled: NDArray[np.float64] = burst / np.abs(burst).max()
    return scaled
