"""Fifty subscribers of whom five never read, a flood of requests, strangers at the door: the real daemon serves on.

RHYTHMD_CROWD_MINUTES says for how long, of patch time; a few by default.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import monotonic, sleep

import msgspec
import pytest
import zmq

from daemon.messages import Alert, Status
from daemon.requests import Since, desk_of
from rhythmd import patient
from rhythmd.cli import main
from rhythmd.desk import Access, read_keys, show_keys
from rhythmd.player import Player
from rhythmd.subscriber import ALERTS, Subscriber
from tests.ports import free_port
from tests.running import MANY_ALERTS, Place, eventually, many, until

MINUTES = many("RHYTHMD_CROWD_MINUTES", 1, 60)
SPEED = 60.0
READERS, IDLERS, FLOODERS = 45, 5, 3
IN_TIME_S = 1.0
MEMORY_KB = 80_000
"""Five queues of 10,000 messages, and what the flooders have not taken."""

SCRIPT = "sinus 8, vt 6 @190, sinus 6, asystole 7, sinus 6, vf 8, sinus 8, pvc 11"

pytestmark = pytest.mark.timeout(600)


class Reader(threading.Thread):
    """Follows the alerts, and notes when each came."""

    def __init__(self, address: str, access: Access | None = None, since: int | None = 0) -> None:
        super().__init__()
        self.came_s: dict[int, float] = {}  # serial -> host time
        self._subscriber = Subscriber(address, ALERTS, since=since, keys=access)
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.is_set():
            if one := self._subscriber.receive(0.2):
                assert isinstance(one.message, Alert)
                self.came_s.setdefault(one.message.serial, monotonic())

    def end(self) -> None:
        self._ended.set()
        self.join()
        self._subscriber.close()


@contextmanager
def idlers(address: str) -> Iterator[None]:
    """They want everything and read nothing."""
    with zmq.Context() as context, ExitStack() as stack:
        for _ in range(IDLERS):
            idler = stack.enter_context(context.socket(zmq.SUB))
            for option, value in ((zmq.RCVHWM, 1), (zmq.RCVBUF, 1024), (zmq.LINGER, 0)):
                idler.setsockopt(option, value)
            idler.subscribe(b"")
            idler.connect(address)
        yield


@contextmanager
def flood(address: str) -> Iterator[list[int]]:
    """Requests for everything, as fast as they go, answers unread; yields how many were sent."""
    stop, asked = threading.Event(), [0]

    def ask() -> None:
        with zmq.Context() as context, ExitStack() as stack:
            flooders = [stack.enter_context(context.socket(zmq.DEALER)) for _ in range(FLOODERS)]
            for flooder in flooders:
                flooder.setsockopt(zmq.LINGER, 0)
                flooder.connect(desk_of(address))
            while not stop.is_set():
                for flooder in flooders:
                    try:
                        flooder.send(msgspec.json.encode(Since(serial=0, topics=("",))), zmq.NOBLOCK)
                        asked[0] += 1
                    except zmq.Again:
                        sleep(0.002)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield asked
    finally:
        stop.set()
        thread.join()


class Stranger(threading.Thread):
    """Takes whatever it is told, on any topic."""

    def __init__(self, address: str, access: Access | None) -> None:
        super().__init__()
        self.told = 0
        self._address, self._access = address, access
        self._ended = threading.Event()

    def run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as ear, context.socket(zmq.DEALER) as mouth:
            for each, place in ((ear, self._address), (mouth, desk_of(self._address))):
                show_keys(each, self._access)
                each.setsockopt(zmq.LINGER, 0)
                each.connect(place)
            ear.subscribe(b"")
            mouth.send(msgspec.json.encode(Since(serial=0, topics=("",))), zmq.NOBLOCK)
            while not self._ended.is_set():
                self.told += sum(bool(each.poll(50)) and bool(each.recv_multipart()) for each in (ear, mouth))

    def end(self) -> None:
        self._ended.set()
        self.join()


def strangers(address: str, good: Access) -> list[Stranger]:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    other, _ = (key.decode() for key in zmq.curve_keypair())
    return [
        Stranger(address, None),
        Stranger(address, Access(server=good.server, public=public, secret=secret)),
        Stranger(address, Access(server=other, public=good.public, secret=good.secret)),
    ]


@pytest.fixture
def guarded(tmp_path) -> tuple[Place, str]:
    """A place whose daemon is reached by `ipc`, and with a key by TCP on all addresses; and the TCP one from here."""
    keys = tmp_path / "keys"
    assert main(["keys", "init", str(keys)]) == 0
    for name in ("kept", "revoked"):
        assert main(["keys", "add", str(keys), name, "--output", str(tmp_path / f"{name}.json")]) == 0
    port = free_port()
    place = Place(tmp_path, MANY_ALERTS)
    text = place.config.read_text()
    both = f'publish.bind = ["{place.address}", "tcp://0.0.0.0:{port}"]\npublish.keys = "{keys}"\n'
    place.config.write_text(text.replace(f'publish.bind = ["{place.address}"]\n', both))
    return place, f"tcp://127.0.0.1:{port}"


@pytest.mark.alone
def test_everybody_is_told_every_alert_in_time_whatever_the_others_do(guarded, tmp_path):
    place, door = guarded
    good, revoked = (read_keys(tmp_path / f"{name}.json") for name in ("kept", "revoked"))
    player = Player(patient.make(SCRIPT, seed=1).recording, "rhythmd", loop=True)
    with place.running() as running, Subscriber(place.address, ("status",)) as status:
        until(status, lambda one: isinstance(one.message, Status))
        readers = [Reader(place.address) for _ in range(READERS - 2)]
        readers += [Reader(door, good), late_to_go := Reader(door, revoked)]
        outside = strangers(door, good)
        for each in (*readers, *outside):
            each.start()
        before_kb = running.memory_kb
        try:
            with place.patch(player, SPEED), idlers(place.address), flood(place.address) as asked:
                played_until_s = monotonic() + 60 * MINUTES / SPEED
                while monotonic() < played_until_s:
                    newest = until(status, lambda one: isinstance(one.message, Status))[-1].message
                grown_kb = running.memory_kb - before_kb
                together = {serial for serial in readers[0].came_s if serial <= newest.serial}
                assert len(together) > 2
                eventually(lambda: all(together <= each.came_s.keys() for each in readers))
                late_s = max(
                    max(each.came_s[serial] for each in readers) - min(each.came_s[serial] for each in readers)
                    for serial in together
                )
                assert late_s < IN_TIME_S
                assert main(["keys", "revoke", str(tmp_path / "keys"), "revoked"]) == 0
                sleep(2.0)  # it is noticed within a second
                told = dict(late_to_go.came_s)
                fresh = max(told) + 1
                eventually(lambda: all(max(each.came_s) > fresh for each in readers if each is not late_to_go))
                assert late_to_go.came_s == told
            newest = until(status, lambda one: one.message.port == "absent")[-1].message
            everything = set(range(1, newest.serial + 1))
            eventually(lambda: all(each.came_s.keys() == everything for each in readers if each is not late_to_go))
        finally:
            for each in (*readers, *outside):
                each.end()
        assert running.end() == 0
    assert [each.told for each in outside] == [0, 0, 0]
    assert newest.queues.refused_connections >= len(outside)
    assert (newest.link.dropped_bytes, newest.link.lost_samples) == (0, 0)
    assert grown_kb < MEMORY_KB
    print(
        f"{READERS} readers had {len(everything)} alerts, the last {late_s:.2f} s after the first; "
        f"{asked[0]} requests, {newest.queues}, {grown_kb / 1000:.0f} MB more"
    )
