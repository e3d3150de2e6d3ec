"""The network in PyTorch, for training only; `training.export` writes the one that runs."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.layout import HEADS, KERNEL, NORM_EPSILON, STEM_KERNEL, STEM_STRIDE, TAIL_STRIDE, Layout


class ConvNorm(nn.Module):
    def __init__(self, inputs: int, outputs: int, taps: int, stride: int = 1) -> None:
        super().__init__()
        shape = {"stride": (1, stride), "padding": (0, taps // 2), "bias": False}
        self.conv = nn.Conv2d(inputs, outputs, (1, taps), **shape)
        self.norm = nn.BatchNorm2d(outputs, eps=NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Block(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, KERNEL, stride)
        self.second = ConvNorm(outputs, outputs, KERNEL)
        self.shortcut = ConvNorm(inputs, outputs, 1, stride) if (inputs, 1) != (outputs, stride) else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class Network(nn.Module):
    """Windows `(batch, 1, 1, sample)` to logits, one `(batch, label)` for each head."""

    def __init__(self, layout: Layout, dropout: float) -> None:
        super().__init__()
        self.layout = layout
        self.stem = ConvNorm(1, layout.trunk[0], STEM_KERNEL, STEM_STRIDE)
        inputs = (layout.trunk[0], *layout.trunk)
        self.trunk = nn.Sequential(*map(Block, inputs, layout.trunk, layout.strides))
        self.tail = nn.ModuleDict({head: Block(layout.trunk[-1], layout.tail, TAIL_STRIDE) for head in HEADS})
        self.dropout = nn.Dropout(dropout)
        self.head = nn.ModuleDict(
            {head: nn.Conv2d(layout.features(head), len(labels), 1) for head, labels in HEADS.items()}
        )

    def forward(self, windows: Tensor) -> dict[str, Tensor]:
        trunk = self.trunk(torch.relu(self.stem(windows)))
        return {head: self._logits(head, self.tail[head](trunk)) for head in HEADS}

    def _logits(self, head: str, x: Tensor) -> Tensor:
        features = [x.mean(3, keepdim=True), x.amax(3, keepdim=True)]
        if head == "beat":
            features += [x[..., column : column + 1] for column in self.layout.columns_at_r()]
        return self.head[head](self.dropout(torch.cat(features, 1))).flatten(1).float()

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The weights by the names that `training.export` reads."""
        state = self.state_dict().items()
        return {name: value.float().cpu().numpy() for name, value in state if value.is_floating_point()}
