"""The shape of the network, said once for PyTorch (`training.network`) and for ONNX (`training.export`).

A residual network over time: a stem that goes down to every fourth sample at once, shared blocks, then one block and
one linear layer for each head. Few, wide blocks at a low rate are what a CPU and a GPU both like. Everything is rank 4
with a height of 1, which every TensorRT back-end knows how to run fast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dsp.windows import R_INDEX, WINDOW_SAMPLES

BEATS = ("normal", "supraventricular", "ventricular")
RHYTHMS = ("atrial_fibrillation", "ventricular_fibrillation", "other", "noise")
HEADS = {"beat": BEATS, "rhythm": RHYTHMS}
"""Two heads and not one softmax: that one costs a third of the supraventricular beats."""

INPUT = "ecg"
STEM_KERNEL, STEM_STRIDE = 15, 4
KERNEL = 9
TAIL_STRIDE = 2
NORM_EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class Layout:
    """How wide the network is; multiples of 32 fill the tensor cores' tiles."""

    trunk: tuple[int, ...]  # channels of each shared block; the stem has those of the first
    strides: tuple[int, ...]  # of each shared block
    tail: int  # channels of each head's own block, which halves the rate once more

    def columns_at_r(self) -> tuple[int, int]:
        """The two columns of a tail's map between which the R peak lies."""
        samples = STEM_STRIDE * math.prod(self.strides) * TAIL_STRIDE
        column = R_INDEX // samples
        assert column + 1 < -(-WINDOW_SAMPLES // samples)
        return column, column + 1

    def features(self, head: str) -> int:
        """How many numbers the linear layer of a head reads: mean and maximum over time, and for beats the map at R."""
        return self.tail * (4 if head == "beat" else 2)
