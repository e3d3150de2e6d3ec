"""The network in PyTorch, for training only; `training.export` writes the one that runs."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dsp.windows import RR_FEATURES
from training.layout import LEARNED, NORM_EPSILON, REMEMBERING, Layout


class Convolution(nn.Module):
    """With normalisation, and the sum with what a shortcut brings."""

    def __init__(self, inputs: int, outputs: int, taps: int, stride: int, groups: int) -> None:
        super().__init__()
        shape = {"stride": (1, stride), "padding": (0, taps // 2), "groups": groups, "bias": False}
        self.conv = nn.Conv2d(inputs, outputs, (1, taps), **shape)
        self.norm = nn.BatchNorm2d(outputs, eps=NORM_EPSILON)

    def forward(self, x: Tensor, shortcut: Tensor | None) -> Tensor:
        deep = self.norm(self.conv(x))
        return torch.relu(deep if shortcut is None else deep + shortcut)


class Trunk(nn.ModuleList):
    """The convolutions, one after the other, with the shortcuts of the layout."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(map(Convolution, layout.inputs, layout.channels, layout.taps, layout.strides, layout.grouping))
        self._shortcuts = layout.shortcuts

    def forward(self, windows: Tensor) -> Tensor:
        maps = deque([windows], maxlen=max(1, *self._shortcuts))
        for convolution, over in zip(self, self._shortcuts, strict=True):
            maps.append(convolution(maps[-1], maps[-over] if over else None))
        return maps[-1]


class Network(nn.Module):
    """Runs of windows to logits, one `(run, window, label)` for each head."""

    def __init__(self, layout: Layout, dropout: float) -> None:
        super().__init__()
        self.layout = layout
        self.trunk = Trunk(layout)
        self.dropout = nn.Dropout(dropout)
        self.see = nn.Linear(layout.pooled + RR_FEATURES, layout.seen)
        self.remember = nn.GRU(layout.seen, layout.memory, batch_first=True) if layout.memory else None
        self.weigh = nn.Linear(layout.seen + layout.memory, layout.hidden)
        self.head = nn.ModuleDict({head: nn.Linear(layout.hidden, len(labels)) for head, labels in LEARNED.items()})
        remembers = torch.arange(layout.hidden) >= layout.hidden // 2
        of_memory = torch.arange(layout.seen + layout.memory) >= layout.seen
        self.register_buffer("_weighed", (remembers[:, None] | ~of_memory).float(), persistent=False)
        for head, labels in LEARNED.items():
            may = torch.tensor([label in REMEMBERING[head] for label in labels])
            self.register_buffer(f"_told_{head}", (may[:, None] | ~remembers).float(), persistent=False)

    def pool(self, windows: Tensor) -> Tensor:
        """Windows `(window, 1, 1, sample)` to `(window, pooled)`."""
        x = self.trunk(windows)
        at_r = [x[:, :, 0, column] for column in self.layout.columns_at_r()]
        return torch.cat([x.mean((2, 3)), x.amax((2, 3)), *at_r], 1).float()

    def judge(self, pooled: Tensor, rr: Tensor, beats: Tensor, before: Tensor) -> dict[str, Tensor]:
        """What was seen of runs `(run, window, ...)`; of each run the places of its beats, in order, and of each
        window how many beats came before it.
        """
        seen = torch.relu(self.see(torch.cat([self.dropout(pooled), rr], 2)))
        known = [seen]
        if self.remember is not None:
            of_beats = seen.gather(1, beats[:, :, None].expand(-1, -1, seen.shape[2]))
            after, _ = self.remember(of_beats)
            memory = nn.functional.pad(after, (0, 0, 1, 0))  # at first nothing is remembered
            known.append(memory.gather(1, before[:, :, None].expand(-1, -1, memory.shape[2])))
        weights = self._masked()
        hidden = nn.functional.linear(torch.cat(known, 2), weights["weigh.weight"], self.weigh.bias)
        hidden = self.dropout(torch.relu(hidden))
        return {
            head: nn.functional.linear(hidden, weights[f"head.{head}.weight"], layer.bias)
            for head, layer in self.head.items()
        }

    def _masked(self) -> dict[str, Tensor]:
        """The weights that some inputs must not reach, with zeros there."""
        heads = {
            f"head.{head}.weight": layer.weight * self.get_buffer(f"_told_{head}") for head, layer in self.head.items()
        }
        return {"weigh.weight": self.weigh.weight * self.get_buffer("_weighed"), **heads}

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """The weights by the names that `training.export` reads."""
        state = self.state_dict() | self._masked()
        return {
            name: value.detach().float().cpu().numpy() for name, value in state.items() if value.is_floating_point()
        }
