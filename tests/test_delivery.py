"""On its way an alert meets newcomers, several patches, spoiled files, desks that do not answer: none may lose it."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from time import monotonic, sleep, time

import msgspec
import pytest
import zmq

from daemon.announcer import left_in
from daemon.ledger import RESERVED
from daemon.messages import Alert
from daemon.requests import desk_of
from rhythmd import Subscriber
from rhythmd.bookmark import Bookmark
from rhythmd.bridge.payloads import id_of
from rhythmd.cli import main
from rhythmd.following import Heard
from rhythmd.monitor.bedside import MOST_ALERTS, Bedside
from rhythmd.monitor.follow import follow
from rhythmd.notify.app import Teller
from rhythmd.notify.config import Contact, Rule, Settings
from rhythmd.notify.outbox import open_outbox
from rhythmd.notify.sending import Target
from rhythmd.settings import Source
from rhythmd.subscriber import Mark, Received
from tests.house import ALERT, BEGAN, open_daemon, received, served


def ids(told):
    return [each.message.id for each in told if isinstance(each.message, Alert)]


class Disk:
    """The ledger's database, of which some statements fail."""

    def __init__(self, db, *fails: str) -> None:
        self._db, self._fails = db, fails

    def execute(self, sql, *rest):
        if sql.startswith(self._fails):
            raise sqlite3.OperationalError("disk I/O error")
        return self._db.execute(sql, *rest)

    def __enter__(self):
        return self._db.__enter__()

    def __exit__(self, *error):
        return self._db.__exit__(*error)

    def __getattr__(self, name):
        return getattr(self._db, name)


@contextmanager
def asking(address):
    with zmq.Context() as context, context.socket(zmq.DEALER) as client:
        client.setsockopt(zmq.LINGER, 0)
        client.connect(desk_of(address))
        yield client


def test_a_request_of_a_thousand_brackets_is_refused(house, address):
    with asking(address) as client:
        client.send(b'{"a":' + b"[" * 1500)
        served(house, lambda: client.poll(3000))
        assert b"error" in client.recv_multipart()[-1]
    assert house.asked.refused == 1


def test_a_search_for_what_is_rare_holds_up_nobody_and_finds_it(house, address):
    with house.ledger._db as db:
        rows = [(n, "alert.asystole", time(), b"x" * 500) for n in range(1, 20_001)]
        db.executemany("insert into entry values (?, ?, ?, ?)", rows)
    house.ledger.newest = house.ledger.numbers._last["serial"] = 20_000
    house.opens("lead_off", "a-1")
    with Subscriber(address, ("alert.lead_off",), since=0) as subscriber:
        assert ids(served(house, lambda: received(subscriber, 1.0))) == ["a-1"]
    serial, looked_at = 0, []
    while True:
        page = house.ledger.since(serial, ("answered",), most=100)
        looked_at.append(page.upto - serial)
        serial = page.upto
        if not page.more:
            break
    assert max(looked_at) == 1000


def test_a_new_ledgers_alerts_are_told_though_their_serials_were_seen_in_the_old_one(address, tmp_path):
    with open_daemon(address, tmp_path / "first") as house:
        house.opens("asystole", "old-1")
        house.status()
        subscriber = Subscriber(address)
        assert ids(served(house, lambda: received(subscriber))) == ["old-1"]
    with open_daemon(address, tmp_path / "second") as house, subscriber:
        house.opens("ventricular_fibrillation", "new-1")

        def told():
            found = []
            until_s = monotonic() + 3
            while monotonic() < until_s:
                house.status()
                if one := subscriber.receive(0.1):
                    found.append(one)
            return found

        assert ids(served(house, told)) == ["new-1"]


def test_what_stands_is_told_in_the_order_of_the_ledger(house, address):
    house.opens("ventricular_fibrillation", "a-1", latching=True)
    house.opens("asystole", "a-2", latching=True)
    house.closes("ventricular_fibrillation", "a-1", latching=True)  # nobody has acknowledged it
    house.status()
    with Subscriber(address) as late:
        assert [each.message.serial for each in served(house, lambda: received(late))] == [2, 3]


def test_whoever_dies_before_all_that_stands_was_told_is_told_the_rest(house, address):
    house.opens("ventricular_fibrillation", "a-1", latching=True)
    house.opens("asystole", "a-2", latching=True)
    house.closes("ventricular_fibrillation", "a-1", latching=True)
    with Subscriber(address, ("alert.", "status")) as late:
        first = None
        while first is None:  # the status comes before what stands
            house.status()
            first = late.receive(timeout_s=0.05)
        house.publisher.welcome()
        told = []
        while not ids(told):
            told.append(late.receive(1.0))
        mark = late.mark
    with Subscriber(address, since=mark) as again:
        told += served(house, lambda: received(again))
    assert {"a-1", "a-2"} <= set(ids(told))


def test_the_statuses_of_two_patches_are_not_two_of_one(house, address):
    house.opens("asystole", "a-1")
    with Subscriber(address, ("alert.", "status")) as late:
        sleep(0.2)
        for patch in ("bed-1", "bed-2"):  # in one pass of the ward, before what stands is told
            house.status(patch=patch, patches=2)
        assert [each.topic for each in received(late)] == ["status", "status"]
        assert late.mark is None


def test_an_alarm_does_not_wait_for_a_desk_that_does_not_answer_at_each_status(house, address):
    house.opens("lead_off", "a-1")
    house.closes("lead_off", "a-1")
    with Subscriber(address, since=0) as subscriber:
        subscriber.receive(0.1)
        sleep(0.2)
        for _ in range(10):
            house.status()
        house.opens("asystole", "a-2")
        began_s = monotonic()
        assert subscriber.receive(60).message.id == "a-2"
        assert monotonic() - began_s < 10, "2 s for each status"


def test_what_cannot_be_read_is_not_taken_for_nothing(house, address):
    for number in range(3):
        house.opens("asystole", f"a-{number}")
        house.closes("asystole", f"a-{number}")
    whole = house.ledger._db
    with Subscriber(address, since=0) as subscriber:
        house.ledger._db = Disk(whole, "select serial, topic")
        assert served(house, lambda: received(subscriber, 1.0)) == []
        house.ledger._db = whole
        assert len(served(house, lambda: received(subscriber, 6.0))) == 6


def test_an_entry_that_cannot_be_read_keeps_nobody_from_what_came_after_it(house, address):
    for number in range(3):
        house.opens("asystole", f"a-{number}")
    with house.ledger._db as db:
        db.execute("update entry set payload = cast(replace(payload, 'alarm', 'a,arm') as blob) where serial = 2")
    house.status()
    with Subscriber(address, since=0) as subscriber:
        assert ids(served(house, lambda: received(subscriber))) == ["a-0", "a-2"]
        assert (subscriber.unread, subscriber.mark.serial) == (1, 3)


def test_nobody_is_told_all_anew_because_the_disk_was_full_at_a_crash(address, tmp_path):
    with open_daemon(address, tmp_path) as house:
        house.opens("lead_off", "a-1")
        house.closes("lead_off", "a-1")
        with Subscriber(address, since=0) as subscriber:
            assert len(served(house, lambda: received(subscriber))) == 2
            whole = house.ledger._db
            house.ledger._db = Disk(whole, "insert", "delete", "update")
            house.opens("asystole", "a-2")
            assert ids(received(subscriber)) == ["a-2"]
            mark = subscriber.mark
        house.ledger._waiting.clear()  # it dies here
        house.ledger._db, house.ledger.numbers.close = whole, lambda: None
    with open_daemon(address, tmp_path) as house, Subscriber(address, since=mark) as subscriber:
        house.status()
        assert served(house, lambda: received(subscriber)) == []
        house.opens("asystole", "b-1")
        assert ids(served(house, lambda: received(subscriber))) == ["b-1"]


@pytest.mark.parametrize("stays", [True, False], ids=["who was there meanwhile", "who comes back with a mark"])
def test_serials_given_again_after_a_crash_with_a_full_disk_are_not_taken_for_old_ones(address, tmp_path, stays):
    """The disk was full for more than a block of numbers."""
    with open_daemon(address, tmp_path) as house:
        house.opens("lead_off", "a-1")
        house.status()
        subscriber = Subscriber(address, since=0)
        assert len(served(house, lambda: received(subscriber))) == 1
        whole = house.ledger._db
        house.ledger._db = house.ledger.numbers._db = Disk(whole, "insert", "delete", "update")
        for number in range(RESERVED + 10):
            house.opens("asystole", f"b-{number}")
        house.status()
        assert len(ids(served(house, lambda: received(subscriber)))) == RESERVED + 10
        house.ledger._waiting.clear()  # it dies here
        house.ledger._db = house.ledger.numbers._db = whole
        house.ledger.numbers.unwritten, house.ledger.numbers.close = False, lambda: None
    if not stays:
        subscriber.close()
    with open_daemon(address, tmp_path) as house:
        house.opens("asystole", "c-1")
        if not stays:
            subscriber = Subscriber(address, since=subscriber.mark)
        house.status()
        told = served(house, lambda: received(subscriber, 1.0))
        house.opens("asystole", "c-2")
        house.status()
        told += served(house, lambda: received(subscriber))
        assert ids(told)[-2:] == ["c-1", "c-2"]
        assert subscriber.mark.serial == house.ledger.newest < RESERVED + 10
    subscriber.close()


@pytest.mark.parametrize("spoil", [lambda path: path.mkdir(), lambda path: path.symlink_to("nowhere")])
def test_a_spoiled_file_among_the_keys_lets_nobody_in_and_ends_nothing(address, tmp_path, spoil):
    folder = tmp_path / "keys"
    assert main(["keys", "init", str(folder)]) == 0
    with open_daemon(address, tmp_path, str(folder)) as house:
        spoil(folder / "clients" / "copy.key")
        house.doors.look()


def test_however_much_stands_nobody_is_told_it_again_when_another_joins(house, address):
    """64 patches with 200 latching alarms each that nobody acknowledged."""
    stand = 12_800
    of_all = {**ALERT, "latching": True, "end_sample": 10, "ended_by": "ended"}
    for n in range(stand):
        alert = Alert(
            id=f"a-{n}",
            kind="asystole",
            state="closed",
            serial=n + 1,
            previous=n,
            **of_all,
            seq=n,
            patch="p",
            sample=1,
            utc=BEGAN,
        )
        house.publisher.remember(alert.id, [b"alert.asystole", msgspec.json.encode(alert)])
    house.ledger.newest = house.ledger.numbers._last["serial"] = stand
    house.status()
    with Subscriber(address) as early:
        assert len(set(ids(served(house, lambda: received(early, 1.0))))) == stand
        with Subscriber(address):
            assert not ids(served(house, lambda: received(early, 1.0)))


def shown(number, state="open", action="alarm", kind="atrial_fibrillation"):
    told = {**ALERT, "action": action}
    return Alert(id=f"r-{number}", kind=kind, state=state, **told, seq=number, patch="p", sample=0, utc=BEGAN)


def test_the_page_keeps_what_stands_open_however_much_has_come_since():
    bed = Bedside("p")
    bed.take(shown(0), b"", 0.0)
    for number in range(1, MOST_ALERTS + 2):
        bed.take(shown(number, "closed", "record", "ventricular_couplet"), b"", 0.0)
    assert "r-0" in bed.alerts
    assert len(bed.alerts) == MOST_ALERTS


def test_a_page_that_begins_later_is_told_what_stands_open(house, address):
    house.opens("atrial_fibrillation", "a-1")
    for number in range(160):
        house.opens("ventricular_couplet", f"b-{number}")
        house.closes("ventricular_couplet", f"b-{number}")

    def told():
        found, until_s = set(), monotonic() + 3

        def turn():
            house.status()
            if monotonic() > until_s:
                raise TimeoutError

        with suppress(TimeoutError):
            for one in follow(address, None, turn):
                found.update(ids([one]))
        return found

    assert {"a-1", "b-159"} <= served(house, told)


def test_open_and_closed_are_two_messages_on_a_bridge(address, tmp_path):
    """Though a patch that has gone is closed by another, whose numbers are its own."""
    for patch, go_on in (("bed-2", False), ("bed-1", True)):
        with open_daemon(address, tmp_path) as house:
            house.publisher = house.announcer._publisher = house.publisher.of(patch)
            if not go_on:
                house.opens("asystole", "x-1")
                continue
            house.announcer.go_on(left_in(house.ledger), house.common)
            with Subscriber(address, since=0) as subscriber:
                told = served(house, lambda: received(subscriber))
    assert [each.message.state for each in told] == ["open", "closed"]
    assert len({id_of(each.topic, each.message) for each in told}) == 2


def test_what_began_and_ended_while_nobody_could_be_told_is_told(tmp_path):
    settings = Settings(
        daemon=(Source(name="d"),),
        contact=(Contact(name="anna", urls=("x",)),),
        rule=(Rule(name="r", contacts=("anna",)),),
        daemon_lost_s=0.0,
    )
    now, sent = datetime.now(timezone.utc), []

    def heard(state, serial):
        alert = Alert(
            id="a-1",
            kind="atrial_fibrillation",
            state=state,
            serial=serial,
            **ALERT,
            seq=serial,
            patch="p",
            sample=0,
            utc=now,
        )
        return Heard("d", Received("alert.atrial_fibrillation", alert), Mark("L", serial))

    class Service:
        attachment_support = False

    with open_outbox(tmp_path) as outbox:
        target = Target("anna-1", settings.contact[0], Service(), "x")
        teller = Teller(settings, {"anna-1": target}, outbox, lambda *what: sent.append(what))
        teller.turn([heard("open", 1), heard("closed", 2)])
        teller.turn([])
    assert len(sent) == 1


def test_a_bookmark_is_of_what_was_asked_for():
    assert (
        len({Bookmark.of(*asked).path for asked in (("a",), ("a", "alert.asystole"), ("b",), ("a", "patch bed-1"))})
        == 4
    )


def test_whoever_joined_when_nothing_stood_has_a_mark_at_once(house, address):
    """And misses nothing that is told while it is dead, however soon that was."""
    with Subscriber(address, ("alert.", "status")) as first:
        sleep(0.2)
        house.status()  # one
        assert first.receive(timeout_s=2.0).topic == "status"
        mark = first.mark
    house.opens("asystole", "a-1")
    with Subscriber(address, since=mark) as again:
        assert ids(served(house, lambda: received(again))) == ["a-1"]
