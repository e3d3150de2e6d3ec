"""The process in which networks run beside an analysis (`rhythmd.ahead`); it ends when the one that started it does.

It imports no more than they need, for an analysis waits until they are open: SciPy alone takes most of a second.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from engines.backend import open_backend
from engines.errors import EngineError
from engines.model import load
from rhythmd.together import Bulk, Stacked


class _OverError(Exception):
    """Who asked is gone, or has all."""


@contextmanager
def _talking() -> Iterator[None]:
    """Around what is said and heard alone: an engine's OSError is another matter."""
    try:
        yield
    except (EOFError, OSError):
        raise _OverError from None


def _serve(connection: Connection, backend: str, model: str) -> None:
    def say(value: Any) -> None:
        with _talking():
            connection.send(value)

    try:
        loaded = load(Path(model))
        with open_backend(backend, loaded) as engine:
            bulk = Bulk(engine, loaded)
            say("open")
            while True:
                say(_answered(bulk, connection))
    except EngineError as error:
        say(error)
    except OSError as error:
        say(EngineError(f"engine {backend}: {error}"))


def _answered(bulk: Bulk, connection: Connection) -> Any:
    while isinstance(asked := _heard_on(connection), dict):
        bulk.states = asked
    if isinstance(asked, str):
        return bulk.states
    return Stacked.of(bulk.answers([*asked.each()]))


def _heard_on(connection: Connection) -> Any:
    with _talking():
        return connection.recv()


def main() -> None:
    fileno, *named = sys.argv[1:]
    with suppress(_OverError):
        _serve(Connection(int(fileno)), *named)
