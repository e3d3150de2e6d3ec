"""Writing what a power cut may interrupt: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, data: bytes) -> None:
    """Whoever reads `path`, now or after a power cut, finds all of it or what was there before."""
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)  # on a full disk it is in the way of the next try, which may have another name
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Names that were made, changed or removed in it survive a power cut from here on."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sweep(path: Path) -> None:
    """Remove what a writer left half done that died."""
    for new in path.glob(".*.new"):
        new.unlink(missing_ok=True)
