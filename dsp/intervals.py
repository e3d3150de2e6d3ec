"""What the RR intervals so far say of a beat: how it comes compared with what is usual for this person."""

from __future__ import annotations

from collections import deque
from math import log

import numpy as np
from numpy.typing import NDArray

REMEMBERED = 64
"""Intervals: about 50 s."""

LAGS = 11
RECENT, CHANGES = 8, 32
TYPICAL_S = 0.8
SHORTEST_S, LONGEST_S = 0.2, 3.0
EARLY, LATE = log(0.88), log(1.15)
STEADY, UNSTEADY = log(0.002), log(0.03)
PARTS = np.array([0.5, 0.1, 0.25, 0.75, 0.9])

FEATURES = LAGS + 12
"""How many numbers `features` gives."""


def features(log_rr: NDArray[np.float64]) -> NDArray[np.float32]:
    """Logarithms of RR intervals `(n, REMEMBERED)`, newest last, NaN where unknown, to `(n, FEATURES)`; 0: not known.

    In order: the newest LAGS intervals, newest first, and the median of the RECENT ones, over the usual one, which is
    the median of all; the usual one over TYPICAL_S; whether the newest is known, and which part of all is; the median
    change from one interval to the next, of CHANGES and of RECENT; which part of the known is early, and late; four
    quantiles over the usual one. All but the parts are logarithms.
    """
    known = np.count_nonzero(~np.isnan(log_rr), axis=1)
    ordered = np.sort(log_rr, axis=1)  # unknown ones last
    places = (np.maximum(known - 1, 0)[:, None] * PARTS).astype(np.int64)
    quantiles = ordered[np.arange(len(log_rr))[:, None], places]
    usual = quantiles[:, :1]
    relative = log_rr - usual
    changes = np.abs(log_rr[:, 1:] - log_rr[:, :-1])
    found = np.empty((len(log_rr), FEATURES))
    found[:, :LAGS] = relative[:, : -LAGS - 1 : -1]
    rest = found[:, LAGS:]
    rest[:, 0] = np.sort(relative[:, -RECENT:], axis=1)[:, RECENT // 2 - 1]
    rest[:, 1] = usual[:, 0] - log(TYPICAL_S)
    rest[:, 2] = ~np.isnan(log_rr[:, -1])
    rest[:, 3] = known / REMEMBERED
    for column, span in ((4, CHANGES), (5, RECENT)):
        middle = np.sort(changes[:, -span:], axis=1)[:, span // 2 - 1]
        rest[:, column] = (np.maximum(np.log(np.maximum(middle, 1e-9)), STEADY) - UNSTEADY) / 2
    rest[:, 6] = np.count_nonzero(relative < EARLY, axis=1) / np.maximum(known, 1)
    rest[:, 7] = np.count_nonzero(relative > LATE, axis=1) / np.maximum(known, 1)
    rest[:, 8:] = quantiles[:, 1:] - usual
    found[np.isnan(found)] = 0.0
    return np.minimum(np.maximum(found, -2.0), 2.0).astype(np.float32)


def log_rr(rr_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """What `features` reads of intervals in seconds."""
    return np.log(np.clip(rr_s, SHORTEST_S, LONGEST_S))


class Intervals:
    """The intervals of one session, as far as they are remembered."""

    def __init__(self) -> None:
        self._log_rr: deque[float] = deque([float("nan")] * REMEMBERED, maxlen=REMEMBERED)

    def add(self, rr_s: float | None) -> None:
        """The interval that ends with the next beat; None when it is not known."""
        self._log_rr.append(float("nan") if rr_s is None else float(log_rr(np.float64(rr_s))))

    def remembered(self) -> list[float]:
        """A row of what `features` reads."""
        return list(self._log_rr)

    def features(self) -> NDArray[np.float32]:
        of_now: NDArray[np.float32] = features(np.array([self._log_rr]))[0]
        return of_now
