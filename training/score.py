"""How good predictions are, and the logit offsets that make plain argmax best. Numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.labels import AF, NOISE, NORMAL, ONE_BEAT, OTHER, UNKNOWN, VF, VT, S, V
from training.layout import LEARNED
from training.runs import RHYTHM_CLASS

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Windows of one head, judged, in the order of each record; rows are windows."""

    logits: NDArray[np.float64]
    truth: NDArray[np.int64]  # OTHER for normal too: of the rhythms of most databases no more is known
    database: NDArray[np.str_]
    record: NDArray[np.str_]


FAST = [VF, VT]
MOST_DROWNED = 0.05
"""Of the windows in which the ventricles fibrillate or race, the part that may pass for noise."""

RHYTHM_INDEX = {"AF": AF, "VF": VF, "VT": VT, "normal": OTHER, "calm": OTHER, "other": OTHER, "noise": NOISE}


def judged(
    logits: dict[str, NDArray[np.float32]],
    windows: Labels,
    database: NDArray[np.str_],
    record: NDArray[np.str_],
) -> dict[str, Judged]:
    """Windows (place, is it a beat, truths), of each head those whose truth is known and which it is measured on."""
    beat, rhythm = np.full(len(windows), UNKNOWN), np.full(len(windows), UNKNOWN)
    for number, truth in enumerate(ONE_BEAT):
        beat[windows[:, 2] == truth] = number
    for truth, name in RHYTHM_CLASS.items():
        rhythm[windows[:, 3] == truth] = RHYTHM_INDEX[name]
    known = {
        "beat": (beat, (beat != UNKNOWN) & np.isin(database, ("mitdb", "svdb"))),
        "rhythm": (rhythm, (rhythm != UNKNOWN) & np.isin(database, ("cinc2017", "vfdb", "cudb"))),
    }
    return {
        head: Judged(logits[head][chosen].astype(np.float64), truth[chosen], database[chosen], record[chosen])
        for head, (truth, chosen) in known.items()
    }


def merged(logits: Floats) -> Floats:
    """Probabilities of the rhythms, those of a normal one added to those of others."""
    probabilities = softmax(logits)
    probabilities[:, OTHER] += probabilities[:, NORMAL]
    probabilities[:, NORMAL] = 0.0
    return probabilities


def ratio(part: float, whole: float) -> float:
    """0 of nothing is 0."""
    return float(part / whole) if whole else 0.0


def f1(truth: NDArray[np.bool_], called: NDArray[np.bool_]) -> float:
    """2 TP / (2 TP + FP + FN); 0 where there is nothing to find."""
    hits = int(np.sum(truth & called))
    return 2 * hits / max(1, int(truth.sum()) + int(called.sum()))


def area(truth: NDArray[np.bool_], score: Floats) -> float:
    """Under the ROC curve, ties counted half."""
    _, ranks, counts = np.unique(score, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if not positives or not negatives:
        return float("nan")
    return float((middle[ranks][truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Floats = raised / raised.sum(axis=-1, keepdims=True)
    return probabilities


def beat_f1(logits: Floats, truth: Labels) -> tuple[float, float]:
    """Of S and of V, gross, by argmax."""
    called = logits.argmax(axis=1)
    return f1(truth == S, called == S), f1(truth == V, called == V)


def beat_offsets(logits: Floats, truth: Labels, database: NDArray[np.str_]) -> Floats:
    """Added to the logits of N, S, V they give the best mean F1 of S and V, each database counted once."""
    parts = [(logits[database == name], truth[database == name]) for name in np.unique(database)]
    steps = np.arange(-4.0, 2.01, 0.2)

    def gain(offsets: tuple[float, ...]) -> float:
        return float(np.mean([beat_f1(part + np.array([0.0, *offsets]), labels) for part, labels in parts]))

    return np.array([0.0, *max(product(steps, steps), key=gain)])


def record_means(probabilities: Floats, records: NDArray[np.str_]) -> tuple[NDArray[np.str_], Floats]:
    """Mean over each record's windows."""
    names, index, counts = np.unique(records, return_inverse=True, return_counts=True)
    sums = np.zeros((len(names), probabilities.shape[1]))
    np.add.at(sums, index, probabilities)
    return names, sums / counts[:, None]


def rhythm_offsets(logits: Floats, truth: Labels, database: NDArray[np.str_], records: NDArray[np.str_]) -> Floats:
    """Offsets for which 0.5 is best as a threshold on a record's mean AF probability, and argmax for the others.

    AF is judged on the records of the challenge, which have one label each. Noise on all windows, but of those that
    fibrillate few may be called so. Fibrillation or tachycardia of the ventricles by the mean of sensitivity and
    specificity, each other database counted once; which of the two it is stays with the network, for the few patients
    of validation cannot tell.
    """
    offsets = np.zeros(logits.shape[1])
    challenge = database == "cinc2017"
    names, where = np.unique(records[challenge], return_index=True)
    record_truth = truth[challenge][where]
    fast = np.isin(truth, FAST)

    def af(value: float) -> float:
        moved = offsets.copy()
        moved[AF] = value
        found, means = record_means(softmax(logits[challenge] + moved), records[challenge])
        assert (found == names).all()
        return f1(record_truth == AF, means[:, AF] >= 0.5)

    def called(labels: list[int], value: float) -> NDArray[np.bool_]:
        moved = offsets.copy()
        moved[labels] = value
        return np.isin(merged(logits + moved).argmax(axis=1), labels)

    def noise(value: float) -> float:
        noisy = called([NOISE], value)
        too_many = max(0.0, float(noisy[fast].mean()) - MOST_DROWNED)
        return f1(truth == NOISE, noisy) - 100 * too_many

    def waves(value: float) -> float:
        alarms = called(FAST, value)
        parts = [database == name for name in np.unique(database[~challenge])]
        return float(np.mean([alarms[part & fast].mean() - alarms[part & ~fast].mean() for part in parts]))

    steps = np.arange(-4.0, 4.01, 0.2)
    offsets[NOISE] = max(steps, key=noise)
    offsets[FAST] = max(steps, key=waves)
    offsets[AF] = max(steps, key=af)
    return offsets


def offsets(judged: dict[str, Judged]) -> dict[str, NDArray[np.float64]]:
    """For each head, what to add to its logits."""
    beat, rhythm = judged["beat"], judged["rhythm"]
    return {
        "beat": beat_offsets(beat.logits, beat.truth, beat.database),
        "rhythm": rhythm_offsets(rhythm.logits, rhythm.truth, rhythm.database, rhythm.record),
    }


def mean_offsets(runs: Sequence[Path]) -> dict[str, NDArray[np.float32]]:
    """For each head, the mean of what these trainings found best for the people who validated them."""
    found = []
    for run in runs:
        with np.load(run / "weights.npz") as file:
            found.append({head: file[f"offset.{head}"] for head in LEARNED})
    return {head: np.mean([each[head] for each in found], axis=0) for head in LEARNED}


def metrics(judged: dict[str, Judged], added: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """What is reported of a network, in fractions of one."""
    found: dict[str, float] = {}
    beat, rhythm = judged["beat"], judged["rhythm"]
    for database in np.unique(beat.database):
        chosen = beat.database == database
        s, v = beat_f1(beat.logits[chosen] + added["beat"], beat.truth[chosen])
        found |= {f"{database} S F1": s, f"{database} V F1": v}
        shares = softmax(beat.logits[chosen])
        found |= {
            f"{database} {name} area": area(beat.truth[chosen] == label, shares[:, label])
            for name, label in (("S", S), ("V", V))
        }
    probabilities = merged(rhythm.logits + added["rhythm"])
    called = probabilities.argmax(axis=1)
    challenge = rhythm.database == "cinc2017"
    _, where = np.unique(rhythm.record[challenge], return_index=True)
    truth = rhythm.truth[challenge][where]
    _, means = record_means(probabilities[challenge], rhythm.record[challenge])
    found["AF area, records"] = area(truth == AF, means[:, AF])
    found["AF F1, records"] = f1(truth == AF, means[:, AF] >= 0.5)
    found["noise area, records"] = area(truth == NOISE, means[:, NOISE])
    for database, label, other, name in (("vfdb", VF, VT, "VF"), ("cudb", VF, VT, "VF"), ("vfdb", VT, VF, "VT")):
        chosen = (rhythm.database == database) & (rhythm.truth != other)
        is_one, alarms = rhythm.truth[chosen] == label, called[chosen] == label
        found[f"{database} {name} Se"] = float(alarms[is_one].mean())
        found[f"{database} {name} Sp"] = float(1 - alarms[~is_one].mean())
        found[f"{database} {name} area"] = area(is_one, probabilities[chosen, label])
    found["VT called VF"] = float((called[rhythm.truth == VT] == VF).mean())
    return {name: round(value, 4) for name, value in found.items()}
