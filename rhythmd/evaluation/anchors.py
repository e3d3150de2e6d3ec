"""What others reach on the same records by the same rules, beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ec57.bxb import BeatScore
from ec57.ratio import f1_percent
from ec57.sumstats import gross
from rhythmd.evaluation.alarms import KindScore
from rhythmd.evaluation.report import Row, Section, Table, number
from rhythmd.evaluation.tables import F1_OF

_OSEA = "OSEA (Hamilton 2002, C, causal)"
_OFFLINE = "best offline detector (Kalidas 2017 at 6 dB, a CNN at 0 dB)"
_RR_ONLY = "RR intervals alone, look-back (Zhou 2015), 30 s"


class Anchor(NamedTuple):
    """A figure, in per cent or a day, measured with WFDB's own tools."""

    group: str
    records: int  # the least that make the comparison fair
    figure: str
    value: float
    whose: str


ANCHORS: Mapping[str, Sequence[Anchor]] = {
    "mitdb": [
        Anchor("all", 48, "QRS Se", 99.79, _OSEA),
        Anchor("all", 48, "QRS +P", 99.80, _OSEA),
        Anchor("all", 48, "QRS F1", 99.80, _OSEA),
        Anchor("all", 48, "VEB Se", 93.67, _OSEA),
        Anchor("all", 48, "VEB +P", 96.64, _OSEA),
        Anchor("ds2", 22, "VEB Se", 95.94, _OSEA),
        Anchor("ds2", 22, "VEB +P", 96.77, _OSEA),
        Anchor("ds2", 22, "VEB Se", 92.4, "Alvarado, published, reference R peaks"),
        Anchor("ds2", 22, "VEB +P", 93.4, "Alvarado, published, reference R peaks"),
        Anchor("ds2", 22, "SVEB F1", 68.4, "Alvarado, published, reference R peaks; e and j may count as N"),
        Anchor("all", 48, "false atrial_fibrillation a day", 27.0, _RR_ONLY),
    ],
    "svdb": [
        Anchor("all", 1, "QRS F1", 99.74, f"{_OSEA}, all 78 records"),
        Anchor("all", 1, "VEB Se", 80.48, f"{_OSEA}, all 78 records"),
        Anchor("all", 1, "VEB +P", 75.88, f"{_OSEA}, all 78 records"),
    ],
    "nstdb": [
        Anchor("6db", 2, "QRS F1", 86.17, _OSEA),
        Anchor("6db", 2, "QRS F1", 94.75, _OFFLINE),
        Anchor("0db", 2, "QRS F1", 78.72, _OSEA),
        Anchor("0db", 2, "QRS F1", 88.96, _OFFLINE),
    ],
}
"""By the name of the database's folder."""


def section(
    database: str,
    groups: Mapping[str, Sequence[str]],
    beats: Mapping[str, BeatScore],
    kinds: Mapping[str, KindScore],
) -> Section | None:
    """Ours and theirs; None where there is nothing to compare, or too few records for it."""
    rows = []
    for anchor in ANCHORS.get(database, ()):
        if len(groups.get(anchor.group, ())) >= anchor.records:
            ours = _ours(anchor.figure, gross([beats[name] for name in groups[anchor.group]]), kinds)
            head = f"{anchor.figure}, {anchor.group} ({len(groups[anchor.group])})"
            rows.append(Row(f"{head}: {anchor.whose}", (number(ours), number(anchor.value))))
    note = "Gross. Theirs were measured with WFDB's own tools where they are not called published."
    table = Table("Ours and others'", "figure, set (records)", ("ours", "theirs"), tuple(rows), note)
    return Section("Beside others", (table,)) if rows else None


def _ours(figure: str, score: BeatScore, kinds: Mapping[str, KindScore]) -> float | None:
    if figure.startswith("false "):
        return kinds[figure.split()[1]].false_per_day
    ratios = score.statistics()
    return f1_percent(*(ratios[part] for part in F1_OF[figure])) if figure in F1_OF else ratios[figure].percent
