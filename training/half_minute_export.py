"""Weights in, ONNX and manifest out: `python -m training.half_minute_export RUN --version 1.0`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dsp.half_minute import COLUMN, POINTS
from dsp.signal import RATE_HZ
from engines.model import SHIPPED, Head, Manifest
from engines.model import Tensor as Input
from training.half_minute import Network
from training.half_minutes import CLASSES
from training.model_file import command, write

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
    manifest = Manifest(
        sha256="",
        version=version,
        rate_hz=RATE_HZ,
        inputs=INPUTS,
        r_index=0,
        normalisation="half_minute",
        heads=(Head("rhythm", CLASSES),),
    )
    write(Probabilities(network), manifest, path)


if __name__ == "__main__":
    command(__doc__.splitlines()[0], export, SHIPPED / "rhythm1.onnx")
