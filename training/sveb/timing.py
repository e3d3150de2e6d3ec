"""A recording in another time: of each point of a made-up run, which sample of the recording stands there.

What lies around an R peak stays together, the T wave as long as the QT interval is at that rate; the line from T to P
wave is stretched. Of a T wave that the next beat cuts off, what is left is added to that beat.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np
from numpy.typing import NDArray

from dsp.beat_picture import POINT_SAMPLES
from dsp.signal import RATE_HZ
from training.retimed import BEFORE_R, BEFORE_R_PART, QRS
from training.retimed import waves as f_waves
from training.sveb.rhythms import Atria, Plan

AFTER_R, AFTER_R_PART = 110, 0.58
"""Samples, and of the interval, that stay as they were after an R peak: QRS complex and T wave."""

P_PART = 0.45
"""Of an interval: what P wave and QRS complex may take at its end."""

SHORTEST, LONGEST = 70, 1200
"""Samples from beat to beat."""

LEAD_IN = 300
"""Samples at most from the first point to the first R peak."""

SEAM = 0.01
"""Samples between one beat and the next, which may be of other places of the recording: hardly a point lies there."""

WIDE = 1.6
"""How much longer a T-P segment is than in the recording when what happens in it is made smaller: stretched, it is a
slow wave that no heart writes."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Timing:
    """One value a point, but of `r_peaks`. Places are samples of the recording."""

    r_peaks: Floats  # in samples from the first point
    place: Floats  # what stands there
    known: NDArray[np.bool_]
    line_begins: Floats  # the ends of a line below it, and how much of what lies over that line is kept
    line_ends: Floats
    kept: Floats
    added: Floats  # what is added, less the level at another place; there is none where that is 0
    added_level: Floats
    waves: Floats  # what the atria write, of the RMS of the recording


@dataclass(frozen=True, slots=True)
class _Beats:
    """One value a beat: what surrounds it in the recording and in the new time, in samples."""

    at: Floats
    source: Floats  # its R peak in the recording
    own_before: Floats  # in the recording: where its P wave begins
    own_after: Floats  # and where its T wave ends
    next_begins: Floats  # in the recording: where the P wave after it begins
    before: Floats  # in the new time, likewise
    after: Floats
    t_wave: Floats  # how long it is, of what it was
    cut: Floats  # samples after it at which the next beat cuts it off, or where its T wave ends
    rest_ends: Floats  # in the new time: where the line up to the next P wave ends


def timed(plan: Plan, peaks: NDArray[np.int64], samples: int, count: int, rng: np.random.Generator) -> Timing:
    """The recording with these R peaks, of so many samples, in the time of the plan: `count` points of it."""
    beats = _placed(plan, peaks, rng)
    first = beats.at[0] - min(LEAD_IN, 0.9 * beats.at[0])
    at = first + POINT_SAMPLES * np.arange(count)
    following = np.clip(np.searchsorted(beats.at, at), 0, len(beats.at) - 1)

    tail_from, tail_to = _line(beats)
    then = np.stack([beats.at - beats.before, beats.at, beats.at + beats.cut, beats.rest_ends], 1).ravel()
    now = np.stack([beats.source - beats.before, beats.source, tail_from, tail_to], 1).ravel()
    then = np.maximum.accumulate(then + 1e-6 * np.arange(len(then)))
    place = np.clip(np.interp(at, then, now), 1, samples - 2)

    usual = float(np.median([each.sinus for each in plan.beats]))
    known = (at >= beats.at[0] - min(150, 0.5 * beats.at[0])) & (at <= beats.at[-1] + 0.5 * usual)
    added, level = _added(plan, beats, at)
    lines = _lines(plan, beats, at, following, rng)
    atria = np.array([each.atria for each in plan.beats])[following]
    waves = _waves(atria, at / RATE_HZ, plan.flutter_hz, rng)
    return Timing(beats.at - first, place, known, *lines, added, level, waves)


def _placed(plan: Plan, peaks: NDArray[np.int64], rng: np.random.Generator) -> _Beats:
    old = np.diff(peaks).astype(float)
    interval = np.clip([each.interval for each in plan.beats], SHORTEST, LONGEST)
    sinus = np.array([each.sinus for each in plan.beats])
    at, source = np.cumsum(interval), _sources(len(interval), len(peaks), rng)
    own_before = np.minimum(BEFORE_R, BEFORE_R_PART * old)[source - 1]
    own_after = np.minimum(AFTER_R, AFTER_R_PART * old)[source]
    t_wave = np.clip(np.sqrt(sinus / old[source]), 0.7, 1.15)
    after = own_after * t_wave
    upto_next = np.append(interval[1:], 2 * sinus[-1])
    next_before = np.minimum(np.append(own_before[1:], 40.0), P_PART * upto_next)
    return _Beats(
        at=at,
        source=peaks[source].astype(float),
        own_before=own_before,
        own_after=own_after,
        next_begins=peaks[source + 1].astype(float) - np.minimum(BEFORE_R, BEFORE_R_PART * old)[source],
        before=np.minimum(own_before, P_PART * interval),
        after=after,
        t_wave=t_wave,
        cut=np.minimum(after, upto_next - next_before - 4),
        rest_ends=at + upto_next - next_before - SEAM,
    )


def _sources(count: int, peaks: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which beats of the recording stand for the planned ones: in order, and at its end from an earlier one on."""
    found: list[int] = []
    begin = int(rng.integers(1, peaks - 1))
    while len(found) < count:
        found += range(begin, peaks - 1)
        begin = int(rng.integers(1, max(2, peaks // 2)))
    return np.array(found[:count])


def _is_cut(beats: _Beats) -> NDArray[np.bool_]:
    return beats.cut < beats.after - 1


def _line(beats: _Beats) -> tuple[Floats, Floats]:
    """From which place to which the line between T and P wave goes; from a T wave that is cut off straight on."""
    begins = beats.source + np.where(_is_cut(beats), beats.cut / beats.t_wave, beats.own_after)
    straight = begins + (beats.rest_ends - beats.at - beats.cut) / beats.t_wave
    return begins, np.where(_is_cut(beats), straight, np.maximum(beats.next_begins, begins + 6))


def _added(plan: Plan, beats: _Beats, at: Floats) -> tuple[Floats, Floats]:
    """What is left of T waves that were cut off, and P waves that no beat follows."""
    added, level = np.zeros(len(at)), np.zeros(len(at))
    for beat in np.flatnonzero(_is_cut(beats)).tolist():
        span = _span(at, beats.rest_ends[beat], beats.at[beat] + beats.after[beat])
        added[span] = beats.source[beat] + (at[span] - beats.at[beat]) / beats.t_wave[beat]
        level[span] = beats.source[beat] + beats.own_after[beat]
    for beat, each in enumerate(plan.beats):
        for earlier in each.blocked if beat else ():
            conducted = beats.at[beat] - earlier
            inside = np.arange(len(at))[_span(at, conducted - beats.own_before[beat], conducted - QRS)]
            free = inside[level[inside] == 0]
            added[free] = beats.source[beat] + at[free] - conducted
            level[free] = beats.source[beat] - beats.own_before[beat]
    return added, level


def _lines(
    plan: Plan, beats: _Beats, at: Floats, following: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Ends of the lines below P waves and below T-P segments that became too long, and how much is kept over them."""
    before, r_peak = beats.before[following], beats.at[following]
    begins, ends = beats.source[following] - before, beats.source[following] - QRS
    in_p = (at > r_peak - before) & (at < r_peak - QRS)
    kept = np.where(in_p, np.array([each.p_gain for each in plan.beats])[following], 1.0)
    line_begins, line_ends = _line(beats)
    wide = beats.rest_ends - beats.at - beats.cut > WIDE * (line_ends - line_begins)
    of_gaps = rng.uniform(0, 0.4)
    for beat in np.flatnonzero(wide).tolist():
        span = _span(at, beats.at[beat] + beats.cut[beat], beats.rest_ends[beat])
        kept[span], begins[span], ends[span] = of_gaps, line_begins[beat], line_ends[beat]
    return begins, ends, kept


def _span(at: Floats, begin: float, end: float) -> slice:
    first, last = np.searchsorted(at, [begin, end])
    return slice(first, last)


def _waves(atria: NDArray[np.int64], at_s: Floats, flutter_hz: float, rng: np.random.Generator) -> Floats:
    waves = np.zeros(len(at_s))
    if (fibrillating := atria == Atria.FIBRILLATING).any():
        waves[fibrillating] = f_waves(rng, at_s[fibrillating])
    if (fluttering := atria == Atria.FLUTTERING).any():
        waves[fluttering] = _flutter_waves(at_s[fluttering], flutter_hz, rng)
    return waves


def _flutter_waves(at_s: Floats, hz: float, rng: np.random.Generator) -> Floats:
    """Saw teeth, or round."""
    turns, size = at_s * hz + rng.uniform(), rng.uniform(0.05, 0.5)
    if rng.random() < 0.6:
        part = turns % 1
        return size * (np.where(part < 0.7, part / 0.7, (1 - part) / 0.3) - 0.5)
    return size * 0.6 * np.sin(2 * pi * turns)
