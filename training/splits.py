"""Which record trains, which one chooses, which one only tests. By patient, always."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ec57.sets import MITDB_DS1

ROOT = Path(__file__).resolve().parents[1]


def data_folder() -> Path:
    """Where the databases lie, one folder each: `$RHYTHMD_DATA`, or `shared/data` beside the checkout."""
    return Path(os.environ.get("RHYTHMD_DATA") or ROOT.parent / "shared" / "data")


STRESSED = ["118", "119"]
"""The noise stress test is made from these two: a network that knows them clean is not tested by it."""

MITDB_VALIDATION = ["114", "124", "205", "220"]
MITDB_TRAIN = [name for name in MITDB_DS1 if name not in {*STRESSED, *MITDB_VALIDATION}]

VFDB_VALIDATION = ["426", "427", "428", "429"]
FOLDED = ("mitdb", "svdb", "vfdb", "cudb", "cinc2017")
NOISE_TRAIN = ["bw", "ma"]
"""Of nstdb. Its electrode motion (`em`) is what the stress test adds: never trained on."""


def names(folder: Path) -> list[str]:
    """The records of one database."""
    return sorted(path.stem for path in folder.glob("*.hea"))


def thirds(records: list[str]) -> tuple[list[str], list[str]]:
    """(training, validation): every third record is held out, from the second on."""
    held_out = records[1::3]
    return [name for name in records if name not in held_out], held_out


def fifths(records: list[str]) -> tuple[list[str], list[str]]:
    """(training, validation): every fifth record is held out."""
    held_out = set(records[::5])
    return [name for name in records if name not in held_out], sorted(held_out)


def fold(database: NDArray[np.str_], record: NDArray[np.str_], number: int, folds: int = 5) -> NDArray[np.bool_]:
    """For each lead, whether its patient validates in fold `number`: cross-validation over all who may train."""
    validates = np.zeros(len(record), bool)
    for name in FOLDED:
        chosen = np.unique(record[database == name])[number::folds]
        validates |= (database == name) & np.isin(record, chosen)
    return validates


def splits(data: Path) -> dict[str, dict[str, list[str]]]:
    """Of each database present under `data`: the records of "train" and of "validation"."""
    table = {"mitdb": {"train": MITDB_TRAIN, "validation": MITDB_VALIDATION}}
    vfdb = names(data / "vfdb")
    table["vfdb"] = {"train": [name for name in vfdb if name not in VFDB_VALIDATION], "validation": VFDB_VALIDATION}
    for database in ("svdb", "cudb"):
        train, validation = thirds(names(data / database))
        table[database] = {"train": train, "validation": validation}
    table["qtdb"] = {"train": names(data / "qtdb"), "validation": []}
    table["nstdb"] = {"train": NOISE_TRAIN, "validation": []}
    return table
