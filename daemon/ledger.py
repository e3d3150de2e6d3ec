"""Every alert on disk before anyone hears of it: SQLite, write-ahead log, synchronous FULL.

A commit survives the process and the power. Where the disk fails, entries wait in memory, in order, and are published
all the same: an alert that cannot be kept is better than one that is not raised.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time

from daemon.database import connect, connect_or_begin_anew

log = logging.getLogger(__name__)

FILE = "alerts.db"
RESERVED = 256
"""Numbers are taken in blocks of so many, so that one that was published is never given out again, whatever becomes of
the disk. Up to so many are skipped after a crash."""

MOST_WAITING = 10_000
PRUNED_AT_ONCE, FREED_AT_ONCE, LOOKED_AT = 500, 100, 1000
SCHEMA = """
create table if not exists about (ledger text not null);
insert into about select lower(hex(randomblob(16))) where not exists (select 1 from about);
create table if not exists entry (
    serial integer primary key, topic text not null, saved_s real not null, payload blob not null);
create table if not exists standing (id text primary key, serial integer not null);
create table if not exists reserved (name text primary key, upto integer not null);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message that must not be lost."""

    serial: int  # its place in the ledger; grows, with jumps at a restart
    topic: str
    payload: bytes
    stands: str | None = None  # under this name it stands from here on, instead of what stood there
    ends: tuple[str, ...] = ()  # names under which nothing stands any more


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the ledger, in order, and up to where nothing of what was asked for is missing from it."""

    entries: tuple[Entry, ...]
    upto: int
    more: bool


class Numbers:
    """Numbers that go on after a restart, a series for each name."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._upto: dict[str, int] = dict(db.execute("select name, upto from reserved"))
        self._before, self._last = dict(self._upto), dict(self._upto)
        self.unwritten = False  # the disk did not take them; the ledger tells of it, and writes them with what waits

    def next(self, name: str) -> int:
        number = self._last[name] = self._last.get(name, 0) + 1
        if number > self._upto.get(name, 0):
            self._upto[name] = number + RESERVED - 1
            try:
                with self._db:
                    self._db.execute("insert or replace into reserved values (?, ?)", (name, self._upto[name]))
            except sqlite3.Error:
                self.unwritten = True
        return number

    def given_before(self, name: str) -> int:
        """No higher one was before this start; but for what a disk did not take that was full for more than a block."""
        return self._before.get(name, 0)

    def write(self) -> None:
        """All of them, in a transaction of the ledger's."""
        self._db.executemany("insert or replace into reserved values (?, ?)", self._upto.items())

    def move(self, db: sqlite3.Connection) -> None:
        self._db = db

    def close(self) -> None:
        """A daemon that ends in good order leaves no jump."""
        with suppress(sqlite3.Error), self._db:
            self._db.executemany("insert or replace into reserved values (?, ?)", self._last.items())


class Ledger:
    """The entries, oldest first. One thread owns it."""

    def __init__(
        self, db: sqlite3.Connection, *, set_aside: Path | None = None, volatile: str = "", home: Path | None = None
    ) -> None:
        self._db = db
        self._volatile = volatile  # why this ledger is in memory; empty is well
        self._home = home  # the file that it goes into from there when it can
        self.set_aside = set_aside  # where the file went that could not be read; None is well
        self.failing = volatile  # why what is added is not on disk; empty is well
        self.dropped = 0  # entries that found no room in memory either
        self.numbers = Numbers(db)
        self._waiting: deque[Entry] = deque()
        (self.id,) = db.execute("select ledger from about").fetchone()
        (self.newest,) = db.execute("select coalesce(max(serial), 0) from entry").fetchone()
        self._began_at = self.newest
        self._utc_ahead_s = time() - monotonic()

    def add(self, entry: Entry) -> None:
        """Commit it; when this returns and `failing` is empty, it survives a power cut."""
        if len(self._waiting) == MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(entry)
        self.newest = entry.serial
        self._commit()

    def flush(self) -> None:
        """Try again to write what waits, and to have the file. To be called now and then."""
        if self._volatile:
            self._go_home()
        with suppress(sqlite3.Error):  # then the next time
            self._follow_utc()
        self._commit()

    def _commit(self) -> None:
        if not self._waiting and not self.numbers.unwritten:
            return
        try:
            with self._db:
                for entry in self._waiting:
                    self._write(entry)
                if self.numbers.unwritten:
                    self.numbers.write()
        except sqlite3.Error as error:
            if not self.failing:
                log.error("alerts cannot be stored: %s; they are published and wait in memory", error)
            self.failing = str(error)
            return
        if self.failing != self._volatile:
            log.warning("alerts are stored again, %d that waited too", len(self._waiting))
        self.failing = self._volatile
        self.numbers.unwritten = False
        self._waiting.clear()

    def _go_home(self) -> None:
        """From memory into the file that could not be had at the start; unless it turns out to hold another ledger."""
        if self._home is None:
            return
        try:
            self._move_to(self._home)
        except sqlite3.Error as error:
            if str(error) != self._volatile:
                log.error("alerts cannot be stored in %s yet: %s", self._home, error)
            self._volatile = self.failing = str(error)

    def _move_to(self, home: Path) -> None:
        with ExitStack() as stack:
            file = stack.enter_context(closing(connect(home, SCHEMA, patience_s=0.0)))  # alerts do not wait for it
            if file.execute("select 1 from reserved").fetchone():
                log.warning("%s can be read again; a restart goes on with it, and forgets what waits", home)
                self._home = None
                return
            self._db.backup(file)
            stack.pop_all()
            self._db.close()
            self._db = file
            self.numbers.move(file)
            self._volatile = self.failing = ""
            log.warning("alerts are stored in %s from now on, with those of before", home)

    def _write(self, entry: Entry) -> None:
        values = (entry.serial, entry.topic, monotonic() + self._utc_ahead_s, entry.payload)
        self._db.execute("insert or ignore into entry values (?, ?, ?, ?)", values)
        if entry.stands:
            self._db.execute("insert or replace into standing values (?, ?)", (entry.stands, entry.serial))
        self._db.executemany("delete from standing where id = ?", zip(entry.ends))

    @property
    def waiting(self) -> int:
        """Entries that are not on disk yet."""
        return len(self._waiting)

    def close(self) -> None:
        self._db.close()

    def _follow_utc(self) -> None:
        """Where the host's was set, what this process stored is no older and no younger for it."""
        step_s = time() - monotonic() - self._utc_ahead_s
        if abs(step_s) > 1.0:  # less makes nothing too old
            with self._db:
                self._db.execute("update entry set saved_s = saved_s + ? where serial > ?", (step_s, self._began_at))
            self._utc_ahead_s += step_s

    def since(self, serial: int, topics: tuple[str, ...], *, most: int) -> Page:
        """Entries after `serial` whose topic begins with one of `topics`, at most `most` of them."""
        try:
            rows = self._db.execute(
                "select serial, topic, payload from entry where serial > ? order by serial limit ?", (serial, LOOKED_AT)
            ).fetchall()
        except sqlite3.Error as error:
            raise ValueError(f"alerts cannot be read back: {error}") from None
        stored = [Entry(*row) for row in rows if row[1].startswith(topics)]
        waiting = [entry for entry in self._waiting if entry.serial > serial and entry.topic.startswith(topics)]
        found = [*stored, *waiting]
        if len(rows) == LOOKED_AT and len(stored) <= most:
            return Page(tuple(stored), rows[-1][0], more=True)
        if len(found) > most:
            return Page(tuple(found[:most]), found[most - 1].serial, more=True)
        return Page(tuple(found), max(serial, self.newest), more=False)

    def standing(self) -> list[Entry]:
        """What still concerns somebody, oldest first: at a start, what the daemon before left."""
        rows = self._db.execute(
            "select entry.serial, topic, payload, id from standing join entry using (serial) order by serial"
        )
        return [Entry(*row) for row in rows]

    def prune(self, *, keep_s: float, keep_bytes: int) -> int:
        """Forget a few of the oldest entries when they are too old or too many; what stands stays. How many went."""
        try:
            self._follow_utc()
            (pages,) = self._db.execute("pragma page_count").fetchone()
            (free,) = self._db.execute("pragma freelist_count").fetchone()
            (size,) = self._db.execute("pragma page_size").fetchone()
            fits = (pages - free) * size <= keep_bytes
            horizon_s = monotonic() + self._utc_ahead_s - keep_s if fits else float("inf")
            with self._db:
                gone = self._db.execute(
                    "delete from entry where saved_s < ? and serial in (select serial from entry "
                    "where serial not in (select serial from standing) order by serial limit ?)",
                    (horizon_s, PRUNED_AT_ONCE),
                ).rowcount
                for _ in range(FREED_AT_ONCE):  # Python takes one step of it, which is one page
                    self._db.execute("pragma incremental_vacuum")
        except sqlite3.Error as error:
            if not self.failing:  # that is said already
                log.warning("old alerts cannot be removed: %s", error)
            return 0
        return gone


@contextmanager
def open_ledger(folder: Path) -> Iterator[Ledger]:
    """The ledger in `folder`. A file that cannot be read is set aside, and a new one begun: never a crash loop."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        db, set_aside = connect_or_begin_anew(folder / FILE, SCHEMA)
    except sqlite3.OperationalError:  # perhaps for want of room
        db, set_aside = connect_or_begin_anew(folder / FILE, SCHEMA, alone=True)
    with _ended_in_order(Ledger(db, set_aside=set_aside)) as ledger:
        yield ledger


@contextmanager
def memory_ledger(why: str, home: Path | None = None) -> Iterator[Ledger]:
    """For as long as this process lives, where no file can be had; or until `home` can."""
    with _ended_in_order(Ledger(connect(":memory:", SCHEMA), volatile=why, home=home)) as ledger:
        yield ledger


@contextmanager
def _ended_in_order(ledger: Ledger) -> Iterator[Ledger]:
    try:
        yield ledger
        ledger.flush()
        if not ledger.failing:
            ledger.numbers.close()
    finally:
        ledger.close()
