"""The network that follows beats: `python -m training.sveb.train PACKED.npz RUN [--fold K] [--set key=value ...]`.

RUN is a folder, as of `training.train`; at the end `weights.pt` lies there, which `training.sveb.export` takes.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from dsp.beat_picture import POINT_SAMPLES
from training.labels import ANY_BEAT, ONE_BEAT, N, S, V
from training.learner import Learner
from training.packed import Packed
from training.score import f1
from training.splits import fold
from training.sveb.network import COMPARED, Network
from training.sveb.runs import AFTER_R, NOT_S, Runs, rr_features
from training.sveb.signals import Signals, pictures
from training.train import draw, known_weights, truth_loss

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT = Path(__file__).with_name("config.toml")

WEIGHTS: tuple[tuple[float, list[int]], ...] = (
    (0.5, [ONE_BEAT[N], NOT_S]),
    (0.35, [ONE_BEAT[S]]),
    (0.15, [ONE_BEAT[V]]),
)
"""Of the loss, the share of the beats with these truths."""

UNJUDGED = 3
"""Beats at the beginning of a run: nobody could tell whether they are premature."""

STRIDE = 32
"""Beats of a recording that are judged at a time, after COMPARED beats before them."""

LEARNING = 75_000
"""Samples, 5 min: what comes before is not counted (EC57)."""

LEVELS = np.arange(-4.0, 4.1, 0.25)


def loss(logits: Tensor, truth: Tensor, smoothing: float) -> Tensor:
    """Of all beats together, each as much as it weighs."""
    weights = torch.from_numpy(beat_weights(truth.cpu().numpy())).to(logits.device)
    return (truth_loss(logits, truth, smoothing) * weights).sum()


def beat_weights(truth: NDArray[np.int64]) -> NDArray[np.float32]:
    """Of beat truths `(run, beat)`: WEIGHTS, and each run in them as the root of its beats."""
    judged = np.arange(truth.shape[1]) >= UNJUDGED
    parts = [share * known_weights(np.isin(truth, sets) & judged) for share, sets in WEIGHTS]
    return np.sum(parts, axis=0).astype(np.float32)


def train(packed: Packed, run: Path, how: dict[str, Any], device: torch.device, workers: int) -> None:
    """Train, or go on; leaves `weights.pt` and `validation.npz` at the end."""
    runs, signals = Runs(packed, how), Signals(packed, how, device)
    training = Learner(lambda: Network(how), how, device)
    checkpoint, steps = run / "checkpoint.pt", how["steps"]
    if checkpoint.exists():
        training.restore(torch.load(checkpoint, map_location=device))
    losses = []
    batches = DataLoader(Subset(runs, range(training.step, steps)), batch_size=None, num_workers=workers)
    for batch in tqdm(batches, initial=training.step, total=steps, mininterval=10):
        torch.manual_seed(how["seed"] * 1_000_003 + training.step)
        drawn = {name: values.to(device, non_blocking=True) for name, values in batch.items()}
        seen = signals.spoiled(drawn, np.random.default_rng([how["seed"], training.step, 1]))
        loss_of = partial(loss, truth=drawn["truth"], smoothing=how["smoothing"])
        losses.append(training.learn(loss_of, seen, drawn["rr"]))
        if training.step % how["validate_every"] == 0 or training.step == steps:
            found = validate(training.average, packed, device)
            line = {"step": training.step, "loss": round(float(torch.stack(losses).mean()), 4), **metrics(found)}
            losses.clear()
            with (run / "history.jsonl").open("a") as history:
                history.write(json.dumps(line) + "\n")
            tqdm.write(json.dumps(line))
            torch.save(training.state(), checkpoint)
            arrays = {f"{name}.{part}": values for name, parts in found.items() for part, values in parts.items()}
            np.savez_compressed(run / "validation.npz", **arrays)  # type: ignore[arg-type]
    torch.save({"how": how, "weights": training.average.state_dict()}, run / "weights.pt")


def validate(network: Network, packed: Packed, device: torch.device) -> dict[str, dict[str, NDArray[Any]]]:
    """What it says of the first leads that validate, by "database-record": `place`, `truth` and `logits` of beats."""
    found = {}
    first = np.searchsorted(packed.windows[:, 0], np.arange(len(packed.record) + 1))
    chosen = packed.validation & np.isin(packed.database, ("mitdb", "svdb")) & (packed.lead == 0)
    for row in np.flatnonzero(chosen):
        place, _, truth, _ = packed.windows[first[row] : first[row + 1], 1:].astype(np.int64).T
        counts = packed.counts[packed.start[row] : packed.start[row + 1] : POINT_SAMPLES]
        ecg_mv = torch.from_numpy(counts * packed.lsb_mv[row]).to(device)[None]
        at = np.minimum(place // POINT_SAMPLES, ecg_mv.shape[1] - AFTER_R // POINT_SAMPLES)
        seen = pictures(ecg_mv, torch.ones_like(ecg_mv), torch.from_numpy(at).to(device)[None])
        logits = judge(network, seen, torch.from_numpy(rr_features(place)).to(device)[None])
        found[f"{packed.database[row]}-{packed.record[row]}"] = {"place": place, "truth": truth, "logits": logits}
    return found


@torch.no_grad()
def judge(network: Network, seen: Tensor, rr: Tensor) -> NDArray[np.float32]:
    """Logits `(beat, class)` of a whole recording `(1, beat, ...)`, STRIDE beats at a time."""
    logits = []
    for begin in range(0, seen.shape[1], STRIDE):
        before = max(0, begin - COMPARED)
        span = slice(before, begin + STRIDE)
        logits.append(network(seen[:, span], rr[:, span])[0, begin - before :].float().cpu().numpy())
    return np.concatenate(logits)


def metrics(found: dict[str, dict[str, NDArray[Any]]]) -> dict[str, float]:
    """F1 of each database: of S where it is likelier than the others, and of S and V at the best level."""
    said: dict[str, float] = {}
    for database in ("svdb", "mitdb"):
        records = [each for name, each in found.items() if name.startswith(database)]
        if not records:
            continue
        place, truth, logits = (np.concatenate([each[part] for each in records]) for part in records[0])
        known = (place > LEARNING) & (truth != ANY_BEAT)
        truth, logits = truth[known], logits[known].astype(np.float64)
        premature = np.where(logits[:, V] > logits[:, [N, S]].max(1), -np.inf, logits[:, S] - logits[:, N])
        ventricular = logits[:, V] - np.logaddexp(logits[:, N], logits[:, S])
        said[f"{database} S"] = round(f1(truth == ONE_BEAT[S], premature > 0), 4)
        for name, number, odds in (("S", S, premature), ("V", V, ventricular)):
            best = max(f1(truth == ONE_BEAT[number], odds > level) for level in LEVELS)
            said[f"{database} best {name}"] = round(best, 4)
    return said


def configured(changes: list[str]) -> dict[str, Any]:
    """`config.toml`, with changes "key=value"."""
    how = tomllib.loads(DEFAULT.read_text())
    for change in changes:
        key, _, value = change.partition("=")
        if key not in how:
            raise SystemExit(f"--set {change}: {DEFAULT} has no key {key}")
        how[key] = ast.literal_eval(value)
    return how


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packed", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help=f"other than in {DEFAULT.name}")
    whom = parser.add_mutually_exclusive_group()
    whom.add_argument("--fold", type=int, help="0 to 4: another fifth of the patients validates")
    whom.add_argument(
        "--everyone", action="store_true", help="who validates trains too, and nobody is left to validate"
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw the runs")
    arguments = parser.parse_args()
    how = configured(arguments.set)
    arguments.run.mkdir(parents=True, exist_ok=True)
    packed = Packed.load(arguments.packed)
    if arguments.everyone:
        packed = replace(packed, validation=np.zeros_like(packed.validation))
    elif arguments.fold is not None:
        packed = replace(packed, validation=fold(packed.database, packed.record, arguments.fold))
    train(packed, arguments.run, how, torch.device(arguments.device), arguments.workers)
    draw(arguments.run)


if __name__ == "__main__":
    main()
