"""A strip on ECG paper, as PNG or PDF: 25 mm/s and 10 mm/mV, true to scale where it is printed at 100 %.

Through matplotlib, of which only its figure and its line collections are used; it is imported here alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from io import BytesIO
from typing import Any

import numpy as np

from daemon.messages import Alert
from rhythmd.ecg_paper import MM_PER_MV, MM_PER_S
from rhythmd.recording import RecordError
from rhythmd.records.cutting import Strip
from rhythmd.records.layout import Paper, Row, lay_out

PAGE_MM = (297.0, 210.0)
LEFT_MM, TOP_MM, BOTTOM_MM = 32.0, 24.0, 12.0
LABELS_MM = 6.0
"""Above each row, for what was said of it."""

DPI = 150
LONGEST_PNG_S = 300.0
FINE, BOLD, INK, SOFT, WRONG = "#f5d3d3", "#e29c9c", "#111111", "#5d656e", "#b3261e"
MM = 72 / 25.4  # of a millimetre, in points


def as_png(strip: Strip) -> bytes:
    """One picture, as high as it needs to be."""
    paper = lay_out(strip)
    if len(strip.counts) > LONGEST_PNG_S * strip.rate_hz:
        raise RecordError(f"a picture shows {LONGEST_PNG_S:g} s at most; --format pdf has pages")
    height = TOP_MM + BOTTOM_MM + len(paper.rows) * _row_mm(paper)
    return _drawn([_page(strip, paper, paper.rows, height)], "png")


def as_pdf(strip: Strip) -> bytes:
    """A4 pages, landscape."""
    paper = lay_out(strip)
    fit = max(1, int((PAGE_MM[1] - TOP_MM - BOTTOM_MM) / _row_mm(paper)))
    rows = paper.rows
    parts = [rows[at : at + fit] for at in range(0, len(rows), fit)]
    pages = (_page(strip, paper, part, PAGE_MM[1], f"{number} / {len(parts)}") for number, part in enumerate(parts, 1))
    return _drawn(pages, "pdf")


def _row_mm(paper: Paper) -> float:
    return LABELS_MM + (paper.high_mv - paper.low_mv) * MM_PER_MV


def _drawn(pages: Any, kind: str) -> bytes:
    from matplotlib.backends.backend_pdf import PdfPages

    with BytesIO() as file:
        if kind == "png":
            (page,) = pages
            page.savefig(file, format="png", dpi=DPI)
            return file.getvalue()
        with PdfPages(file, metadata={"Creator": "rhythmd", "Title": "ECG strip"}) as pdf:
            for page in pages:
                pdf.savefig(page)
        return file.getvalue()


def _page(strip: Strip, paper: Paper, rows: Sequence[Row], height_mm: float, number: str = "") -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE_MM[0] / 25.4, height_mm / 25.4), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))  # in millimetres of the page, from its upper left corner
    axes.set(xlim=(0, PAGE_MM[0]), ylim=(height_mm, 0))
    axes.axis("off")
    _head(axes, strip)
    for place, row in enumerate(rows):
        top = TOP_MM + place * _row_mm(paper) + LABELS_MM
        _draw_row(axes, strip, paper, row, top)
    foot = f"25 mm/s, 10 mm/mV.  Causal band-pass 0.5 to 40 Hz.  {strip.about.made_by}.  {number}"
    axes.text(LEFT_MM, height_mm - 5, foot, fontsize=7, color=SOFT)
    axes.text(PAGE_MM[0] - 10, height_mm - 5, "Not a medical device", fontsize=7, color=WRONG, ha="right")
    return figure


def _head(axes: Any, strip: Strip) -> None:
    alert = strip.alert
    title = alert.kind.replace("_", " ").capitalize() if alert else "ECG"
    axes.text(LEFT_MM, 11, title, fontsize=15, weight="bold", color=INK)
    begins, ends = strip.begins, strip.begins + timedelta(seconds=len(strip.counts) / strip.rate_hz)
    when = f"{begins:%Y-%m-%d %H:%M:%S} to {ends:%H:%M:%S} UTC, patch {strip.about.patch}"
    axes.text(LEFT_MM, 17.5, when, fontsize=8.5, color=INK)
    axes.text(PAGE_MM[0] - 10, 11, told_of(alert) if alert else "", fontsize=8.5, color=INK, ha="right")
    if not strip.whole:
        axes.text(PAGE_MM[0] - 10, 17.5, "part of the signal is not there", fontsize=8.5, color=WRONG, ha="right")


def told_of(alert: Alert) -> str:
    """An alert's priority and evidence, in a line."""
    evidence = ", ".join(_with_unit(name, value) for name, value in alert.evidence.items())
    return ", ".join(part for part in (f"{alert.action}, {alert.priority} priority", evidence) if part)


_UNITS = {"_s": " s", "_bpm": "/min", "_mv": " mV"}


def _with_unit(name: str, value: object) -> str:
    """`rate_bpm` 173.4 as people write it: rate 173.4/min."""
    ending = next((ending for ending in _UNITS if name.endswith(ending)), "")
    return f"{name.removesuffix(ending).replace('_', ' ').replace('rr', 'RR')} {value}{_UNITS.get(ending, '')}"


def _draw_row(axes: Any, strip: Strip, paper: Paper, row: Row, top: float) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Rectangle

    width, height = paper.row_s * MM_PER_S, (paper.high_mv - paper.low_mv) * MM_PER_MV
    for step, colour, weight in ((1, FINE, 0.10), (5, BOLD, 0.2)):
        across = [[(LEFT_MM + x, top), (LEFT_MM + x, top + height)] for x in range(0, int(width) + 1, step)]
        down = [[(LEFT_MM, top + y), (LEFT_MM + width, top + y)] for y in range(0, int(height) + 1, step)]
        axes.add_collection(LineCollection(across + down, colors=colour, linewidths=weight * MM))
    zero = top + paper.high_mv * MM_PER_MV
    for begin, end in row.gaps:
        box = (LEFT_MM + begin * MM_PER_S, top), (end - begin) * MM_PER_S, height
        axes.add_patch(Rectangle(*box, facecolor="#eceef1", edgecolor="none"))
        if end - begin > 1:
            axes.text(box[0][0] + box[1] / 2, zero, "no signal", fontsize=7, color=SOFT, ha="center", va="center")
    x = LEFT_MM + np.arange(len(row.ecg_mv)) / strip.rate_hz * MM_PER_S
    axes.plot(x, zero - row.ecg_mv * MM_PER_MV, color=INK, linewidth=0.24 * MM, solid_joinstyle="round")
    _pulse(axes, zero)
    moment = strip.begins + timedelta(seconds=row.begins_s)
    axes.text(8, top + height - 1, f"{moment:%H:%M:%S}", fontsize=7, color=SOFT)
    _say(axes, row, top)


def _pulse(axes: Any, zero: float) -> None:
    """1 mV for 0.2 s, before the row."""
    xs = LEFT_MM - 13 + np.array([0, 2.5, 2.5, 7.5, 7.5, 10])
    axes.plot(xs, zero - np.array([0, 0, 1, 1, 0, 0]) * MM_PER_MV, color=INK, linewidth=0.24 * MM)


def _say(axes: Any, row: Row, top: float) -> None:
    for beat in row.beats:
        told = {"color": INK if beat.text == "N" else WRONG, "weight": "normal" if beat.text == "N" else "bold"}
        axes.text(LEFT_MM + beat.at_s * MM_PER_S, top - 0.5, beat.text, fontsize=6, ha="center", **told)
    end_mm = LEFT_MM
    for word in sorted((*row.rhythms, *row.notes), key=lambda word: word.at_s):
        note = word in row.notes
        x = max(end_mm, LEFT_MM + word.at_s * MM_PER_S)
        text = f"▼ {word.text}" if note else f"{word.text}"
        axes.text(x, top - 3.2, text, fontsize=6.5, color=WRONG if note and not word.aside else SOFT)
        end_mm = x + _width_mm(text)


def _width_mm(text: str) -> float:
    return 1.25 * len(text) + 2.0
