"""SQLite files whose every commit survives the process and the power."""

from __future__ import annotations

import logging
import sqlite3
from datetime import datetime, timezone
from pathlib import Path

log = logging.getLogger(__name__)

MOST_SET_ASIDE = 3


def connect_or_begin_anew(path: Path, schema: str, *, alone: bool = False) -> tuple[sqlite3.Connection, Path | None]:
    """The file; where it cannot be read it is set aside, and the second is where it went."""
    try:
        return connect(path, schema, alone=alone), None
    except sqlite3.OperationalError:  # the disk's fault (full, read-only, locked), not the file's: that stays
        raise
    except sqlite3.DatabaseError as error:
        set_aside = _set_aside(path)
        log.error("%s cannot be read (%s): it is now %s, and a new one begins", path, error, set_aside)
        return connect(path, schema, alone=alone), set_aside


def connect(path: Path | str, schema: str, *, alone: bool = False, patience_s: float = 5.0) -> sqlite3.Connection:
    """A file whose every commit survives the power cut. Raises DatabaseError when it cannot be read.

    It waits for `patience_s` for whoever has locked it.

    One that nobody else may read meanwhile (`alone`) needs no file of shared memory beside it: it opens on a full disk.
    """
    db = sqlite3.connect(path, timeout=patience_s)
    try:
        if alone:
            db.execute("pragma locking_mode = exclusive")
        if not db.execute("pragma page_count").fetchone()[0]:  # is written at once, for which there may be no room
            db.execute("pragma auto_vacuum = incremental")
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = full")
        db.execute("pragma wal_autocheckpoint = 200")  # pages: the log stays under a megabyte
        db.execute("pragma journal_size_limit = 1048576")
        (verdict,) = db.execute("pragma quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        with db:
            db.executescript(schema)
    except BaseException:
        db.close()
        raise
    return db


def _set_aside(path: Path) -> Path:
    """Rename the file and its log; only the newest few such are kept."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%f")
    for suffix in ("", "-wal", "-shm"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(path.with_name(f"{path.name}.broken-{stamp}{suffix}"))
    for old in sorted(path.parent.glob(f"{path.name}.broken-*"))[: -3 * MOST_SET_ASIDE]:
        old.unlink()
    return path.with_name(f"{path.name}.broken-{stamp}")
