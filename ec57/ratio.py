"""A part of a whole that remembers both, so that records can be pooled and a table can show what was counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ratio:
    """`part` of `whole`: beats, runs and episodes counted, or seconds measured."""

    part: float
    whole: float

    @property
    def percent(self) -> float | None:
        """None where there was nothing to count."""
        return 100.0 * self.part / self.whole if self.whole > 0 else None


def f1_percent(sensitivity: Ratio, positive_predictivity: Ratio) -> float | None:
    """The harmonic mean of the two, which EC57 does not ask for and papers quote."""
    se, ppv = sensitivity.percent, positive_predictivity.percent
    if se is None or ppv is None or se + ppv == 0:
        return None
    return 2 * se * ppv / (se + ppv)
