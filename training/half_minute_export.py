"""Weights in, ONNX and manifest out: `python -m training.half_minute_export RUN --version 1.0`."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import msgspec
import torch
from torch import nn

from dsp.half_minute import COLUMN, POINTS
from dsp.signal import RATE_HZ
from engines.model import SHIPPED, Head, Manifest, Tensor
from training.half_minute import Network
from training.half_minutes import CLASSES

INPUTS = (Tensor("ecg", (1, 2, POINTS)), Tensor("known", (1, POINTS // COLUMN)))


def export(run: Path, version: str, path: Path) -> None:
    """The model at `path` (`.onnx`) and its manifest beside it."""
    kept = torch.load(run / "weights.pt", map_location="cpu")
    how = kept["how"]
    network = Network(how["channels"], how["recurrent"], how["dropout"])
    network.load_state_dict(kept["weights"])
    judged = nn.Sequential()
    judged.forward = lambda *inputs: network(*inputs).softmax(1)
    judged.add_module("network", network)
    names = [each.name for each in INPUTS]
    examples = tuple(torch.ones(each.shape) for each in INPUTS)
    torch.onnx.export(
        judged.eval(), examples, str(path), input_names=names, output_names=["rhythm"], opset_version=17, dynamo=False
    )
    manifest = Manifest(
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        version=version,
        rate_hz=RATE_HZ,
        inputs=INPUTS,
        r_index=0,
        normalisation="half_minute",
        heads=(Head("rhythm", CLASSES),),
    )
    path.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--output", type=Path, default=SHIPPED / "rhythm1.onnx")
    arguments = parser.parse_args()
    export(arguments.run, arguments.version, arguments.output)


if __name__ == "__main__":
    main()
