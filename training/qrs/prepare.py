"""Leads with all their beats in one file: `python -m training.qrs.prepare PACKED.npz SIGNALS.npz`.

PACKED is what `python -m training.prepare` wrote. Added are the beats that have no class there (fusions, paced and
unclassifiable ones), made-up trains of beats, beats for 3,817 of cinc2017's people (`cinc2017_beats.npz`): those
recordings in which a first network of ours and Hamilton's detector found the same ones; and, for the referee alone,
what the network finds by itself in the ventricular tachycardias of vfdb.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsp.filters import DELAY_SAMPLES
from dsp.qrs import Detector
from dsp.signal import RATE_HZ
from training.packed import Packed
from training.qrs.made import train_of_beats
from training.qrs.referee import Watcher, parts
from training.records import SURELY_VT, at_peak, filtered
from training.splits import data_folder

BEATS = frozenset("NLRBAaJSVrFejnE/fQ?")
FLUTTER = "!"  # waves of ventricular flutter: nobody says where a beat is
FOUND_BY_TWO = Path(__file__).parent / "cinc2017_beats.npz"
REPEATED_SAMPLES = 72 * RATE_HZ  # short recordings come again and again, up to this length
MADE, MADE_S, MADE_LSB_MV = 60, 300, 0.0025


@dataclass(slots=True)
class Gathered:
    """Leads end to end; beats and masks are (lead, sample) and (lead, first, last)."""

    counts: list[NDArray[np.int16]] = field(default_factory=list)
    lsb_mv: list[float] = field(default_factory=list)
    names: list[tuple[str, str, int, bool]] = field(default_factory=list)  # database, record, lead, validates
    beats: list[NDArray[np.int64]] = field(default_factory=list)
    masks: list[NDArray[np.int64]] = field(default_factory=list)

    def add(
        self,
        counts: NDArray[np.int16],
        lsb_mv: float,
        name: tuple[str, str, int, bool],
        beats: NDArray[np.int64],
        masks: list[tuple[int, int]],
    ) -> None:
        row = len(self.counts)
        self.counts.append(counts)
        self.lsb_mv.append(lsb_mv)
        self.names.append(name)
        self.beats.append(np.stack([np.full(len(beats), row), beats], axis=1))
        self.masks.append(np.array([(row, *mask) for mask in masks], np.int64).reshape(-1, 3))

    def save(self, path: Path) -> None:
        database, record, lead, validation = zip(*self.names, strict=True)
        np.savez(
            path,
            counts=np.concatenate(self.counts),
            start=np.cumsum([0, *map(len, self.counts)]),
            lsb_mv=np.array(self.lsb_mv, np.float32),
            database=np.array(database),
            record=np.array(record),
            lead=np.array(lead),
            validation=np.array(validation),
            beats=np.concatenate(self.beats),
            masks=np.concatenate(self.masks),
        )


def annotated(path: Path, ecg_mv: NDArray[Any]) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """Every beat of a record, at the largest deflection near its annotation, and what is not known."""
    import wfdb

    notes = wfdb.rdann(str(path), "atr")
    rate_hz = wfdb.rdheader(str(path)).fs
    at = np.round(np.asarray(notes.sample) * RATE_HZ / rate_hz).astype(np.int64) + DELAY_SAMPLES
    known = [
        at_peak(ecg_mv, int(sample))
        for sample, symbol in zip(at, notes.symbol, strict=True)
        if symbol in BEATS and sample < len(ecg_mv) - 2
    ]
    flutter = [
        (int(sample) - 50, int(sample) + 75)
        for sample, symbol in zip(at, notes.symbol, strict=True)
        if symbol == FLUTTER
    ]
    return np.array(known, np.int64), flutter


def tachycardias(path: Path, ecg_mv: NDArray[Any]) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """In vfdb nobody marked beats. In ventricular tachycardia they are what the network finds by itself."""
    import wfdb

    notes = wfdb.rdann(str(path), "atr")
    rate_hz = wfdb.rdheader(str(path)).fs
    at = [round(sample * RATE_HZ / rate_hz) + DELAY_SAMPLES for sample in notes.sample] + [len(ecg_mv)]
    spans = [
        (first, min(last, first + SURELY_VT))
        for first, last, name in zip(at, at[1:], notes.aux_note, strict=False)
        if name.startswith("(VT")
    ]
    detector = Detector(referee=Watcher())
    found = np.array([beat.r_peak + DELAY_SAMPLES for part in parts(ecg_mv) for beat in detector(part)], np.int64)
    known = [found[(first + RATE_HZ <= found) & (found < last - RATE_HZ)] for first, last in spans]
    edges = [0, *(edge for first, last in spans for edge in (first + RATE_HZ, last - RATE_HZ)), len(ecg_mv)]
    return np.concatenate([*known, np.zeros(0, np.int64)]), list(zip(edges[::2], edges[1::2], strict=True))


def gather(packed: Packed, seed: int) -> Gathered:
    signals = Gathered()
    with np.load(FOUND_BY_TWO) as file:
        rows, agreed = file["rows"], file["beats"]
    for row in range(len(packed.record)):
        counts = packed.counts[packed.start[row] : packed.start[row + 1]]
        lsb_mv, database = float(packed.lsb_mv[row]), str(packed.database[row])
        name = (database, str(packed.record[row]), int(packed.lead[row]), bool(packed.validation[row]))
        if database in {"mitdb", "svdb", "qtdb"}:
            signals.add(counts, lsb_mv, name, *annotated(data_folder() / database / name[1], counts * lsb_mv))
        elif database == "vfdb" and not name[3]:
            found, unknown = tachycardias(data_folder() / database / name[1], counts * lsb_mv)
            if len(found):
                signals.add(counts, lsb_mv, name, found, unknown)
        elif database == "nstdb":
            signals.add(counts, lsb_mv, name, np.zeros(0, np.int64), [])
        elif row in rows:
            beats, length = agreed[agreed[:, 0] == row, 1].astype(np.int64), len(counts)
            times = -(-REPEATED_SAMPLES // length)
            again = np.concatenate([beats + turn * length for turn in range(times)])
            seams = [(turn * length - 200, turn * length + 250) for turn in range(times + 1)]
            signals.add(np.tile(counts, times), lsb_mv, (*name[:3], False), again, seams)
    rng = np.random.default_rng(seed)
    for number in range(MADE):
        ecg_mv, r_peaks = train_of_beats(MADE_S, rng)
        clean_mv = filtered(ecg_mv, RATE_HZ).ecg_mv
        counts = np.clip(np.round(clean_mv / MADE_LSB_MV), -32767, 32767).astype(np.int16)
        beats = np.array([at_peak(clean_mv, int(at) + DELAY_SAMPLES, 10) for at in r_peaks], np.int64)
        signals.add(counts, MADE_LSB_MV, ("made", f"made{number}", 0, False), beats, [])
    return signals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packed", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    signals = gather(Packed.load(arguments.packed), arguments.seed)
    signals.save(arguments.output)
    print(f"{len(signals.counts)} leads, {sum(map(len, signals.beats))} beats")


if __name__ == "__main__":
    main()
