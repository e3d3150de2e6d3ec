"""The networks ahead of the judge: by a block, or by some in a process of its own.

Their answers depend on the windows alone, in their order, and not on what the judge makes of them: so they may be asked
about whole blocks before the judge has its turn (`Beforehand`), and, of one long recording on a machine whose other
cores are idle, about the next ones while the judge is still at the last (`Ahead`). They are the same networks, and the
judge asks as always: what it gets was computed already, to the same bits.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from daemon.app import find_model
from daemon.config import Alerts, ConfigError
from daemon.config import Engine as Chosen
from daemon.judge import Judge, can_be_judged
from daemon.premature import LABELS, Follower
from dsp.signal import Window
from engines.errors import EngineError
from engines.model import Head
from rhythmd.analysis import Analysis, Heard, Hearing, Said, Skipped, Source, blocks, collected
from rhythmd.together import FORGET, Arrays, Bulk, Stacked

AHEAD_BLOCKS = 2
"""Enough that neither waits for the other; answers to so many and one more fit into a socket at any heart rate (30 KB),
so that both may write at once."""


class Asked:
    """A backend whose answers were asked for before, and who follows the beats: both are in one answer."""

    def __init__(self) -> None:
        self._answers: deque[Arrays] = deque()
        self._followed = np.zeros((1, len(LABELS)), np.float32)  # what was said of the last window's beat

    def infer(self, *_: np.ndarray) -> Arrays:
        *heads, self._followed = self._next()
        return tuple(heads)

    def forget(self) -> None:
        self._next()

    def follower(self) -> Follower:
        """For the judge, who asks about a beat after its window."""
        return self.follow

    def follow(self, _: Window) -> np.ndarray:
        return self._followed

    def _next(self) -> Arrays:
        return self._answers.popleft()


class Beforehand(Asked):
    """One that answers for a whole block at once. Where network and judge take turns window by window, each has
    thrown the other's code and data out of the caches, which takes a quarter longer.
    """

    blocks = 0

    def __init__(self, bulk: Bulk) -> None:
        super().__init__()
        self._bulk = bulk

    def ask(self, heard: Iterable[Heard]) -> None:
        self._answers += self._bulk.answers(_asked_by(heard))

    @property
    def states(self) -> dict[str, Any] | None:
        """What is remembered; None if the engine keeps that to itself. Nothing that was asked for may be left."""
        assert not self._answers
        return self._bulk.states

    @states.setter
    def states(self, states: dict[str, Any]) -> None:
        self._bulk.states = states


class Ahead(Asked):
    """One whose answers come from another process."""

    blocks = AHEAD_BLOCKS

    def __init__(self, connection: Connection) -> None:
        """Waits until the network is open. Raises EngineError."""
        super().__init__()
        self._connection = connection
        self._coming = 0  # replies, each to one `ask`
        self._receive()

    def ask(self, heard: Iterable[Heard]) -> None:
        if asked := _asked_by(heard):
            self._send(Stacked.of(asked))
            self._coming += 1

    @property
    def states(self) -> dict[str, Any] | None:
        """As of `Beforehand`."""
        assert not self._coming
        assert not self._answers
        self._send("states?")
        states: dict[str, Any] | None = self._receive()
        return states

    @states.setter
    def states(self, states: dict[str, Any]) -> None:
        self._send(states)

    def _next(self) -> Arrays:
        while not self._answers:
            assert self._coming, "asked for what nobody asked ahead"
            self._coming -= 1
            self._answers += self._receive().each()
        return super()._next()

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
    """A block's halves, the network's in between: heard at once, judged when it has answered."""

    def __init__(self, hearing: Hearing, ahead: Ahead | Beforehand) -> None:
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
        self._waiting.append(list(heard))
        self._ahead.ask(self._waiting[-1])
        yield from self.catch_up(to=self._ahead.blocks)


def analyze(recording: Source, bulk: Bulk, heads: tuple[Head, ...], alerts: Alerts) -> Analysis:
    """As `rhythmd.analysis.analyze`, to the same bits in half the time."""
    engine = Beforehand(bulk)
    judge = Judge(engine, heads, alerts, origin=recording.name, follower=engine.follower)
    pace = Pace(Hearing(recording.rate_hz, judge), engine)
    each = (said for block in blocks(recording) for said in pace.block(*block))
    return collected(chain(each, pace.finish(recording.samples)))


@contextmanager
def opened(engine: Chosen) -> Iterator[Ahead]:
    """Raises EngineError, as `open_backend` does."""
    ours, theirs = socket.socketpair()
    # `-m` would import first from the folder that one is in: a numpy.py among the records, another checkout's rhythmd
    program = f"import sys; sys.path[:] = {sys.path!r}; from rhythmd.network import main; main()"
    model = find_model(engine.model).onnx.resolve()
    command = [sys.executable, "-c", program, str(theirs.fileno()), engine.backend, str(model)]
    with theirs:  # in a session of its own: a terminal's Ctrl-C is for us, and we end it
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)
    connection = Connection(ours.detach())
    try:
        yield Ahead(connection)
    finally:
        connection.close()
        process.wait()


def _asked_by(heard: Iterable[Heard]) -> list[Arrays]:
    return [
        (each.ecg, each.rr, _scale_mv(each)) if isinstance(each, Window) else FORGET
        for each in heard
        if isinstance(each, Window | Skipped)
    ]


def _scale_mv(window: Window) -> np.ndarray:
    """0: its beat is not followed."""
    return np.array([window.scale_mv if window.beat and can_be_judged(window) else 0.0])


def _gone() -> ConfigError:
    return ConfigError("the network's process was killed, perhaps for want of memory: the same command goes on")
