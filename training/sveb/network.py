"""Follows a person's beats: what each looks like and when it comes, compared with up to 64 of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from dsp.beat_picture import POINTS
from dsp.intervals import FEATURES
from training.layout import BEATS as CLASSES

COMPARED = 64
"""Beats that attention compares, itself the last."""

CHANNELS = (24, 48, 64, 96)
KERNELS = (9, 7, 5, 5)
"""Of the convolutions, each of which halves the rate."""

NEVER = 1e4
"""Taken off the logit of what is not there: nothing is left of its share, also in half precision."""


class Attention(nn.Module):
    """A beat compared with those before it; how far back one lies counts by itself."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_deep = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.answer = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.deep = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )
        self.dropout = nn.Dropout(dropout)
        self.by_distance = nn.Parameter(torch.zeros(heads, COMPARED))

    def forward(self, x: Tensor) -> Tensor:
        """Of whole runs `(run, beat, width)`."""
        query, key, value = self.ask(self.norm(x)).view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        beat = torch.arange(x.shape[1], device=x.device)
        distance = beat[:, None] - beat
        seen = (distance >= 0) & (distance < COMPARED)
        bias = self.by_distance[:, distance.clamp(0, COMPARED - 1)].masked_fill(~seen, -torch.inf)
        mask = bias.to(query.dtype)[None].expand(len(x), -1, -1, -1)
        found = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self._go_on(x, found.transpose(1, 2).reshape(x.shape))

    def step(self, x: Tensor, seen: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Of one beat `(1, width)`, with the keys and values of those before, `(2, head, COMPARED - 1, part)`.

        `there` is added to what tells how alike they are, `(COMPARED,)`. Also gives the keys and values that the next
        beat needs. As few operations as there can be: of so small ones each costs as much as what it computes.
        """
        asked = self.ask(self.norm(x)).view(3, self.heads, 1, -1)
        compared = torch.cat([seen, asked[1:]], 2)
        alike = asked[0] @ (compared[0].transpose(1, 2) * asked.shape[3] ** -0.5)
        shares = (alike + (self.by_distance.flip(1)[:, None] + there)).softmax(2)
        return self._go_on(x, (shares @ compared[1]).view(1, -1)), compared[:, :, 1:]

    def _go_on(self, x: Tensor, found: Tensor) -> Tensor:
        x = x + self.dropout(self.answer(found))
        return x + self.dropout(self.deep(self.norm_deep(x)))


class Network(nn.Module):
    """Convolutions for each beat, a recurrent layer over the beats, and attention to those before.

    Two ways to run that agree: `forward` on whole runs, and `step` from beat to beat.
    """

    def __init__(self, how: dict[str, Any]) -> None:
        super().__init__()
        width, self.layers = how["width"], how["layers"]
        convolutions: list[nn.Module] = []
        for inputs, outputs, kernel in zip((1, *CHANNELS), CHANNELS, KERNELS, strict=False):
            convolutions += [nn.Conv1d(inputs, outputs, kernel, 2, kernel // 2, bias=False)]
            convolutions += [nn.BatchNorm1d(outputs), nn.ReLU()]
        convolutions.insert(-3, nn.Dropout(how["dropout"] / 2))
        self.see = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(CHANNELS[-1] * POINTS // 16, width))
        self.forget = nn.Dropout(how["embedding_dropout"])
        self.time = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, width))
        self.follow = nn.GRU(width, width, batch_first=True)
        self.compare = nn.ModuleList(Attention(width, how["heads"], how["dropout"]) for _ in range(self.layers))
        self.norm, self.judge = nn.LayerNorm(width), nn.Linear(width, len(CLASSES))

    def forward(self, pictures: Tensor, rr: Tensor) -> Tensor:
        """Pictures `(run, beat, POINTS)` and intervals `(run, beat, FEATURES)` to logits `(run, beat, class)`."""
        seen = self.see(pictures.reshape(-1, 1, POINTS)).view(*pictures.shape[:2], -1)
        x = self.forget(seen) + self.time(rr)
        x = x + self.follow(x)[0]
        for layer in self.compare:
            x = layer(x)
        return self.judge(self.norm(x))

    def step(self, picture: Tensor, rr: Tensor, followed: Tensor, known: Tensor, *seen: Tensor) -> tuple[Tensor, ...]:
        """One beat `(1, POINTS)` with its intervals `(1, FEATURES)` to logits `(1, class)`, and what is remembered.

        `followed`: the recurrent layer's `(1, width)`; `known`: which of the COMPARED - 1 beats before there were;
        `seen`: their keys and values, oldest first, one of each layer. All 0: none before.
        """
        x = self.see(picture[:, None]) + self.time(rr)
        _, following = self.follow(x[None], followed[None])
        x, kept = x + following[0], []
        known = pad(known, (0, 1), value=1.0)
        there = (known - 1) * NEVER
        for layer, of_layer in zip(self.compare, seen, strict=True):
            x, next_of_layer = layer.step(x, of_layer, there)
            kept.append(next_of_layer)
        return self.judge(self.norm(x)), following[0], known[1:], *kept
