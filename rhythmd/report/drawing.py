"""The report's pictures as SVG: strips on ECG paper true to scale, and charts over the time that was watched."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from rhythmd.ecg_paper import MM_PER_MV, MM_PER_S, grid, trace
from rhythmd.records.cutting import Strip
from rhythmd.records.layout import Paper, Row, lay_out
from rhythmd.report.findings import Hour, spans_of
from rhythmd.report.observed import Observed, Seconds, Span

ROW_S = 7.0
"""175 mm, which is what an A4 page has between its margins."""

LABELS_MM = 6.5
WIDTH_MM, LEFT_MM = 175.0, 11.0


def strip(shown: Strip, says: str) -> str:
    """Rows of 7 s, 25 mm/s and 10 mm/mV."""
    paper = lay_out(shown, ROW_S, 3.0)
    row_mm = LABELS_MM + (paper.high_mv - paper.low_mv) * MM_PER_MV
    height = row_mm * len(paper.rows) + 0.4
    rows = "".join(_row(paper, row, at * row_mm + LABELS_MM, shown.rate_hz) for at, row in enumerate(paper.rows))
    return (
        f'<svg class="strip" role="img" width="{WIDTH_MM}mm" height="{height:.1f}mm" '
        f'viewBox="0 0 {WIDTH_MM} {height:.1f}"><title>{escape(says)}</title>{rows}</svg>'
    )


def _row(paper: Paper, row: Row, top: float, rate_hz: float) -> str:
    width, height = min(WIDTH_MM, len(row.ecg_mv) / rate_hz * MM_PER_S), (paper.high_mv - paper.low_mv) * MM_PER_MV
    zero = paper.high_mv * MM_PER_MV
    gaps = "".join(
        f'<rect class="gap" x="{begin * MM_PER_S:.2f}" width="{(end - begin) * MM_PER_S:.2f}" height="{height:g}"/>'
        for begin, end in row.gaps
    )
    scale = f"translate(0 {zero:g}) scale({MM_PER_S / rate_hz:.6f} {-MM_PER_MV / 100:g})"
    beats = "".join(
        f'<text class="beat {beat.text}" x="{beat.at_s * MM_PER_S:.1f}" y="-0.9">{escape(beat.text)}</text>'
        for beat in row.beats
    )
    words, free = [], 0.0
    for word in sorted((*row.rhythms, *row.notes), key=lambda word: word.at_s):
        x = max(free, word.at_s * MM_PER_S)
        note = word in row.notes
        text = f"▼ {word.text}" if note else word.text
        end = x + 1.45 * len(text) + 2
        if end < WIDTH_MM + 6:
            words.append(f'<text class="{"note" if note else "rhythm"}" x="{x:.1f}" y="-3.8">{escape(text)}</text>')
            free = end
    return (
        f'<g transform="translate(0 {top:.2f})"><rect class="paper" width="{width:.2f}" height="{height:g}"/>{gaps}'
        f'<path class="fine" d="{grid(width, height, 1)}"/><path class="bold" d="{grid(width, height, 5)}"/>'
        f'<path class="trace" transform="{scale}" d="{trace(row.ecg_mv)}"/>{beats}{"".join(words)}</g>'
    )


class Axis:
    """Time from left to right."""

    def __init__(self, seen: Observed) -> None:
        self._seen = seen
        self.width = WIDTH_MM - LEFT_MM
        self._per_s = self.width / seen.duration_s
        self._step_s = next((s for s in _STEPS_S if seen.duration_s / s <= 13), _STEPS_S[-1])

    def x(self, at_s: float) -> float:
        return LEFT_MM + at_s * self._per_s

    def ticks(self) -> list[float]:
        begins = self._seen.begins
        into_s = begins.hour * 3600 + begins.minute * 60 + begins.second if self._seen.dated else 0
        first = -into_s % self._step_s
        return [float(at) for at in np.arange(first, self._seen.duration_s + 1e-6, self._step_s)]

    def drawn(self, height: float) -> str:
        """Lines and clock times below."""
        lines = "".join(f"M{self.x(at):.2f} 0V{height:g}" for at in self.ticks())
        seconds = self._step_s < 60
        words = "".join(
            f'<text class="tick" x="{min(self.x(at), WIDTH_MM - 3):.2f}" y="{height + 4:g}">'
            f"{self._seen.clock(at, seconds=seconds)}</text>"
            for at in self.ticks()
        )
        return f'<path class="rule" d="{lines}"/>{words}'

    def band(self, span: Span, height: float, name: str, y: float = 0.0) -> str:
        x, end = self.x(max(0.0, span.begin_s)), self.x(min(self._seen.duration_s, span.end_s))
        return f'<rect class="{name}" x="{x:.2f}" y="{y:g}" width="{max(0.25, end - x):.2f}" height="{height:g}"/>'


_STEPS_S = (5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)


def rate_chart(seen: Observed, at_s: Seconds, rates: NDArray[np.float64], unread: Sequence[Span]) -> str:
    """The heart rate: the median of each stretch, and between which rates nine of ten intervals lie."""
    height, axis = 46.0, Axis(seen)
    low, high = 40.0, 120.0
    if np.isfinite(rates).any():
        low = min(low, 20 * np.floor(np.nanmin(rates) / 20))
        high = max(high, min(260.0, 20 * np.ceil(np.nanmax(rates) / 20)))

    def y(rate: float) -> float:
        return height * (1 - (min(rate, high) - low) / (high - low))

    levels = np.arange(low, high + 1, 20 if high - low <= 160 else 40).tolist()
    grid = "".join(f"M{LEFT_MM} {y(level):.2f}H{WIDTH_MM}" for level in levels)
    words = "".join(
        f'<text class="level" x="{LEFT_MM - 1.5}" y="{y(level) + 1:.2f}">{level:g}</text>' for level in levels
    )
    band, line = [], []
    for piece in _pieces(rates):
        xs = [axis.x(float(at)) for at in at_s[piece]]
        upper = [f"{x:.2f} {y(rate):.2f}" for x, rate in zip(xs, rates[piece, 2], strict=True)]
        lower = [f"{x:.2f} {y(rate):.2f}" for x, rate in zip(xs, rates[piece, 0], strict=True)]
        band.append(f"M{'L'.join([*upper, *reversed(lower)])}Z")
        line.append("M" + "L".join(f"{x:.2f} {y(rate):.2f}" for x, rate in zip(xs, rates[piece, 1], strict=True)))
    return _chart(
        "Heart rate over time",
        height + 6,
        "".join(axis.band(span, height, "unread") for span in unread)
        + "".join(axis.band(span, height, "af") for span in spans_of(seen, "AFIB"))
        + axis.drawn(height)
        + f'<path class="rule" d="{grid}"/>{words}<path class="spread" d="{"".join(band)}"/>'
        f'<path class="median" d="{"".join(line)}"/>',
    )


def _pieces(rates: NDArray[np.float64]) -> list[slice]:
    """Stretches without a hole."""
    there = np.concatenate(([0], np.isfinite(rates[:, 1]).astype(np.int8), [0]))
    edges = np.flatnonzero(np.diff(there)).tolist()
    return [slice(begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=True)]


def ectopy_chart(seen: Observed, hours: Sequence[Hour]) -> str:
    """Ventricular and supraventricular beats in each hour."""
    height, axis = 22.0, Axis(seen)
    most = max(1, *(max(hour.ventricular, hour.supraventricular) for hour in hours))
    top = next(step for step in (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 10**9) if step >= most)
    parts = [axis.drawn(height)]
    for level in (0, top // 2, top) if top > 5 else (0, top):
        y = height * (1 - level / top)
        parts.append(f'<path class="rule" d="M{LEFT_MM} {y:.2f}H{WIDTH_MM}"/>')
        parts.append(f'<text class="level" x="{LEFT_MM - 1.5}" y="{y + 1:.2f}">{level}</text>')
    for hour in hours:
        x, wide = axis.x(hour.span.begin_s), axis.x(hour.span.end_s) - axis.x(hour.span.begin_s)
        for place, (count, name) in enumerate(((hour.ventricular, "bar-v"), (hour.supraventricular, "bar-s"))):
            bar = height * count / top
            at, bar_wide = x + wide * (0.12 + 0.4 * place), 0.36 * wide
            parts.append(
                f'<rect class="{name}" x="{at:.2f}" y="{height - bar:.2f}" width="{bar_wide:.2f}" height="{bar:.2f}"/>'
            )
    return _chart("Ventricular and supraventricular beats in each hour", height + 6, "".join(parts))


def _chart(says: str, height: float, inner: str) -> str:
    return (
        f'<svg class="chart" role="img" width="{WIDTH_MM}mm" height="{height + 2:g}mm" '
        f'viewBox="0 -2 {WIDTH_MM} {height + 2:g}"><title>{escape(says)}</title>{inner}</svg>'
    )
