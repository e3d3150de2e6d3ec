"""Which of the beats that the network takes for supraventricular ones are called so. Pure and causal."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from statistics import median

from daemon.af import EARLY, USUAL

LEAST_KNOWN = 3
"""Intervals, to know what is usual."""

UNLESS_EARLY, IN_A_RUN = 0.5, 2
"""The log-odds, against a normal beat, that one must have which does not come early and does not follow so many that
were called supraventricular. In folds over svdb and mitdb DS1 a little more is a little better, but who lives in the
premature rhythm (mitdb 232) pays for it."""

RUN_BEATS, RUN_CHANGE = 8, 0.1
"""A run of so many beats is none of premature beats if its intervals change by more than this part of themselves, in
the median, from one to the next: a supraventricular tachycardia is regular; fibrillation is not, nor is flutter that is
conducted now so and now so. Chosen on svdb and mitdb DS1: with 5 the longest runs of svdb go too."""


class Premature:
    """The beats so far, as far as they are remembered."""

    def __init__(self) -> None:
        self._intervals: deque[float] = deque(maxlen=USUAL)  # seconds; the newest
        self._run: deque[float] = deque(maxlen=RUN_BEATS)  # those that end in a beat of the run which is going on
        self._called = 0  # so in a row

    def __call__(self, rr_s: float | None, log_odds: float, against: float) -> bool:
        """Whether the next beat is called so: its log-odds against a normal one, and what the rhythm has against them.

        Of each beat in its turn; one that the network takes for another has none, -inf.
        """
        likely = log_odds > UNLESS_EARLY
        if not likely and log_odds > 0.0:
            likely = self._called >= IN_A_RUN or self._comes_early(rr_s)
        if rr_s is None or not likely:
            self._run.clear()
        if rr_s is not None:
            self._intervals.append(rr_s)
            if likely:
                self._run.append(rr_s)
        called = likely and log_odds > against and not self._fibrillates()
        self._called = self._called + 1 if called else 0
        return called

    def _comes_early(self, rr_s: float | None) -> bool:
        """Or nobody knows."""
        if rr_s is None or len(self._intervals) < LEAST_KNOWN:
            return True
        return rr_s < EARLY * median(self._intervals)

    def _fibrillates(self) -> bool:
        if len(self._run) < RUN_BEATS:
            return False
        return median(abs(a - b) for a, b in pairwise(self._run)) > RUN_CHANGE * median(self._run)
