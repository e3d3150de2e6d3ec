"""What the programs beside the daemon share as services: they stop when asked, and keep one file each."""

from __future__ import annotations

import fcntl
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from daemon.config import ConfigError
from daemon.database import connect_or_begin_anew
from daemon.store import state_directory

TURN_S = 0.5


class Stop:
    """Whether SIGINT or SIGTERM has come. A plain value: a handler must take no lock."""

    def __init__(self) -> None:
        self.asked = False

    def _ask(self, *_: object) -> None:
        self.asked = True

    def __enter__(self) -> Stop:  # noqa: PYI034 typing.Self comes with Python 3.11
        self._before = {sign: signal.signal(sign, self._ask) for sign in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for sign, handler in self._before.items():
            signal.signal(sign, handler)


def all_that_waits(inbox: SimpleQueue[Any], most: int, wait_s: float = TURN_S) -> list[Any]:
    """The next item and those behind it, at most `most`; none when none came in time."""
    found: list[Any] = []
    try:
        found.append(inbox.get(timeout=wait_s))
        while len(found) < most:
            found.append(inbox.get_nowait())
    except Empty:
        pass
    return found


@contextmanager
def open_state(name: str, schema: str, folder: Path | None = None) -> Iterator[sqlite3.Connection]:
    """The program's file in the state directory, for one process at a time."""
    path = (folder or state_directory()) / f"{name}.db"
    with ExitStack() as stack:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = stack.enter_context(path.with_suffix(".lock").open("wb"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            db, _ = connect_or_begin_anew(path, schema)
        except BlockingIOError:
            raise ConfigError(
                f"{path}: another `rhythmd {name}` uses it; stop it, or give --state another folder"
            ) from None
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; give --state a folder that can be written") from None
        yield stack.enter_context(closing(db))  # what goes wrong from here on is not the folder's fault
