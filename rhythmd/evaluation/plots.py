"""Drawings as SVG inside the page: sharp at any size, and they follow its light or dark colours by its style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from rhythmd.ecg_paper import MM_PER_MV, MM_PER_S, grid, trace

PX_PER_MM = 4.0
LEAST_MV, MOST_MV = 2.0, 5.0
"""How much paper there is above and below the middle, in all: less hides beats, more makes a page of one artefact."""

MARGIN_MM = 9.0
"""Above and below the paper, for the labels."""


@dataclass(frozen=True, slots=True)
class Label:
    """Something said about a moment."""

    at_s: float  # from the strip's beginning
    text: str
    wrong: bool = False
    rhythm: bool = False  # stands further out, and lasts


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """A few seconds of ECG with what the reference and what rhythmd said."""

    ecg_mv: NDArray[np.float64]  # NaN where missing
    rate_hz: float
    reference: tuple[Label, ...]
    ours: tuple[Label, ...]
    says: str


def strip(drawn: Strip) -> str:
    """ECG paper, 25 mm/s and 10 mm/mV; reference above, ours below."""
    ecg_mv = drawn.ecg_mv - (np.nanmedian(drawn.ecg_mv) if np.isfinite(drawn.ecg_mv).any() else 0.0)
    low, high = _paper_mv(ecg_mv)
    width = len(ecg_mv) / drawn.rate_hz * MM_PER_S
    paper = (high - low) * MM_PER_MV
    top = MARGIN_MM
    height = paper + 2 * MARGIN_MM
    scale = f"translate(0 {top + high * MM_PER_MV:.2f}) scale({MM_PER_S / drawn.rate_hz:.6f} {-MM_PER_MV / 100:g})"
    beginning = (
        f'<svg class="strip" role="img" viewBox="0 0 {width:.1f} {height:.1f}" width="{width * PX_PER_MM:.0f}" '
        f'height="{height * PX_PER_MM:.0f}"><title>{escape(drawn.says)}</title>'
        f'<g transform="translate(0 {top:g})"><rect class="paper" width="{width:.1f}" height="{paper:.1f}"/>'
        f'<path class="fine" d="{grid(width, paper, 1)}"/><path class="bold" d="{grid(width, paper, 5)}"/></g>'
    )
    parts = [
        beginning,
        *(_mark(label, width, top, paper, above=True) for label in drawn.reference),
        *(_mark(label, width, top, paper, above=False) for label in drawn.ours),
        f'<path class="trace" transform="{scale}" d="{trace(np.clip(ecg_mv, low, high))}"/>',
        "</svg>",
    ]
    return "".join(parts)


def _paper_mv(ecg_mv: NDArray[np.float64]) -> tuple[float, float]:
    """(lowest, highest) millivolts on the paper, on its bold lines."""
    there = ecg_mv[np.isfinite(ecg_mv)]
    low, high = (float(there.min()), float(there.max())) if len(there) else (-1.0, 1.0)
    if high - low > MOST_MV:
        low, high = max(low, -MOST_MV / 2), min(high, MOST_MV / 2)
    missing = max(0.0, LEAST_MV - 0.3 - (high - low)) / 2
    return float(np.floor((low - missing - 0.15) * 2) / 2), float(np.ceil((high + missing + 0.15) * 2) / 2)


def _mark(label: Label, width: float, top: float, paper: float, *, above: bool) -> str:
    x = label.at_s * MM_PER_S
    edge, out = (top, -1) if above else (top + paper, 1)
    names = " ".join(name for name, on in (("label", True), ("wrong", label.wrong), ("rhythm", label.rhythm)) if on)
    y = edge + out * (5.2 if label.rhythm else 1.6) + (0 if above else 2.6)  # text stands on its line
    beyond = ' style="text-anchor:end"' if x + len(label.text) > width else ""
    tick = f'<path class="{names}" d="M{x:.1f} {edge + out:g}v{-out * (3.5 if label.wrong else 1.8):g}"/>'
    text = f'<text class="{names}" x="{x:.1f}" y="{y:.1f}"{beyond}>{escape(label.text)}</text>'
    return text if label.rhythm else tick + text


def histogram(
    values: Sequence[float], *, step: float, end: float, unit: str, says: str, limit: float | None = None
) -> str:
    """How often which value came, from 0 to `end` in bins of `step`; what lies beyond is in the last bin."""
    width, height, left, top, bottom = 440, 120, 16, 16, 24
    edges = np.arange(0.0, end + 1.5 * step, step)
    counts, _ = np.histogram(np.clip(values, 0.0, end), edges)
    per_unit = (width - 2 * left) / edges[-1]
    unit_height = (height - bottom - top) / max(1, counts.max())
    bars = "".join(
        f'<rect class="bar" x="{left + edge * per_unit + 0.5:.1f}" y="{height - bottom - count * unit_height:.1f}" '
        f'width="{max(1.0, step * per_unit - 1):.1f}" height="{count * unit_height:.1f}"/>'
        for edge, count in zip(edges, counts, strict=False)
        if count
    )
    ticks = "".join(
        f'<text class="axis" x="{left + value * per_unit:.1f}" y="{height - 8}">'
        f"{value:g}{'' if value else f' {unit}'}</text>"
        for value in np.arange(0.0, end + 1e-9, _round_step(end / 6))
    )
    line = ""
    if limit is not None:
        at = left + limit * per_unit
        line = f'<path class="limit" d="M{at:.1f} {top}V{height - bottom}"/>'
        line += f'<text class="axis" x="{at:.1f}" y="{top - 5}">{limit:g} {unit}</text>'
    return (
        f'<svg class="plot" role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<title>{escape(says)}</title>{bars}"
        f'<path class="base" d="M{left} {height - bottom}H{width - left}"/>{ticks}{line}</svg>'
    )


def _round_step(least: float) -> float:
    """1, 2 or 5 times a power of ten, at least this."""
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9)))
