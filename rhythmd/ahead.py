"""The network in a process of its own, for one long recording on a machine whose other cores are idle.

Its answers depend on the windows alone, in their order, and not on what the judge makes of them: so it may be asked for
the next blocks while the judge is still at the last ones. It is the same network, one window at a time, and the judge
asks as always: what it gets was computed already, to the same bits.

`main` is that process; it ends when the one that started it does.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from daemon.app import find_model
from daemon.config import ConfigError
from daemon.config import Engine as Chosen
from dsp.signal import Window
from engines.backend import Backend, open_backend
from engines.errors import EngineError
from rhythmd.analysis import Heard, Hearing, Said, Skipped

AHEAD_BLOCKS = 2
"""Enough that neither waits for the other; answers to so many and one more fit into a socket at any heart rate (30 KB),
so that both may write at once."""

Arrays = tuple[np.ndarray, ...]
FORGET: Arrays = ()
"""Another session begins; and the answer to that."""


@dataclass(frozen=True, slots=True)
class Stacked:
    """Inputs or answers of one window after another. Hundreds of small arrays a minute took 7 % of an analysis."""

    arrays: Arrays  # of all windows, stacked
    forget: tuple[int, ...]  # at these places nothing was asked, but a session began

    @classmethod
    def of(cls, each: Sequence[Arrays]) -> Stacked:
        stacked = zip(*filter(None, each), strict=True)
        forget = tuple(place for place, arrays in enumerate(each) if not arrays)
        return cls(tuple(np.stack(parts) for parts in stacked), forget)

    def each(self) -> Iterator[Arrays]:
        windows = zip(*self.arrays, strict=True)
        for place in range(len(self.forget) + (len(self.arrays[0]) if self.arrays else 0)):
            yield FORGET if place in self.forget else next(windows)


class Ahead:
    """A backend whose answers were asked for before."""

    def __init__(self, connection: Connection) -> None:
        """Waits until the network is open. Raises EngineError."""
        self._connection = connection
        self._coming = 0  # replies, each to one `ask`
        self._answers: deque[Arrays] = deque()
        self._receive()

    def ask(self, heard: Iterable[Heard]) -> None:
        asked = [_asked_by(each) for each in heard if isinstance(each, Window | Skipped)]
        if asked:
            self._send(Stacked.of(asked))
            self._coming += 1

    def infer(self, *_: np.ndarray) -> Arrays:
        return self._next()

    def forget(self) -> None:
        self._next()

    @property
    def states(self) -> dict[str, np.ndarray] | None:
        """What it remembers; None if it keeps that to itself. Nothing that was asked for may be left."""
        assert not self._coming
        assert not self._answers
        self._send("states?")
        states: dict[str, np.ndarray] | None = self._receive()
        return states

    @states.setter
    def states(self, states: dict[str, np.ndarray]) -> None:
        self._send(states)

    def _next(self) -> Arrays:
        while not self._answers:
            assert self._coming, "asked for what nobody asked ahead"
            self._coming -= 1
            self._answers += self._receive().each()
        return self._answers.popleft()

    def _send(self, value: Any) -> None:
        try:
            self._connection.send(value)
        except OSError:
            while True:  # it may have said why it ended, after some answers
                self._receive()

    def _receive(self) -> Any:
        try:
            value = self._connection.recv()
        except (OSError, EOFError):
            raise _gone() from None
        if isinstance(value, EngineError):
            raise value
        return value


class Pace:
    """Two blocks' halves, the network's in between: heard at once, judged when it has answered."""

    def __init__(self, hearing: Hearing, ahead: Ahead | None) -> None:
        self._hearing = hearing
        self._ahead = ahead
        self._waiting: deque[list[Heard]] = deque()

    def block(self, start: int, ecg_mv: np.ndarray, saturated: np.ndarray) -> Iterator[Said]:
        yield from self._take(self._hearing.listen(start, ecg_mv, saturated))

    def finish(self, samples: int) -> Iterator[Said]:
        yield from self._take(self._hearing.listen_to_end(samples))
        yield from self.catch_up()

    def catch_up(self, to: int = 0) -> Iterator[Said]:
        """Judge what waits, until so many blocks are left."""
        while len(self._waiting) > to:
            yield from self._hearing.judge(self._waiting.popleft())

    def _take(self, heard: Iterator[Heard]) -> Iterator[Said]:
        if self._ahead is None:
            yield from self._hearing.judge(heard)
            return
        self._waiting.append(list(heard))
        self._ahead.ask(self._waiting[-1])
        yield from self.catch_up(to=AHEAD_BLOCKS)


@contextmanager
def opened(engine: Chosen) -> Iterator[Ahead]:
    """Raises EngineError, as `open_backend` does."""
    ours, theirs = socket.socketpair()
    # `-m` would import first from the folder that one is in: a numpy.py among the records, another checkout's rhythmd
    program = f"import sys; sys.path[:] = {sys.path!r}; from rhythmd.ahead import main; main()"
    command = [sys.executable, "-c", program, str(theirs.fileno()), engine.backend, engine.model]
    with theirs:  # in a session of its own: a terminal's Ctrl-C is for us, and we end it
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)
    connection = Connection(ours.detach())
    try:
        yield Ahead(connection)
    finally:
        connection.close()
        process.wait()


def _asked_by(heard: Window | Skipped) -> Arrays:
    return (heard.ecg, heard.rr) if isinstance(heard, Window) else FORGET


def _gone() -> ConfigError:
    return ConfigError("the network's process was killed, perhaps for want of memory: the same command goes on")


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
        with open_backend(backend, find_model(model)) as engine:
            say("open")
            while True:
                say(_answered(engine, connection))
    except EngineError as error:
        say(error)
    except OSError as error:
        say(EngineError(f"engine {backend}: {error}"))


def _answered(engine: Backend, connection: Connection) -> Any:
    while isinstance(asked := _heard_on(connection), dict):
        engine.states = asked  # type: ignore[attr-defined]  # it has some, or none would have been put away
    if isinstance(asked, str):
        return getattr(engine, "states", None)
    return Stacked.of([_answer(engine, inputs) for inputs in asked.each()])


def _heard_on(connection: Connection) -> Any:
    with _talking():
        return connection.recv()


def _answer(engine: Backend, inputs: Arrays) -> Arrays:
    if not inputs:
        engine.forget()
        return FORGET
    return engine.infer(*inputs)


def main() -> None:
    fileno, *named = sys.argv[1:]
    with suppress(_OverError):
        _serve(Connection(int(fileno)), *named)
