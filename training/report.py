"""What a model on disk is worth, by the very code that runs on the device: `python -m training.report MODEL`.

Windows go from the records through `dsp` and `engines`. `--test` looks at mitdb DS2: once, for a model that ships.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from dsp.windows import WINDOW_SAMPLES, normalise
from ec57.sets import MITDB_DS2
from engines.backend import Backend, open_backend
from engines.model import SHIPPED, load
from training.packed import AFTER_R, COVERED
from training.records import EVERY, FUSION, SNAP_ANYWHERE, UNKNOWN, Lead, N, S, V, at_peak, cinc2017_leads, wfdb_leads
from training.score import Judged, metrics, ratio
from training.splits import data_folder, fifths, splits

LEARNING_SAMPLES = 5 * 60 * 250
"""EC57 leaves the first five minutes out."""


def window(lead: Lead, end: int) -> NDArray[np.float32]:
    """The network's input that ends before sample `end`; what lies before the recording is missing."""
    ecg_mv, missing = np.zeros(WINDOW_SAMPLES), np.ones(WINDOW_SAMPLES, bool)
    first = max(0, end - WINDOW_SAMPLES)
    ecg_mv[WINDOW_SAMPLES - (end - first) :] = lead.ecg_mv[first:end]
    missing[WINDOW_SAMPLES - (end - first) :] = lead.missing[first:end]
    return normalise(ecg_mv, missing)


def judged(engine: Backend, head: int, rows: Iterator[tuple[Lead, int, int]]) -> Judged:
    """The logarithms of head `head`'s probabilities for windows (lead, R peak, truth)."""
    logits, truth, names = [], [], []
    for lead, r_peak, label in rows:
        logits.append(np.log(engine.infer(window(lead, r_peak + AFTER_R))[head][0].astype(float) + 1e-12))
        truth.append(label)
        names.append((lead.database, lead.record))
    database, record = np.array(names).T
    return Judged(np.array(logits), np.array(truth), database, record)


def beat_rows(leads: Iterator[Lead], after: int = 0) -> Iterator[tuple[Lead, int, int]]:
    """A row for each beat at its reference R peak."""
    for lead in leads:
        for r_peak, label in lead.beats:
            if after <= r_peak and r_peak + AFTER_R <= len(lead.ecg_mv):
                yield lead, int(r_peak), int(label)


def rhythm_rows(leads: Iterator[Lead]) -> Iterator[tuple[Lead, int, int]]:
    """A row for each half second or second, at the largest deflection there, as a detector would."""
    for lead in leads:
        for first, last, rhythm, stratum in lead.spans:
            for end in range(max(first + COVERED, WINDOW_SAMPLES), last + 1, EVERY[lead.database]):
                r_peak = at_peak(lead.ecg_mv, end - AFTER_R, SNAP_ANYWHERE)
                yield lead, min(r_peak, len(lead.ecg_mv) - AFTER_R), UNKNOWN if stratum == "vt" else rhythm


def first_leads(data: Path, database: str, names: list[str], **also: int) -> Iterator[Lead]:
    for name in tqdm(names, desc=database, unit="record"):
        yield next(wfdb_leads(data / database, name, **also))


def validate(engine: Backend, data: Path) -> dict[str, float]:
    """The metrics of training's end, on the same patients."""
    table = splits(data)
    beats = (first_leads(data, name, table[name]["validation"]) for name in ("mitdb", "svdb"))
    rhythms = (first_leads(data, name, table[name]["validation"]) for name in ("vfdb", "cudb"))
    challenge = {lead.record: lead for lead in cinc2017_leads(data / "cinc2017" / "train.npz")}
    held_out = (challenge[name] for name in tqdm(fifths(sorted(challenge))[1], desc="cinc2017", unit="record"))
    found = {
        "beat": judged(engine, 0, beat_rows(chain.from_iterable(beats))),
        "rhythm": judged(engine, 1, rhythm_rows(chain(chain.from_iterable(rhythms), held_out))),
    }
    return metrics(found, {"beat": np.zeros(3), "rhythm": np.zeros(4)})


def counts(truth: NDArray[np.int64], called: NDArray[np.int64]) -> NDArray[np.int64]:
    """(truth N S V F, called N S V), how many."""
    table = np.zeros((4, 3), np.int64)
    np.add.at(table, (truth, called), 1)
    return table


def ec57(table: NDArray[np.int64]) -> dict[str, float]:
    """Gross sensitivity and precision in per cent. A fusion called ventricular is no error, called S it is."""
    s_false = table[[N, V, FUSION], S].sum()
    v_false = table[[N, S], V].sum()
    found = {
        "V Se": ratio(table[V, V], table[V].sum()),
        "V +P": ratio(table[V, V], table[V, V] + v_false),
        "V F1": ratio(2 * table[V, V], table[V, V] + v_false + table[V].sum()),
        "S Se": ratio(table[S, S], table[S].sum()),
        "S +P": ratio(table[S, S], table[S, S] + s_false),
        "S F1": ratio(2 * table[S, S], table[S, S] + s_false + table[S].sum()),
    }
    return {name: round(100 * value, 2) for name, value in found.items()}


def test(engine: Backend, data: Path) -> dict[str, object]:
    """Mitdb DS2, first lead, reference R peaks, after five minutes."""
    leads = first_leads(data, "mitdb", MITDB_DS2, fusion=FUSION)
    found = judged(engine, 0, beat_rows(leads, LEARNING_SAMPLES))
    called = found.logits.argmax(axis=1)
    each = {
        name: counts(found.truth[found.record == name], called[found.record == name])
        for name in np.unique(found.record)
    }
    return {
        "gross": ec57(sum(each.values(), np.zeros((4, 3), np.int64))),
        "gross without 232": ec57(sum((each[name] for name in each if name != "232"), np.zeros((4, 3), np.int64))),
        "counts, truth N S V F by called N S V": {str(name): table.tolist() for name, table in each.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=SHIPPED / "ecg1.onnx")
    parser.add_argument("--test", action="store_true", help="mitdb DS2 in place of the validation patients")
    parser.add_argument("--output", type=Path, help="write the numbers there as JSON too")
    arguments = parser.parse_args()
    model = load(arguments.model)
    with open_backend("onnxruntime", model) as engine:
        found = (test if arguments.test else validate)(engine, data_folder())
    text = json.dumps({"model": model.id, "test" if arguments.test else "validation": found}, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
