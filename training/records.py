"""Public records as the network will see them: filtered by the daemon's own code, with their labels.

A beat's label is an index into `layout.BEATS`, a rhythm's into `layout.RHYTHMS`; -1 where the annotations do not say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dsp.filters import DELAY_SAMPLES, Bandpass
from dsp.gaps import Bridge
from dsp.resample import Resampler
from dsp.signal import RATE_HZ, Block

N, S, V = range(3)
AF, VF, OTHER, NOISE = range(4)
UNKNOWN = -1

BEAT_OF = dict.fromkeys("NLRejB", N) | dict.fromkeys("AaJS", S) | dict.fromkeys("VE", V)
"""The classes of EC57. Fusions (F), paced (/ f) and unclassifiable beats (Q) stay out: their class is a convention."""

RHYTHM_OF = {"AFIB": AF, "VF": VF, "VFIB": VF, "VFL": VF, "NOISE": NOISE} | dict.fromkeys(
    ["N", "NSR", "B", "BI", "T", "SVTA", "NOD", "IVR", "AB", "PREX", "BII", "SBR", "SAB", "VT", "ASYS"], OTHER
)
"""Atrial flutter (AFL) stays out: this network is not asked to tell it from fibrillation."""

NORMAL_SINUS = ("sel16", "sel17453")
"""How those records of qtdb are named that come from the MIT-BIH Normal Sinus Rhythm Database."""

STRATUM_OF = {"VT": "vt", "ASYS": "asystole"}
"""Rhythms that are rare and must be seen often all the same; the others are sampled by database and class."""

FUSION = 3
"""The label of fusion beats, for reports: they train nothing."""

SNAP = 18
"""Samples around an annotation within which the R peak is looked for (72 ms)."""

SNAP_ANYWHERE = 75
"""The same around an arbitrary instant, where a detector would have found something within 300 ms."""

EVERY = {"cinc2017": 250, "vfdb": 125, "cudb": 125}
"""Samples between the rhythm windows that validate."""


@dataclass(frozen=True, slots=True, eq=False)
class Lead:
    """One lead of one record, and what is known about it. Indices are samples at 250 Hz."""

    database: str
    record: str
    lead: int
    ecg_mv: NDArray[np.float64]  # (n,) band-passed
    missing: NDArray[np.bool_]  # (n,)
    beats: NDArray[np.int64]  # (beat, 2): R peak, label
    spans: tuple[tuple[int, int, int, str], ...]  # first and last sample, rhythm, stratum


def filtered(signal_mv: np.ndarray, rate_hz: float) -> Block:
    """A whole lead through the daemon's chain, up to the windows."""
    block = Block.of(0, signal_mv)
    for stage in (Bridge(), Resampler(rate_hz), Bandpass()):
        block = stage(block)
    return block


def at_peak(ecg_mv: np.ndarray, near: int, reach: int = SNAP) -> int:
    """The sample with the largest deflection around `near`."""
    start = max(0, near - reach)
    return start + int(np.argmax(np.abs(ecg_mv[start : near + reach + 1])))


def wfdb_leads(folder: Path, name: str, fusion: int | None = None) -> Iterator[Lead]:
    """Every lead of a WFDB record, with the beats and rhythms of its reference annotations.

    Fusion beats are left out unless a label for them is given.
    """
    import wfdb  # needed to read records, not to train on packed ones

    labels = BEAT_OF if fusion is None else BEAT_OF | {"F": fusion}
    record = wfdb.rdrecord(str(folder / name))
    notes = wfdb.rdann(str(folder / name), "atr") if (folder / f"{name}.atr").exists() else None
    for lead in range(record.n_sig):
        block = filtered(record.p_signal[:, lead], record.fs)
        beats = np.zeros((0, 2), np.int64)
        spans: tuple[tuple[int, int, int, str], ...] = ()
        if notes is not None:
            at = np.round(np.asarray(notes.sample) * RATE_HZ / record.fs).astype(np.int64)
            beats = _beats(block.ecg_mv, at, notes.symbol, labels)
            spans = _spans(folder.name, len(block.ecg_mv), at, notes.aux_note)
        if folder.name == "qtdb" and name.startswith(NORMAL_SINUS):
            spans = ((0, len(block.ecg_mv), OTHER, "qtdb_2"),)
        yield Lead(folder.name, name, lead, block.ecg_mv, block.missing, beats, spans)


def _beats(ecg_mv: np.ndarray, at: np.ndarray, symbols: list[str], labels: dict[str, int]) -> NDArray[np.int64]:
    known = [
        (at_peak(ecg_mv, int(sample) + DELAY_SAMPLES), labels[symbol])
        for sample, symbol in zip(at, symbols, strict=True)
        if symbol in labels and sample + DELAY_SAMPLES < len(ecg_mv)
    ]
    return np.array(known, np.int64).reshape(-1, 2)


def _spans(database: str, length: int, at: np.ndarray, notes: list[str]) -> tuple[tuple[int, int, int, str], ...]:
    changes = [
        (int(sample), note.strip("\x00 (")) for sample, note in zip(at, notes, strict=True) if note.startswith("(")
    ]
    margin = 625 if database == "cudb" else 0  # its changes are known to 5 s
    spans = []
    for index, (start, name) in enumerate(changes):
        stop = changes[index + 1][0] if index + 1 < len(changes) else length
        if name in RHYTHM_OF:
            rhythm = RHYTHM_OF[name]
            stratum = STRATUM_OF.get(name, f"{database}_{rhythm}")
            before = margin if index else 0
            spans.append((start + before, stop - (margin if stop < length else 0), rhythm, stratum))
    return tuple(span for span in spans if span[0] < span[1])


def cinc2017_leads(path: Path) -> Iterator[Lead]:
    """The training set of the 2017 challenge: hand-held recordings, each with one label."""
    rhythm_of = {"A": AF, "N": OTHER, "O": OTHER, "~": NOISE}
    with np.load(path) as packed:
        counts = np.cumsum(packed["delta"], dtype="<i2")
        starts = np.concatenate([[0], np.cumsum(packed["lengths"])])
        names, labels = (packed[key].astype(str) for key in ("names", "labels"))
    for name, label, start, stop in zip(names, labels, starts[:-1], starts[1:], strict=True):
        block = filtered(counts[start:stop] / 1000.0, 300)
        span = (0, len(block.ecg_mv), rhythm_of[label], f"cinc2017_{label}")
        yield Lead("cinc2017", name, 0, block.ecg_mv, block.missing, np.zeros((0, 2), np.int64), (span,))
