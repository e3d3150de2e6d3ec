"""Temporary folders for recordings, which are somebody's: of a process that was killed they go with the next one."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir, mkdtemp

PREFIX, IN_USE = "rhythmd-", ".in-use"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Locked while it is in use: the kernel unlocks it however its process ends."""
    made = Path(mkdtemp(prefix=PREFIX))
    lock = os.open(made, os.O_RDONLY)
    folder = made.with_name(f"{made.name}{IN_USE}")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made.rename(folder)  # only now: under this name one without a lock counts as left
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_left() -> None:
    """What processes of this user left here when they were killed."""
    for folder in Path(gettempdir()).glob(f"{PREFIX}*{IN_USE}"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # gone meanwhile, or not ours
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # in use
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
