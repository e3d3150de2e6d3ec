"""Everything that a training reads, in one compressed file: signals as integers, labels as tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp.signal import R_INDEX, WINDOW_SAMPLES
from training.records import Lead

AFTER_R = WINDOW_SAMPLES - R_INDEX
FINEST_MV, COARSEST_MV = 0.0025, 0.01
"""Resolution of the packed signals. mitdb itself was recorded in steps of 0.005 mV."""


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Leads end to end, and the windows that can be cut from them. Rows are columns of equal length."""

    counts: NDArray[np.int16]  # all leads, one after another
    start: NDArray[np.int64]  # (lead,) where each begins; one more at the end
    lsb_mv: NDArray[np.float32]  # (lead,)
    database: NDArray[np.str_]  # (lead,)
    record: NDArray[np.str_]  # (lead,)
    lead: NDArray[np.int64]  # (lead,) its number in the record
    validation: NDArray[np.bool_]  # (lead,)
    beats: NDArray[np.int64]  # (beat, 3): row of its lead, R peak, beat label
    windows: NDArray[np.int32]  # (window, 5): row of its lead, place of R_INDEX, is it a beat, beat and rhythm truth
    lost: NDArray[np.int64]  # (stretch, 3): row of its lead, first missing sample, one past the last

    def missing(self) -> NDArray[np.bool_]:
        """For every sample, whether it is missing."""
        mask = np.zeros(len(self.counts), bool)
        for row, first, end in self.lost:
            mask[self.start[row] + first : self.start[row] + end] = True
        return mask

    def save(self, path: Path) -> None:
        """Second differences, zigzag-coded, in two byte planes: what deflate makes small."""
        steps = np.diff(self.counts.astype(np.int32), n=2, prepend=np.zeros(2, np.int32))
        zigzag = np.where(steps < 0, -2 * steps - 1, 2 * steps).astype(np.uint32)
        arrays: dict[str, Any] = {f"plane{byte}": (zigzag >> 8 * byte).astype(np.uint8) for byte in range(3)}
        arrays |= {name: getattr(self, name) for name in self.__slots__ if name != "counts"}
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Packed:
        with np.load(path) as file:
            zigzag = np.zeros(len(file["plane0"]), np.uint32)
            for byte in range(3):
                zigzag |= file[f"plane{byte}"].astype(np.uint32) << np.uint32(8 * byte)
            steps = ((zigzag >> 1) ^ (0 - (zigzag & 1))).astype(np.int16)  # sums of 16 bits are right modulo 2 ** 16
            counts = np.cumsum(np.cumsum(steps, dtype=np.int16), dtype=np.int16)
            return cls(counts, **{name: file[name] for name in cls.__slots__ if name != "counts"})


def pack(leads: Iterable[tuple[Lead, bool]]) -> Packed:
    """Leads, each with whether it validates, as one."""
    counts, lsb_mv, names, lost = [], [], [], []
    beats: list[NDArray[np.int64]] = []
    windows: list[NDArray[np.int64]] = []
    for row, (lead, validates) in enumerate(leads):
        rms_mv = float(np.sqrt(np.mean(lead.ecg_mv**2)))
        step_mv = float(np.clip(rms_mv / 40, FINEST_MV, COARSEST_MV))
        counts.append(np.clip(np.round(lead.ecg_mv / step_mv), -32767, 32767).astype(np.int16))
        lsb_mv.append(step_mv)
        names.append((lead.database, lead.record, lead.lead, validates))
        for table, rows in ((beats, lead.beats), (windows, lead.windows)):
            whole = rows[rows[:, 0] + AFTER_R <= len(lead.ecg_mv)]
            table.append(np.concatenate([np.full((len(whole), 1), row), whole], axis=1))
        edges = np.flatnonzero(np.diff(np.concatenate([[False], lead.missing, [False]])))
        lost += [(row, first, end) for first, end in edges.reshape(-1, 2)]
    database, record, number, validation = zip(*names, strict=True)
    return Packed(
        counts=np.concatenate(counts),
        start=np.cumsum([0, *map(len, counts)]),
        lsb_mv=np.array(lsb_mv, np.float32),
        database=np.array(database),
        record=np.array(record),
        lead=np.array(number),
        validation=np.array(validation),
        beats=np.concatenate(beats),
        windows=np.concatenate(windows).astype(np.int32),
        lost=np.array(lost, np.int64).reshape(-1, 3),
    )
