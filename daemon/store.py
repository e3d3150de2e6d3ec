"""The state directory: one daemon's, locked while it runs."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from daemon.config import ConfigError, Store
from daemon.ledger import FILE, Ledger, memory_ledger, open_ledger

log = logging.getLogger(__name__)


def state_directory() -> Path:
    """Where state lives: systemd's state directory, else the user's own."""
    given = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "rhythmd"


@contextmanager
def open_store(store: Store) -> Iterator[Ledger]:
    """The ledger in the configured directory; in memory, and saying so, where that disk takes nothing."""
    folder = Path(store.directory.replace("{state}", str(state_directory())))
    with ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _lock(folder, stack)
        except BlockingIOError:
            raise ConfigError(
                f"store.directory: another rhythmd keeps its alerts in {folder}; give each a directory of its own"
            ) from None
        except OSError as error:
            raise ConfigError(f"store.directory: {folder}: {error.strerror}; name one that can be written") from None
        try:
            ledger = stack.enter_context(open_ledger(folder))
        except sqlite3.Error as error:  # a full disk must not keep a monitor from starting
            log.error("alerts cannot be stored in %s: %s; they are published, and wait in memory", folder, error)
            ledger = stack.enter_context(memory_ledger(str(error), folder / FILE))
        yield ledger


def _lock(folder: Path, stack: ExitStack) -> None:
    file = stack.enter_context((folder / "lock").open("wb"))
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
