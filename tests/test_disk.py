"""The daemon's disk torn, full, and full from the start: it goes on, says so, and no follower misses an alert."""

from __future__ import annotations

import os
import resource
import subprocess
from contextlib import contextmanager

import msgspec
import pytest

from daemon.ledger import FILE, Entry, open_ledger
from daemon.messages import Alert
from rhythmd.player import Player, excerpt
from rhythmd.recording import shipped
from rhythmd.subscriber import ALERTS, Subscriber
from tests.house import ALERT, BEGAN
from tests.running import MANY_ALERTS, Place, Running, at_length, caught_up, last_words, until

RECORDING = excerpt(shipped(), 300, 180)
FOLLOWED = (*ALERTS, "status")


def alerts(received) -> list[Alert]:
    return [one.message for one in received if isinstance(one.message, Alert)]


def is_storage(state: str):
    wanted = ("storage_failing", state)
    return lambda one: isinstance(one.message, Alert) and (one.message.kind, one.message.state) == wanted


def write_entries(folder, count: int) -> None:
    with open_ledger(folder) as ledger:
        for _ in range(count):
            ledger._waiting.append(Entry(ledger.numbers.next("serial"), "none", bytes(500)))
        ledger.flush()


@at_length  # tests/test_ledger.py has the ledger alone
@pytest.mark.parametrize("damage", ["torn", "garbage"])
def test_a_daemon_whose_file_is_torn_begins_a_new_one_and_says_so(tmp_path, damage):
    place = Place(tmp_path, MANY_ALERTS)
    write_entries(place.state, 400)
    file = place.state / FILE
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2 - 100] if damage == "torn" else os.urandom(9000))
    with Subscriber(place.address, FOLLOWED, since=0) as subscriber, place.running() as running:
        until(subscriber, is_storage("open"))
        with place.patch(Player(RECORDING, "rhythmd"), 30.0):
            until(subscriber, lambda one: getattr(one.message, "category", "") == "physiological")
        assert running.end() == 0
    assert len(list(place.state.glob(f"{FILE}.broken-*"))) >= 1
    assert place.kept()


def test_a_spoiled_entry_that_stands_keeps_no_daemon_from_watching_and_no_other_from_calling(tmp_path):
    """SQLite sees no turned bit in what it keeps."""
    place = Place(tmp_path)
    told = {**ALERT, "latching": True, "seq": 1, "patch": "of before", "sample": 0, "utc": BEGAN}
    alert = Alert(id="a-2", kind="asystole", state="closed", **told)
    whole = msgspec.json.encode(alert)
    with open_ledger(place.state) as ledger:
        for id_, payload in (("a-1", whole.replace(b"closed", b"c,osed")), ("a-2", whole), ("a-3", whole[:-9])):
            ledger.add(Entry(ledger.numbers.next("serial"), "alert.asystole", payload, stands=id_))
    with Subscriber(place.address, ("status",)) as subscriber, place.running() as running:
        calling = until(subscriber, lambda _: True)[0].message.calling
        assert {"a-1", "a-2", "a-3"} & {*calling} == {"a-2"}
        assert running.end() == 0


@contextmanager
def small_disk(folder):
    """One megabyte."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a file system here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder) -> None:
    with (folder / "filler").open("wb", buffering=0) as filler:
        for size in (4096, 1):
            try:
                while filler.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


class Tmpfs:
    """A file system of one megabyte, full to its last byte."""

    @staticmethod
    def fill(place: Place, running: Running) -> None:
        fill(place.state)

    @staticmethod
    def free(place: Place, running: Running) -> None:
        (place.state / "filler").unlink()


class Limit:
    """No file of the daemon's may grow: for where nobody may mount."""

    @staticmethod
    def fill(place: Place, running: Running) -> None:
        largest = max((place.state / f"{FILE}{end}").stat().st_size for end in ("", "-wal"))
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

    @staticmethod
    def free(place: Place, running: Running) -> None:
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.fixture(params=[Limit, pytest.param(Tmpfs, marks=at_length)])
def disk(request, tmp_path):
    if request.param is Limit:
        yield request.param
        return
    with small_disk(tmp_path / "state"):
        yield request.param


def test_while_the_disk_is_full_alerts_are_told_and_they_are_kept_when_there_is_room(disk, tmp_path):
    place = Place(tmp_path, MANY_ALERTS)
    with Subscriber(place.address, FOLLOWED, since=0) as subscriber, place.running() as running:
        with place.patch(Player(RECORDING, "rhythmd", loop=True), 30.0):
            received = until(subscriber, lambda one: getattr(one.message, "category", "") == "physiological")
            disk.fill(place, running)
            received += until(subscriber, is_storage("open"))
            for _ in range(8):
                received += until(subscriber, lambda one: isinstance(one.message, Alert))
            with Subscriber(place.address, FOLLOWED, since=0) as late:  # what cannot be stored can be asked for
                told_late = caught_up(late)
            so_far = len(alerts(received))
            assert alerts(told_late)[:so_far] == alerts(received)[: len(alerts(told_late))]
            assert len(alerts(told_late)) >= so_far
            disk.free(place, running)
            received += until(subscriber, is_storage("closed"))
        assert running.end() == 0
        received += last_words(subscriber)
    assert [alert.serial for alert in alerts(received)] == [entry.serial for entry in place.kept()]
    assert place.log.read_text().count("alerts cannot be stored") == 1  # once a change of state
    assert place.log.read_text().count("alerts are stored again") == 1


@pytest.mark.parametrize("old", [300, 0])
def test_a_daemon_that_starts_on_a_full_disk_watches_all_the_same_and_writes_when_there_is_room(tmp_path, old):
    place = Place(tmp_path, MANY_ALERTS)
    with small_disk(place.state):
        if old:
            write_entries(place.state, old)
        fill(place.state)
        with Subscriber(place.address, FOLLOWED, since=0) as subscriber, place.running() as running:
            received = until(subscriber, is_storage("open"))
            with place.patch(Player(RECORDING, "rhythmd"), 30.0):
                received += until(subscriber, lambda one: getattr(one.message, "category", "") == "physiological")
                (place.state / "filler").unlink()
                received += until(subscriber, is_storage("closed"))
            running.kill()
        assert not list(place.state.glob("*.broken-*"))
        told = [(alert.id, alert.state) for alert in alerts(received)]
        kept = [msgspec.json.decode(entry.payload, type=Alert) for entry in place.kept()]
        assert [(alert.id, alert.state) for alert in kept][: len(told)] == told
        with open_ledger(place.state) as ledger:
            assert len(ledger.since(0, ("none",), most=1000).entries) == old
