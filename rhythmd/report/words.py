"""Numbers as a clinician reads them."""

from __future__ import annotations

from html import escape

from rhythmd.report.findings import Ectopy, Findings
from rhythmd.report.observed import Event, Observed, Span

NAMES = {
    "extreme_bradycardia": "Extreme bradycardia",
    "frequent_pvc": "Frequent ventricular beats",
    "supraventricular_run": "Supraventricular run",
    "ventricular_run": "Ventricular run",
}
GRAVE = (
    "ventricular_fibrillation",
    "asystole",
    "ventricular_tachycardia",
    "extreme_bradycardia",
    "extreme_tachycardia",
)


def name_of(kind: str) -> str:
    return NAMES.get(kind, kind.replace("_", " ").capitalize())


def lasting(seconds: float | None) -> str:
    """2 h 05 min, 3 min 20 s, 4.1 s."""
    if seconds is None:
        return "still open"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def share(part: float, whole: float) -> str:
    if not whole:
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.1f} %"


def rate(bpm: float | None) -> str:
    return "–" if bpm is None else f"{bpm:.0f}"


def count(number: int) -> str:
    return f"{number:,}".replace(",", "\u202f")


def many(number: int, one: str, several: str | None = None) -> str:
    return f"{count(number)} {one if number == 1 else several or one + 's'}"


def sentences(seen: Observed, found: Findings) -> list[tuple[bool, str]]:
    """(whether it is grave, what was found), the gravest first."""
    said = [(True, text) for kind in GRAVE if (text := _episodes(seen, kind))]
    if longest := found.af.longest:
        said.append((False, _af(seen, found, longest)))
    else:
        said.append((False, "No atrial fibrillation was found."))
    for what, ectopy in (("Ventricular", found.ventricular), ("Supraventricular", found.supraventricular)):
        said.append((False, _ectopy(what, ectopy, found.beats)))
    if found.longest_rr:
        at = seen.moment(found.longest_rr.span.begin_s)
        many_pauses = f"; {many(found.pauses, 'interval')} of 2 s or more" if found.pauses else ""
        said.append((False, f"Longest RR interval {found.longest_rr.value:.2f} s at {at}{many_pauses}."))
    if not any(grave for grave, _ in said):
        kinds = "ventricular fibrillation, asystole, ventricular tachycardia, extreme brady- or tachycardia"
        said.insert(0, (False, f"No {kinds} was found."))
    return said


def _af(seen: Observed, found: Findings, longest: Span) -> str:
    alarmed = sum(event.alert.kind == "atrial_fibrillation" for event in seen.events)
    return (
        f"Atrial fibrillation: {many(len(found.af.episodes), 'episode')}, {many(alarmed, 'alert')}, "
        f"{lasting(found.af.total_s)} in all "
        f"({share(found.af.total_s, found.readable_s)} of the time that could be judged); the longest "
        f"{lasting(longest.length_s)}, from {seen.moment(longest.begin_s)}."
    )


def _episodes(seen: Observed, kind: str) -> str:
    events = [event for event in seen.events if event.alert.kind == kind]
    if not events:
        return ""
    if len(events) == 1:
        return f"{name_of(kind)}: 1 episode at {seen.moment(events[0].onset_s)}, {lasting(events[0].length_s)}."
    longest = max(events, key=lambda event: event.length_s or 0.0)
    first = ", ".join(seen.moment(event.onset_s) for event in events[:4])
    more = "" if len(events) <= 4 else f" and {len(events) - 4} more"
    return (
        f"{name_of(kind)}: {many(len(events), 'episode')} (at {first}{more}); the longest {lasting(longest.length_s)}."
    )


def _ectopy(what: str, ectopy: Ectopy, beats: int) -> str:
    if not ectopy.beats:
        return f"No {what.lower()} beats were found."
    parts = [f"{what} beats: {count(ectopy.beats)} ({share(ectopy.beats, beats)})"]
    if ectopy.couplets:
        parts.append(many(ectopy.couplets, "couplet"))
    if ectopy.runs:
        fastest = f", the fastest {rate(ectopy.fastest_bpm)}/min" if ectopy.fastest_bpm else ""
        parts.append(f"{many(ectopy.runs, 'run')} of three or more, the longest of {ectopy.longest} beats{fastest}")
    return "; ".join(parts) + "."


_UNITS = {"_s": " s", "_bpm": "/min"}


def evidence(event: Event) -> str:
    parts = []
    for name, value in event.alert.evidence.items():
        ending = next((ending for ending in _UNITS if name.endswith(ending)), "")
        shown = name.removesuffix(ending).replace("_", " ").replace("rr", "RR")
        parts.append(f"{shown} {value}{_UNITS.get(ending, '')}")
    return escape(", ".join(parts))
