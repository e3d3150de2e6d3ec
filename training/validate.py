"""Logits on all windows of the validation patients, in their order and with their memory."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.cutter import Cutter, normalise
from training.network import Network
from training.packed import Packed
from training.runs import run_of
from training.score import Judged, judged

CHUNK = 1024
TOGETHER = 64
"""Records that are judged side by side."""


class Validation:
    """First leads only; beats where the annotations or, without, the detector have them."""

    def __init__(self, packed: Packed, cutter: Cutter, *, intervals: bool) -> None:
        self._packed, self._cutter = packed, cutter
        counts = packed.validation & (packed.lead == 0)
        self._windows = packed.windows[counts[packed.windows[:, 0]]].astype(np.int64)
        of_row = [np.array(list(rows)) for _, rows in groupby(self._windows, key=lambda window: window[0])]
        runs = [run_of(int(rows[0, 0]), rows[:, 1:], len(rows), 1.0) for rows in of_row]
        self._order = sorted(range(len(runs)), key=lambda index: len(runs[index]["places"]))
        self._first = np.cumsum([0, *(len(rows) for rows in of_row)])
        self._runs = runs
        if not intervals:
            for run in runs:
                run["rr"][:, :-1] = 0

    def judge(self, network: Network) -> dict[str, Judged]:
        logits = self.logits(network)
        rows = self._windows[:, 0]
        return judged(logits, self._windows[:, 1:], self._packed.database[rows], self._packed.record[rows])

    @torch.no_grad()
    def logits(self, network: Network) -> dict[str, NDArray[np.float32]]:
        """Of each head, `(window, class)`."""
        network.eval()
        device = self._cutter.device
        table = torch.from_numpy(self._windows).to(device)
        pooled = torch.cat(
            [network.pool(normalise(*self._cutter.cut(chunk[:, 0], chunk[:, 1]))) for chunk in table.split(CHUNK)]
        )
        found = {head: np.zeros((len(table), layer.out_features), np.float32) for head, layer in network.head.items()}
        for begin in range(0, len(self._order), TOGETHER):
            group = self._order[begin : begin + TOGETHER]
            longest = max(len(self._runs[index]["places"]) for index in group)
            seen = torch.zeros(len(group), longest, pooled.shape[1], device=device)
            for place, index in enumerate(group):
                span = slice(self._first[index], self._first[index + 1])
                seen[place, : span.stop - span.start] = pooled[span]
            parts = [self._padded([self._runs[index][name] for index in group], longest) for name in PARTS]
            logits = network.judge(seen, *parts)
            for place, index in enumerate(group):
                span = slice(self._first[index], self._first[index + 1])
                for head, values in logits.items():
                    found[head][span] = values[place, : span.stop - span.start].float().cpu().numpy()
        return found

    def _padded(self, arrays: list[np.ndarray], longest: int) -> Tensor:
        padded = [
            np.concatenate([each, np.zeros((longest - len(each), *each.shape[1:]), each.dtype)]) for each in arrays
        ]
        return torch.from_numpy(np.stack(padded)).to(self._cutter.device)


PARTS = ("rr", "beats", "before")
