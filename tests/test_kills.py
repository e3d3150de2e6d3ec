"""Processes killed at random instants while a replayed recording raises alerts: nothing is lost, nothing is told twice.

RHYTHMD_KILLS says how many, a few by default. SIGKILL takes a process, not the machine: what `synchronous = FULL` adds,
that a commit survives a power cut, is seen by `make test-vm`.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from dataclasses import dataclass
from time import monotonic, sleep, time

import pytest
import zmq

from daemon.ledger import FILE
from daemon.messages import Alert, Status
from daemon.requests import Acknowledge, desk_of
from rhythmd import patient
from rhythmd.desk import Desk
from rhythmd.player import Player, excerpt
from rhythmd.recording import shipped
from rhythmd.subscriber import ALERTS, Received, Subscriber
from tests.running import MANY_ALERTS, Place, caught_up, eventually, fields, last_words, many, raised_in, until

KILLS = int(many("RHYTHMD_KILLS", 2, 200))
SPEED = 30.0
RECORDING = excerpt(shipped(), 300, 180)

pytestmark = pytest.mark.timeout(300 + 15 * KILLS)


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path, MANY_ALERTS)


@pytest.fixture
def unkilled(place) -> list[tuple]:
    """The alerts of a run that nobody kills, as they open."""
    opened = raised_in(RECORDING, place)
    assert len(opened) > 10
    return opened


def origin_s(alert: Alert) -> float:
    """An id holds the moment at which its daemon started."""
    return int(alert.id.split("-")[1], 16) / 1000


@dataclass
class Life:
    """One daemon's, from its start to its death."""

    born_s: float
    died_s: float
    seen: int  # the newest sample that it has judged, by its last status that was heard

    def is_of(self, alert: Alert) -> bool:
        return self.born_s < origin_s(alert) < self.died_s


def lived(place: Place, subscriber: Subscriber, chance: random.Random, told: list[Received]) -> Life:
    """One daemon killed: at any instant, or at the very instant at which an alert is heard, or just after."""
    born_s, first = time(), len(told)
    upon_alert = chance.choice([None, None, 1, 2, chance.randint(1, 12)])
    after_s = chance.choice([0.0, 0.0, chance.uniform(0, 0.01)])
    with place.running() as running, place.patch(Player(RECORDING, "rhythmd"), SPEED):
        dies_at_s = monotonic() + (chance.uniform(0.0, 5.0) if upon_alert is None else 10.0)
        alerts = 0
        while monotonic() < dies_at_s:
            if not (one := subscriber.receive(min(0.05, max(0.0, dies_at_s - monotonic())))):
                continue
            told.append(one)
            alerts += isinstance(one.message, Alert) and origin_s(one.message) > born_s
            if upon_alert is not None and alerts >= upon_alert:
                sleep(after_s)
                break
        running.kill()
        died_s = time()
        told += last_words(subscriber)
    seen = max((one.message.sample for one in told[first:] if isinstance(one.message, Status)), default=-1)
    return Life(born_s, died_s, seen)


def test_a_daemon_killed_at_any_instant_has_told_and_kept_the_same(place, unkilled):
    """A subscriber ends with all that the ledger has, once; and of each life the ledger has what an unkilled
    run raises: as far as that daemon was heard to have judged, and no hole in what it said beyond."""
    chance = random.Random(1)
    received: list[Received] = []
    with Subscriber(place.address, (*ALERTS, "status"), since=0) as subscriber:
        lives = [lived(place, subscriber, chance, received) for _ in range(KILLS)]
        with place.running() as running:
            received += caught_up(subscriber)
            assert running.end() == 0
            received += last_words(subscriber)
    told = [one.message for one in received if isinstance(one.message, Alert)]
    assert sorted(alert.serial for alert in told) == [entry.serial for entry in place.kept()]  # none lost, none twice
    judged = 0
    for life in lives:
        opened = [
            fields(one) for one in told if one.state == "open" and one.category == "physiological" and life.is_of(one)
        ]
        assert opened == unkilled[: len(opened)]
        assert len(opened) >= sum(raised <= life.seen for _, _, raised, _ in unkilled)
        judged += len(opened)
    assert judged >= KILLS
    opened = [alert.id for alert in told if alert.state == "open"]
    closed = [alert.id for alert in told if alert.state == "closed"]
    assert len(set(opened)) == len(opened)
    assert sorted(opened) == sorted(closed)  # each that died was closed by the next, once
    print(f"{KILLS} daemons killed: {len(told)} messages told, {judged} alerts judged, 0 lost, 0 twice")


SUBSCRIBER = """
    import os, sys, msgspec
    from rhythmd import Mark, Subscriber
    address, file = sys.argv[1:]
    class Dealt(msgspec.Struct):
        mark: Mark
        serial: int
    with open(file, "ab+") as dealt:
        dealt.seek(0)
        lines = dealt.read().split(b"\\n")
        dealt.truncate(dealt.tell() - len(lines[-1]))  # a line cut off by the kill was not dealt with
        since = msgspec.json.decode(lines[-2], type=Dealt).mark if len(lines) > 1 else 0
        with Subscriber(address, since=since) as alerts:
            for received in alerts:
                dealt.write(msgspec.json.encode(Dealt(alerts.mark, received.message.serial)) + b"\\n")
                dealt.flush()
                os.fsync(dealt.fileno())
"""
"""It keeps what it made of an alert and the place of it in one write; that is its mark."""


def test_a_subscriber_killed_at_any_instant_has_dealt_with_every_alert_once(place):
    """And the daemon with it now and then."""
    chance = random.Random(2)
    file = place.folder / "dealt"
    command = [sys.executable, "-c", textwrap.dedent(SUBSCRIBER), place.address, str(file)]

    def dealt() -> list[int]:
        return [json.loads(line)["serial"] for line in file.read_bytes().split(b"\n")[:-1]]

    def newest() -> int:
        with closing(sqlite3.connect(f"file:{place.state / FILE}?mode=ro", uri=True)) as db:
            return db.execute("select max(serial) from entry").fetchone()[0]

    running, resting = place.start(), 0
    try:
        with place.patch(Player(RECORDING, "rhythmd", loop=True), 2 * SPEED):
            for number in range(KILLS):
                subscriber = subprocess.Popen(command)
                sleep(chance.uniform(0.2, 1.5))
                if number % 20 == 2:
                    running.kill()
                    running = place.start()
                subscriber.kill()
                subscriber.wait()
                before, resting = resting, len(dealt()) if file.exists() else 0
                assert resting >= before
            running.wait_until_ready()
            sleep(1.0)
        subscriber = subprocess.Popen(command)
        eventually(lambda: file.exists() and dealt()[-1:] == [newest()])
        assert running.end() == 0
        eventually(lambda: dealt()[-1:] == [newest()])
    finally:
        for process in (running.process, subscriber):
            if process.poll() is None:
                process.kill()
                process.wait()
    assert dealt() == [entry.serial for entry in place.kept()]
    assert len(dealt()) > KILLS
    print(f"{KILLS} subscribers killed: {len(dealt())} messages dealt with, 0 lost, 0 twice")


def test_a_lethal_alarm_that_ended_unanswered_calls_after_a_kill_until_it_is_acknowledged(tmp_path):
    place = Place(tmp_path)

    def calling(subscriber: Subscriber) -> tuple[str, ...]:
        return until(subscriber, lambda one: isinstance(one.message, Status))[-1].message.calling

    with Subscriber(place.address, ("alert.asystole", "status")) as subscriber:
        with place.running() as running:
            with place.patch(Player(patient.make("sinus 15, asystole 10, sinus 15", 1).recording, "rhythmd"), 30.0):
                alarm = until(subscriber, lambda one: getattr(one.message, "state", "") == "closed")[-1].message.id
            running.kill()
        last_words(subscriber)
        with place.running() as running:
            assert alarm in calling(subscriber)
            with Subscriber(place.address, ("alert.asystole",)) as late:
                told = until(late, lambda one: isinstance(one.message, Alert))[-1].message
            assert (told.id, told.state) == (alarm, "closed")
            with zmq.Context() as context, closing(Desk(context, desk_of(place.address))) as desk:
                assert desk.ask(Acknowledge(id=alarm, by="night nurse"))[0].error is None
            running.kill()
        last_words(subscriber)
        with place.running():
            assert alarm not in calling(subscriber)
