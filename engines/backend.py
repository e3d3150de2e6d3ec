"""The one contract that every engine keeps, and the table of engines."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib import import_module
from typing import Protocol

import numpy as np

from engines.errors import EngineError
from engines.model import Model

BACKENDS = {  # name in the config -> module, imported only when chosen
    "onnxruntime": "engines.onnxruntime_backend",
    "tensorrt": "engines.tensorrt_backend",
}


class Backend(Protocol):
    """A network ready to run, in the thread that opened it."""

    def infer(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Run one batch: one float32 array for each of the manifest's inputs, in its order and of its shape.

        Returns one array for each of the manifest's heads, in its order: float32 `(batch, label)`, probabilities.
        The arrays are fresh; the caller may keep them. The network's states go on to the next call by themselves.
        Raises EngineError when the engine broke.
        """
        ...

    def forget(self) -> None:
        """Zero the states, as after opening: what comes next belongs to another session or patient."""
        ...


class Shared(Backend, Protocol):
    """One that several patches can share: what it remembers of one is put aside while it serves another."""

    states: dict[str, np.ndarray]
    """float32, by the name of the input that takes it. What was read stays as it was, whatever runs next. Raises
    EngineError when the engine broke."""


def open_backend(name: str, model: Model, wait: str = "block") -> AbstractContextManager[Shared]:
    """Open `model` on the engine `name`; closing frees everything it took.

    `wait` is for engines that compute elsewhere: while they do, the thread sleeps ("block"), or it keeps its core busy
    and has the answer some 40 us earlier ("spin").
    """
    if name not in BACKENDS:
        raise EngineError(f"engine.backend: {name!r} is not one of {', '.join(sorted(BACKENDS))}")
    opened: AbstractContextManager[Shared] = import_module(BACKENDS[name]).open_engine(model, wait=wait)
    return opened
