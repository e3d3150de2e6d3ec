"""Beat classes for people whose beats nobody annotated: `python -m training.teach PACKED.npz OUTPUT.npz RUN ...`.

Finished trainings together say what they take each such beat for; what they are sure of becomes its truth in OUTPUT:
a set, as in `training.labels`, of all that it may be. Then thousands of people train instead of dozens (pseudo-labels,
Lee 2013, by several teachers, learned again under noise, Xie et al., CVPR 2020). With `--fold N` nobody is taught who
validates in that fold, and the teachers must be trainings of that fold too. With `--everyone RUN ...` all are taught,
by teachers who trained on all; offsets are worth something only where somebody was left out, so those of RUN are taken.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.labels import ANY_RHYTHM, NOISE, ONE_BEAT, VF, VT, bits
from training.layout import BEATS
from training.packed import Packed
from training.runs import TAUGHT
from training.score import mean_offsets, softmax
from training.splits import fold

POSSIBLE = 0.2
"""A class of which the teachers hold at least so much is not ruled out."""


def possible(logits: NDArray[np.float64], offsets: NDArray[np.float64]) -> NDArray[np.int64]:
    """Of logits `(teacher, window, class)` and each teacher's offsets: the sets of classes that may be.

    Both as if all classes were as frequent as in training and as the offsets would have it, for the truth lies between.
    """
    shares = [softmax(logits).mean(0), softmax(logits + offsets[:, None]).mean(0)]
    may = (np.maximum(*shares) >= POSSIBLE) | (shares[0] == shares[0].max(1, keepdims=True))
    return may @ np.array(ONE_BEAT)


def taught(packed: Packed, sets: NDArray[np.int64], where: NDArray[np.int64]) -> Packed:
    """With these sets as the truth of the beats among the windows `where`, if they agree with what is known of them."""
    windows = packed.windows.copy()
    known, rhythm = windows[where, 3], windows[where, 4]
    both = known & sets
    silent = np.isin(rhythm, [bits(NOISE), bits(VF), bits(VT), bits(VF, VT), ANY_RHYTHM]) | (windows[where, 2] == 0)
    windows[where, 3] = np.where(silent | (both == 0), known, both)
    return replace(packed, windows=windows)


def told(pupils: Packed, runs: list[Path]) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Of each training, what it says of the beats of those who validate, `(window, class)`, and its offsets."""
    import torch  # needed to ask networks, not to know what is done with their answers

    from training.cutter import Cutter
    from training.network import Network
    from training.validate import Validation

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    validation = Validation(pupils, Cutter(pupils, device), intervals=True)
    for run in runs:
        with np.load(run / "weights.npz") as file:
            weights = dict(file)
        logits = validation.logits(Network.of(weights).to(device))["beat"]
        yield logits.astype(np.float64), weights["offset.beat"].astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packed", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a finished training")
    whom = parser.add_mutually_exclusive_group()
    whom.add_argument("--fold", type=int, help="that of the trainings")
    whom.add_argument("--everyone", type=Path, nargs="+", metavar="RUN", help="who validates is taught too")
    arguments = parser.parse_args()
    packed = Packed.load(arguments.packed)
    validates = packed.validation & (not arguments.everyone)
    if arguments.fold is not None:
        validates = fold(packed.database, packed.record, arguments.fold)
    pupils = replace(packed, validation=np.isin(packed.database, TAUGHT) & ~validates & (packed.lead == 0))
    logits, offsets = (np.array(each) for each in zip(*told(pupils, arguments.runs), strict=True))
    if arguments.everyone:
        offsets = np.tile(mean_offsets(arguments.everyone)["beat"], (len(logits), 1))
    where = np.flatnonzero(pupils.validation[packed.windows[:, 0]])
    result = taught(packed, possible(logits, offsets), where)
    result.save(arguments.output)
    for name in TAUGHT:
        of_it = where[packed.database[packed.windows[where, 0]] == name]
        counts = [int((result.windows[of_it, 3] == ONE_BEAT[label]).sum()) for label in range(len(BEATS))]
        said = ", ".join(f"{count:,} {label}" for count, label in zip(counts, BEATS, strict=True))
        print(f"{name}: of {len(of_it):,} windows {said}")


if __name__ == "__main__":
    main()
