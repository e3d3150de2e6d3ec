"""Records to packed arrays: `python -m training.prepare OUTPUT.npz [--seed N]`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dsp.signal import RATE_HZ
from training.artefacts import motion_mv
from training.packed import pack
from training.records import Lead, cinc2017_leads, filtered, wfdb_leads
from training.splits import data_folder, fifths, splits

MOTION_S = 1200
REMEDY = "get it with: python -c \"import wfdb; wfdb.dl_database('{0}', '{0}')\" inside the data folder"


def leads(data: Path, seed: int) -> Iterator[tuple[Lead, bool]]:
    """Every lead that trains or validates, and which of the two."""
    for database, parts in splits(data).items():
        if not (data / database).is_dir():
            raise SystemExit(f"{data / database} is missing; {REMEDY.format(database)}")
        wanted = [(name, part == "validation") for part, names in parts.items() for name in names]
        for name, validates in tqdm(wanted, desc=database, unit="record"):
            for lead in wfdb_leads(data / database, name):
                yield lead, validates
    challenge = list(tqdm(cinc2017_leads(data / "cinc2017" / "train.npz"), desc="cinc2017", unit="record"))
    held_out = set(fifths([lead.record for lead in challenge])[1])
    yield from ((lead, lead.record in held_out) for lead in challenge)
    motion = filtered(motion_mv(MOTION_S, np.random.default_rng(seed)), RATE_HZ)
    yield (
        Lead(
            "made", "motion", 0, motion.ecg_mv, motion.missing, np.zeros((0, 2), np.int64), np.zeros((0, 4), np.int64)
        ),
        False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    packed = pack(leads(data_folder(), arguments.seed))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    packed.save(arguments.output)
    hours = len(packed.counts) / RATE_HZ / 3600
    print(f"{hours:.0f} h in {len(packed.record)} leads, {len(packed.windows)} windows")
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
