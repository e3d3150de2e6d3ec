"""The network of half a minute: `python -m training.half_minute PACKED.npz RUN [--fold K] [--set key=value ...]`.

RUN is a folder, as of `training.train`; at the end `weights.pt` lies there, which `training.half_minute_export` takes.
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
from torch import Tensor, nn
from tqdm import tqdm

from training.half_minutes import AF, CLASSES, Pictures, Plan, record_truth
from training.learner import Learner
from training.packed import Packed
from training.score import f1
from training.splits import fold
from training.train import draw, truth_loss

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT = Path(__file__).with_suffix(".toml")

ENDS, EVERY = 22, 625
"""Of each record that validates, at how many ends it is judged, so many samples apart, the last at its own end."""

LEAST = 2000
"""Samples before the first of them."""


class Residual(nn.Module):
    """Two convolutions and what goes around them."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.deep = nn.Sequential(
            nn.Conv1d(inputs, outputs, 7, stride, 3, bias=False),
            nn.BatchNorm1d(outputs),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv1d(outputs, outputs, 7, 1, 3, bias=False),
            nn.BatchNorm1d(outputs),
        )
        self.around = nn.Identity() if stride == 1 else nn.Conv1d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.deep(x) + self.around(x))


class Network(nn.Module):
    """Convolutions down to two columns a second, and a recurrent layer over them both ways.

    Each class has its own attention to what that says. To logits, `(picture, class)`.
    """

    def __init__(self, channels: list[int], recurrent: int, dropout: float) -> None:
        super().__init__()
        first, *others = channels
        layers: list[nn.Module] = [nn.Conv1d(2, first, 15, 2, 7, bias=False), nn.BatchNorm1d(first), nn.ReLU()]
        for inputs, outputs in zip(channels, others, strict=False):
            layers += [Residual(inputs, outputs, 2, dropout), Residual(outputs, outputs, 1, dropout)]
        self.see = nn.Sequential(*layers)
        self.follow = nn.GRU(channels[-1], recurrent, batch_first=True, bidirectional=True)
        self.attend = nn.Linear(2 * recurrent, len(CLASSES))
        self.judge = nn.Sequential(nn.Dropout(3 * dropout), nn.Linear(2 * recurrent * (len(CLASSES) + 1), len(CLASSES)))

    def forward(self, pictures: Tensor, columns: Tensor) -> Tensor:
        seen, _ = self.follow(self.see(pictures).transpose(1, 2))
        known = columns[:, :, None]
        shares = (self.attend(seen) + (known - 1) * 1e4).softmax(1)
        attended = torch.einsum("pca,pcn->pan", shares, seen).flatten(1)
        mean = (seen * known).sum(1) / known.sum(1).clamp(min=1)
        judged: Tensor = self.judge(torch.cat([attended, mean], 1))
        return judged


def loss(logits: Tensor, truth: Tensor, smoothing: float) -> Tensor:
    """Of all pictures alike."""
    return truth_loss(logits, truth, smoothing).mean()


def train(packed: Packed, run: Path, how: dict[str, Any], device: torch.device) -> None:
    """Train, or go on; leaves `weights.pt` and `validation.npz` at the end."""
    plan, pictures = Plan(packed, how), Pictures(packed, how, device)
    training = Learner(lambda: Network(how["channels"], how["recurrent"], how["dropout"]), how, device)
    checkpoint = run / "checkpoint.pt"
    if checkpoint.exists():
        training.restore(torch.load(checkpoint, map_location=device))
    losses = []
    for step in tqdm(range(training.step, how["steps"]), initial=training.step, total=how["steps"], mininterval=10):
        torch.manual_seed(how["seed"] * 1_000_003 + step)
        drawn = plan(step)
        truth = torch.as_tensor(drawn.truth, device=device)
        spoiled = pictures.spoiled(drawn, np.random.default_rng([how["seed"], step, 1]))
        losses.append(training.learn(partial(loss, truth=truth, smoothing=how["smoothing"]), *spoiled))
        if training.step % how["validate_every"] == 0 or training.step == how["steps"]:
            found = validate(training.average, packed, pictures)
            line = {"step": training.step, "loss": round(float(torch.stack(losses).mean()), 4), **metrics(found)}
            losses.clear()
            with (run / "history.jsonl").open("a") as history:
                history.write(json.dumps(line) + "\n")
            tqdm.write(json.dumps(line))
            torch.save(training.state(), checkpoint)
            np.savez_compressed(run / "validation.npz", **found)  # type: ignore[arg-type]
    torch.save({"how": how, "weights": training.average.state_dict()}, run / "weights.pt")


def validate(network: Network, packed: Packed, pictures: Pictures) -> dict[str, NDArray[Any]]:
    """What it says of the records that validate, at their ends and before: logits `(record, end, class)`."""
    truth = record_truth(packed)
    rows = np.flatnonzero(packed.validation & (truth > 0))
    length = np.diff(packed.start)[rows]
    logits = np.full((len(rows), ENDS, len(CLASSES)), np.nan, np.float32)
    for place in range(ENDS):
        ends = length - EVERY * place
        for chosen in np.array_split(np.flatnonzero((ends >= LEAST) | (place == 0)), 16):
            if len(chosen):
                with torch.no_grad():
                    said = network(*pictures.plain(rows[chosen], ends[chosen]))
                logits[chosen, place] = said.float().cpu().numpy()
    return {"record": packed.record[rows], "truth": truth[rows], "length": length, "logits": logits}


def metrics(found: dict[str, NDArray[Any]]) -> dict[str, float]:
    """F1 of atrial fibrillation by record, where it is the likeliest class at the end, and at the best threshold."""
    logits, fibrillates = found["logits"][:, 0].astype(np.float64), found["truth"] == AF
    odds = logits[:, 0] - np.logaddexp.reduce(logits[:, 1:], axis=1)
    best = max(f1(fibrillates, odds > level) for level in np.arange(-3.0, 3.01, 0.1))
    return {"F1": round(f1(fibrillates, logits.argmax(1) == 0), 4), "best F1": round(best, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packed", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help=f"other than in {DEFAULT.name}")
    parser.add_argument("--fold", type=int, help="0 to 4: another fifth of the patients validates")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    how = tomllib.loads(DEFAULT.read_text())
    for change in arguments.set:
        key, _, value = change.partition("=")
        if key not in how:
            raise SystemExit(f"--set {change}: {DEFAULT} has no key {key}")
        how[key] = ast.literal_eval(value)
    arguments.run.mkdir(parents=True, exist_ok=True)
    packed = Packed.load(arguments.packed)
    if arguments.fold is not None:
        packed = replace(packed, validation=fold(packed.database, packed.record, arguments.fold))
    train(packed, arguments.run, how, torch.device(arguments.device))
    draw(arguments.run)


if __name__ == "__main__":
    main()
