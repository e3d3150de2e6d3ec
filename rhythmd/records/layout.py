"""How a stretch of ECG is laid out in rows on paper: what the drawings as PNG, PDF and SVG have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ec57.annotations import Annotation
from rhythmd.records.cutting import Strip

LEAST_MV, MOST_MV = 2.0, 4.0
"""Of paper in a row: less hides beats, more makes a page of one artefact."""

BEATS = "NSVQ"


@dataclass(frozen=True, slots=True)
class Word:
    """Something said about a moment of a row."""

    at_s: float
    text: str
    aside: bool = False  # of another alert than the one that the strip is of


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """Some seconds of the strip."""

    begins_s: float  # from the strip's beginning
    ecg_mv: NDArray[np.float64]  # (n,) about the paper's middle line; NaN where missing
    beats: tuple[Word, ...]
    rhythms: tuple[Word, ...]  # the first holds when the row begins
    notes: tuple[Word, ...]
    gaps: tuple[tuple[float, float], ...]  # seconds from the row's beginning, where nothing was received


@dataclass(frozen=True, slots=True)
class Paper:
    """The rows and how much paper each has."""

    rows: tuple[Row, ...]
    low_mv: float
    high_mv: float
    row_s: float


def lay_out(strip: Strip, row_s: float = 10.0, most_mv: float = MOST_MV) -> Paper:
    ecg_mv = strip.ecg_mv
    there = ecg_mv[np.isfinite(ecg_mv)]
    middle = float(np.median(there)) if len(there) else 0.0
    low, high = paper_mv(there - middle, most_mv)
    ecg_mv = np.clip(ecg_mv - middle, low, high)
    size = round(row_s * strip.rate_hz)
    rows = tuple(_row(strip, ecg_mv, first, first + size) for first in range(0, max(1, len(ecg_mv)), size))
    return Paper(rows, low, high, row_s)


def paper_mv(there: NDArray[np.float64], most_mv: float = MOST_MV) -> tuple[float, float]:
    """(lowest, highest) millivolts on the paper, on its bold lines: room for all but rare artefacts."""
    if len(there) == 0:
        return -LEAST_MV / 2, LEAST_MV / 2
    low, high = (float(value) for value in np.percentile(there, (0.05, 99.95)))
    if high - low > most_mv - 0.2:
        low, high = max(low, -most_mv / 2), min(high, most_mv / 2)
    spare = max(0.0, LEAST_MV - 0.3 - (high - low)) / 2
    return float(np.floor((low - spare - 0.1) * 2) / 2), float(np.ceil((high + spare + 0.1) * 2) / 2)


def _row(strip: Strip, ecg_mv: NDArray[np.float64], first: int, last: int) -> Row:
    rate_hz = strip.rate_hz
    inside = [mark for mark in strip.marks if first <= mark.sample < last]
    held = next((mark for mark in reversed(strip.marks) if mark.symbol == "+" and mark.sample <= first), None)
    rhythms = [Word(0.0, rhythm(held))] if held else []
    rhythms += [Word((m.sample - first) / rate_hz, rhythm(m)) for m in inside if m.symbol == "+" and m.sample > first]
    return Row(
        first / rate_hz,
        ecg_mv[first:last],
        tuple(Word((mark.sample - first) / rate_hz, mark.symbol) for mark in inside if mark.symbol in BEATS),
        tuple(rhythms),
        tuple(
            Word((mark.sample - first) / rate_hz, told, aside=_is_anothers(strip, mark))
            for mark in inside
            if mark.symbol == '"' and (told := _told(mark.aux))
        ),
        tuple(gaps(~np.isfinite(ecg_mv[first:last]), rate_hz)),
    )


def rhythm(mark: Annotation) -> str:
    return mark.aux.lstrip("(")


def _is_anothers(strip: Strip, note: Annotation) -> bool:
    return strip.alert is not None and not note.aux.endswith(f", {strip.alert.id}")


def _told(note: str) -> str:
    """The kind of alert that opens here, for people; empty for what is for programs alone."""
    words = note.split(", ", maxsplit=1)[0].split(" ")
    return words[1].replace("_", " ") if len(words) == 3 and words[2] == "open" else ""


def gaps(missing: NDArray[np.bool_], rate_hz: float) -> Iterator[tuple[float, float]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], missing.astype(np.int8), [0]))))
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        yield begin / rate_hz, end / rate_hz
