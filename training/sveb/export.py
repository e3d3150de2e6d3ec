"""Weights in, ONNX and manifest out: `python -m training.sveb.export RUN --version 1.0`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from dsp.beat_picture import POINTS, R_POINT
from dsp.intervals import FEATURES
from dsp.signal import RATE_HZ
from engines.model import SHIPPED, Head, Manifest, State
from engines.model import Tensor as Input
from training.layout import BEATS as CLASSES
from training.model_file import command, write
from training.sveb import batch
from training.sveb.network import COMPARED, Network

INPUTS = (Input("beat", (1, POINTS)), Input("rr", (1, FEATURES)))


class Step(nn.Module):
    """What the daemon runs: one beat to probabilities, and not logits."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, beat: Tensor, rr: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        logits, *remembered = self.network.step(beat, rr, *states)
        return logits.softmax(1), *remembered


def states(width: int, layers: int, heads: int) -> tuple[State, ...]:
    """What `Network.step` remembers."""
    shapes: dict[str, tuple[int, ...]] = {"followed": (1, width), "known": (COMPARED - 1,)}
    shapes |= {f"seen{layer + 1}": (2, heads, COMPARED - 1, width // heads) for layer in range(layers)}
    return tuple(State(name, f"{name}_next", shape) for name, shape in shapes.items())


def export(run: Path, version: str, path: Path) -> None:
    """The model at `path` (`.onnx`); its manifest, and the same network for many beats at once, beside it."""
    kept = torch.load(run / "weights.pt", map_location="cpu")
    network = Network(kept["how"])
    network.load_state_dict(kept["weights"])
    manifest = Manifest(
        sha256="",
        version=version,
        rate_hz=RATE_HZ,
        inputs=INPUTS,
        r_index=R_POINT,
        normalisation="beat_picture",
        heads=(Head("beat_class", CLASSES),),
        states=states(*(kept["how"][key] for key in ("width", "layers", "heads"))),
    )
    write(Step(network), manifest, path)
    batch.write(path)


if __name__ == "__main__":
    command(__doc__.splitlines()[0], export, SHIPPED / "sveb1.onnx")
