"""`python -m training.rr`: atrial fibrillation told from beat times alone, on the databases under `rr/`.

What the intervals are worth without a network: per beat, by episode and duration (of 30 s and more, after 5 min, as
ec57 counts), and false episodes a day. The thresholds are on the log-odds of `daemon.af`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.af import Irregularity
from ec57 import epicmp, header
from ec57.annotations import Annotation, Annotations, read
from ec57.beats import AAMI_CLASS
from ec57.sumstats import gross
from training.splits import data_folder, names

BEAT_ON = 0.4
"""A single beat is in AF from here on."""

EPISODE_ON, EPISODE_OFF = 3.48, -1.1
"""An episode begins, and ends: probabilities of 0.97 and 0.25, as in daemon/default.toml."""

ONSET_BEATS, END_BEATS = 40, 20
"""How many beats ago it began and ended. With a network the daemon finds these edges better."""

SHORTEST_S, LONGEST_S = 0.2, 3.0
"""Intervals beyond are slips of an annotator, or gaps."""


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """One record's beats, what is true of them and what the intervals said."""

    truth: Annotations
    at: NDArray[np.int64]  # (beat,) samples
    fibrillates: NDArray[np.bool_]
    log_odds: NDArray[np.float64]
    rate_hz: float
    length: int


def told(path: Path, beats_extension: str) -> Told:
    """Every beat of a record judged by the intervals up to it."""
    clock = header.read(path)
    truth = read(path, "atr").at(clock.rate_hz)
    beats = read(path, beats_extension).at(clock.rate_hz)
    at = np.array([item.sample for item in beats if item.symbol in AAMI_CLASS], np.int64)
    length = clock.length or int(at[-1])
    fibrillates = np.zeros(len(at), bool)
    for episode in epicmp.episodes(truth, epicmp.AF, length):
        fibrillates |= (episode.start <= at) & (at < episode.end)
    rr_s = np.diff(at, prepend=at[0]) / clock.rate_hz
    return Told(truth, at, fibrillates, log_odds(rr_s.tolist()), clock.rate_hz, length)


def log_odds(intervals_s: Sequence[float]) -> NDArray[np.float64]:
    """After each interval; -9 while there are too few."""
    irregularity = Irregularity()
    found = np.full(len(intervals_s), -9.0)
    for index, rr_s in enumerate(intervals_s):
        if SHORTEST_S < rr_s < LONGEST_S:
            irregularity.add(rr_s)
        now = irregularity.log_odds()
        found[index] = -9.0 if now is None else now
    return found


def episodes(one: Told) -> Iterator[epicmp.Episode]:
    """Those that last 30 s."""
    started: int | None = None
    ended = 0
    for index, value in enumerate([*one.log_odds, -np.inf]):
        if started is None and value >= EPISODE_ON:
            started = max(ended, index - ONSET_BEATS)
        elif started is not None and value < EPISODE_OFF:
            ended = max(started, index - (END_BEATS if index < len(one.at) else 1))
            start, end = int(one.at[started]), int(one.at[ended])
            started = None
            if end - start >= 30 * one.rate_hz:
                yield epicmp.Episode(start, end)


def score(one: Told) -> epicmp.EpisodeScore:
    marks: list[Annotation] = []
    for each in episodes(one):
        marks += [Annotation(each.start, "+", aux="(AFIB"), Annotation(each.end, "+", aux="(N")]
    claim = Annotations(tuple(marks), one.rate_hz)
    return epicmp.compare(one.truth, claim, kind=epicmp.AF, fs=one.rate_hz, length=one.length)


def main() -> int:
    for database, extension in (("afdb", "qrs"), ("nsrdb", "atr")):
        folder = data_folder() / "rr" / database
        records = [told(folder / name, extension) for name in names(folder)]
        if not records:
            print(f"{folder}: no records", file=sys.stderr)
            return 1
        called = np.concatenate([one.log_odds >= BEAT_ON for one in records])
        truth = np.concatenate([one.fibrillates for one in records])
        total = gross([score(one) for one in records])
        days = sum(one.at[-1] / one.rate_hz for one in records) / 86400
        false = total.test_episodes - total.test_true
        found = f"per beat Se {100 * called[truth].mean():.2f}, Sp" if truth.any() else "per beat Sp"
        print(f"{database}: {found} {100 * (~called[~truth]).mean():.2f}")
        print(
            "  " + ", ".join(f"{name} {ratio.percent:.1f}" for name, ratio in total.statistics().items() if ratio.whole)
        )
        print(f"  {false} false episodes in {days:.1f} days: {false / days:.2f} a day")
    return 0


if __name__ == "__main__":
    sys.exit(main())
