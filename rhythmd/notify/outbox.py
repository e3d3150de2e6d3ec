"""What is to be sent, on disk before it is: SQLite, as the daemon's ledger. One thread owns it.

Where the disk takes nothing, all of it goes on in memory: a message that could come twice is better than none.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from daemon.config import ConfigError
from daemon.database import connect
from daemon.store import state_directory
from rhythmd.notify.pace import Waiting
from rhythmd.notify.rules import Case, Notice
from rhythmd.service import open_state
from rhythmd.subscriber import Mark

log = logging.getLogger(__name__)

T = TypeVar("T")

REMEMBERED_S = 7 * 86_400.0
"""How long it is known what has been sent, so that an alert that is heard again is not told again."""

MOST_WAITING = 1000
"""Notices for one address; then the oldest of the lowest priority is given up."""

TRY_DISK_S = 60.0
SCHEMA = """
create table if not exists mark (daemon text primary key, ledger text not null, serial integer not null);
create table if not exists kept (key text primary key, body blob not null);
create table if not exists silent (daemon text primary key, until_s real not null);
create table if not exists waiting (
    number integer primary key, key text not null, target text not null, body blob not null, unique (key, target));
create table if not exists sent (key text not null, target text not null, sent_s real not null,
    primary key (key, target));
create table if not exists counted (what text primary key, number integer not null);
create table if not exists clock (only integer primary key check (only = 1), now_s real not null);
"""


@dataclass(frozen=True, slots=True)
class Row(Waiting):
    """One that waits, and its place in the file."""

    number: int


class Outbox:
    """Marks, cases and notices; whatever one call writes is on disk whole or not at all."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._file = self._db = db
        self.unread = 0  # what another version wrote and this one cannot read
        self._next_try_s = 0.0
        self.failing = ""  # why nothing is on disk; empty is well
        self._read_back = True  # what is in memory began with what is on disk

    def marks(self) -> dict[str, Mark]:
        return {name: Mark(ledger, serial) for name, ledger, serial in self._db.execute("select * from mark")}

    def cases(self) -> list[Case]:
        rows = self._db.execute("select body from kept order by rowid")
        return [case for (body,) in rows if (case := self._read(body, Case))]

    def silent(self) -> dict[str, float]:
        return dict(self._db.execute("select daemon, until_s from silent"))

    def waiting(self) -> list[Row]:
        """The oldest first."""
        rows = self._db.execute("select number, target, body from waiting order by number")
        return [Row(notice, target, number) for number, target, body in rows if (notice := self._read(body, Notice))]

    def _read(self, body: bytes, kind: type[T]) -> T | None:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as error:
            if not self.unread:
                log.warning("a message that another version stored cannot be read: %s", error)
            self.unread += 1
            return None

    def counts(self) -> dict[str, int]:
        return dict(self._db.execute("select what, number from counted order by what"))

    def newest_s(self) -> float:
        """Before this the program's time never goes, also where the host's clock was set back."""
        (newest_s,) = self._db.execute("select coalesce(max(now_s), 0) from clock").fetchone()
        return float(newest_s)

    def keep(
        self,
        marks: dict[str, Mark],
        cases: dict[str, Case],
        silent: dict[str, float],
        posts: Sequence[Waiting],
        now_s: float,
    ) -> None:
        """What became of what was heard: the place reached, the cases, and the notices that are due."""

        def write(db: sqlite3.Connection) -> None:
            places = [(name, mark.ledger, mark.serial) for name, mark in marks.items()]
            db.executemany("insert or replace into mark values (?, ?, ?)", places)
            db.executemany("insert or replace into silent values (?, ?)", silent.items())
            there = dict(db.execute("select key, body from kept"))
            db.executemany("delete from kept where key = ?", [(key,) for key in there if key not in cases])
            for key, case in cases.items():
                if there.get(key) != (body := msgspec.json.encode(case)):
                    db.execute(_KEEP, (key, body))
            for post in posts:
                values = (post.notice.key, post.target)
                if not db.execute("select 1 from sent where key = ? and target = ?", values).fetchone():
                    db.execute(_POST, (*values, msgspec.json.encode(post.notice)))

        self._commit(write, now_s)

    def sent(self, rows: Sequence[Row], now_s: float) -> None:
        """They have arrived, as far as anyone can tell."""

        def write(db: sqlite3.Connection) -> None:
            db.executemany("delete from waiting where number = ?", [(row.number,) for row in rows])
            values = [(row.notice.key, row.target, now_s) for row in rows]
            db.executemany("insert or replace into sent values (?, ?, ?)", values)
            db.execute("delete from sent where sent_s < ?", (now_s - REMEMBERED_S,))
            db.execute(_COUNT, ("sent", 1))

        self._commit(write, now_s)

    def give_up(self, rows: Sequence[Row], why: str, now_s: float) -> None:
        """They are not sent any more."""

        def write(db: sqlite3.Connection) -> None:
            db.executemany("delete from waiting where number = ?", [(row.number,) for row in rows])
            db.execute(_COUNT, (why, len(rows)))

        if rows:
            self._commit(write, now_s)

    def count(self, what: str, number: int, now_s: float) -> None:
        self._commit(lambda db: db.execute(_COUNT, (what, number)), now_s)

    def _commit(self, write: Callable[[sqlite3.Connection], object], now_s: float) -> None:
        """One transaction; where the disk does not take it, the same in memory."""
        if self.failing and now_s >= self._next_try_s:
            self._back_to_disk(now_s)
        try:
            _transaction(self._db, write, now_s)
        except sqlite3.Error as error:
            if self.failing:
                raise
            self._into_memory(str(error), now_s)
            _transaction(self._db, write, now_s)

    def _into_memory(self, why: str, now_s: float) -> None:
        log.error("messages cannot be stored: %s; they are sent all the same, some perhaps twice", why)
        self.failing, self._next_try_s = why, now_s + TRY_DISK_S
        self._db = sqlite3.connect(":memory:")
        try:
            self._file.backup(self._db)
        except sqlite3.Error:
            self._read_back = False
        self._db.executescript(SCHEMA)

    def _back_to_disk(self, now_s: float) -> None:
        self._next_try_s = now_s + TRY_DISK_S
        with suppress(sqlite3.Error):
            if not self._read_back:
                _add_rows(self._file, self._db)
                self._read_back = True
            self._db.backup(self._file)
            log.warning("messages are stored again")
            self._db.close()
            self._db, self.failing = self._file, ""


_COLUMNS = {
    "mark": "daemon, ledger, serial",
    "kept": "key, body",
    "silent": "daemon, until_s",
    "waiting": "key, target, body",
    "sent": "key, target, sent_s",
    "counted": "what, number",
    "clock": "only, now_s",
}
"""Of each table; what waits gets another number."""

_KEEP = "insert into kept values (?, ?) on conflict (key) do update set body = excluded.body"
_POST = "insert or ignore into waiting (key, target, body) values (?, ?, ?)"
_COUNT = "insert into counted values (?, ?) on conflict (what) do update set number = number + excluded.number"


def _add_rows(of: sqlite3.Connection, to: sqlite3.Connection) -> None:
    """All that `of` has and `to` has not: what waits there is not lost, and what was written since is the newer."""
    with to:
        for table, columns in _COLUMNS.items():
            rows = of.execute(f"select {columns} from {table}").fetchall()  # noqa: S608 both are ours
            marks = ", ".join("?" * (columns.count(",") + 1))
            to.executemany(f"insert or ignore into {table} ({columns}) values ({marks})", rows)  # noqa: S608


def _transaction(db: sqlite3.Connection, write: Callable[[sqlite3.Connection], object], now_s: float) -> None:
    with db:
        write(db)
        db.execute("insert or replace into clock values (1, ?)", (now_s,))


@contextmanager
def open_outbox(folder: Path | None = None) -> Iterator[Outbox]:
    """The one in `folder`, or in the state directory."""
    with ExitStack() as stack:
        try:
            outbox = Outbox(stack.enter_context(open_state("notify", SCHEMA, folder)))
        except sqlite3.Error as error:  # a full disk must not keep anybody from being told
            log.error("messages cannot be stored: %s; they are sent all the same", error)
            outbox = Outbox(stack.enter_context(closing(connect(":memory:", SCHEMA))))
        yield outbox


def glance(folder: Path | None = None) -> dict[str, Any]:
    """How things stand, read beside the program at work."""
    path = (folder or state_directory()) / "notify.db"
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            outbox = Outbox(db)
            waiting = Counter(row.notice.contact for row in outbox.waiting())
            return {
                "waiting": dict(waiting),
                "counts": outbox.counts(),
                "cases": [
                    {
                        "daemon": case.daemon,
                        "alert": case.alert.id,
                        "kind": case.alert.kind,
                        "rule": case.rule,
                        "state": "calls" if case.calls else "answered" if case.answered_by else case.alert.state,
                        "told": case.told,
                    }
                    for case in outbox.cases()
                ],
            }
    except sqlite3.Error as error:
        raise ConfigError(f"{path}: {error}; is `rhythmd notify` at work? --state names its folder") from None
