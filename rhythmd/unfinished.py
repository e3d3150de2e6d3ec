"""An analysis put away between two blocks, so that who was interrupted can go on: `.<record>.unfinished`.

It holds what detector and judge remember, which is as many kinds of values as they have; so it is a pickle, taken up by
the same sources that put it away, from a file of one's own that nobody else may write to, or not at all.
"""

from __future__ import annotations

import json
import os
import pickle
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from engines.backend import Backend
from rhythmd.analysis import Hearing

_ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An analysis up to a sample: what it found, and what it needs to go on."""

    next: int  # the sample at which it goes on
    hearing: Hearing
    findings: Any


def save(path: Path, key: dict[str, Any], unfinished: Unfinished, engine: Backend) -> None:
    """Put away. Nothing, if the engine keeps to itself what it remembers: then there is only the beginning to go to."""
    states: dict[str, np.ndarray] | None = getattr(engine, "states", None)
    if states is None:
        return
    data = BytesIO()
    _Pickler(data, engine).dump((unfinished, states))
    head = f"{json.dumps(key, sort_keys=True)}\n{sha256(data.getbuffer()).hexdigest()}\n"
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - of a descriptor
        file.write(head.encode())
        file.write(data.getbuffer())
    new.replace(path)


def load(path: Path, key: dict[str, Any], engine: Backend) -> Unfinished | None:
    """What was put away under this key; None if there is nothing, or nothing that can be trusted or is whole."""
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
                return None
            if json.loads(file.readline()) != json.loads(json.dumps(key)):
                return None
            digest, data = file.readline().strip(), file.read()
        if sha256(data).hexdigest().encode() != digest:
            return None
        unfinished, states = _Unpickler(BytesIO(data), engine).load()
    except (OSError, ValueError, EOFError, pickle.UnpicklingError):
        return None
    engine.states = states  # type: ignore[attr-defined]  # it has some, or nothing would have been put away
    assert isinstance(unfinished, Unfinished)
    return unfinished


class _Pickler(pickle.Pickler):
    """Leaves the engine out: whoever takes up has one."""

    def __init__(self, file: BytesIO, engine: Backend) -> None:
        super().__init__(file, protocol=5)
        self._engine = engine

    def persistent_id(self, value: Any) -> str | None:
        return _ENGINE if value is self._engine else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, engine: Backend) -> None:
        super().__init__(file)
        self._engine = engine

    def persistent_load(self, name: str) -> Backend:
        if name != _ENGINE:
            raise pickle.UnpicklingError(f"unknown {name}")
        return self._engine
