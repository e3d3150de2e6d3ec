"""Which record trains, which one chooses, which one only tests. By patient, always."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def data_folder() -> Path:
    """Where the databases lie, one folder each: `$RHYTHMD_DATA`, or `shared/data` beside the checkout."""
    return Path(os.environ.get("RHYTHMD_DATA") or ROOT.parent / "shared" / "data")


_DS1 = "101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 220 223 230"
_DS2 = "100 103 105 111 113 117 121 123 200 202 210 212 213 214 219 221 222 228 231 232 233 234"
MITDB_DS1, MITDB_DS2 = _DS1.split(), _DS2.split()
"""The inter-patient halves of de Chazal et al. 2004. DS2 is looked at once, by `training.report`."""

PACED = ["102", "104", "107", "217"]
STRESSED = ["118", "119"]
"""The noise stress test is made from these two: a network that knows them clean is not tested by it."""

MITDB_VALIDATION = ["114", "124", "205", "220"]
MITDB_TRAIN = [name for name in MITDB_DS1 if name not in {*STRESSED, *MITDB_VALIDATION}]

VFDB_VALIDATION = ["426", "427", "428", "429"]
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
