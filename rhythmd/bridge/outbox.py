"""What the broker has not confirmed yet, on disk: SQLite, as the daemon's ledger. One thread owns it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rhythmd.bridge.topics import ALERTS, Post
from rhythmd.service import open_state
from rhythmd.subscriber import Mark

DROPPED_AT_ONCE = 100
FREED_AT_ONCE = 100
SCHEMA = """
create table if not exists mark (daemon text primary key, ledger text not null, serial integer not null);
create table if not exists waiting (
    number integer primary key, message_id text not null unique, rank integer not null, topic text not null,
    payload blob not null, retain integer not null);
create index if not exists in_turn on waiting (rank, number);
create table if not exists wanted (
    alert text primary key, daemon text not null, patch text not null, kind text not null, since_s real not null);
create table if not exists counted (what text primary key, number integer not null);
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One that waits, and its place in the file."""

    number: int
    post: Post


@dataclass(frozen=True, slots=True)
class Wanted:
    """An alert whose strip is to be published when it is whole."""

    alert: str
    daemon: str
    patch: str
    kind: str
    since_s: float


class Outbox:
    """Marks and posts; whatever one call writes is on disk whole or not at all."""

    def __init__(self, db: sqlite3.Connection, keep_bytes: float) -> None:
        self._db = db
        self._keep_bytes = keep_bytes
        (size,) = db.execute("select coalesce(sum(length(payload)), 0) from waiting").fetchone()
        self.bytes = int(size)

    def marks(self) -> dict[str, Mark]:
        return {name: Mark(ledger, serial) for name, ledger, serial in self._db.execute("select * from mark")}

    def wanted(self) -> list[Wanted]:
        return [Wanted(*row) for row in self._db.execute("select * from wanted order by since_s")]

    def counts(self) -> dict[str, int]:
        return dict(self._db.execute("select what, number from counted order by what"))

    def waiting(self) -> int:
        (count,) = self._db.execute("select count(*) from waiting").fetchone()
        return int(count)

    def next(self, besides: set[int], most: int) -> list[Row]:
        """What is to be sent next, of what is not on its way already."""
        rows = self._db.execute(
            "select number, message_id, rank, topic, payload, retain from waiting order by rank, number limit ?",
            (most + len(besides),),
        )
        found = [
            Row(number, Post(message_id, rank, topic, payload, retain=bool(retain)))
            for number, message_id, rank, topic, payload, retain in rows
            if number not in besides
        ]
        return found[:most]

    def add(self, marks: Mapping[str, Mark], posts: Sequence[Post], wanted: Sequence[Wanted] = ()) -> None:
        """What was heard, as it is to be published, and the place reached; raises sqlite3.Error and does nothing."""
        with self._db as db:
            added = sum(len(post.payload) for post in posts if self._added(db, post))
            db.executemany("insert or ignore into wanted values (?, ?, ?, ?, ?)", [_values(each) for each in wanted])
            places = [(name, mark.ledger, mark.serial) for name, mark in marks.items()]
            db.executemany("insert or replace into mark values (?, ?, ?)", places)
        self.bytes += added

    def _added(self, db: sqlite3.Connection, post: Post) -> bool:
        values = (post.message_id, post.rank, post.topic, post.payload, post.retain)
        rows: int = db.execute(_ADD, values).rowcount
        return rows > 0

    def confirmed(self, rows: Sequence[Row]) -> None:
        """The broker has them."""
        self._remove([row.number for row in rows], sum(len(row.post.payload) for row in rows), "published")

    def satisfied(self, wanted: Wanted, count: str) -> None:
        """Its strip is here, or will not come."""
        with self._db as db:
            db.execute("delete from wanted where alert = ?", (wanted.alert,))
            db.execute(_COUNT, (count, 1))

    @property
    def too_big(self) -> bool:
        """Whether more waits than may."""
        return self.bytes > self._keep_bytes

    @property
    def half_empty(self) -> bool:
        """Whether what had to be dropped is over."""
        return self.bytes < self._keep_bytes / 2

    def drop(self, besides: set[int]) -> int:
        """Where more waits than may, the oldest of the least rank go; alerts never. How many went."""
        dropped = 0
        while self.too_big:
            rows = self._db.execute(
                "select number, length(payload) from waiting where rank > ? order by rank desc, number limit ?",
                (ALERTS, DROPPED_AT_ONCE + len(besides)),
            ).fetchall()
            going, size = [], 0
            for number, length in rows:
                if number not in besides and self.bytes - size > self._keep_bytes:
                    going.append(number)
                    size += length
            if not going:
                break
            self._remove(going, size, "dropped")
            dropped += len(going)
        return dropped

    def _remove(self, numbers: Sequence[int], size: int, count: str) -> None:
        with self._db as db:
            db.executemany("delete from waiting where number = ?", [(number,) for number in numbers])
            db.execute(_COUNT, (count, len(numbers)))
            for _ in range(FREED_AT_ONCE):  # Python takes one step of it, which is one page
                db.execute("pragma incremental_vacuum")
        self.bytes -= size


_ADD = "insert or ignore into waiting (message_id, rank, topic, payload, retain) values (?, ?, ?, ?, ?)"
_COUNT = "insert into counted values (?, ?) on conflict (what) do update set number = number + excluded.number"


def _values(wanted: Wanted) -> tuple[str, str, str, str, float]:
    return wanted.alert, wanted.daemon, wanted.patch, wanted.kind, wanted.since_s


@contextmanager
def open_outbox(keep_mb: float, folder: Path | None = None) -> Iterator[Outbox]:
    """The one in `folder`, or in the state directory."""
    with open_state("bridge", SCHEMA, folder) as db:
        yield Outbox(db, keep_mb * 1e6)
