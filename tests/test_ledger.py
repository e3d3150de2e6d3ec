"""The ledger on a real file: what it promises when processes die, files tear and disks fill."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import ExitStack, closing, contextmanager
from time import monotonic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import database
from daemon import ledger as room
from daemon.config import ConfigError, Store
from daemon.desk import REQUESTS_A_TURN
from daemon.ledger import FILE, RESERVED, Entry, memory_ledger, open_ledger
from daemon.store import open_store
from daemon.ward import FLUSH_EVERY_S, SERVE_EVERY_S

ALL = ("",)


def entry(ledger, topic: str = "alert.x", **fates) -> Entry:
    serial = ledger.numbers.next("serial")
    made = Entry(serial, topic, f"payload {serial}".encode(), **fates)
    ledger.add(made)
    return made


def all_of(ledger) -> list[bytes]:
    return [each.payload for each in ledger.since(0, ALL, most=10**6).entries]


def test_what_was_added_is_there_after_a_restart_and_serials_go_on(tmp_path):
    with open_ledger(tmp_path) as ledger:
        first = entry(ledger)
        name = ledger.id
    with open_ledger(tmp_path) as ledger:
        second = entry(ledger)
        assert ledger.id == name
        assert second.serial == first.serial + 1  # it ended in good order: no jump
        assert all_of(ledger) == [first.payload, second.payload]


def test_what_was_added_survives_a_kill_and_no_number_is_given_twice(tmp_path):
    program = """
        import sys, time
        from pathlib import Path
        from daemon.ledger import Entry, open_ledger
        with open_ledger(Path(sys.argv[1])) as ledger:
            while True:
                serial = ledger.numbers.next("serial")
                beat = ledger.numbers.next("beat")
                ledger.add(Entry(serial, "alert.x", b"%d" % serial))
                print(serial, beat, flush=True)
    """
    said = []
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        lines = [process.stdout.readline() for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        lines += process.communicate()[0].splitlines(keepends=True)
        said += [tuple(map(int, line.split())) for line in lines if line.endswith("\n")]
    serials, beats = zip(*said, strict=True)
    assert sorted(set(serials)) == list(serials)
    assert sorted(set(beats)) == list(beats)
    with open_ledger(tmp_path) as ledger:
        assert {b"%d" % serial for serial in serials} <= set(all_of(ledger))


@settings(max_examples=60, deadline=None)
@given(
    topics=st.lists(st.sampled_from(["alert.a", "alert.b", "event.a", "answered"]), max_size=30),
    wanted=st.sampled_from([("",), ("alert.",), ("alert.a", "event."), ("answered",), ("nothing",)]),
    most=st.integers(1, 7),
)
def test_pages_hold_every_entry_that_was_asked_for_once_and_in_order(topics, wanted, most):
    with memory_ledger("test") as ledger:
        added = [entry(ledger, topic) for topic in topics]
        found, place, more = [], 0, True
        while more:
            page = ledger.since(place, wanted, most=most)
            assert len(page.entries) <= most
            found += page.entries
            place, more = page.upto, page.more
    assert [each.serial for each in found] == [each.serial for each in added if each.topic.startswith(wanted)]
    assert place == (added[-1].serial if added else 0)


def test_what_stands_is_known_after_a_restart_the_newest_of_each_name_and_until_it_ends(tmp_path):
    with open_ledger(tmp_path) as ledger:
        entry(ledger, stands="a")
        entry(ledger, stands="b")
        entry(ledger, stands="c")
        newest = entry(ledger, stands="b")
        entry(ledger, ends=("a", "c", "never there"))
    with open_ledger(tmp_path) as ledger:
        assert ledger.standing() == [newest]


@pytest.mark.parametrize("damage", ["torn", "garbage", "empty"])
def test_a_file_that_cannot_be_read_is_set_aside_and_a_new_ledger_begun(tmp_path, damage):
    with open_ledger(tmp_path) as ledger:
        for _ in range(500):
            entry(ledger)
        name = ledger.id
    path = tmp_path / FILE
    whole = path.read_bytes()
    path.write_bytes({"torn": whole[: len(whole) // 2 - 100], "garbage": os.urandom(9000), "empty": b""}[damage])
    for _ in range(5):  # and never a crash loop
        with open_ledger(tmp_path) as ledger:
            entry(ledger)
    assert ledger.id != name
    if damage != "empty":
        (kept,) = tmp_path.glob(f"{FILE}.broken-*")
        assert kept.stat().st_size > 0


def test_a_torn_log_costs_at_most_its_last_entries(tmp_path):
    """A write-ahead log that ends in the middle of a frame, as a power cut leaves it."""
    program = """
        import os, signal, sys
        from pathlib import Path
        from daemon.ledger import Entry, open_ledger
        with open_ledger(Path(sys.argv[1])) as ledger:
            for serial in range(1, 6):
                ledger.add(Entry(serial, "alert.x", b"%d" % serial))
            os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(tmp_path)], check=False)
    log = tmp_path / f"{FILE}-wal"
    log.write_bytes(log.read_bytes()[:-3000])
    with open_ledger(tmp_path) as ledger:
        found = all_of(ledger)
        assert ledger.set_aside is None
    assert found == [b"1", b"2", b"3", b"4"]


def test_while_the_disk_takes_nothing_entries_wait_in_order_and_are_written_when_it_does(tmp_path):
    with open_ledger(tmp_path) as ledger:
        first = entry(ledger)
        (pages,) = ledger._db.execute("pragma page_count").fetchone()
        ledger._db.execute(f"pragma max_page_count = {pages}")  # SQLite's own "database or disk is full"
        big = [Entry(ledger.numbers.next("serial"), "alert.x", bytes([65 + n]) * 5000) for n in range(3)]
        for each in big:
            ledger.add(each)
        assert "full" in ledger.failing
        assert all_of(ledger) == [first.payload, *(each.payload for each in big)]
        ledger._db.execute("pragma max_page_count = 100000")
        ledger.flush()
        assert ledger.failing == ""
    with open_ledger(tmp_path) as ledger:
        assert all_of(ledger) == [first.payload, *(each.payload for each in big)]


def test_a_disk_that_takes_nothing_for_long_costs_the_oldest_that_wait_and_they_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "MOST_WAITING", 3)
    with open_ledger(tmp_path) as ledger:
        (pages,) = ledger._db.execute("pragma page_count").fetchone()
        ledger._db.execute(f"pragma max_page_count = {pages}")
        for number in range(5):
            ledger.add(Entry(number + 1, "alert.x", bytes([65 + number]) * 5000))
        assert ledger.dropped == 2
        assert [payload[:1] for payload in all_of(ledger)] == [b"C", b"D", b"E"]


def test_old_entries_go_and_what_stands_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "PRUNED_AT_ONCE", 3)
    with open_ledger(tmp_path) as ledger:
        standing = entry(ledger, stands="a")
        for _ in range(5):
            entry(ledger)
        assert ledger.prune(keep_s=3600, keep_bytes=10**9) == 0
        assert ledger.prune(keep_s=-1, keep_bytes=10**9) == 3  # a few at a time
        assert ledger.prune(keep_s=-1, keep_bytes=10**9) == 2
        assert ledger.prune(keep_s=-1, keep_bytes=10**9) == 0
        assert all_of(ledger) == [standing.payload]


def test_a_ledger_that_grew_too_large_loses_its_oldest(tmp_path):
    with open_ledger(tmp_path) as ledger:
        for _ in range(3000):
            ledger._waiting.append(Entry(ledger.numbers.next("serial"), "alert.x", b"x" * 500))
        ledger.flush()
        while ledger.prune(keep_s=3600, keep_bytes=500_000):
            pass
        for _ in range(10):
            ledger.prune(keep_s=3600, keep_bytes=500_000)
        left = ledger.since(0, ALL, most=10**6).entries
    assert 300 < len(left) < 1000
    assert left[-1].serial == 3000
    assert (tmp_path / FILE).stat().st_size < 1_000_000  # and the disk has its room back


def fill(ledger, entries: int) -> None:
    ledger._waiting.extend(Entry(ledger.numbers.next("serial"), "answered", b"x" * 450) for _ in range(entries))
    ledger.flush()


def test_who_answers_as_often_as_he_can_does_not_fill_the_disk(tmp_path):
    """Each silence is an entry; the desk takes so many a second."""
    with open_ledger(tmp_path) as ledger:
        for _ in range(40):
            fill(ledger, round(REQUESTS_A_TURN * FLUSH_EVERY_S / SERVE_EVERY_S))
            ledger.prune(keep_s=3600, keep_bytes=1_000_000)
    assert (tmp_path / FILE).stat().st_size < 2_000_000


def test_to_find_what_is_old_costs_no_more_for_all_that_is_not(tmp_path):
    steps = []
    with open_ledger(tmp_path) as ledger:
        fill(ledger, 20_000)
        ledger._db.set_progress_handler(lambda: steps.append(1), 1000)
        assert ledger.prune(keep_s=3600, keep_bytes=10**9) == 0
    assert len(steps) < 30


def test_two_daemons_cannot_share_a_directory(tmp_path):
    store = Store(directory=str(tmp_path))
    complaint = pytest.raises(ConfigError, match=r"store\.directory: another rhythmd keeps its alerts in")
    with open_store(store), complaint, open_store(store):
        pass
    with open_store(store):
        pass  # and it is free again


def test_a_directory_that_cannot_be_is_refused_by_its_key(tmp_path):
    (tmp_path / "file").touch()
    complaint = r"store\.directory: .*file/x: Not a directory; name one that can be written"
    with pytest.raises(ConfigError, match=complaint), open_store(Store(directory=str(tmp_path / "file" / "x"))):
        pass


@contextmanager
def no_file_to_be_had(why):
    """SQLite opens nothing but memory, as on a disk that is full or broken."""

    def refusing(path, schema, **more):
        if str(path) != ":memory:":
            raise sqlite3.OperationalError(why)
        return connect(path, schema, **more)

    connect = database.connect
    with pytest.MonkeyPatch.context() as patch:
        for module in (room, database):
            patch.setattr(module, "connect", refusing)
        yield


def test_where_no_file_can_be_had_the_daemon_goes_on_in_memory_and_says_so(tmp_path):
    with no_file_to_be_had("unable to open database file"), open_store(Store(directory=str(tmp_path))) as ledger:
        added = entry(ledger)
        assert ledger.failing == "unable to open database file"
        assert all_of(ledger) == [added.payload]


def test_a_new_ledger_for_which_there_was_no_room_goes_from_memory_into_its_file_when_there_is(tmp_path):
    with ExitStack() as stack:
        with no_file_to_be_had("database or disk is full"):
            ledger = stack.enter_context(open_store(Store(directory=str(tmp_path))))
            added = [entry(ledger, stands="a")]
            ledger.flush()
            assert ledger.failing
        added.append(entry(ledger))
        assert ledger.failing  # an alert waits for no file
        ledger.flush()
        assert ledger.failing == ""
        name, newest = ledger.id, ledger.newest
        ledger.numbers.close = lambda: None  # and then it crashes
    with open_ledger(tmp_path) as ledger:
        assert all_of(ledger) == [each.payload for each in added]
        assert (ledger.id, ledger.standing()) == (name, added[:1])
        assert entry(ledger).serial > newest


def test_no_alert_waits_for_a_file_that_somebody_else_has_locked_and_why_it_is_not_had_is_told(tmp_path):
    with ExitStack() as stack:
        with no_file_to_be_had("database or disk is full"):
            ledger = stack.enter_context(open_store(Store(directory=str(tmp_path))))
        other = stack.enter_context(closing(sqlite3.connect(tmp_path / FILE)))
        other.execute("pragma journal_mode = wal")
        other.execute("begin exclusive")
        began_s = monotonic()
        ledger.flush()
        entry(ledger)
        assert monotonic() - began_s < 2.0  # sqlite's own patience is 5 s
        assert "locked" in ledger.failing
        other.rollback()
        ledger.flush()
        assert ledger.failing == ""


def test_numbers_taken_while_the_disk_is_full_are_never_given_again(tmp_path):
    with open_ledger(tmp_path) as ledger:
        entry(ledger)
        (pages,) = ledger._db.execute("pragma page_count").fetchone()
        ledger._db.execute(f"pragma max_page_count = {pages}")
        ledger.add(Entry(ledger.numbers.next("serial"), "alert.x", bytes(5000)))
        assert ledger.failing
        ledger._db.execute("pragma query_only = 1")  # as a disk that is full to its last byte
        last = [ledger.numbers.next(name) for name in ("serial", "beat") for _ in range(RESERVED + 1)][-1]
        ledger._db.execute("pragma query_only = 0")
        ledger._db.execute("pragma max_page_count = 100000")
        while_full = Entry(ledger.numbers.next("serial"), "alert.x", b"told while it was full")
        ledger.add(while_full)
        assert ledger.failing == ""
        ledger.numbers.close = lambda: None  # and then it crashes
    with open_ledger(tmp_path) as ledger:
        assert ledger.numbers.next("beat") > last
        after = entry(ledger)
        assert after.serial > while_full.serial
        assert all_of(ledger)[-2:] == [while_full.payload, after.payload]


def test_after_a_crash_numbers_jump_by_less_than_a_block(tmp_path):
    with open_ledger(tmp_path) as ledger:
        ledger.numbers.next("beat")
        ledger.numbers.close = lambda: None
    with open_ledger(tmp_path) as ledger:
        assert 2 <= ledger.numbers.next("beat") <= RESERVED + 1
