"""Trains the detector's network: `python -m training.qrs.train SIGNALS.npz OUTPUT.npz`.

`dsp/models/qrs2.md` says how the shipped one was made. The referee comes after (`training.qrs.referee`).
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dsp.signal import RATE_HZ
from training.qrs.network import Convolution, Network
from training.qrs.sampler import HOP, Sampler, Signals, targets
from training.qrs.validate import Trial
from training.splits import MITDB_VALIDATION

DELAYS = (9, 17, 31)
"""Steps by which the network's outputs lie behind. The daemon uses two; the third one only teaches."""

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
ROUNDED_FROM = 0.4  # of the training
AVERAGING = 0.998


def parts_of(network: Network) -> Iterator[tuple[str, Convolution]]:
    yield from (("stem", network.stem), ("second", network.second), ("head", network.head))
    yield from ((f"block{index}", block) for index, block in enumerate(network.blocks))


def exported(network: Network, dilations: list[int]) -> dict[str, Any]:
    """As `dsp.qrs_network` reads it: whole weights, and the binary logarithm of each output's step."""
    arrays: dict[str, Any] = {"dilations": np.array(dilations), "delays": np.array(DELAYS)}
    for name, part in parts_of(network):
        whole, steps = part.rounded()
        arrays[f"{name}_weight"] = whole.detach().cpu().numpy().astype(np.int8)
        arrays[f"{name}_step"] = np.round(np.log2(steps.cpu().numpy())).astype(np.int8)
        arrays[f"{name}_bias"] = part.bias.detach().cpu().numpy().astype(np.float32)
    return arrays


def take_up(network: Network, path: Path) -> None:
    """Weights that were exported before."""
    with np.load(path) as file, torch.no_grad():
        for name, part in parts_of(network):
            step = np.exp2(file[f"{name}_step"].astype(np.float32))[:, None, None]
            part.weight.copy_(torch.from_numpy(file[f"{name}_weight"] * step))
            part.bias.copy_(torch.from_numpy(file[f"{name}_bias"]))


def trained(network: Network, sampler: Sampler, arguments: argparse.Namespace) -> Network:
    """The average over the last steps, rounded."""
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=arguments.rate, weight_decay=0.01, betas=(0.9, 0.98))
    warming = 30 if arguments.begin else 200
    began = shown = time.monotonic()
    step, progress = 0, 0.0
    while progress < 1:
        cosine = 0.5 * (1 + np.cos(np.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = arguments.rate * min(1.0, (step + 1) / warming) * cosine
        network.rounding(on=bool(arguments.begin) or progress > ROUNDED_FROM)
        ecg, distance, known = sampler(arguments.crops)
        wanted, weight = targets(distance, known, list(DELAYS))
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(ecg), wanted, weight=weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            keep = min(AVERAGING, (step + 1) / (step + 20))
            for kept, new in zip(average.parameters(), network.parameters(), strict=True):
                kept.lerp_(new, 1 - keep)
        step += 1
        progress = max((time.monotonic() - began) / arguments.seconds, step / arguments.steps)
        if time.monotonic() - shown > 20:
            shown = time.monotonic()
            print(f"{shown - began:.0f} s, step {step}, loss {loss.item():.5f}", flush=True)
    average.rounding(on=True)
    return average


def report(network: Network, signals: Signals) -> None:
    """Errors on the validation patients, clean and under noise, of plain thresholds; the detector does better."""
    rows = zip(signals.database, signals.record, signals.validation, strict=True)
    svdb = sorted({(database, record) for database, record, validates in rows if database == "svdb" and validates})
    mitdb = [("mitdb", name) for name in MITDB_VALIDATION]
    for name, records, noise_db in (
        ("mitdb clean", mitdb, None),
        ("svdb clean", svdb, None),
        ("mixed 6 dB", mitdb + svdb, 6.0),
        ("mixed 0 dB", mitdb + svdb, 0.0),
    ):
        trial = Trial(signals, records, noise_db)
        for head, delay in enumerate(DELAYS):
            found = zip(THRESHOLDS, trial.score(network, head, delay, THRESHOLDS), strict=True)
            cells = [f"{t}: {fp}/{fn} {200 * hit / (2 * hit + fp + fn):.2f}" for t, (hit, fp, fn) in found]
            print(f"{name:12s} {delay:2d} steps, FP/FN F1  {'  '.join(cells)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("signals", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--from", dest="begin", type=Path, help="weights to begin with, rounded from the start")
    parser.add_argument("--seconds", type=float, default=380)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--channels", type=int, default=48)
    parser.add_argument("--kernel", type=int, default=5)
    parser.add_argument("--dilations", default="1,2,4,8,16,32,1")
    parser.add_argument("--crops", type=int, default=96)
    parser.add_argument("--crop-s", type=float, default=40.96)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--recipe", type=json.loads, default={}, help="shares of what spoils the crops, as JSON")
    parser.add_argument("--seed", type=int, default=5)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(arguments.seed)
    dilations = [int(each) for each in arguments.dilations.split(",")]
    signals = Signals(arguments.signals, device)
    sampler = Sampler(signals, round(arguments.crop_s * RATE_HZ) // HOP * HOP, arguments.recipe, device)
    network = Network(arguments.channels, arguments.kernel, dilations, len(DELAYS)).to(device)
    if arguments.begin:
        take_up(network, arguments.begin)
    network = trained(network, sampler, arguments)
    np.savez_compressed(arguments.output, **exported(network, dilations))
    report(network, signals)


if __name__ == "__main__":
    main()
