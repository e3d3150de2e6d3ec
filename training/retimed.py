"""Fibrillation that never was: normal recordings of many people, in which beats come at random and P waves are gone.

Of the five hundred people whose atria fibrillate in the public records a network knows the QRS complexes by heart
before it knows what makes the rhythm. So normal ones are given random intervals, by stretching what lies between T and
P wave: with P waves they are still no fibrillation, and without them, on a line that flutters a little, they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np
from numpy.typing import NDArray

from dsp.half_minute import MARK_SAMPLES, POINT_SAMPLES, POINTS, SAMPLES
from dsp.signal import RATE_HZ

BEFORE_R, BEFORE_R_PART = 65, 0.3
AFTER_R, AFTER_R_PART = 105, 0.55
"""Samples, and of the interval, that stay as they were: P wave and QRS complex, QRS complex and T wave."""

QRS = 14
"""Samples before the R peak at which a P wave has surely ended."""

SHORTEST, LONGEST = 88, 560
"""Samples from beat to beat: 170 and 27/min."""

LEAST_BEATS, REGULAR, FASTEST = 14, 0.15, 60
"""Who is retimed: so many beats, intervals that vary by no more of their mean, none shorter than so many samples."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Retimed:
    """A stretch of a recording in another time. One value a point of the picture."""

    place: Floats  # the sample of the recording that stands there
    known: NDArray[np.bool_]
    marked: NDArray[np.bool_]  # an R peak is near
    p_begins: Floats  # of the P wave that belongs there
    p_ends: Floats
    in_p: Floats  # how far into the P wave, 0 to 1; -1 outside of any
    fibrillates: bool
    without_p: bool


def may_be_retimed(peaks: NDArray[np.int64], regular: float = REGULAR) -> bool:
    """R peaks of a normal recording."""
    intervals = np.diff(peaks)
    return (
        len(peaks) >= LEAST_BEATS and intervals.std() <= regular * intervals.mean() and bool(intervals.min() > FASTEST)
    )


def retimed(peaks: NDArray[np.int64], shortest_s: float, whole: float, rng: np.random.Generator) -> Retimed:
    """Of a recording with these R peaks; `whole` is how often of all there is, else of `shortest_s` at least."""
    kind = rng.choice(["fibrillates", "irregular", "without_p"], p=[0.45, 0.45, 0.1])
    old = np.diff(peaks).astype(float)
    new = old if kind == "without_p" else _random(old, rng)
    before, after = np.minimum(BEFORE_R, BEFORE_R_PART * old), np.minimum(AFTER_R, AFTER_R_PART * old)
    beats = np.concatenate([[0.0], np.cumsum(new)])
    then = np.stack([beats[:-1], beats[:-1] + np.minimum(after, new - before - 4), beats[1:] - before], 1).ravel()
    now = np.stack([peaks[:-1], peaks[:-1] + after, peaks[1:] - before], 1).ravel()

    most = min(beats[-1], SAMPLES)
    span = most if rng.random() < whole else min(most, rng.uniform(shortest_s * RATE_HZ, SAMPLES))
    end = rng.uniform(span, beats[-1])
    at = end - np.arange(POINTS - 1, -1, -1) * POINT_SAMPLES
    place = np.interp(at, np.append(then, beats[-1]), np.append(now, peaks[-1]))
    following = np.clip(np.searchsorted(peaks, place), 0, len(peaks) - 1)
    begins = peaks[following] - np.append(before[0], before)[following]
    ends = peaks[following] - float(QRS)
    in_p = np.where((place > begins) & (place < ends), (place - begins) / np.maximum(ends - begins, 1.0), -1.0)
    after_it = np.clip(np.searchsorted(beats, at), 1, len(beats) - 1)
    near = np.minimum(np.abs(at - beats[after_it - 1]), np.abs(at - beats[after_it])) <= MARK_SAMPLES
    known = at >= max(0.0, end - span)
    return Retimed(place, known, near, begins, ends, in_p, kind == "fibrillates", kind != "irregular")


def _random(old: Floats, rng: np.random.Generator) -> Floats:
    usual = np.median(old) * np.exp(rng.normal(0, 0.12))
    spread = rng.uniform(0.1, 0.28)
    return np.clip(usual * np.exp(spread * rng.normal(0, 1, len(old))), SHORTEST, LONGEST)


def waves(rng: np.random.Generator, at_s: Floats) -> Floats:
    """What fibrillating atria write at these times in seconds, of an amplitude of 0 to 0.25."""
    hz, phases = rng.uniform(4.5, 8.5), rng.uniform(0, 2 * pi, 3)
    swing = 1 + 0.4 * np.sin(2 * pi * 0.23 * at_s + phases[0])
    phase = 2 * pi * hz * at_s + 1.5 * np.sin(2 * pi * 0.31 * at_s + phases[1]) + phases[2]
    drawn: Floats = rng.uniform(0, 0.25) * swing * (np.sin(phase) + 0.3 * np.sin(2 * phase))
    return drawn
