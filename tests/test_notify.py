"""`rhythmd notify` as a process: real messages to a real receiver, killed where it hurts."""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from time import sleep

import pytest

from daemon.requests import Acknowledge
from tests.beside import Broadcast, Program, kill, receiver
from tests.ports import free_port
from tests.recording import Daemon as Recorder
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
        with program.running("import rhythmd.notify.pace as pace; pace.FIRST_RETRY_S = 0.5") as process:
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
        assert program.said.count("messages are not sent: expired") == 1
        assert counts(tmp_path)["too old when heard"] == 1


def test_while_the_disk_takes_nothing_messages_go_out_all_the_same_and_are_stored_again_when_it_does(tmp_path):
    with Broadcast(tmp_path) as daemon, receiver() as phone:
        program = Program(tmp_path, "notify", settings(daemon.address, phone.port))
        retry_soon = "import rhythmd.notify.outbox as outbox; outbox.TRY_DISK_S = 0.5"
        with program.running(retry_soon) as process:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            daemon.opens("asystole", "a-1")
            eventually(lambda: has(phone, "[a-1]"))
            assert "messages cannot be stored" in program.said
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            sleep(0.6)
            daemon.opens("asystole", "a-2")
            eventually(lambda: has(phone, "[a-2]") and "messages are stored again" in program.said)
            eventually(lambda: counts(tmp_path).get("sent") == 2)
            kill(process)
        with program.running():
            daemon.opens("asystole", "a-3")
            eventually(lambda: has(phone, "[a-3]"))
    assert [body.count("[a-") for body in phone.bodies()] == [1, 1, 1]


def test_several_daemons_are_told_apart_and_one_that_dies_is_missed(tmp_path):
    (tmp_path / "other").mkdir()
    with Broadcast(tmp_path) as daemon, receiver() as phone:
        more = f'[[daemon]]\nname = "bed-4"\nconnect = "ipc://{tmp_path}/other/alerts.ipc"\n'
        text = settings(daemon.address, phone.port, more=more).replace("daemon_lost_s = 0.0", "daemon_lost_s = 2.0")
        program = Program(tmp_path, "notify", text)
        with program.running():
            with Broadcast(tmp_path / "other") as other:
                daemon.opens("asystole", "a-1")
                other.opens("lead_off", "a-1", latching=False)  # even with the same id
                eventually(lambda: has(phone, "Asystole at bed-3") and has(phone, "Lead off at bed-4"))
            eventually(lambda: has(phone, "Daemon lost at bed-4", "nobody watches"))
            with Broadcast(tmp_path / "other"):
                eventually(lambda: has(phone, "Daemon lost at bed-4", "It is heard again"))
    assert not has(phone, "Daemon lost at bed-3")


def test_the_picture_follows_once_the_strip_is_whole_and_where_the_service_takes_files(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'rhythmd[records]'")
    recorder = Recorder(tmp_path / "records")
    recorder.starts()
    recorder.signal(62)
    alert = recorder.alert(1, 60.0)
    with Broadcast(tmp_path) as daemon, receiver() as phone:
        text = settings(daemon.address, phone.port)
        text = text.replace('name = "bed-3"', f'name = "bed-3"\nrecords = "{tmp_path / "records"}"')
        program = Program(tmp_path, "notify", text)
        with program.running(before="import rhythmd.notify.app as app; app.PICTURES_S = 0.2"):
            daemon.opens("ventricular_tachycardia", alert.id)
            eventually(lambda: has(phone, alert.id))
            assert phone.got[0]["attachments"] == []  # words do not wait for the picture
            recorder.signal(31)
            eventually(lambda: has(phone, "The ECG around it"))
    (picture,) = phone.got[1]["attachments"]
    assert (picture["filename"], picture["mimetype"]) == ("ecg.png", "image/png")
    assert base64.b64decode(picture["base64"]).startswith(b"\x89PNG")


def test_the_test_says_which_address_fails_and_who_is_no_contact(tmp_path):
    with receiver() as phone:
        program = Program(tmp_path, "notify", settings("ipc:///nowhere", phone.port, free_port()))
        program.config.chmod(0o644)
        tried = subprocess.run(command("--config", program.config, "--test", "--json"), capture_output=True, text=True)
        assert tried.returncode == 1
        assert [(each["sent"], each["why"]) for each in json.loads(tried.stdout)] == [
            (True, ""),
            (False, "no connection"),
        ]
        assert "others can read it: chmod 600" in tried.stderr
        assert phone.got[0]["title"] == "rhythmd: a test"
    wrong = subprocess.run(command("--config", program.config, "--test", "ben"), capture_output=True, text=True)
    assert (wrong.returncode, wrong.stderr.splitlines()[-1]) == (
        2,
        "rhythmd: --test: 'ben' is no contact; there are anna",
    )
    program.configure(program.config.read_text().replace("json://", "jsom://"))
    unknown = subprocess.run(command("--config", program.config, "--test"), capture_output=True, text=True)
    assert unknown.returncode == 2
    assert "contact anna: urls: apprise does not understand number 1 (jsom://...)" in unknown.stderr
    assert SECRET not in unknown.stderr


def test_a_daemon_a_rule_or_an_address_that_is_gone_from_the_file_takes_its_alerts_along(tmp_path):
    with Broadcast(tmp_path) as daemon, receiver() as phone:
        program = Program(tmp_path, "notify", settings(daemon.address, free_port(), rule="repeat_min = 0.01"))
        program.configure(program.config.read_text().replace("repeat_min = 0.0\n", ""))
        with program.running():
            daemon.opens("asystole", "a-1")
            eventually(lambda: counts(tmp_path).get("failed", 0) >= 1)
        changed = program.config.read_text().replace("bed-3", "bed-7").replace('name = "all"', 'name = "other"')
        program.configure(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{phone.port}", changed))
        with program.running() as process:
            eventually(lambda: has(phone, "Asystole at bed-7"))  # what stands, of the new name
            sleep(1.5)
            assert program.end(process) == 0
        assert not has(phone, "bed-3")
        assert "messages are not sent: no longer in the configuration" in program.said


def test_a_service_finds_what_systemd_hands_over(tmp_path):
    with receiver() as phone:
        program = Program(tmp_path, "notify", settings("ipc:///nowhere", phone.port))
        program.config.chmod(0o440)  # as an access list makes it look
        handed_over = {**os.environ, "CREDENTIALS_DIRECTORY": str(tmp_path)}
        tried = subprocess.run(command("--test"), capture_output=True, text=True, env=handed_over)
        assert (tried.returncode, tried.stderr) == (0, "")


def test_how_things_stand_is_shown_beside_the_program_at_work(tmp_path):
    with Broadcast(tmp_path) as daemon:
        program = Program(tmp_path, "notify", settings(daemon.address, free_port()))
        with program.running():
            daemon.opens("asystole", "a-1")
            eventually(lambda: counts(tmp_path).get("failed", 0) >= 1)
            shown = subprocess.run(command("--show", "--state", tmp_path, "--json"), capture_output=True, text=True)
            found = json.loads(shown.stdout)
            assert found["waiting"] == {"anna": 1}
            assert [(case["alert"], case["state"], case["told"]) for case in found["cases"]] == [("a-1", "calls", 1)]
            words = subprocess.run(command("--show", "--state", tmp_path), capture_output=True, text=True).stdout
            assert "1 for anna" in words
            assert "a-1  asystole, rule all" in words


def counts(folder: Path) -> dict[str, int]:
    with closing(sqlite3.connect(f"file:{folder}/notify.db?mode=ro", uri=True)) as db:
        return dict(db.execute("select what, number from counted"))


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "rhythmd", "notify", *map(str, arguments)]
