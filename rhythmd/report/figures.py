"""The report's strips: of the extremes, and of the events."""

from __future__ import annotations

from dataclasses import replace

from ec57.annotations import Annotation
from rhythmd.report import drawing
from rhythmd.report.findings import Findings
from rhythmd.report.observed import Event, Observed, Span
from rhythmd.report.tables import kinds_of
from rhythmd.report.words import count, evidence, lasting, name_of

BEFORE_S, SHOWN_S = 4.0, 14.0


def of_extremes(seen: Observed, found: Findings) -> str:
    shown: list[tuple[str, Span, float]] = []
    usual = _usual(seen, found)
    if usual is not None:
        shown.append(("Usual rhythm", Span(usual, usual + SHOWN_S), usual))
    for name, extreme, unit in (
        ("Fastest heart rate", found.fastest, "/min over 8 intervals"),
        ("Slowest heart rate", found.slowest, "/min over 8 intervals"),
        ("Longest RR interval", found.longest_rr, " s"),
    ):
        if extreme:
            middle = (extreme.span.begin_s + extreme.span.end_s) / 2
            digits = 2 if unit == " s" else 0
            around = Span(max(0.0, middle - SHOWN_S / 2), max(0.0, middle - SHOWN_S / 2) + SHOWN_S)
            shown.append((f"{name}: {extreme.value:.{digits}f}{unit}", around, extreme.span.begin_s))
    if longest := found.af.longest:
        begin = max(0.0, longest.begin_s - BEFORE_S)
        shown.append(
            (f"Longest atrial fibrillation: {lasting(longest.length_s)}", Span(begin, begin + SHOWN_S), longest.begin_s)
        )
    figures = "".join(_figure(seen, text, span, at_s) for text, span, at_s in shown)
    return (
        "<h2>Strips</h2>"
        '<p class="note">25 mm/s and 10 mm/mV if printed at 100 %. Letters: beats as the program calls them: N normal, '
        f"S supraventricular, V ventricular, Q not to be judged.</p>{figures}"
    )


def _usual(seen: Observed, found: Findings) -> float | None:
    """Where the heart beats about as fast as it does in the mean, for as long as a strip is, in readable signal."""
    if found.mean_bpm is None:
        return None
    intervals = found.intervals
    ends = intervals.at_s.searchsorted(intervals.at_s + SHOWN_S)
    best: tuple[float, float] | None = None
    for first in range(0, len(ends), max(1, len(ends) // 5000)):
        last = int(ends[first])
        begin_s = float(intervals.at_s[first])
        rr_s = intervals.rr_s[first:last]
        if (
            last >= len(intervals.at_s)
            or len(rr_s) < 5
            or intervals.first[last] - intervals.first[first] != last - first
        ):
            continue
        ectopic = int((seen.beat_kind[intervals.first[first] : intervals.first[last] + 2] != "N").sum())
        off = abs(60.0 / float(rr_s.mean()) - found.mean_bpm) + 100 * float(rr_s.std()) + 20 * ectopic
        if best is None or off < best[0]:
            best = (off, begin_s)
    return best and best[1]


def of_events(seen: Observed, most: int) -> str:
    parts = []
    for kind, events in kinds_of(seen):
        if events[0].alert.category == "technical":
            continue
        longest = sorted(events, key=lambda event: -(event.length_s or 0.0))[:most]
        figures = "".join(_event_figure(seen, event) for event in sorted(longest, key=lambda event: event.onset_s))
        if figures:
            said = f", the longest {len(longest)} of {count(len(events))}" if len(events) > len(longest) else ""
            parts.append(f"<h3>{name_of(kind)}{said}</h3>{figures}")
    return f"<h2>Strips of events</h2>{''.join(parts)}" if parts else ""


def _event_figure(seen: Observed, event: Event) -> str:
    begin = max(0.0, event.onset_s - BEFORE_S)
    said = ", ".join(part for part in (lasting(event.length_s), evidence(event)) if part)
    return _figure(seen, f"{name_of(event.alert.kind)}, {said}", Span(begin, begin + SHOWN_S), event.onset_s)


def _figure(seen: Observed, text: str, span: Span, at_s: float) -> str:
    shown = seen.strip(Span(span.begin_s, min(span.end_s, seen.duration_s)))
    caption = f"<figcaption><strong>{text}</strong><span>{seen.moment(at_s)}</span></figcaption>"
    if shown is None:
        return f'<figure>{caption}<p class="note">No signal of it was kept.</p></figure>'
    marks = [mark for mark in shown.marks if mark.symbol != '"']  # of other alerts: they have strips of their own
    if at_s > span.begin_s:
        marks.append(Annotation(round((at_s - span.begin_s) * shown.rate_hz), '"', aux="record begins open"))
    drawn = drawing.strip(replace(shown, marks=tuple(marks)), f"{text}, {seen.moment(at_s)}")
    return f"<figure>{caption}{drawn}</figure>"
