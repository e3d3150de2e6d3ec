"""A network and what it promises: the ONNX file beside its manifest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engines.errors import EngineError

SHIPPED = Path(__file__).parent / "models"


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One output of the network: a softmax over `labels`."""

    name: str  # of the output tensor
    labels: tuple[str, ...]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`<model>.json`: what the file `<model>.onnx` reads and answers."""

    sha256: str  # of the ONNX file
    version: str
    rate_hz: int
    input_name: str
    input_shape: tuple[int, int, int, int]  # (batch, 1, 1, sample), float32
    r_index: int  # where in the window the R peak is
    normalisation: str  # which function of dsp.windows made its inputs
    heads: tuple[Head, ...]


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
    return Model(path, manifest)
