"""A trained network as the file that the daemon runs, and its manifest beside it."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch
from torch import nn

from engines.model import Manifest


def write(network: nn.Module, manifest: Manifest, path: Path) -> None:
    """The network at `path` (`.onnx`), its tensors in the manifest's order; the manifest needs no sha256 yet."""
    torch.onnx.export(
        network.eval(),
        tuple(torch.ones(shape) for shape in manifest.reads.values()),
        str(path),
        input_names=list(manifest.reads),
        output_names=list(manifest.answers),
        opset_version=17,
        dynamo=False,
    )
    manifest = msgspec.structs.replace(manifest, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    path.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def command(about: str, export: Callable[[Path, str, Path], None], output: Path) -> None:
    """`RUN --version V [--output FILE]`, for an export of a training's folder."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("run", type=Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--output", type=Path, default=output)
    arguments = parser.parse_args()
    export(arguments.run, arguments.version, arguments.output)
