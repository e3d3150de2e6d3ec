"""A network and what it promises: the ONNX file beside its manifest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import prod
from pathlib import Path

import msgspec
import numpy as np

from engines.errors import EngineError

SHIPPED = Path(__file__).parent / "models"


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input of the network, float32."""

    name: str
    shape: tuple[int, ...]  # (batch, ...)


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the network remembers from one call to the next: zeros at first, then what it last put out."""

    input: str  # name of the tensor that it reads
    output: str  # and of the one that it writes, of the same shape
    shape: tuple[int, ...]  # float32


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One output of the network: a softmax over `labels`."""

    name: str  # of the output tensor
    labels: tuple[str, ...]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`<model>.json`: what the file `<model>.onnx` reads and answers."""

    sha256: str  # of the ONNX file
    version: str
    rate_hz: int
    inputs: tuple[Tensor, ...]  # the first is the window, (batch, 1, 1, sample)
    r_index: int  # where in the window the R peak is
    normalisation: str  # which function of dsp.windows made its inputs
    heads: tuple[Head, ...]
    states: tuple[State, ...] = ()  # they stay inside the backend, on the device that runs the network

    @property
    def window_shape(self) -> tuple[int, ...]:
        return self.inputs[0].shape

    @property
    def reads(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor that goes into the network, states among them."""
        return {each.name: each.shape for each in self.inputs} | {each.input: each.shape for each in self.states}

    @property
    def answers(self) -> dict[str, tuple[int, ...]]:
        """Likewise of every one that comes out."""
        heads = {head.name: (self.window_shape[0], len(head.labels)) for head in self.heads}
        return heads | {each.output: each.shape for each in self.states}

    def check(self, inputs: tuple[np.ndarray, ...]) -> None:
        """Raise EngineError unless these are what `Backend.infer` takes; numpy would broadcast or cast, and hide it."""
        if len(inputs) != len(self.inputs):
            names = ", ".join(each.name for each in self.inputs)
            raise EngineError(f"{len(inputs)} inputs are given, the model reads {len(self.inputs)}: {names}")
        for given, wanted in zip(inputs, self.inputs, strict=True):
            if given.shape != wanted.shape or given.dtype != np.float32:
                raise EngineError(
                    f"{wanted.name} is {given.dtype} {given.shape}, the model reads float32 {wanted.shape}"
                )


@dataclass(frozen=True, slots=True)
class Model:
    """A verified model on disk."""

    onnx: Path
    manifest: Manifest

    @property
    def id(self) -> str:
        """Name, version and the first digits of the sha256: what results are attributed to."""
        return f"{self.onnx.stem}-{self.manifest.version}-{self.manifest.sha256[:8]}"


def load(path: Path) -> Model:
    """The model at `path` (an `.onnx` file), after checking that it is the file its manifest describes."""
    manifest_path = path.with_suffix(".json")
    for needed in (path, manifest_path):
        if not needed.is_file():
            raise EngineError(f"engine.model: {needed} is missing; install rhythmd again, or name another model")
    try:
        manifest = msgspec.json.decode(manifest_path.read_bytes(), type=Manifest)
    except msgspec.DecodeError as error:
        raise EngineError(f"{manifest_path}: {error}; install rhythmd again, or export the model again") from None
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != manifest.sha256:
        raise EngineError(
            f"{path} is not the file its manifest describes (sha256 {found[:8]}..., expected "
            f"{manifest.sha256[:8]}...); install rhythmd again, or export the model again with its manifest"
        )
    _check(manifest, manifest_path)
    return Model(path, manifest)


def _check(manifest: Manifest, where: Path) -> None:
    tensors = [*manifest.inputs, *(Tensor(each.input, each.shape) for each in manifest.states)]
    count = len(tensors) + len(manifest.heads) + len(manifest.states)
    if not manifest.inputs or not manifest.heads or len({*manifest.reads, *manifest.answers}) != count:
        raise EngineError(f"{where}: it needs inputs and heads, and each tensor a name of its own; export it again")
    for tensor in tensors:
        if not tensor.shape or prod(tensor.shape) < 1 or min(tensor.shape) < 1:
            raise EngineError(f"{where}: {tensor.name} has the shape {tensor.shape}; shapes are fixed; export it again")
