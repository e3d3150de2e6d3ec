"""The report as one HTML file: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import re
from html import escape

from rhythmd.evaluation.report import Cell, Figure, Gallery, Part, Report, Section, Table
from rhythmd.evaluation.style import CSS


def as_html(report: Report) -> str:
    facts = "".join(f"<dt>{_words(name)}</dt><dd>{_words(value)}</dd>" for name, value in report.facts.items())
    failed = "".join(
        f"<li><strong>{_words(record)}</strong>: {_words(reason)}</li>" for record, reason in report.failures.items()
    )
    failures = f'<section class="failures"><h2>Not scored</h2><ul>{failed}</ul></section>' if failed else ""
    links = "".join(f'<li><a href="#{_anchor(one)}">{_words(one.title)}</a></li>' for one in report.sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escape(report.title)} · rhythmd</title>'
        f"<style>{CSS}</style></head><body>"
        f'<header><p class="kind">rhythmd evaluation</p><h1>{_words(report.title)}</h1>'
        f'<p class="warning">Not a medical device. Figures of a research program on recordings, not of its use on '
        f"patients.</p><dl>{facts}</dl></header>"
        f"<main>{failures}<section>{_table(report.headline)}</section>"
        f'<nav aria-label="Contents"><h2>Contents</h2><ol>{links}</ol></nav>'
        f"{''.join(map(_section, report.sections))}</main>"
        "<footer><p>Made by <code>rhythmd evaluate</code>. Every number is in the JSON file beside this page. "
        "Not a medical device.</p></footer></body></html>\n"
    )


def _section(section: Section, level: int = 2) -> str:
    inner = "".join(_part(part, level + 1) for part in section.parts)
    title = f"<h{level}>{_words(section.title)}</h{level}>"
    if section.folded:
        inner = f"<details><summary>{title}</summary>{inner}</details>"
    else:
        inner = title + inner
    return f'<section id="{_anchor(section)}">{inner}</section>'


def _part(part: Part, level: int) -> str:
    if isinstance(part, Section):
        return _section(part, level)
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Gallery):
        return f'<div class="gallery">{"".join(map(_figure, part.figures))}</div>'
    return _figure(part) if isinstance(part, Figure) else f"<p>{_words(part)}</p>"


def _figure(figure: Figure) -> str:
    return f'<figure><figcaption>{_words(figure.caption)}</figcaption><div class="scroll">{figure.svg}</div></figure>'


def _table(table: Table) -> str:
    counted = [any(row.cells[at].of for row in table.rows) for at in range(len(table.columns))]
    head = "".join(
        f'<th scope="col"{" colspan=2" if two else ""}>{_words(column)}</th>'
        for column, two in zip(table.columns, counted, strict=True)
    )
    rows = "".join(
        f'<tr{" class=total" if row.total else ""}><th scope="row">{_words(row.head)}</th>'
        f"{''.join(_cell(cell, counted=two) for cell, two in zip(row.cells, counted, strict=True))}</tr>"
        for row in table.rows
    )
    note = f'<p class="note">{_words(table.note)}</p>' if table.note else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.caption)}">'
        f"<table><caption>{_words(table.caption)}</caption>"
        f'<thead><tr><th scope="col">{_words(table.stub)}</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{note}"
    )


def _cell(cell: Cell, *, counted: bool) -> str:
    """One cell; two in a column where figures carry their counts, so that both line up."""
    shade = f' style="--weight:{cell.weight:.3f}" class="shaded"' if cell.weight else ""
    of = f'<td class="of">{escape(cell.of)}</td>' if counted else ""
    return f"<td{shade}>{escape(cell.text)}</td>{of}"


def _words(text: str) -> str:
    """Text, with what stands between backquotes as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _anchor(section: Section) -> str:
    return re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")
