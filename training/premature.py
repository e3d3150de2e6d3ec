"""Premature beats made from normal ones: a piece of the pause before a beat is taken out of the recording.

Few people in the public databases have many supraventricular beats, and their beats are soon known by heart. This makes
such beats of hundreds of others, whose normal ones the network sees as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.labels import CALM, NORMAL, ONE_BEAT, N, S, bits

MOST_CUTS = 48
EARLIEST, LATEST = 0.55, 0.85
"""Of the usual interval: how early such beats come."""

AFTER_QRS, BEFORE_R = 40, (45, 65)
"""Samples around the two beats that stay as they were: a QRS complex, and P wave with QRS."""

SEEK = 8
"""Samples by which a cut may be longer or shorter, to be where both ends meet."""

REGULAR = 0.08
"""The most by which three intervals of four of a run differ from the usual one."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """What was taken out: from `at` on, in the time that results, the recording is `samples` further on."""

    at: NDArray[np.float32]  # (MOST_CUTS,) rising; infinite where there is none
    samples: NDArray[np.float32]  # (MOST_CUTS + 1,) altogether, before the first cut, after the first, ...


NO_CUTS = Cuts(np.full(MOST_CUTS, np.inf, np.float32), np.zeros(MOST_CUTS + 1, np.float32))


def is_regular(windows: NDArray[np.int64]) -> bool:
    """Normal beats only, evenly spaced, each with its window."""
    intervals = np.diff(windows[:, 0])
    if len(intervals) < 8 or not (windows[:, 1] == 1).all() or not (windows[:, 2] == ONE_BEAT[N]).all():
        return False
    return bool(np.quantile(np.abs(intervals / np.median(intervals) - 1), 0.75) < REGULAR)


def made_premature(
    windows: NDArray[np.int64], counts: NDArray[np.int16], rng: np.random.Generator
) -> tuple[NDArray[np.int64], Cuts]:
    """Windows (place, is it a beat, truths) of the signal `counts` with some beats made early, and how."""
    windows = windows.copy()
    places = windows[:, 0].copy()
    usual = float(np.median(np.diff(places)))
    ratio, spread = rng.uniform(EARLIEST, LATEST), 0.04
    begins, goes_on = rng.uniform(0.02, 0.3), rng.choice([0.0, 0.0, 0.5, 0.85])
    at: list[float] = []
    taken = [0.0]
    was = False
    for index in range(4, len(places)):
        was = rng.random() < (goes_on if was else begins) and len(at) < MOST_CUTS
        if was:
            wanted = min(max(rng.normal(ratio, spread), EARLIEST), LATEST) * usual
            samples = round(places[index] - places[index - 1] - wanted)
            end = int(places[index]) - int(rng.integers(*BEFORE_R))
            most = end - int(places[index - 1]) - AFTER_QRS
            was = 10 + SEEK <= samples <= most - SEEK
        if was:
            tried = np.arange(samples - SEEK, samples + SEEK + 1)
            samples = int(tried[np.abs(counts[end - tried].astype(float) - counts[end]).argmin()])
            taken.append(taken[-1] + samples)
            at.append(end - taken[-1])
            windows[index, 2] = ONE_BEAT[S]
        windows[index, 0] = places[index] - taken[-1]
    if at:
        normal = windows[:, 3] == bits(NORMAL)
        windows[normal, 3] = CALM
    rest = MOST_CUTS - len(at)
    return windows, Cuts(
        np.array([*at, *[np.inf] * rest], np.float32), np.array([*taken, *[taken[-1]] * rest], np.float32)
    )
