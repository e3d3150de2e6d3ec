"""A table of what was asked for, one row a record: `summary.csv`, and `summary.parquet` with pyarrow.

All of it comes from the small files that say what made each record's results; signals and annotations stay closed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from daemon.kinds import KINDS
from rhythmd.archive import facts_of
from rhythmd.batch.figures import LETTERS
from rhythmd.batch.records import Asked
from rhythmd.recording import name_of

NEVER_OF_A_RECORDING = {"patch_lost", "engine_failing", "storage_failing"}
BURDENS = [kind for kind in KINDS if kind not in NEVER_OF_A_RECORDING]
VERSIONS = ("model", "rhythmd", "code", "config")

Row = dict[str, str | int | float]


def write_summary(directory: Path, asked: Iterable[Asked]) -> list[Path]:
    """Of those whose results are there, in the order of their names. Returns what was written. Raises OSError."""
    table = list(rows(directory, asked))
    if not table:
        return []
    plain = directory / "summary.csv"
    with plain.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    return [plain, *_as_parquet(table, directory / "summary.parquet")]


def rows(directory: Path, asked: Iterable[Asked]) -> Iterator[Row]:
    for under, name in sorted((each.under, name_of(each.record)) for each in asked):
        if facts := facts_of(directory / under, name):
            yield _row(f"{under}/{name}".lstrip("/"), facts)


def _row(record: str, facts: dict[str, Any]) -> Row:
    """Always the same columns, whatever came out."""
    burden = {kind: facts["burden"].get(kind, {"count": 0, "share": 0.0}) for kind in BURDENS}
    return {
        "record": record,
        "lead": facts["lead"],
        "hours": facts["hours"],
        "beats": sum(facts["beats"].values()),
        **{f"beats_{letter}": facts["beats"][letter] for letter in LETTERS},
        **{f"{kind}_{what}": its[what] for kind, its in burden.items() for what in ("count", "share")},
        "unfit_share": facts["unfit"],
        **{version: facts["made_by"][version] for version in VERSIONS},
        "engine": facts["engine"],
    }


def _as_parquet(table: list[Row], path: Path) -> Iterable[Path]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        return []
    parquet.write_table(pa.Table.from_pylist(table), path)
    return [path]
