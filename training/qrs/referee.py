"""Trains the referee on what the network proposes: `python -m training.qrs.referee SIGNALS.npz WEIGHTS.npz OUTPUT.npz`.

Leads of the training patients, clean and under noise that comes and goes, run through the daemon's own detector. At
first a plain rule decides there; what it saw trains a referee; the weights are written with it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dsp.qrs import Detector
from dsp.qrs_network import Network, load
from dsp.qrs_referee import Referee
from dsp.signal import Block
from training.qrs.noise import qrs_size_mv, stressed

BLOCK = 2500
NEAR = 30  # samples from a beat within which the nearest candidate is it
MODES = (0, 1, 2)  # clean; noise of two seeds
HIDDEN = 24
STEPS, BATCH, RATE = 2500, 4096, 4e-3


class Watcher(Referee):
    """Decides by a plain rule, and writes down what it is asked."""

    def __init__(self) -> None:  # it has learned nothing yet
        self.early_seen: dict[int, list[float]] = {}
        self.late_seen: dict[int, list[float]] = {}

    def early(self, r_peak: int, evidence: Sequence[float]) -> float:
        self.early_seen.setdefault(r_peak, list(evidence))
        return evidence[0] + 1.5

    def late(self, r_peak: int, evidence: Sequence[float]) -> float:
        self.late_seen[r_peak] = list(evidence)
        middle, beside, near, _ = evidence[-4:]
        return max(middle, beside) + 1 if near <= evidence[0] else -1.0


def parts(ecg_mv: NDArray[np.float64]) -> Iterator[Block]:
    """A lead as the detector takes it."""
    for first in range(0, len(ecg_mv), BLOCK):
        part = ecg_mv[first : first + BLOCK]
        yield Block(first, part, np.zeros(len(part), np.uint8))


@cache
def stored(signals: Path) -> tuple[NDArray[Any], ...]:
    with np.load(signals) as file:
        return tuple(file[name] for name in ("start", "lsb_mv", "database", "counts", "beats", "masks"))


def seen(
    job: tuple[int, int], signals: Path, weights: Path, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What one lead teaches: rows of (lead, is a beat, evidence), early and late."""
    row, mode = job
    torch.set_num_threads(1)
    rng = np.random.default_rng([seed, row, mode])
    torch.manual_seed(int(rng.integers(2**31)))
    start, lsb_mv, database, counts, beats, masks = stored(signals)

    def lead(index: int) -> NDArray[np.float64]:
        return counts[start[index] : start[index + 1]] * float(lsb_mv[index])

    ecg_mv = lead(row)
    true = np.sort(beats[beats[:, 0] == row, 1])
    if mode:
        noises = [lead(int(index)) for index in np.flatnonzero(database == "nstdb")]
        ecg_mv = stressed(ecg_mv, qrs_size_mv(ecg_mv, true), noises, rng)
    ecg_mv = ecg_mv * rng.choice((-1.0, 1.0))
    watcher = Watcher()
    detector = Detector(Network(load(weights)), watcher)
    for part in parts(ecg_mv):
        detector(part)
    proposed = np.array(sorted(watcher.early_seen | watcher.late_seen))
    nearest = {int(proposed[np.argmin(np.abs(proposed - at))]): int(at) for at in true}
    real = {r_peak for r_peak, at in nearest.items() if abs(r_peak - at) <= NEAR}
    hidden = masks[masks[:, 0] == row, 1:]

    def rows(asked: dict[int, list[float]]) -> NDArray[np.float32]:
        known = [r_peak for r_peak in asked if not ((hidden[:, 0] <= r_peak) & (r_peak <= hidden[:, 1])).any()]
        return np.array([[row, r_peak in real, *asked[r_peak]] for r_peak in known], np.float32)

    return rows(watcher.early_seen), rows(watcher.late_seen)


def fitted(table: NDArray[np.float32], name: str) -> dict[str, Any]:
    """Three layers that weigh this evidence; every fifth lead tells how well."""
    evidence = table[:, 2:].astype(np.float64)
    mean, spread = evidence.mean(axis=0), evidence.std(axis=0) + 1e-6
    values = torch.tensor(np.clip((evidence - mean) / spread, -4, 4), dtype=torch.float32)
    truth = torch.tensor(table[:, 1])
    held_out = torch.tensor(table[:, 0].astype(int) % 5 == 0)
    trained_on = torch.nonzero(~held_out)[:, 0]
    layers = [torch.nn.Linear(values.shape[1], HIDDEN), torch.nn.Linear(HIDDEN, HIDDEN), torch.nn.Linear(HIDDEN, 1)]
    network = torch.nn.Sequential(layers[0], torch.nn.ReLU(), layers[1], torch.nn.ReLU(), layers[2])
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    loss_of = torch.nn.functional.binary_cross_entropy_with_logits
    for _ in range(STEPS):
        batch = trained_on[torch.randint(len(trained_on), (BATCH,))]
        loss = loss_of(network(values[batch])[:, 0], truth[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        print(
            f"{name}: {len(table)} asked, {truth.mean():.3f} beats, loss of leads held out "
            f"{loss_of(network(values[held_out])[:, 0], truth[held_out]):.4f}"
        )
    arrays: dict[str, Any] = {f"{name}_mean": mean, f"{name}_spread": spread}
    for index, layer in enumerate(layers):
        arrays[f"{name}_weight{index}"] = layer.weight.detach().numpy().T.astype(np.float64)
        arrays[f"{name}_bias{index}"] = layer.bias.detach().numpy().astype(np.float64)
    return arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("signals", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--every", type=int, default=2, help="take one in so many of the leads and noises")
    arguments = parser.parse_args()
    with np.load(arguments.signals) as file:
        database, validation = file["database"], file["validation"]
    rows = [
        row
        for row in range(len(database))
        if database[row] in {"mitdb", "svdb", "qtdb", "vfdb", "made"} and not validation[row]
    ]
    jobs = [(row, mode) for row in rows for mode in MODES if (row + mode) % arguments.every == 0]
    look = partial(seen, signals=arguments.signals, weights=arguments.weights, seed=arguments.seed)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        early, late = zip(*pool.map(look, jobs, chunksize=4), strict=True)
    torch.manual_seed(arguments.seed)
    referee = fitted(np.concatenate([each for each in early if len(each)]), "early")
    referee |= fitted(np.concatenate([each for each in late if len(each)]), "late")
    with np.load(arguments.weights) as file:
        arrays = {name: file[name] for name in file.files if not name.startswith("referee_")}
    np.savez_compressed(arguments.output, **arrays, **{f"referee_{name}": value for name, value in referee.items()})


if __name__ == "__main__":
    main()
