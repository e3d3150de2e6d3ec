"""What a clinician asks of a day: counted. Pure: an `Observed` in, numbers out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from rhythmd.report.observed import Observed, Seconds, Span, cut_out, total_s

UNREADABLE = ("lead_off", "signal_lost", "patch_lost", "noise")
BEATLESS = ("VF", "NOISE")
"""Rhythms in which what is between two beats that were found is no interval."""

LONGEST_RR_S = 20.0
"""A longer one is no interval but a loss that nobody told of."""

RATE_INTERVALS = 8
"""Over which the fastest and the slowest rate are taken, as Holter reports do."""

HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """The RR intervals that can be relied on: both beats readable, nothing missing or unreadable between."""

    at_s: Seconds  # (n,) of the second beat
    rr_s: Seconds  # (n,)
    first: NDArray[np.intp]  # (n,) index of the first beat


@dataclass(frozen=True, slots=True)
class Extreme:
    """The fastest or slowest stretch, or the longest pause."""

    value: float  # beats per minute, or seconds
    span: Span


@dataclass(frozen=True, slots=True)
class Ectopy:
    """Beats of one class, by how many came in a row."""

    beats: int
    singles: int
    couplets: int
    runs: int  # of three or more
    longest: int
    fastest_bpm: float | None  # of the runs
    run_begins_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Burden:
    """How much of the time a rhythm held."""

    episodes: tuple[Span, ...]
    total_s: float
    share: float  # of the time that could be judged

    @property
    def longest(self) -> Span | None:
        return max(self.episodes, key=lambda span: span.length_s, default=None)


@dataclass(frozen=True, slots=True)
class Hour:
    """One line of the table."""

    span: Span
    beats: int
    readable_s: float
    slowest_bpm: float | None
    mean_bpm: float | None
    fastest_bpm: float | None
    supraventricular: int
    ventricular: int
    ventricular_runs: int
    longest_rr_s: float | None
    af_s: float


@dataclass(frozen=True, slots=True)
class Findings:
    """All of it."""

    readable: tuple[Span, ...]
    unreadable: dict[str, float]  # seconds by reason
    intervals: Intervals
    beats: int
    mean_bpm: float | None
    fastest: Extreme | None
    slowest: Extreme | None
    longest_rr: Extreme | None
    pauses: int  # intervals of 2 s or more
    af: Burden
    ventricular: Ectopy
    supraventricular: Ectopy
    hours: tuple[Hour, ...]

    @property
    def readable_s(self) -> float:
        return total_s(self.readable)


PAUSE_S = 2.0


def find(seen: Observed) -> Findings:
    holes = tuple(
        Span(event.onset_s, seen.duration_s if event.end_s is None else event.end_s)
        for event in seen.events
        if event.alert.kind in UNREADABLE
    )
    readable = cut_out(seen.received, holes)
    intervals = intervals_of(seen, cut_out(readable, tuple(span for name in BEATLESS for span in spans_of(seen, name))))
    ventricular = ectopy(seen, "V", intervals)
    af = burden(seen, "AFIB", readable)
    return Findings(
        readable=readable,
        unreadable=_unreadable(seen),
        intervals=intervals,
        beats=len(seen.beat_s),
        mean_bpm=_mean_bpm(intervals.rr_s),
        fastest=_extreme(intervals, fastest=True),
        slowest=_extreme(intervals, fastest=False),
        longest_rr=_longest(intervals),
        pauses=int((intervals.rr_s >= PAUSE_S).sum()),
        af=af,
        ventricular=ventricular,
        supraventricular=ectopy(seen, "S", intervals),
        hours=tuple(_hours(seen, readable, intervals, af, ventricular)),
    )


def intervals_of(seen: Observed, readable: Sequence[Span]) -> Intervals:
    at_s, kind = seen.beat_s, seen.beat_kind
    rr_s = np.diff(at_s)
    stretch = _stretch_of(at_s, readable)
    good = (stretch[1:] == stretch[:-1]) & (stretch[1:] >= 0) & (kind[1:] != "Q") & (kind[:-1] != "Q")
    good &= (rr_s > 0) & (rr_s < LONGEST_RR_S)
    first = np.flatnonzero(good)
    return Intervals(at_s[first + 1], rr_s[first], first)


def _stretch_of(at_s: Seconds, readable: Sequence[Span]) -> NDArray[np.intp]:
    """In which readable stretch each beat lies; -1 for none."""
    begins = np.array([span.begin_s for span in readable])
    ends = np.array([span.end_s for span in readable])
    if not len(begins):
        return np.full(len(at_s), -1, np.intp)
    place = np.searchsorted(begins, at_s, side="right") - 1
    inside = (place >= 0) & (at_s < ends[np.maximum(place, 0)])
    return np.where(inside, place, -1)


def _mean_bpm(rr_s: Seconds) -> float | None:
    return float(60.0 * len(rr_s) / rr_s.sum()) if len(rr_s) else None


def _windows(intervals: Intervals) -> Iterator[tuple[int, float]]:
    """(place of the last interval, seconds) of every run of consecutive intervals that is long enough."""
    sums = np.cumsum(np.concatenate(([0.0], intervals.rr_s)))
    for last in range(RATE_INTERVALS - 1, len(intervals.rr_s)):
        begin = last - RATE_INTERVALS + 1
        if intervals.first[last] - intervals.first[begin] == RATE_INTERVALS - 1:
            yield last, float(sums[last + 1] - sums[begin])


def _extreme(intervals: Intervals, *, fastest: bool) -> Extreme | None:
    choose = min if fastest else max
    last, took_s = choose(_windows(intervals), key=lambda window: window[1], default=(-1, 0.0))
    if last < 0:
        return None
    end_s = float(intervals.at_s[last])
    return Extreme(60.0 * RATE_INTERVALS / took_s, Span(end_s - took_s, end_s))


def _longest(intervals: Intervals) -> Extreme | None:
    if not len(intervals.rr_s):
        return None
    at = int(intervals.rr_s.argmax())
    end_s, rr_s = float(intervals.at_s[at]), float(intervals.rr_s[at])
    return Extreme(rr_s, Span(end_s - rr_s, end_s))


def ectopy(seen: Observed, kind: str, intervals: Intervals) -> Ectopy:
    """Beats in a row are those between which every interval can be relied on."""
    joined = np.zeros(max(0, len(seen.beat_s) - 1), bool)
    joined[intervals.first] = True
    is_kind = seen.beat_kind == kind
    rows: list[tuple[int, int]] = []  # first, last
    for at in np.flatnonzero(is_kind).tolist():
        if rows and rows[-1][1] == at - 1 and joined[at - 1]:
            rows[-1] = (rows[-1][0], at)
        else:
            rows.append((at, at))
    sizes = [last - first + 1 for first, last in rows]
    runs = [(first, last) for first, last in rows if last - first >= 2]
    rates = [60.0 * (last - first) / (seen.beat_s[last] - seen.beat_s[first]) for first, last in runs]
    return Ectopy(
        beats=int(is_kind.sum()),
        singles=sizes.count(1),
        couplets=sizes.count(2),
        runs=len(runs),
        longest=max(sizes, default=0),
        fastest_bpm=float(max(rates)) if rates else None,
        run_begins_s=tuple(float(seen.beat_s[first]) for first, _ in runs),
    )


def spans_of(seen: Observed, name: str) -> tuple[Span, ...]:
    """Where the rhythm was called so; what is less than a second apart is one."""
    edges = [*(at for at, _ in seen.rhythms), seen.duration_s]
    joined: list[Span] = []
    for (begin, label), end in zip(seen.rhythms, edges[1:], strict=True):
        if label != name or end <= begin:
            continue
        if joined and begin - joined[-1].end_s < 1.0:
            joined[-1] = Span(joined[-1].begin_s, end)
        else:
            joined.append(Span(begin, end))
    return tuple(joined)


def burden(seen: Observed, name: str, readable: tuple[Span, ...]) -> Burden:
    episodes = spans_of(seen, name)
    judged_s = total_s(readable)
    held_s = judged_s - total_s(cut_out(readable, episodes))
    return Burden(episodes, held_s, held_s / judged_s if judged_s else 0.0)


def _unreadable(seen: Observed) -> dict[str, float]:
    missing_s = seen.duration_s - total_s(seen.received)
    found = {"nothing received": missing_s} if missing_s >= 1.0 else {}
    for kind, events in groupby(sorted(seen.events, key=lambda one: one.alert.kind), key=lambda one: one.alert.kind):
        if kind in UNREADABLE:
            spans = [(max(0.0, one.onset_s), seen.duration_s if one.end_s is None else one.end_s) for one in events]
            found[kind.replace("_", " ")] = sum(max(0.0, end - begin) for begin, end in spans)
    return found


def _hours(
    seen: Observed, readable: tuple[Span, ...], intervals: Intervals, af: Burden, ventricular: Ectopy
) -> Iterator[Hour]:
    into_s = (seen.begins.minute * 60 + seen.begins.second) if seen.dated else 0.0
    edges = np.arange(-into_s, seen.duration_s, HOUR_S)
    begins_s = np.array(ventricular.run_begins_s)
    for edge in edges.tolist():
        span = Span(max(0.0, edge), min(seen.duration_s, edge + HOUR_S))
        beats = (seen.beat_s >= span.begin_s) & (seen.beat_s < span.end_s)
        inside = (intervals.at_s >= span.begin_s) & (intervals.at_s < span.end_s)
        rr_s = intervals.rr_s[inside]
        within = Intervals(intervals.at_s[inside], rr_s, intervals.first[inside])
        fastest, slowest = _extreme(within, fastest=True), _extreme(within, fastest=False)
        outside = (Span(-HOUR_S, span.begin_s), Span(span.end_s, seen.duration_s + HOUR_S))
        here = cut_out(readable, outside)
        yield Hour(
            span=span,
            beats=int(beats.sum()),
            readable_s=total_s(here),
            slowest_bpm=slowest.value if slowest else None,
            mean_bpm=_mean_bpm(rr_s),
            fastest_bpm=fastest.value if fastest else None,
            supraventricular=int((seen.beat_kind[beats] == "S").sum()),
            ventricular=int((seen.beat_kind[beats] == "V").sum()),
            ventricular_runs=int(((begins_s >= span.begin_s) & (begins_s < span.end_s)).sum()),
            longest_rr_s=float(rr_s.max()) if len(rr_s) else None,
            af_s=total_s(here) - total_s(cut_out(here, af.episodes)),
        )


def trend(intervals: Intervals, duration_s: float, bins: int = 360) -> tuple[Seconds, NDArray[np.float64]]:
    """(n,) middles of stretches in seconds, (n, 3) of rates in each: 5th percentile, median, 95th; NaN where none."""
    width_s = max(10.0, duration_s / bins)
    edges = np.arange(0.0, duration_s + width_s, width_s)
    place = np.digitize(intervals.at_s, edges) - 1
    rates = np.full((len(edges) - 1, 3), np.nan)
    order = np.argsort(place, kind="stable")
    cuts = np.searchsorted(place[order], np.arange(len(edges)))
    for at in range(len(edges) - 1):
        inside = intervals.rr_s[order[cuts[at] : cuts[at + 1]]]
        if len(inside) >= 3:
            rates[at] = np.percentile(60.0 / inside, (5, 50, 95))
    return (edges[:-1] + edges[1:]) / 2, rates
