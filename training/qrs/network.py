"""The detector's network in PyTorch, with the very arithmetic that `dsp.qrs_network` does in numpy.

Weights and activations lie on grids so coarse that every sum of products is exact in float32: then it does not matter
in what order, or in how large a piece, it is summed. Training rounds as it goes, and lets gradients pass the rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEP = 8  # samples for each output
INPUT_LEVELS = 2048.0  # a power of two, like every grid
WEIGHT_LEVELS = 127.0
ACTIVATION_LEVELS = 255.0
ACTIVATION_UNIT = 1 / 16
STEM_KERNEL, STEM_STRIDE, STEM_CHANNELS = 16, 4, 32
SECOND_KERNEL, SECOND_STRIDE = 4, 2


def through(rounded: Tensor, exact: Tensor) -> Tensor:
    """`rounded` forward, the gradient of `exact` backward."""
    return exact + (rounded - exact).detach()


class Grid(nn.Module):
    """Rectified, and rounded to a grid of 256 steps."""

    on = True

    def forward(self, values: Tensor) -> Tensor:
        values = values.clamp(0, ACTIVATION_LEVELS * ACTIVATION_UNIT)
        if not self.on:
            return values
        return through((values / ACTIVATION_UNIT).round() * ACTIVATION_UNIT, values)


class Convolution(nn.Module):
    """Causal, dilated, its weights on a grid of powers of two for each output channel."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1, gain: float = 1.0
    ):
        super().__init__()
        self.stride, self.dilation = stride, dilation
        self.past = (kernel - 1) * dilation - (stride - 1)
        self.weight = nn.Parameter(gain * (2 / (inputs * kernel)) ** 0.5 * torch.randn(outputs, inputs, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.on = True

    def steps(self) -> Tensor:
        """The grid of each output channel: the finest power of two that holds its largest weight."""
        largest = self.weight.detach().abs().amax((1, 2)).clamp(min=1e-6)
        return 2.0 ** torch.ceil(torch.log2(largest / WEIGHT_LEVELS))

    def rounded(self) -> tuple[Tensor, Tensor]:
        steps = self.steps()
        grid = steps[:, None, None]
        whole = (self.weight / grid).round().clamp(-WEIGHT_LEVELS, WEIGHT_LEVELS)
        return whole, steps

    def forward(self, values: Tensor) -> Tensor:
        weight = self.weight
        if self.on:
            whole, steps = self.rounded()
            weight = through(whole * steps[:, None, None], weight)
        values = nn.functional.pad(values, (self.past, 0))
        return nn.functional.conv1d(values, weight, self.bias, self.stride, dilation=self.dilation)


class Network(nn.Module):
    """Normalised ECG (crop, sample) in, logits (crop, head, step) out."""

    def __init__(self, channels: int, kernel: int, dilations: list[int], heads: int) -> None:
        super().__init__()
        self.stem = Convolution(1, STEM_CHANNELS, STEM_KERNEL, stride=STEM_STRIDE)
        self.second = Convolution(STEM_CHANNELS, channels, SECOND_KERNEL, stride=SECOND_STRIDE)
        self.blocks = nn.ModuleList(Convolution(channels, channels, kernel, dilation=d, gain=0.5) for d in dilations)
        self.head = Convolution(channels, heads, 1, gain=0.1)
        nn.init.constant_(self.head.bias, -3.0)
        self.grid = Grid()

    def rounding(self, *, on: bool) -> None:
        for part in self.modules():
            if isinstance(part, Grid | Convolution):
                part.on = on

    def forward(self, ecg: Tensor) -> Tensor:
        ecg = ecg[:, None, :]
        stream = self.second(self.grid(self.stem(ecg)))
        for block in self.blocks:
            stream = stream + block(self.grid(stream))
        return self.head(self.grid(stream))
