"""Logits on the windows of the validation patients."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.cutter import Cutter, normalise
from training.network import Network
from training.packed import AFTER_R, Packed
from training.records import EVERY, UNKNOWN
from training.score import Judged

CHUNK = 4096


class Validation:
    """Fixed windows of the validation patients, first leads only, at reference R peaks or where a peak stands out."""

    def __init__(self, packed: Packed, cutter: Cutter) -> None:
        self._packed, self._cutter = packed, cutter
        counts = packed.validation & (packed.lead == 0)
        self._beats = packed.beats[counts[packed.beats[:, 0]]][:, :3]
        rows, ends, truth = [], [], []
        for row, first, last, rhythm, stratum in packed.spans[counts[packed.spans[:, 0]]]:
            if every := EVERY.get(str(packed.database[row])):
                wanted = np.arange(max(first, 1000), last + 1, every)
                rows.append(np.full(len(wanted), row))
                ends.append(wanted)
                truth.append(np.full(len(wanted), UNKNOWN if packed.strata[stratum] == "vt" else rhythm))
        self._rhythms = np.stack([np.concatenate(rows), np.concatenate(ends) - AFTER_R, np.concatenate(truth)], 1)

    def judge(self, network: Network) -> dict[str, Judged]:
        beats, rhythms = (torch.from_numpy(table).to(self._cutter.device) for table in (self._beats, self._rhythms))
        peaks = self._cutter.snapped(rhythms[:, 0], rhythms[:, 1])
        return {
            "beat": self._judged(network, "beat", self._beats, beats[:, 1]),
            "rhythm": self._judged(network, "rhythm", self._rhythms, peaks),
        }

    @torch.no_grad()
    def _judged(self, network: Network, head: str, table: NDArray[np.int64], r_peaks: Tensor) -> Judged:
        network.eval()
        rows = torch.from_numpy(table[:, 0]).to(self._cutter.device)
        chunks = zip(rows.split(CHUNK), r_peaks.split(CHUNK), strict=True)
        logits = [network(normalise(*self._cutter.cut(*chunk)))[head] for chunk in chunks]
        names = (self._packed.database[table[:, 0]], self._packed.record[table[:, 0]])
        return Judged(torch.cat(logits).double().cpu().numpy(), table[:, 2], *names)
