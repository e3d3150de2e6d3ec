"""Evidence is added up as log-odds: 0 speaks neither for nor against, 4.6 is 99 to 1."""

from __future__ import annotations

from math import exp, log

SUREST = 0.99
"""No network is surer than that, so that one that errs can be overruled."""


def log_odds(probability: float, surest: float = SUREST) -> float:
    certain = min(max(probability, 1.0 - surest), surest)
    return log(certain / (1.0 - certain))


def probability_of(log_odds: float) -> float:
    return 1.0 / (1.0 + exp(-log_odds))
