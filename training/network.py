"""The network in PyTorch, for training only; `training.graph` is the one that runs."""

from __future__ import annotations

from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dsp.windows import RR_FEATURES
from training.layout import LEARNED, NORM_EPSILON, POINTS_OF_VIEW, REMEMBERING, Layout, Weights, layout_of


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
    """The convolutions, with the shortcuts of the layout: one after the other, or after the first in several paths."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(
            Convolution(each.inputs, each.outputs, each.taps, each.stride, each.groups)
            for each in layout.convolutions()
        )
        _, self._paths = layout.trunk()

    def forward(self, windows: Tensor) -> Tensor:
        first, *rest = self
        begins, each, ends = first(windows, None), iter(rest), []
        for path in self._paths:
            maps = deque([begins], maxlen=max(1, *(one.over for one in path)))
            for one in path:
                maps.append(next(each)(maps[-1], maps[-one.over] if one.over else None))
            ends.append(maps[-1])
        return torch.cat(ends, 1) if len(ends) > 1 else ends[0]


class Recall(nn.Module):
    """Attention (Vaswani et al., 2017) to the last beats, and how a window differs from what it brings to mind."""

    FORGOTTEN = 0.1
    """The share of the beats before that are not to be found in training."""

    def __init__(self, seen: int, likened: int, recalled: int) -> None:
        super().__init__()
        self._count, self._width = recalled, likened // POINTS_OF_VIEW
        self.liken = nn.Linear(seen, 3 * likened)  # what is asked, what answers to it, what is recalled then
        self.age = nn.Parameter(torch.zeros(POINTS_OF_VIEW, recalled))
        self.nothing = nn.Parameter(torch.zeros(2, POINTS_OF_VIEW, likened // POINTS_OF_VIEW))  # is always there

    def forward(self, seen: Tensor, beats: Tensor, before: Tensor) -> Tensor:
        """`(run, window, 2 * likened)`; see `Network.judge`."""
        asked, key, value = self.liken(seen).unflatten(2, (3, POINTS_OF_VIEW, self._width)).unbind(2)
        known = torch.stack([key, value], 2).flatten(2)
        known = known.gather(1, beats[:, :, None].expand(-1, -1, known.shape[2]))  # of the beats alone
        back = before[:, :, None] - 1 - torch.arange(self._count, device=seen.device)
        there = back >= 0
        if self.training:
            there = there & (torch.rand(there.shape, device=seen.device) >= self.FORGOTTEN)
        index = back.clamp(min=0).flatten(1)[:, :, None].expand(-1, -1, known.shape[2])
        keys, values = known.gather(1, index).view(*back.shape, 2, POINTS_OF_VIEW, self._width).unbind(3)
        scores = torch.einsum("rwvn,rwbvn->rwvb", asked, keys) * self._width**-0.5 + self.age
        scores = scores.masked_fill(~there[:, :, None], -1e4)
        none = torch.einsum("rwvn,vn->rwv", asked, self.nothing[0]) * self._width**-0.5
        shares = torch.cat([scores, none[..., None]], 3).softmax(3)
        recalled = torch.einsum("rwvb,rwbvn->rwvn", shares[..., :-1], values)
        recalled = recalled + shares[..., -1:] * self.nothing[1]
        return torch.cat([recalled, (value - recalled).abs()], 3).flatten(2)


class Network(nn.Module):
    """Runs of windows to logits, one `(run, window, label)` for each head."""

    def __init__(self, layout: Layout, dropout: float) -> None:
        super().__init__()
        self.layout = layout
        self.trunk = Trunk(layout)
        self.dropout = nn.Dropout(dropout)
        self.see = nn.Linear(layout.pooled + RR_FEATURES, layout.seen)
        self.recall = Recall(layout.seen, layout.likened, layout.recalled) if layout.recalled else None
        self.weigh = nn.Linear(layout.known, layout.hidden)
        self.head = nn.ModuleDict({head: nn.Linear(layout.hidden, len(labels)) for head, labels in LEARNED.items()})
        remembers = torch.arange(layout.hidden) >= layout.hidden // 2
        of_memory = torch.arange(layout.known) >= layout.seen
        self.register_buffer("_weighed", (remembers[:, None] | ~of_memory).float(), persistent=False)
        for head, labels in LEARNED.items():
            may = torch.tensor([label in REMEMBERING[head] for label in labels])
            self.register_buffer(f"_told_{head}", (may[:, None] | ~remembers).float(), persistent=False)

    @classmethod
    def of(cls, weights: Weights) -> Network:
        """One that is trained, to be asked."""
        network = cls(layout_of(weights), dropout=0.0)
        state = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
        network.load_state_dict({name: state.get(name, value) for name, value in network.state_dict().items()})
        return network.eval()

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
        if self.recall is not None:
            known.append(self.recall(seen, beats, before))
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
        """The weights by the names that `training.graph` reads."""
        state = self.state_dict() | self._masked()
        return {
            name: value.detach().float().cpu().numpy() for name, value in state.items() if value.is_floating_point()
        }
