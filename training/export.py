"""Weights in, ONNX and manifest out: `python -m training.export RUN --version 1.0`.

`training.graph` says what is written. Beside it lies the same network for many windows at once (`training.batch`).
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from dsp.signal import R_INDEX, RATE_HZ, WINDOW_SAMPLES
from dsp.windows import RR_FEATURES
from engines.model import SHIPPED, Head, Manifest, State, Tensor
from training import batch
from training.graph import BEATS_IN, BEATS_OUT, build, table
from training.layout import (
    HEADS,
    INPUT,
    LEARNED,
    POINTS_OF_VIEW,
    RR_INPUT,
    Layout,
    Weights,
    layout_arrays,
    layout_of,
)
from training.score import mean_offsets


def write(weights: Weights, path: Path, version: str) -> Manifest:
    """The model at `path` (`.onnx`) and its manifest beside it."""
    serialized, layout = build(weights).SerializeToString(), layout_of(weights)
    manifest = Manifest(
        sha256=hashlib.sha256(serialized).hexdigest(),
        version=version,
        rate_hz=RATE_HZ,
        inputs=(Tensor(INPUT, (1, 1, 1, WINDOW_SAMPLES)), Tensor(RR_INPUT, (1, RR_FEATURES))),
        r_index=R_INDEX,
        normalisation="rms",
        heads=tuple(Head(name, labels) for name, labels in HEADS.items()),
        states=(State(BEATS_IN, BEATS_OUT, table(layout)),) if layout.recalled else (),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(serialized)
    path.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    return manifest


def random_weights(layout: Layout, seed: int) -> dict[str, NDArray[np.float32]]:
    """Untrained weights: for tests and for timing a layout before training it."""
    rng = np.random.default_rng(seed)
    weights: dict[str, NDArray[np.float64]] = {}

    def conv(name: str, inputs: int, outputs: int, taps: int) -> None:
        weights[f"{name}.conv.weight"] = rng.normal(0, (2 / inputs / taps) ** 0.5, (outputs, inputs, 1, taps))
        for part, low, high in (("weight", 0.5, 1.0), ("bias", -0.2, 0.2)):
            weights[f"{name}.norm.{part}"] = rng.uniform(low, high, outputs)
        weights[f"{name}.norm.running_mean"] = rng.normal(0, 0.2, outputs)
        weights[f"{name}.norm.running_var"] = rng.uniform(0.5, 2.0, outputs)

    def linear(name: str, inputs: int, outputs: int) -> None:
        weights[f"{name}.weight"] = rng.normal(0, inputs**-0.5, (outputs, inputs))
        weights[f"{name}.bias"] = rng.normal(0, 0.1, outputs)

    for one in layout.convolutions():
        conv(one.name, one.inputs // one.groups, one.outputs, one.taps)
    linear("see", layout.pooled + RR_FEATURES, layout.seen)
    linear("weigh", layout.known, layout.hidden)
    if layout.recalled:
        linear("recall.liken", layout.seen, 3 * layout.likened)
        weights["recall.age"] = rng.normal(0, 1, (POINTS_OF_VIEW, layout.recalled))
        weights["recall.nothing"] = rng.normal(0, 1, (2, POINTS_OF_VIEW, layout.likened // POINTS_OF_VIEW))
    for head, labels in LEARNED.items():
        linear(f"head.{head}", layout.hidden, len(labels))
    return {name: value.astype(np.float32) for name, value in weights.items()} | layout_arrays(layout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished training, with weights.npz")
    parser.add_argument("--version", required=True)
    parser.add_argument(
        "--offsets",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="trainings in folds, of which the mean offsets are taken: those of one that trained on everyone are none",
    )
    parser.add_argument("--output", type=Path, default=SHIPPED / "ecg1.onnx")
    arguments = parser.parse_args()
    with np.load(arguments.run / "weights.npz") as file:
        weights = {name: value.astype(np.float32) for name, value in file.items()}
    if arguments.offsets:
        weights |= {f"offset.{head}": offset for head, offset in mean_offsets(arguments.offsets).items()}
    manifest = write(weights, arguments.output, arguments.version)
    if layout_of(weights).recalled:
        batch.write(weights, arguments.output)
    size_mb = arguments.output.stat().st_size / 1e6
    print(f"{arguments.output}: {size_mb:.2f} MB, sha256 {manifest.sha256[:8]}...")


if __name__ == "__main__":
    main()
