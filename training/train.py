"""Packed arrays to weights: `python -m training.train PACKED.npz RUN [--config FILE] [--set section.key=value ...]`.

RUN is a folder: `checkpoint.pt` (a second call goes on from it), `history.jsonl`, `curve.png`, and at the end
`weights.npz` and `metrics.json`.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from training.cutter import Cutter
from training.layout import Layout
from training.network import Network
from training.packed import Packed
from training.records import AF, OTHER, UNKNOWN
from training.sampler import Batch, Sampler
from training.score import metrics, offsets
from training.validate import Validation

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT = Path(__file__).with_name("config.toml")


def read_config(path: Path, changes: list[str]) -> dict[str, Any]:
    """The file with `section.key=value` changes in it; only keys that the file has."""
    config = tomllib.loads(path.read_text())
    for change in changes:
        key, _, value = change.partition("=")
        section, _, name = key.partition(".")
        if name not in config.get(section, {}):
            raise SystemExit(f"--set {change}: {path} has no key {key}")
        config[section][name] = ast.literal_eval(value)
    return config


def beating_loss(rhythm_logits: torch.Tensor) -> torch.Tensor:
    """Of windows with an annotated beat and an unknown rhythm: it is neither ventricular fibrillation nor noise.

    It brings the rhythm head some eighty more people; without them it called clean but unusual QRS complexes noise.
    """
    log_shares = rhythm_logits.log_softmax(1)
    return -torch.logsumexp(log_shares[:, [AF, OTHER]], 1).mean()


class Training:
    """A network on its way, its average, and all that is needed to go on tomorrow."""

    def __init__(self, config: dict[str, Any], device: torch.device) -> None:
        shape, self._how = config["network"], config["training"]
        torch.manual_seed(self._how["seed"])
        torch.backends.cudnn.benchmark = True  # what it would choose unasked is slow for kernels of height 1
        layout = Layout(tuple(shape["trunk"]), tuple(shape["strides"]), shape["tail"])
        self.network = Network(layout, shape["dropout"]).to(device)
        self.average = copy.deepcopy(self.network)
        self.step = 0
        rate = self._how["learning_rate"]
        self._optimizer = torch.optim.AdamW(self.network.parameters(), rate, weight_decay=self._how["weight_decay"])
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(self._optimizer, rate, self._how["steps"], pct_start=0.1)
        self._loss = nn.CrossEntropyLoss(ignore_index=UNKNOWN, label_smoothing=self._how["smoothing"])
        self._device = device

    def learn(self, batch: Batch) -> torch.Tensor:
        """One step; returns the loss."""
        self.network.train()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            logits = self.network(batch.windows)
        loss = self._loss(logits["beat"], batch.beat) + self._loss(logits["rhythm"], batch.rhythm)
        loss = loss + 0.5 * beating_loss(logits["rhythm"][batch.rhythm == UNKNOWN])
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        self._schedule.step()
        self.step += 1
        self._follow()
        return loss.detach()

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(self._how["averaging"], self.step / (self.step + 10))
        floats = [
            (kept, now)
            for kept, now in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True)
            if kept.is_floating_point()
        ]
        torch._foreach_lerp_([kept for kept, _ in floats], [now for _, now in floats], 1 - decay)

    def state(self) -> dict[str, Any]:
        parts = {"network": self.network, "average": self.average, "optimizer": self._optimizer}
        return {name: part.state_dict() for name, part in parts.items()} | {
            "schedule": self._schedule.state_dict(),
            "step": self.step,
            "random": torch.get_rng_state(),
        }

    def go_on(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self.step = state["step"]
        torch.set_rng_state(state["random"])


def train(packed: Packed, run: Path, config: dict[str, Any], device: torch.device) -> dict[str, float]:
    """All steps from where `run` stands; returns the validation metrics of the averaged weights."""
    cutter = Cutter(packed, device)
    sampler, validation = Sampler(packed, cutter, config), Validation(packed, cutter)
    training = Training(config, device)
    checkpoint, steps = run / "checkpoint.pt", config["training"]["steps"]
    if checkpoint.exists():
        training.go_on(torch.load(checkpoint, map_location="cpu"))
    losses: list[torch.Tensor] = []
    for step in tqdm(range(training.step + 1, steps + 1), initial=training.step, total=steps, mininterval=5):
        losses.append(training.learn(sampler()))
        if step % config["training"]["validate_every"] == 0 or step == steps:
            judged = validation.judge(training.average)
            found = metrics(judged, offsets(judged))
            line = {"step": step, "loss": round(float(torch.stack(losses).mean()), 4), **found}
            losses.clear()
            with (run / "history.jsonl").open("a") as history:
                history.write(json.dumps(line) + "\n")
            tqdm.write(json.dumps(line))
            torch.save(training.state(), checkpoint)
    judged = validation.judge(training.average)
    added = offsets(judged)
    save(training.average, added, run)
    found = metrics(judged, added)
    (run / "metrics.json").write_text(json.dumps({"config": config, "validation": found}, indent=2) + "\n")
    return found


def save(network: Network, added: dict[str, np.ndarray], run: Path) -> None:
    """The weights, with the offsets in the biases of the heads."""
    layout = network.layout
    arrays = network.arrays()
    for head, offset in added.items():
        arrays[f"head.{head}.bias"] += offset.astype(np.float32)
    shape = {"trunk": layout.trunk, "strides": layout.strides, "tail": layout.tail}
    arrays |= {f"layout.{name}": np.array(value) for name, value in shape.items()}
    np.savez(run / "weights.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub takes them for allow_pickle


def draw(run: Path) -> None:
    """`curve.png`, where matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for name in sorted(lines[0].keys() - {"step", "loss"}):
        axes.plot([line["step"] for line in lines], [line[name] for line in lines], marker=".", label=name)
    axes.set(xlabel="step", ylabel="on validation patients", title=run.name)
    axes.legend(fontsize="x-small", loc="lower right")
    figure.savefig(run / "curve.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packed", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--config", type=Path, default=DEFAULT)
    parser.add_argument("--set", action="append", default=[], metavar="section.key=value")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    config = read_config(arguments.config, arguments.set)
    arguments.run.mkdir(parents=True, exist_ok=True)
    found = train(Packed.load(arguments.packed), arguments.run, config, torch.device(arguments.device))
    draw(arguments.run)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
