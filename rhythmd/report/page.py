"""The report as one HTML file: nothing is fetched from elsewhere, and it prints on A4."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from html import escape

from rhythmd.report import drawing, figures, tables
from rhythmd.report.findings import Findings, trend
from rhythmd.report.observed import Observed, Span, cut_out
from rhythmd.report.style import CSS
from rhythmd.report.words import count, lasting, rate, sentences, share

MANY_HOURS = 3
"""Fewer make no chart."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the one who asked wants."""

    patient: str = ""
    strips_of_a_kind: int = 3


def as_html(seen: Observed, found: Findings, wish: Wish) -> str:
    title = f"ECG report, {seen.title}"
    body = "".join((
        _header(seen, wish),
        _tiles(found),
        _findings(seen, found),
        _trend(seen, found),
        tables.by_hour(seen, found),
        tables.by_kind(seen),
        figures.of_extremes(seen, found),
        figures.of_events(seen, wish.strips_of_a_kind),
        tables.events(seen),
        _quality(seen, found),
    ))  # fmt: skip
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{CSS}</style></head>'
        f"<body>{body}</body></html>\n"
    )


def _header(seen: Observed, wish: Wish) -> str:
    ends = seen.begins + timedelta(seconds=seen.duration_s)
    if seen.dated:
        until = f"{ends:%d %B %Y, %H:%M}" if ends.date() != seen.begins.date() else f"{ends:%H:%M}"
        when = f"{seen.begins:%d %B %Y, %H:%M} to {until} UTC"
    else:
        when = "undated; times count from its beginning"
    blank = '<span class="line"></span>'
    return (
        f'<header><div><h1>ECG report</h1><p>{escape(seen.title)}</p></div><div class="right"><p>{when}</p>'
        f"<p>{lasting(seen.duration_s)}</p></div></header>"
        '<p class="warning"><strong>Not a medical device.</strong> All that follows was decided by a program from one '
        "lead and has been reviewed by nobody. It is no diagnosis.</p>"
        f'<div class="who"><dl><dt>Patient</dt><dd>{escape(wish.patient) or blank}</dd>'
        f"<dt>Indication</dt><dd>{blank}</dd></dl>"
        f"<dl><dt>Reviewed by</dt><dd>{blank}</dd><dt>Date, signature</dt><dd>{blank}</dd></dl></div>"
    )


def _tiles(found: Findings) -> str:
    slow, fast, longest = found.slowest, found.fastest, found.longest_rr
    supra, af = found.supraventricular.beats, f", {lasting(found.af.total_s)}" if found.af.total_s else ""
    extremes = f"{rate(slow.value if slow else None)} – {rate(fast.value if fast else None)}"
    shown = (
        (f"{rate(found.mean_bpm)} <i>/min</i>", "mean heart rate"),
        (f"{extremes} <i>/min</i>", "slowest – fastest, 8 intervals"),
        (f"{longest.value:.2f} <i>s</i>" if longest else "–", "longest RR interval"),
        (count(found.beats), "heartbeats"),
        (share(found.af.total_s, found.readable_s), f"atrial fibrillation{af}"),
        (count(found.ventricular.beats), f"ventricular, {share(found.ventricular.beats, found.beats)}"),
        (count(supra), f"supraventricular, {share(supra, found.beats)}"),
        (lasting(found.readable_s), "could be judged"),
    )  # fmt: skip
    return (
        '<div class="tiles">'
        + "".join(f'<div class="tile"><b>{b}</b><span>{s}</span></div>' for b, s in shown)
        + "</div>"
    )


def _findings(seen: Observed, found: Findings) -> str:
    said = "".join(
        f"<li{' class=grave' if grave else ''}>{escape(text)}</li>" for grave, text in sentences(seen, found)
    )
    return f'<h2>What was found</h2><ul class="findings">{said}</ul>'


def _trend(seen: Observed, found: Findings) -> str:
    at_s, rates = trend(found.intervals, seen.duration_s)
    unread = cut_out((Span(0.0, seen.duration_s),), found.readable)
    legend = (
        '<p class="legend"><i style="background:#1d4f7c;height:.6mm;vertical-align:.9mm"></i>median of each stretch'
        '<i style="background:#c9d9e8"></i>nine of ten intervals<i style="background:#efe4f7"></i>atrial fibrillation'
        '<i style="background:#e4e7eb"></i>could not be judged</p>'
    )
    ectopy = ""
    if len(found.hours) >= MANY_HOURS and found.ventricular.beats + found.supraventricular.beats:
        ectopy = (
            f"<h3>Ectopic beats in each hour</h3>{drawing.ectopy_chart(seen, found.hours)}"
            '<p class="legend"><i style="background:#b3261e"></i>ventricular'
            '<i style="background:#6a3fa0"></i>supraventricular</p>'
        )
    chart = drawing.rate_chart(seen, at_s, rates, unread)
    return f"<section><h2>Heart rate, beats per minute</h2>{chart}{legend}{ectopy}</section>"


def _quality(seen: Observed, found: Findings) -> str:
    losses = sorted(found.unreadable.items(), key=lambda item: -item[1])
    lost = "".join(f"<dt>{escape(why)}</dt><dd>{lasting(s)}, {share(s, seen.duration_s)}</dd>" for why, s in losses)
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in seen.facts.items())
    unjudged = Counter(seen.beat_kind.tolist())["Q"]
    made = datetime.now(timezone.utc)
    return (
        '<section class="whole"><h2>Signal and program</h2><div class="who"><dl>'
        f"<dt>Watched</dt><dd>{lasting(seen.duration_s)}</dd><dt>Could be judged</dt>"
        f"<dd>{lasting(found.readable_s)}, {share(found.readable_s, seen.duration_s)}</dd>{lost}"
        f"<dt>Beats not to be judged</dt><dd>{count(unjudged)}</dd></dl>"
        f"<dl>{facts}<dt>Report made</dt><dd>{made:%d %B %Y, %H:%M} UTC</dd></dl></div>"
        '<p class="note">One lead shows no ischaemia, no axis and little of the atria. How much the program misses '
        "and what it takes for an arrhythmia was measured on other people's recordings by the rules of ANSI/AAMI EC57, "
        "and is in rhythmd's results. The filter changes ST segments: do not measure them.</p></section>"
    )
