"""What a model on disk is worth, by the very code that runs on the device: `python -m training.report MODEL`.

Windows go from the records through `dsp` and `engines`, in their order and with the network's memory. `--test` looks at
mitdb DS2: once, for a model that ships.
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

from dsp.signal import WINDOW_SAMPLES
from dsp.windows import normalise
from ec57.sets import MITDB_DS2
from engines.backend import Backend, open_backend
from engines.model import SHIPPED, load
from training.labels import ONE_BEAT, N, S, V, bits
from training.layout import HEADS, LEARNED
from training.packed import AFTER_R
from training.records import Lead, cinc2017_leads, wfdb_leads
from training.runs import run_of
from training.score import Judged, judged, metrics, ratio
from training.splits import data_folder, fifths, splits

LEARNING_SAMPLES = 5 * 60 * 250
"""EC57 leaves the first five minutes out."""

FUSION = 3
"""The column of fusion beats in the counts."""


def window(lead: Lead, end: int) -> NDArray[np.float32]:
    """The network's input that ends before sample `end`; what lies before the recording is missing."""
    ecg_mv, missing = np.zeros(WINDOW_SAMPLES), np.ones(WINDOW_SAMPLES, bool)
    first = max(0, end - WINDOW_SAMPLES)
    ecg_mv[WINDOW_SAMPLES - (end - first) :] = lead.ecg_mv[first:end]
    missing[WINDOW_SAMPLES - (end - first) :] = lead.missing[first:end]
    return normalise(ecg_mv, missing)


def windows_of(lead: Lead) -> NDArray[np.int64]:
    """Those that lie within the recording."""
    return lead.windows[lead.windows[:, 0] + AFTER_R <= len(lead.ecg_mv)]


def logits(engine: Backend, lead: Lead) -> dict[str, NDArray[np.float32]]:
    """The logarithms of the probabilities of what each head learned, for the windows of a lead, from its beginning on.

    What the model adds up stays with the one that it is added to.
    """
    windows = windows_of(lead)
    engine.forget()
    found: list[tuple[NDArray[np.float32], ...]] = []
    if len(windows):
        for place, rr in zip(windows[:, 0], run_of(0, windows, len(windows), 1.0)["rr"], strict=True):
            found.append(engine.infer(window(lead, int(place) + AFTER_R), rr[None]))
    shares = {
        head: np.array([answers[index][0] for answers in found]).reshape(-1, len(labels))
        for index, (head, labels) in enumerate(HEADS.items())
    }
    return {head: np.log(each @ _learned(head) + 1e-12) for head, each in shares.items()}


def _learned(head: str) -> NDArray[np.float32]:
    """(label, learned): of the learned classes of a label the one that bears its name."""
    same = [[label == name for name in LEARNED[head]] for label in HEADS[head]]
    return np.array(same, np.float32)


def judged_leads(engine: Backend, leads: Iterator[Lead]) -> dict[str, Judged]:
    found = [(logits(engine, lead), windows_of(lead), lead) for lead in leads]
    names = [np.repeat([[lead.database], [lead.record]], len(windows), axis=1) for _, windows, lead in found]
    return judged(
        {head: np.concatenate([values[head] for values, _, _ in found]) for head in HEADS},
        np.concatenate([windows for _, windows, _ in found]),
        *np.concatenate(names, axis=1),
    )


def first_leads(data: Path, database: str, names: list[str]) -> Iterator[Lead]:
    for name in tqdm(names, desc=database, unit="record"):
        yield next(wfdb_leads(data / database, name))


def validate(engine: Backend, data: Path) -> dict[str, float]:
    """The metrics of training's end, on the same patients."""
    table = splits(data)
    parts = [first_leads(data, name, table[name]["validation"]) for name in ("mitdb", "svdb", "vfdb", "cudb")]
    challenge = {lead.record: lead for lead in cinc2017_leads(data / "cinc2017" / "train.npz")}
    held_out = (challenge[name] for name in tqdm(fifths(sorted(challenge))[1], desc="cinc2017", unit="record"))
    found = judged_leads(engine, chain(*parts, held_out))
    return metrics(found, {head: np.zeros(len(learned)) for head, learned in LEARNED.items()})


def counts(engine: Backend, lead: Lead, after: int) -> NDArray[np.int64]:
    """(truth N S V F, called N S V), how many."""
    windows = windows_of(lead)
    called = logits(engine, lead)["beat"].argmax(axis=1)
    table = np.zeros((4, 3), np.int64)
    for column, truth in enumerate([*ONE_BEAT, bits(N, V)]):
        chosen = (windows[:, 2] == truth) & (windows[:, 0] >= after)
        table[column] = np.bincount(called[chosen], minlength=3)
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
    each = {lead.record: counts(engine, lead, LEARNING_SAMPLES) for lead in first_leads(data, "mitdb", MITDB_DS2)}
    return {
        "gross": ec57(sum(each.values(), np.zeros((4, 3), np.int64))),
        "gross without 232": ec57(sum((each[name] for name in each if name != "232"), np.zeros((4, 3), np.int64))),
        "counts, truth N S V F by called N S V": {name: table.tolist() for name, table in each.items()},
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
