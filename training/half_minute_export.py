"""Weights in, ONNX and manifest out: `python -m training.half_minute_export RUN --version 1.0`."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import msgspec
import torch
from torch import Tensor, nn

from dsp.half_minute import COLUMN, POINTS
from dsp.signal import RATE_HZ
from engines.model import SHIPPED, Head, Manifest
from engines.model import Tensor as Input
from training.half_minute import Network
from training.half_minutes import CLASSES

INPUTS = (Input("ecg", (1, 2, POINTS)), Input("known", (1, POINTS // COLUMN)))


class Probabilities(nn.Module):
    """What the daemon reads, and not logits."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor, columns: Tensor) -> Tensor:
        shares: Tensor = self.network(pictures, columns).softmax(1)
        return shares


def export(run: Path, version: str, path: Path) -> None:
    """The model at `path` (`.onnx`) and its manifest beside it."""
    kept = torch.load(run / "weights.pt", map_location="cpu")
    how = kept["how"]
    network = Network(how["channels"], how["recurrent"], how["dropout"])
    network.load_state_dict(kept["weights"])
    judged = Probabilities(network).eval()
    names = [each.name for each in INPUTS]
    examples = tuple(torch.ones(each.shape) for each in INPUTS)
    torch.onnx.export(
        judged, examples, str(path), input_names=names, output_names=["rhythm"], opset_version=17, dynamo=False
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
