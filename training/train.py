"""Packed arrays to weights: `python -m training.train PACKED.npz RUN [--config FILE] [--set section.key=value ...]`.

RUN is a folder: `checkpoint.pt` (a second call goes on from it), `history.jsonl`, `curve.png`, and at the end
`weights.npz`, `metrics.json` and `validation.npz`, the logits.
"""

from __future__ import annotations

import argparse
import copy
import json
from dataclasses import fields, replace
from math import cos, pi
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

from training.cutter import Cutter, Spoiler, normalise
from training.labels import ANY_BEAT, ANY_RHYTHM, ONE_BEAT
from training.layout import layout_arrays
from training.network import Network
from training.packed import Packed
from training.recipe import DEFAULT, read, shape_of
from training.runs import Plan, Runs
from training.score import Judged, metrics, offsets
from training.splits import fold
from training.validate import Validation

LOWEST_DB = {"beat": -3.0, "single": -3.0, "made": 3.0, "taught": -3.0, "rhythm": 3.0}
"""A QRS complex can be judged in more noise than a P wave or a fibrillation can."""

WARM_UP = 0.1
"""Of a training, the part in which the learning rate rises."""


def rate_at(part_done: float) -> float:
    """The learning rate, of the highest: up along half a cosine, then down along another to nothing."""
    if part_done < WARM_UP:
        return 0.04 + 0.96 * (1 - cos(pi * part_done / WARM_UP)) / 2
    return (1 + cos(pi * (part_done - WARM_UP) / (1 - WARM_UP))) / 2


def truth_loss(logits: Tensor, truth: Tensor, smoothing: float) -> Tensor:
    """For each window, how unlikely its truth, a set of classes, was held; nothing where all classes are in it."""
    places = torch.arange(logits.shape[-1], device=logits.device)
    allowed = (truth[..., None] >> places & 1).bool()
    log_shares = logits.log_softmax(-1)
    unlikely = -torch.logsumexp(log_shares.masked_fill(~allowed, -torch.inf), -1)
    smooth = -log_shares.mean(-1)
    return torch.where(allowed.sum(-1) == 1, torch.lerp(unlikely, smooth, smoothing), unlikely)


def beat_weights(truth: NDArray[np.int64], shares: dict[str, float]) -> NDArray[np.float32]:
    """Of beat truths `(run, window)`: each class has its share, each run in it as the root of its beats."""
    return sum(
        (share * known_weights(truth == of_class) for of_class, share in zip(ONE_BEAT, shares.values(), strict=True)),
        start=np.zeros(truth.shape, np.float32),
    )


def known_weights(known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Adding up to 1, each run as the root of its known windows."""
    part = known / np.sqrt(np.maximum(known.sum(1, keepdims=True), 1))
    return (part / max(float(part.sum()), 1e-9)).astype(np.float32)


class Training:
    """The network, its moving average and how it learns."""

    def __init__(self, config: dict[str, Any], cutter: Cutter, packed: Packed) -> None:
        self._how = config["training"]
        self._shares = config["beats"]
        self._cutter, self._device = cutter, cutter.device
        torch.manual_seed(self._how["seed"])
        layout, dropout = shape_of(config)
        self.network = Network(layout, dropout).to(self._device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network)
        self.step = 0
        rate = self._how["learning_rate"]
        groups = [  # what compares beats would be decayed to comparing nothing
            {
                "params": [
                    value for name, value in self.network.named_parameters() if name.startswith("recall") == compares
                ]
            }
            | ({"weight_decay": 0.0} if compares else {})
            for compares in (False, True)
        ]
        self._optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            rate,
            weight_decay=self._how["weight_decay"],
            fused=self._device.type == "cuda",
        )
        noise = [row for row, name in enumerate(packed.database) if name in ("nstdb", "made")]
        drowning = [row for row in noise if packed.record[row] != "bw"]
        self._spoil = Spoiler(cutter, *(torch.tensor(rows, device=self._device) for rows in (noise, drowning)))

    def learn(self, drawn: dict[str, Runs], part_done: float) -> Tensor:
        """One step on runs drawn for their beats and for their rhythm, `part_done` of the way; returns the loss."""
        torch.manual_seed(self._how["seed"] * 1_000_003 + self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = self._how["learning_rate"] * rate_at(part_done)
        self.network.train()
        there = {name: self._there(runs) for name, runs in drawn.items()}
        windows = torch.cat([self._cut(name, there[name]) for name in drawn]).to(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            pooled = self.network.pool(windows)
        loss = torch.zeros((), device=self._device)
        parts = pooled.split([runs.places.size for runs in drawn.values()])
        for (name, part), seen in zip(there.items(), parts, strict=True):
            shape = part["places"].shape
            logits = self.network.judge(seen.view(*shape, -1), part["rr"], part["beats"], part["before"])
            for head, weights in self._weights(name, drawn[name]).items():
                lost = truth_loss(logits[head], part[head], self._how["smoothing"])
                loss = loss + (lost * torch.from_numpy(weights).to(self._device)).sum()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        self.step += 1
        self._follow()
        return loss.detach()

    def _weights(self, name: str, runs: Runs) -> dict[str, NDArray[np.float32]]:
        """Of the windows, for each head. What was drawn for the one counts for the other a little."""
        weak = np.float32(self._how["weak"])
        rhythm = known_weights(runs.rhythm != ANY_RHYTHM)
        if name == "rhythm":
            return {"beat": weak * known_weights(runs.beat != ANY_BEAT), "rhythm": rhythm}
        share = np.float32(self._how[f"{name}_weight"])
        return {"beat": share * beat_weights(runs.beat, self._shares), "rhythm": share * weak * rhythm}

    def _there(self, runs: Runs) -> dict[str, Tensor]:
        """The arrays on the device."""
        arrays = {field.name: getattr(runs, field.name) for field in fields(runs)}
        if not self._how["intervals"]:
            arrays["rr"] = arrays["rr"] * (np.arange(arrays["rr"].shape[2]) == arrays["rr"].shape[2] - 1)
        return {name: torch.from_numpy(array).to(self._device) for name, array in arrays.items()}

    def _cut(self, name: str, part: dict[str, Tensor]) -> Tensor:
        runs, count = part["places"].shape
        run = torch.arange(runs, device=self._device).repeat_interleave(count)
        pieces = tuple(part[f"cut_{name}"] for name in ("at", "shift", "row", "gain"))
        where = part["places"].flatten(), part["stretch"][run]
        ecg_mv, missing = self._cutter.cut(part["rows"][run], *where, pieces)
        if self._how["mixed"]:
            partner = self._cutter.partner[part["rows"]]
            share = self._spoil.mixture(part["rows"], partner, self._how["mixed"])
            others = pieces[0], pieces[1], self._cutter.partner[pieces[2]], pieces[3]
            other_mv, other_missing = self._cutter.cut(partner[run], *where, others)
            ecg_mv, missing = ecg_mv + share[run, None] * other_mv, missing | other_missing
        if self._how["coloured"]:
            ecg_mv = self._spoil.coloured(ecg_mv, run, runs, self._how["coloured"])
        if name == "rhythm":
            ecg_mv = torch.where(part["drowned"].flatten()[:, None], self._spoil.drowned(ecg_mv), ecg_mv)
        return normalise(*self._spoil(ecg_mv, missing, run, runs, LOWEST_DB[name]))

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
        return {name: part.state_dict() for name, part in parts.items()} | {"step": self.step}

    def go_on(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def train(
    packed: Packed, run: Path, config: dict[str, Any], device: torch.device, workers: int, *, everyone: bool = False
) -> dict[str, float]:
    """All steps from where `run` stands; returns the validation metrics of the averaged weights."""
    how = config["training"]
    learned = replace(packed, validation=np.zeros_like(packed.validation)) if everyone else packed
    cutter, plan = Cutter(packed, device), Plan(learned, config)
    validation = Validation(packed, cutter, intervals=how["intervals"])
    training = Training(config, cutter, packed)
    checkpoint, steps = run / "checkpoint.pt", how["steps"]
    if checkpoint.exists():
        training.go_on(torch.load(checkpoint, map_location="cpu"))
    losses: list[Tensor] = []
    began = perf_counter()
    plans = DataLoader(Subset(plan, range(training.step, steps)), batch_size=None, num_workers=workers)
    found: dict[str, float] = {}
    for drawn in tqdm(plans, initial=training.step, total=steps, mininterval=10):
        spent = (perf_counter() - began) / how["seconds"] if how["seconds"] else 0.0
        losses.append(training.learn(drawn, max(training.step / steps, min(spent, 1.0))))
        last = training.step == steps or spent >= 1.0
        if training.step % how["validate_every"] == 0 or last:
            judged = validation.judge(training.average)
            added = offsets(judged)
            found = metrics(judged, added)
            line = {"step": training.step, "loss": round(float(torch.stack(losses).mean()), 4), **found}
            losses.clear()
            with (run / "history.jsonl").open("a") as history:
                history.write(json.dumps(line) + "\n")
            tqdm.write(json.dumps(line))
            torch.save(training.state(), checkpoint)
        if last:
            save(training.average, added, run)
            keep(judged, run)
            break
    seconds = round(perf_counter() - began)
    report = {"config": config, "steps": training.step, "seconds": seconds, "validation": found}
    (run / "metrics.json").write_text(json.dumps(report, indent=2) + "\n")
    return found


def save(network: Network, added: dict[str, np.ndarray], run: Path) -> None:
    """The weights, and beside them what is best added to the logits of each head for those who validate."""
    offsets = {f"offset.{head}": offset.astype(np.float32) for head, offset in added.items()}
    arrays = network.arrays() | layout_arrays(network.layout) | offsets
    np.savez(run / "weights.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub takes them for allow_pickle


def keep(judged: dict[str, Judged], run: Path) -> None:
    """The logits of validation, for whoever wants to know more than the metrics say."""
    arrays = {f"{head}_{field.name}": getattr(one, field.name) for head, one in judged.items() for field in fields(one)}
    small = {name: value.astype(np.float16) if value.dtype == np.float64 else value for name, value in arrays.items()}
    np.savez_compressed(run / "validation.npz", **small)


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
    whom = parser.add_mutually_exclusive_group()
    whom.add_argument("--fold", type=int, help="0 to 4: another fifth of the patients validates")
    whom.add_argument("--everyone", action="store_true", help="who validates trains too, and offsets are worth nothing")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw the runs")
    arguments = parser.parse_args()
    config = read(arguments.config, arguments.set)
    arguments.run.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    device = torch.device(arguments.device)
    packed = Packed.load(arguments.packed)
    if arguments.fold is not None:
        packed = replace(packed, validation=fold(packed.database, packed.record, arguments.fold))
    found = train(packed, arguments.run, config, device, arguments.workers, everyone=arguments.everyone)
    draw(arguments.run)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
