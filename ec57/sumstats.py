"""Many records as one: gross and average figures, as WFDB's program sumstats, and the tables in which to show them.

Gross figures pool the counts, so that a long or busy record weighs more; average figures weigh each record alike and
leave out those that have nothing to count. EC57 asks for both, beside every record's own.

Three things differ from sumstats, which reads printed tables: a fusion beat called supraventricular counts against
gross and average SVEB +P, as it does in bxb; gross durations are pooled from samples, not from whole percentages; and
averages are taken before rounding.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from statistics import fmean
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from typing_extensions import Self

    from ec57.bxb import BeatScore
    from ec57.ratio import Ratio


class Score(Protocol):
    """What bxb, rxr and epicmp return: figures by name, and sums that are scores too."""

    def statistics(self) -> dict[str, Ratio]: ...

    def __add__(self, other: Self) -> Self: ...


AnyScore = TypeVar("AnyScore", bound="Score")


def gross(scores: Iterable[AnyScore]) -> AnyScore:
    """The score of all records together. At least one is needed."""
    return reduce(add, scores)


def average(scores: Iterable[Score]) -> dict[str, float | None]:
    """The mean percentage of each figure over the records that have one."""
    percentages: dict[str, list[float]] = {}
    for score in scores:
        for name, ratio in score.statistics().items():
            found = percentages.setdefault(name, [])
            if ratio.percent is not None:
                found.append(ratio.percent)
    return {name: fmean(found) if found else None for name, found in percentages.items()}


def format_table(scores: Mapping[str, AnyScore]) -> str:
    """A Markdown table with a row for each record, then gross and average."""
    pooled = gross(scores.values())
    names = list(pooled.statistics())
    lines = [_row("record", names), _row("---", ["---:"] * len(names))]
    for record, score in scores.items():
        lines.append(_row(record, [_cell(name, ratio) for name, ratio in score.statistics().items()]))
    lines.append(_row("**gross**", [_cell(name, ratio) for name, ratio in pooled.statistics().items()]))
    means = average(scores.values())
    lines.append(_row("**average**", [_percent(name, means[name]) for name in names]))
    return "\n".join(lines)


def format_matrix(score: BeatScore) -> str:
    """The matrix of bxb in Markdown: a row for each reference class, a column for each class of the test."""
    columns = "nsvfqox"
    lines = [_row("", list(columns)), _row("---", ["---:"] * len(columns))]
    for label in "NSVFQOX":
        counts = [str(score.count(label, column)) for column in columns]
        lines.append(_row(label, counts if label not in "OX" else [*counts[:5], "", ""]))
    return "\n".join(lines)


def _row(head: str, cells: list[str]) -> str:
    return f"| {' | '.join([head, *cells])} |"


def _cell(name: str, ratio: Ratio) -> str:
    return f"{_percent(name, ratio.percent)} ({ratio.part:.0f}/{ratio.whole:.0f})"


def _percent(name: str, percent: float | None) -> str:
    if percent is None:
        return "-"
    return f"{percent:.3f}" if name.endswith("FPR") else f"{percent:.2f}"
