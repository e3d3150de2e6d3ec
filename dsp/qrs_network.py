"""The network that hears R peaks: causal convolutions over a stream, in numpy.

Weights and activations lie on grids so coarse (8 bits each) that every sum of products is exact in float32. Then the
order of summation does not matter: however the stream is cut into blocks, and whatever BLAS does with them, the same
bits come out, and long blocks may use large matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SHIPPED = Path(__file__).parent / "models" / "qrs2.npz"
"""`qrs2.md` beside it says what it was trained on. `python -m training.qrs.train` makes such a file."""

STEM_STRIDE, SECOND_STRIDE = 4, 2
STEP_SAMPLES = STEM_STRIDE * SECOND_STRIDE
"""Samples for each output: 32 ms."""

ACTIVATION_LEVELS = 255
ACTIVATION_UNIT = 1 / 16
"""Between two layers values are whole numbers of this unit."""

EXACT = 2**24
"""Float32 holds every whole number up to here."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One convolution over time, written as a matrix."""

    weight: Floats  # (tap x input, output): for each output whole numbers times a power of two
    bias: Floats  # (output,)
    dilation: int  # steps between two taps


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A trained network, and the numbers of the referee that was trained with it."""

    stem: Layer
    second: Layer
    blocks: tuple[Layer, ...]
    head: Layer
    delays: tuple[int, ...]  # steps by which each output lies behind
    referee: dict[str, NDArray[np.float64]]


@cache
def load(path: Path = SHIPPED) -> Weights:
    """Reads a trained network; equal paths give the same object."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}

    def layer(
        name: str, dilation: int = 1, *, unit_in: float = ACTIVATION_UNIT, unit_out: float = ACTIVATION_UNIT
    ) -> Layer:
        whole = arrays[f"{name}_weight"].astype(np.float32)  # (output, input, tap)
        if name != "stem" and ACTIVATION_LEVELS * float(np.abs(whole).sum(axis=(1, 2)).max()) > EXACT:
            raise ValueError(f"{path}: sums of {name} are not exact")
        step = np.exp2(arrays[f"{name}_step"].astype(np.float32)) * np.float32(unit_in / unit_out)
        taps = (whole * step[:, None, None]).transpose(2, 1, 0)
        matrix = np.ascontiguousarray(taps.reshape(-1, len(whole)))
        return Layer(matrix, arrays[f"{name}_bias"] / np.float32(unit_out), dilation)

    dilations: list[int] = arrays["dilations"].tolist()
    return Weights(
        stem=layer("stem", unit_in=1.0),
        second=layer("second"),
        blocks=tuple(layer(f"block{index}", dilation) for index, dilation in enumerate(dilations)),
        head=layer("head", unit_out=1.0),
        delays=tuple(arrays["delays"].tolist()),
        referee={name.removeprefix("referee_"): arrays[name] for name in arrays if name.startswith("referee_")},
    )


class Network:
    """Scaled ECG `(sample,)` in, log-odds `(step, output)` out, for as many steps as are complete."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        channels = len(weights.second.bias)
        self._samples = np.zeros(len(weights.stem.weight) - STEM_STRIDE, np.float32)  # the newest
        fine = len(weights.stem.bias)
        self._fine = np.zeros(len(weights.second.weight) - SECOND_STRIDE * fine, np.float32)  # the stem's newest rows
        self.pasts = [  # the newest rows that went into each block
            np.zeros(((len(block.weight) // channels - 1) * block.dilation, channels), np.float32)
            for block in weights.blocks
        ]

    def __call__(self, ecg: Floats) -> Floats:
        stem, second = self.weights.stem, self.weights.second
        kept = len(stem.weight) - STEM_STRIDE
        samples = np.concatenate([self._samples, ecg])
        steps = (len(samples) - kept) // STEP_SAMPLES
        self._samples = samples[steps * STEP_SAMPLES :]
        if not steps:
            return np.zeros((0, len(self.weights.head.bias)), np.float32)
        rows = _rows(samples[: steps * STEP_SAMPLES + kept], len(stem.weight), STEM_STRIDE)
        fine = np.concatenate([self._fine, _whole(rows @ stem.weight + stem.bias).reshape(-1)])
        self._fine = fine[len(fine) - len(self._fine) :]
        stream = _rows(fine, len(second.weight), SECOND_STRIDE * len(stem.bias)) @ second.weight
        stream += second.bias
        return self._told(stream)

    def _told(self, stream: Floats) -> Floats:
        """What the blocks make of it, and the head of that: nine tenths of the work."""
        for index, block in enumerate(self.weights.blocks):
            past = np.concatenate([self.pasts[index], _whole(stream)])
            self.pasts[index] = past[len(stream) :]
            stream += _taps(past, len(stream), block.dilation) @ block.weight
            stream += block.bias
        log_odds: Floats = _whole(stream) @ self.weights.head.weight + self.weights.head.bias
        return log_odds


def _rows(values: Floats, width: int, stride: int) -> Floats:
    """Overlapping stretches of `width` values, as a matrix of its own: BLAS takes no other.

    numpy's `sliding_window_view` does the same; for the few rows of a live block its checks take most of the time.
    """
    rows = 1 + (len(values) - width) // stride
    strides = (stride * values.itemsize, values.itemsize)
    return np.ascontiguousarray(np.ndarray((rows, width), values.dtype, values, 0, strides))


def _taps(past: Floats, steps: int, dilation: int) -> Floats:
    """For each of the newest `steps` rows, itself and those `dilation` before it, side by side, oldest first."""
    taps, (row, channel) = 1 + (len(past) - steps) // dilation, past.strides
    view: Floats = np.ndarray((steps, taps, past.shape[1]), past.dtype, past, 0, (row, dilation * row, channel))
    return view.reshape(steps, -1)


def _whole(stream: Floats) -> Floats:
    """Rectified, in whole numbers from 0 to ACTIVATION_LEVELS."""
    whole = np.rint(stream)
    np.maximum(whole, 0, out=whole)
    np.minimum(whole, ACTIVATION_LEVELS, out=whole)
    return whole
