"""What an evaluation says, before it is Markdown, HTML or lines on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure, and in smaller print what it was counted from."""

    text: str
    of: str = ""
    weight: float = 0.0  # 0 to 1: how strongly a page shades it

    def __str__(self) -> str:
        return f"{self.text} ({self.of})" if self.of else self.text


@dataclass(frozen=True, slots=True)
class Row:
    head: str
    cells: tuple[Cell, ...]
    total: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    caption: str
    stub: str  # what the rows are
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing. Its caption says what a reader must know who cannot see it."""

    caption: str
    svg: str


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    parts: tuple[Part, ...]
    folded: bool = False  # long: a page shows it when asked


@dataclass(frozen=True, slots=True)
class Gallery:
    """Small drawings, side by side."""

    figures: tuple[Figure, ...]


Part: TypeAlias = "Table | Figure | Gallery | Section | str"


@dataclass(frozen=True, slots=True)
class Report:
    """One evaluation."""

    title: str
    facts: dict[str, str]  # what it was made of and by what
    headline: Table
    sections: tuple[Section, ...]
    data: dict[str, Any]  # everything, for programs
    failures: dict[str, str] = field(default_factory=dict)  # record -> what was wrong with it


def percent(part: float, whole: float, *, digits: int = 2) -> Cell:
    """`part` of `whole`, in per cent and as counted."""
    if not whole:
        return Cell(NOTHING)
    return Cell(f"{100 * part / whole:.{digits}f}", f"{part:.0f}/{whole:.0f}")


def number(value: float | None, digits: int = 2) -> Cell:
    return Cell(NOTHING if value is None else f"{value:.{digits}f}")


def as_markdown(report: Report) -> str:
    """The tables; drawings are on the page alone, here stands what they say."""
    lines = [f"# {report.title}", "", "Not a medical device.", ""]
    lines += [f"- {name}: {value}" for name, value in report.facts.items()]
    lines += [f"- **Not scored:** {record}: {reason}" for record, reason in report.failures.items()]
    lines += ["", *_markdown_table(report.headline)]
    for section in report.sections:
        lines += _markdown(section, "##")
    return "\n".join(lines) + "\n"


def _markdown(part: Part, level: str) -> list[str]:
    if isinstance(part, Section):
        return ["", f"{level} {part.title}", *(line for each in part.parts for line in _markdown(each, level + "#"))]
    if isinstance(part, Gallery):
        return ["", *(f"- {figure.caption}" for figure in part.figures)]
    if isinstance(part, Table):
        return ["", *_markdown_table(part)]
    return ["", part.caption if isinstance(part, Figure) else part]


def _markdown_table(table: Table) -> list[str]:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"

    lines = [
        f"**{table.caption}**",
        "",
        line([table.stub, *table.columns]),
        line(["---", *["---:"] * len(table.columns)]),
    ]
    for row in table.rows:
        lines.append(line([f"**{row.head}**" if row.total else row.head, *map(str, row.cells)]))
    return [*lines, "", table.note] if table.note else lines


def as_lines(table: Table) -> str:
    """A table for a terminal, without what the figures were counted from."""
    cells = [[table.stub, *table.columns], *([row.head, *(cell.text for cell in row.cells)] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(_aligned(row, widths) for row in cells)


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    head, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join([row[0].ljust(len(head)), *rest]).rstrip()
