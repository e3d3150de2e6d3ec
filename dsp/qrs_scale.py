"""Makes gain, and artefacts that are over, indifferent to the network that hears R peaks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HOP_SAMPLES = 64  # one estimate of the energy: 256 ms
LONG_HOPS, SHORT_HOPS = 32, 16  # 8 s, 4 s
LOUDEST_HOPS = 2  # half a second
_LONG = np.arange(LONG_HOPS)
FIRST_HOPS = 8
FIRST_SAMPLES = FIRST_HOPS * HOP_SAMPLES
"""The first 2 s are scaled by their own level, so nothing comes out before they are there."""

FLOOR_MV = 0.01
KNEE = 4.0  # levels: this large a value comes out at half the range
RANGE = 4.0
RESOLUTION = 1 / 512  # a power of two, as the network's sums must be exact


class Scale:
    """Clean ECG in mV to the network's input, bent so that it stays within ±RANGE.

    It is divided by the level of the seconds before: the RMS of 4 s, or of 8 s without the loudest half second where
    that is less. So one artefact deafens nobody, and after many it takes 4 s to hear again.
    """

    def __init__(self) -> None:
        self._hop_mv = np.zeros(0)  # of the hop that is not complete
        self._energies = np.zeros(0)  # of the last LONG_HOPS hops, in mV²
        self._level_mv = 0.0  # for this hop; 0 before the first one

    def __call__(self, ecg_mv: np.ndarray) -> NDArray[np.float32]:
        samples_mv = np.concatenate([self._hop_mv, ecg_mv])
        hops = len(samples_mv) // HOP_SAMPLES
        begins = not self._level_mv
        if begins and hops < FIRST_HOPS:
            self._hop_mv = samples_mv
            return np.zeros(0, np.float32)
        done = 0 if begins else len(self._hop_mv)
        self._hop_mv = samples_mv[hops * HOP_SAMPLES :]
        if not hops:
            return _bent(ecg_mv, self._level_mv)
        squares = np.square(samples_mv[: hops * HOP_SAMPLES]).reshape(hops, HOP_SAMPLES)
        energies = np.add.reduce(squares, axis=1) / HOP_SAMPLES
        if begins:
            self._energies = np.tile(energies[:FIRST_HOPS], LONG_HOPS // FIRST_HOPS)
        energies = np.concatenate([self._energies, energies])
        levels_mv = _levels_mv(energies)  # for each hop, from those before it
        if begins:
            levels_mv[:FIRST_HOPS] = levels_mv[0]
        self._energies, self._level_mv = energies[-LONG_HOPS:], float(levels_mv[-1])
        return _bent(samples_mv[done:], np.repeat(levels_mv, HOP_SAMPLES)[done : len(samples_mv)])


def _levels_mv(energies: np.ndarray) -> NDArray[np.float64]:
    """After each LONG_HOPS of the energies."""
    long = energies[np.arange(len(energies) + 1 - LONG_HOPS)[:, None] + _LONG]
    short = np.add.reduce(long[:, -SHORT_HOPS:], axis=1) / SHORT_HOPS
    long.sort(axis=1)
    usual = np.add.reduce(long[:, :-LOUDEST_HOPS], axis=1) / (LONG_HOPS - LOUDEST_HOPS)
    levels_mv: NDArray[np.float64] = np.sqrt(np.minimum(usual, short))
    return np.maximum(levels_mv, FLOOR_MV)


def _bent(ecg_mv: np.ndarray, level_mv: np.ndarray | float) -> NDArray[np.float32]:
    levels = ecg_mv / level_mv
    bent: NDArray[np.float32] = (np.rint(levels * (RANGE / RESOLUTION) / (np.abs(levels) + KNEE)) * RESOLUTION).astype(
        np.float32
    )
    return bent
