"""Public records as the network will see them: filtered by the daemon's own code, with what is true of their windows.

A beat's label is an index into `layout.BEATS`, -1 where it has none; a window's truths are sets (`training.labels`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dsp.chain import Chain
from dsp.filters import DELAY_SAMPLES, Bandpass
from dsp.gaps import Bridge
from dsp.resample import Resampler
from dsp.signal import R_INDEX, RATE_HZ, WINDOW_SAMPLES, Block, Window
from training.labels import (
    AF,
    ANY_BEAT,
    ANY_RHYTHM,
    BEATING,
    CALM,
    NOISE,
    NORMAL,
    ONE_BEAT,
    OTHER,
    VF,
    VT,
    N,
    S,
    V,
    bits,
)

BEAT_OF = dict.fromkeys("NLRB", N) | dict.fromkeys("AaJSejn", S) | dict.fromkeys("VE", V)
"""The classes of EC57, escape beats (e, j, n) as WFDB's bxb has them."""

ALSO_BEATS = {"F": bits(N, V)} | dict.fromkeys("/fQ!", ANY_BEAT)
"""They make RR intervals. Fusions are no S, whichever else they are called; of paced beats, doubtful ones and flutter
waves nothing is known."""

RHYTHM_OF = (
    {"AFIB": bits(AF), "VT": bits(VT), "NOISE": bits(NOISE), "AFL": bits(OTHER), "ASYS": bits(OTHER)}
    | dict.fromkeys(["VF", "VFIB", "VFL"], bits(VF))
    | dict.fromkeys(["N", "NSR", "B", "T", "PREX", "SBR", "BI", "BII"], CALM)
    | dict.fromkeys(["SVTA", "NOD", "IVR", "AB", "SAB"], bits(OTHER))
)
"""Where some beats are premature, the challenge of 2017 says "other" and the annotators of mitdb "N"."""

NORMAL_SINUS = ("sel16", "sel17453")
"""How those records of qtdb are named that come from the MIT-BIH Normal Sinus Rhythm Database."""

CHALLENGE = {
    "A": (bits(N, V), bits(AF)),  # where the atria fibrillate no beat is premature
    "N": (bits(N), bits(NORMAL)),
    "O": (ANY_BEAT, bits(OTHER)),
    "~": (ANY_BEAT, bits(NOISE)),
}
"""What a label of the 2017 challenge says of every beat, and of the rhythm."""

SURELY_VT = 30 * RATE_HZ
"""Longer ventricular tachycardias of vfdb (423, 427) turn into fibrillation to the eye, with no mark where."""

RUN_BEATS, SHORT_RUN = 5, 3
"""So many ventricular beats in a row, above 100/min, are tachycardia; a shorter run may be called so or not."""

FUSION = 3
"""The label of fusion beats, for reports: they train nothing."""

SNAP = 18
"""Samples around an annotation within which the R peak is looked for (72 ms)."""

COVERED = WINDOW_SAMPLES * 3 // 4
"""A window has a rhythm when at least this much of it, its end included, does."""


@dataclass(frozen=True, slots=True, eq=False)
class Lead:
    """One lead of one record, and what is known about it. Indices are samples at 250 Hz."""

    database: str
    record: str
    lead: int
    ecg_mv: NDArray[np.float64]  # (n,) band-passed
    missing: NDArray[np.bool_]  # (n,)
    beats: NDArray[np.int64]  # (beat, 2): R peak, label; of annotated beats that have one
    windows: NDArray[np.int64]  # (window, 4): where R_INDEX lies, is it a beat, beat truth, rhythm truth


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

    Fusion beats are left out of `beats` unless a label for them is given.
    """
    import wfdb  # needed to read records, not to train on packed ones

    labels = BEAT_OF if fusion is None else BEAT_OF | {"F": fusion}
    record = wfdb.rdrecord(str(folder / name))
    notes = wfdb.rdann(str(folder / name), "atr") if (folder / f"{name}.atr").exists() else None
    for lead in range(record.n_sig):
        signal_mv, rate_hz = record.p_signal[:, lead], record.fs
        block = filtered(signal_mv, rate_hz)
        beats, windows = np.zeros((0, 2), np.int64), np.zeros((0, 4), np.int64)
        if notes is not None:
            at = np.round(np.asarray(notes.sample) * RATE_HZ / record.fs).astype(np.int64)
            beats = _beats(block.ecg_mv, at, notes.symbol, labels)
            spans = rhythm_spans(folder.name, len(block.ecg_mv), at, notes.aux_note)
            if folder.name == "qtdb" and name.startswith(NORMAL_SINUS):
                spans = [(0, len(block.ecg_mv), CALM)]
            if len(beats):
                windows = _annotated(block.ecg_mv, at, notes.symbol, spans)
            else:
                windows = _detected(signal_mv, rate_hz, spans)
        yield Lead(folder.name, name, lead, block.ecg_mv, block.missing, beats, windows)


def _detected(signal_mv: np.ndarray, rate_hz: float, spans: list[tuple[int, int, int]]) -> NDArray[np.int64]:
    """The windows that the daemon would judge. A beat in ventricular tachycardia is ventricular."""
    chain = Chain(rate_hz)
    _, events = chain(Block.of(0, signal_mv))
    rows = []
    for window in (each for each in (*events, *chain.finish()) if isinstance(each, Window)):
        if window.beat:
            place = window.beat.r_peak + DELAY_SAMPLES
        else:
            place = window.at + 1 - WINDOW_SAMPLES + R_INDEX
        rhythm = _rhythm(spans, place)
        beat = ONE_BEAT[V] if rhythm == bits(VT) else ANY_BEAT
        rows.append((place, window.beat is not None, beat, rhythm))
    return np.array(rows, np.int64).reshape(-1, 4)


def _annotated(
    ecg_mv: np.ndarray, at: np.ndarray, symbols: list[str], spans: list[tuple[int, int, int]]
) -> NDArray[np.int64]:
    """A window for each annotated beat."""
    truths = {symbol: ONE_BEAT[label] for symbol, label in BEAT_OF.items()} | ALSO_BEATS
    beats = [
        (at_peak(ecg_mv, int(sample) + DELAY_SAMPLES), symbol)
        for sample, symbol in zip(at, symbols, strict=True)
        if symbol in truths and sample + DELAY_SAMPLES < len(ecg_mv)
    ]
    rows, run = [], 0
    for index, (place, symbol) in enumerate(beats):
        run = run + 1 if symbol in "VE" else 0
        rhythm = _rhythm(spans, place)
        rhythm = BEATING if rhythm == ANY_RHYTHM else rhythm
        if run >= RUN_BEATS and (run - 1) * 60 * RATE_HZ > 100 * (place - beats[index - run + 1][0]):
            rhythm = bits(VT)
        elif run >= SHORT_RUN:
            rhythm |= bits(VT)
        rows.append((place, 1, truths[symbol], rhythm))
    return np.array(rows, np.int64).reshape(-1, 4)


def _rhythm(spans: list[tuple[int, int, int]], place: int) -> int:
    """The truth of the window with its R_INDEX there: a rhythm must fill three quarters of it, its end included."""
    end = place + WINDOW_SAMPLES - R_INDEX
    return next((truth for first, last, truth in spans if first + COVERED <= end <= last), ANY_RHYTHM)


def _beats(ecg_mv: np.ndarray, at: np.ndarray, symbols: list[str], labels: dict[str, int]) -> NDArray[np.int64]:
    known = [
        (at_peak(ecg_mv, int(sample) + DELAY_SAMPLES), labels[symbol])
        for sample, symbol in zip(at, symbols, strict=True)
        if symbol in labels and sample + DELAY_SAMPLES < len(ecg_mv)
    ]
    return np.array(known, np.int64).reshape(-1, 2)


def rhythm_spans(database: str, length: int, at: np.ndarray, notes: list[str]) -> list[tuple[int, int, int]]:
    """(first sample, last, truth) of each annotated rhythm."""
    changes = [
        (int(sample), note.strip("\x00 (")) for sample, note in zip(at, notes, strict=True) if note.startswith("(")
    ]
    margin = 625 if database == "cudb" else 0  # its changes are known to 5 s
    spans: list[tuple[int, int, int]] = []
    for index, (start, name) in enumerate(changes):
        stop = changes[index + 1][0] if index + 1 < len(changes) else length
        first, last = start + (margin if index else 0), stop - (margin if stop < length else 0)
        truth = RHYTHM_OF.get(name, ANY_RHYTHM)
        if name == "VT" and last - first > SURELY_VT:
            spans.append((first, first + SURELY_VT, truth))
            first, truth = first + SURELY_VT - COVERED, bits(VF, VT)
        spans.append((first, last, truth))
    return [span for span in spans if span[0] < span[1]]


def cinc2017_leads(path: Path) -> Iterator[Lead]:
    """The training set of the 2017 challenge: hand-held recordings, each with one label."""
    with np.load(path) as packed:
        counts = np.cumsum(packed["delta"], dtype="<i2")
        starts = np.concatenate([[0], np.cumsum(packed["lengths"])])
        names, labels = (packed[key].astype(str) for key in ("names", "labels"))
    for name, label, start, stop in zip(names, labels, starts[:-1], starts[1:], strict=True):
        signal_mv = counts[start:stop] / 1000.0
        block = filtered(signal_mv, 300)
        beat, rhythm = CHALLENGE[label]
        windows = _detected(signal_mv, 300, [(-WINDOW_SAMPLES, len(block.ecg_mv) + WINDOW_SAMPLES, rhythm)])
        windows[:, 2] = beat
        yield Lead("cinc2017", name, 0, block.ecg_mv, block.missing, np.zeros((0, 2), np.int64), windows)
