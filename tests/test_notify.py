"""`rhythmd notify` as a process: real messages to a real receiver, killed where it hurts."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from time import sleep

import pytest

from daemon.requests import Acknowledge
from tests.beside import Broadcast, Program, kill, receiver
from tests.running import eventually

apprise = pytest.importorskip("apprise", reason="apprise is not installed: pip install 'rhythmd[notify]'")

SECRET = "geheim-4711"


def settings(daemon: str, *ports: int, more: str = "", rule: str = "") -> str:
    urls = ", ".join(f'"json://user:{SECRET}@127.0.0.1:{port}/{SECRET}/path"' for port in ports)
    return f"""
daemon_lost_s = 0.0
[[daemon]]
name = "bed-3"
connect = "{daemon}"
{more}
[[contact]]
name = "anna"
urls = [{urls}]
[[rule]]
name = "all"
contacts = ["anna"]
repeat_min = 0.0
{rule}
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def has(server, *parts: str) -> bool:
    return any(all(part in body for part in parts) for body in server.bodies())


def test_an_alert_is_told_with_its_end_and_who_acknowledged_it(tmp_path):
    with Broadcast(tmp_path) as daemon, receiver() as phone:
        program = Program(tmp_path, "notify", settings(daemon.address, phone.port))
        with program.running() as process:
            daemon.opens("asystole", "a-1")
            eventually(lambda: has(phone, "Asystole at bed-3 (patch p)", "rhythmd ack a-1"))
            acknowledge = Acknowledge(id="a-1", by="nurse")
            daemon.tell(lambda house: house.announcer.answered(acknowledge, house.common))
            eventually(lambda: has(phone, "a-1", "Acknowledged by nurse"))
            daemon.closes("asystole", "a-1")
            eventually(lambda: has(phone, "a-1", "It has ended"))
            assert phone.got[0]["title"] == "bed-3: Asystole (high)"
            assert [message["type"] for message in phone.got] == ["failure", "info", "info"]
            assert program.end(process) == 0


def test_repeats_and_escalation_come_until_somebody_acknowledges(tmp_path):
    with Broadcast(tmp_path) as daemon, receiver() as anna, receiver() as ward:
        text = settings(daemon.address, anna.port).replace('contacts = ["anna"]', 'contacts = ["anna", "ward"]')
        text = text.replace("repeat_min = 0.0", "repeat_min = 0.01\nescalate_min = 0.03")
        text += f'[[contact]]\nname = "ward"\nurls = ["json://127.0.0.1:{ward.port}/"]\nmost_at_once = 100\n'
        program = Program(tmp_path, "notify", text)
        with program.running():
            daemon.opens("asystole", "a-1")
            eventually(lambda: has(ward, "a-1", "Nobody has acknowledged") and has(anna, "a-1", "Still nobody"))
            acknowledge = Acknowledge(id="a-1", by="nurse")
            daemon.tell(lambda house: house.announcer.answered(acknowledge, house.common))
            eventually(lambda: has(anna, "Acknowledged by nurse") and has(ward, "Acknowledged by nurse"))
            before = len(anna.got) + len(ward.got)
            sleep(2.0)
            assert len(anna.got) + len(ward.got) == before


def test_killed_between_storing_and_sending_it_sends_at_the_next_start(tmp_path):
    """Nobody listens at the contact's port: the message is stored, and cannot be sent, when the process is killed."""
    port = free_port()
    with Broadcast(tmp_path) as daemon:
        program = Program(tmp_path, "notify", settings(daemon.address, port))
        with program.running() as process:
            daemon.opens("asystole", "a-1")
            eventually(lambda: "a message was not sent: no connection" in program.said)
            kill(process)
        with receiver(port) as phone, program.running():
            eventually(lambda: has(phone, "a-1"))
            sleep(1.5)
            assert len(phone.got) == 1


KILLED_BEFORE_SENDING = """
    import os, signal, rhythmd.notify.app
    rhythmd.notify.app.send = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_as_it_is_about_to_send_it_loses_nothing_and_tells_nothing_twice(tmp_path):
    with Broadcast(tmp_path) as daemon, receiver() as phone:
        program = Program(tmp_path, "notify", settings(daemon.address, phone.port))
        with program.running(KILLED_BEFORE_SENDING) as process:
            daemon.opens("asystole", "a-1")
            assert process.wait(20) == -signal.SIGKILL
        daemon.opens("lead_off", "a-2", latching=False)  # while it is away
        with program.running():
            eventually(lambda: has(phone, "a-1") and has(phone, "a-2"))
            sleep(1.5)
        assert sum(body.count("[a-1]") for body in phone.bodies()) == 1
        assert sum(body.count("[a-2]") for body in phone.bodies()) == 1


def test_killed_after_it_was_sent_and_before_that_is_known_it_sends_it_twice_with_the_same_id(tmp_path):
    with Broadcast(tmp_path) as daemon, receiver() as phone:
        program = Program(tmp_path, "notify", settings(daemon.address, phone.port))
        with program.running() as process:
            phone.answer = lambda _message: os.kill(process.pid, signal.SIGKILL) or 200
            daemon.opens("asystole", "a-1")
            assert process.wait(20) == -signal.SIGKILL
        phone.answer = lambda _message: 200
        with program.running():
            eventually(lambda: sum("[a-1]" in body for body in phone.bodies()) == 2)


def test_what_fails_is_tried_again_said_once_and_no_secret_is_ever_shown(tmp_path):
    failing = True
    with Broadcast(tmp_path) as daemon, receiver() as phone, receiver() as works:
        phone.answer = lambda message: 503 if failing or SECRET not in message["path"] else 200
        program = Program(tmp_path, "notify", settings(daemon.address, phone.port, works.port))
        with program.running() as process:
            daemon.opens("asystole", "a-1")
            eventually(lambda: has(works, "a-1"))  # the contact's other address does not wait for this one
            eventually(lambda: counts(tmp_path).get("failed", 0) >= 2)
            failing = False
            eventually(lambda: has(phone, "a-1"))
            eventually(lambda: "messages are sent again, after 2 failures" in program.said)
            assert program.end(process) == 0
        assert len(works.got) == 1
        assert program.said.count("a message was not sent: HTTP status 503") == 1
        shown = subprocess.run(command("--config", program.config, "--test"), capture_output=True, text=True)
        assert shown.stdout.splitlines() == ["anna                 JSON             sent"] * 2
        kept = b"".join(path.read_bytes() for path in tmp_path.glob("notify.db*"))
        for text in (program.said, shown.stdout, shown.stderr, kept.decode(errors="replace")):
            assert SECRET not in text


def test_what_is_too_old_is_given_up_counted_and_said(tmp_path):
    with Broadcast(tmp_path) as daemon:
        program = Program(tmp_path, "notify", settings(daemon.address, free_port(), rule="expire_h = 0.0003"))
        with program.running():
            daemon.age_s = 60.0
            daemon.opens("asystole", "old")
            daemon.age_s = 0.0
            daemon.opens("asystole", "a-1")
            eventually(lambda: counts(tmp_path).get("expired") == 1)
        assert "1 messages are not sent: expired" in program.said
        assert counts(tmp_path)["too old when heard"] == 1


def counts(folder: Path) -> dict[str, int]:
    with closing(sqlite3.connect(f"file:{folder}/notify.db?mode=ro", uri=True)) as db:
        return dict(db.execute("select what, number from counted"))


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "rhythmd", "notify", *map(str, arguments)]
