"""`rhythmd bridge` as a process, with real brokers; each side is killed in the middle."""

from __future__ import annotations

import gzip
import json
import re
import resource
import shutil
import sqlite3
import subprocess
from collections import defaultdict
from contextlib import closing
from datetime import datetime
from pathlib import Path
from time import monotonic

import msgspec
import pytest

from daemon.requests import Acknowledge
from rhythmd import records
from rhythmd.bridge.asyncapi import CHANNELS, description
from rhythmd.bridge.outbox import open_outbox
from rhythmd.bridge.topics import ALERTS, STATUSES, Post
from tests.beside import Broadcast, Program, kill
from tests.brokers import Broker, Listener, Mosquitto, Nats
from tests.recording import Daemon as Recorder
from tests.running import eventually, many

pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed: pip install 'rhythmd[bridge]'")
jsonschema = pytest.importorskip("jsonschema")

ROUNDS = many("RHYTHMD_BRIDGE_KILLS", 1, 10)
DAY = round(many("RHYTHMD_BRIDGE_DAY", 500, 8640))
ROOT = Path(__file__).parents[1]


def settings(daemon: str, port: int, more: str = "", publish: str = "") -> str:
    return f"""
[broker]
port = {port}
keepalive_s = 5
{more}
[publish]
device = "icu-1"
status_every_s = 1.0
{publish}
[[daemon]]
name = "bed-3"
connect = "{daemon}"
"""


@pytest.fixture(params=[Mosquitto, Nats], ids=lambda kind: kind.name)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Broker:
    return request.param(tmp_path / "broker")


def test_alerts_answers_and_status_arrive_as_the_description_says(tmp_path, broker):
    with Broadcast(tmp_path) as daemon, broker.running(), Listener(broker.port) as listener:
        program = Program(tmp_path, "bridge", settings(daemon.address, broker.port))
        eventually(listener.is_listening)
        with program.running() as process:
            takes_part(tmp_path)
            daemon.opens("asystole", "p-1")
            acknowledge = Acknowledge(id="p-1", by="nurse")
            daemon.tell(lambda house: house.announcer.answered(acknowledge, house.common))
            daemon.closes("asystole", "p-1")
            eventually(lambda: len(listener.of("/alert/")) == 2 and len(listener.of("/status")) > 1)
            assert program.end(process) == 0
            eventually(lambda: [each["online"] for each in listener.of("/online")][-1:] == [False])
    assert listener.alerts() == [("p-1", "open"), ("p-1", "closed")]
    assert [each["by"] for each in listener.of("/answered")] == ["nurse"]
    assert {topic for topic, _, _ in listener.heard} == {
        "rhythmd/icu-1/online",
        "rhythmd/icu-1/bed-3/alert/asystole",
        "rhythmd/icu-1/bed-3/answered",
        "rhythmd/icu-1/bed-3/status",
    }
    for topic, message, _ in listener.heard:
        conforms(topic, message)


def takes_part(folder: Path) -> None:
    """It has heard a status: from then on nothing is missed. Before, it is told what stands."""

    def has_any() -> bool:
        with closing(sqlite3.connect(f"file:{folder}/bridge.db?mode=ro", uri=True)) as db:
            return db.execute("select exists (select 1 from waiting) or exists (select 1 from counted)").fetchone()[0]

    eventually(has_any)


def conforms(topic: str, message: dict) -> None:
    document = msgspec.yaml.decode((ROOT / "docs" / "asyncapi.yaml").read_bytes())
    fitting = [name for name, channel in document["channels"].items() if fits(topic, channel["address"])]
    assert len(fitting) == 1, topic
    payload = document["components"]["messages"][fitting[0]]["payload"]
    jsonschema.Draft202012Validator({**payload, "components": document["components"]}).validate(message)
    assert set(message) <= set(CHANNELS[fitting[0]].payload.__struct_fields__)


def fits(topic: str, address: str) -> bool:
    return re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", address), topic) is not None


def test_whoever_comes_late_is_told_the_newest_status_and_whether_the_bridge_is_there(tmp_path, broker):
    with Broadcast(tmp_path) as daemon, broker.running():
        program = Program(tmp_path, "bridge", settings(daemon.address, broker.port))
        with Listener(broker.port) as first, program.running() as process:
            eventually(lambda: len(first.of("/status")) >= 2)
            kill(process)  # the broker notices, and says so in its name
            eventually(lambda: [each["online"] for each in first.of("/online")][-1:] == [False])
            told = first.of("/status")
        late = Listener(broker.port)
        late.client._client_id = b"late"
        with late:
            eventually(lambda: late.of("/status") and late.of("/online"))
    assert [retained for _, _, retained in late.heard] == [True, True]
    assert late.of("/status") == told[-1:]
    assert late.of("/online") == [{**late.of("/online")[0], "online": False}]


def test_bridge_and_broker_killed_in_the_middle_lose_nothing_and_repeat_only_what_has_the_same_id(tmp_path, broker):
    told: list[tuple[str, str]] = []

    def tell(daemon: Broadcast, count: int) -> None:
        for number in range(len(told) // 2, len(told) // 2 + count):
            daemon.opens("asystole", f"p-{number}")
            daemon.closes("asystole", f"p-{number}")
            told.extend([(f"p-{number}", "open"), (f"p-{number}", "closed")])

    with Broadcast(tmp_path) as daemon, broker.running(), Listener(broker.port) as listener:
        program = Program(tmp_path, "bridge", settings(daemon.address, broker.port))
        eventually(listener.is_listening)
        for _ in range(round(ROUNDS)):
            before = len(told)
            with program.running() as process:
                takes_part(tmp_path)
                tell(daemon, 20)
                eventually(lambda: len(listener.alerts()) >= before + 10)  # noqa: B023 it is asked at once
                kill(process)  # in the middle of it
                tell(daemon, 10)
            with program.running() as process:
                tell(daemon, 20)
                broker.kill()  # likewise
                tell(daemon, 10)
                eventually(lambda: "the broker is away" in program.said)
                kill(process)
                tell(daemon, 10)
            with program.running() as process:
                tell(daemon, 5)
                broker.start()
                tell(daemon, 5)
                eventually(lambda: len(listener.alerts()) == len(told), within_s=40)
                assert program.end(process) == 0
    by_id: dict[str, list[dict]] = defaultdict(list)
    for message in listener.of("/alert/"):
        by_id[message["message_id"]].append(message)
    assert all(all(copy == copies[0] for copy in copies) for copies in by_id.values())
    assert sorted((copies[0]["id"], copies[0]["state"]) for copies in by_id.values()) == sorted(told)


def test_statuses_give_way_while_the_broker_is_away_and_alerts_stay(tmp_path):
    broker = Mosquitto(tmp_path / "broker")
    with Broadcast(tmp_path) as daemon, broker.running(), Listener(broker.port) as listener:
        eventually(listener.is_listening)
        broker.kill()
        program = Program(tmp_path, "bridge", settings(daemon.address, broker.port, publish="keep_mb = 1.0"))
        with program.running(before="import rhythmd.bridge.app as app; app.is_news = lambda *_: True") as process:
            takes_part(tmp_path)
            told = [(f"p-{number}", "open") for number in range(300)]
            for id_, _ in told:
                daemon.opens("asystole", id_)
            flood(daemon, 1500)
            eventually(lambda: "the oldest statuses are dropped" in program.said)
            broker.start()
            eventually(lambda: len(listener.alerts()) == len(told), within_s=40)
            assert program.end(process) == 0
    assert listener.alerts() == told
    assert program.said.count("the oldest statuses are dropped") == 1


def test_the_strip_follows_when_it_is_whole(tmp_path):
    recorder = Recorder(tmp_path / "records")
    recorder.starts()
    recorder.signal(62)
    alert = recorder.alert(1, 60.0)
    broker = Mosquitto(tmp_path / "broker")
    with Broadcast(tmp_path) as daemon, broker.running(), Listener(broker.port) as listener:
        program = Program(
            tmp_path, "bridge", settings(daemon.address, broker.port) + f'records = "{tmp_path}/records"\n'
        )
        eventually(listener.is_listening)
        with program.running(before="import rhythmd.bridge.app as app; app.STRIPS_S = 0.2"):
            daemon.opens(alert.kind, alert.id)
            eventually(lambda: listener.of("/alert/"))
            assert listener.of("/strip/") == []
            recorder.signal(31)
            eventually(lambda: listener.of("/strip/"))
    (strip,) = listener.of("/strip/")
    conforms(f"rhythmd/icu-1/bed-3/strip/{alert.kind}", strip)
    kept = records.strip(alert.id, tmp_path / "records")
    assert (strip["alert"], strip["counts"]) == (alert.id, kept.counts.tolist())
    assert (strip["rate_hz"], strip["counts_per_mv"], strip["missing"]) == (250.0, 1000, -32768)
    assert datetime.fromisoformat(strip["begins"].replace("Z", "+00:00")) == kept.begins


def test_while_the_disk_takes_nothing_alerts_are_published_and_stored_when_it_does(tmp_path):
    broker = Mosquitto(tmp_path / "broker")
    with Broadcast(tmp_path) as daemon, broker.running(), Listener(broker.port) as listener:
        program = Program(tmp_path, "bridge", settings(daemon.address, broker.port))
        eventually(listener.is_listening)
        with program.running() as process:
            eventually(lambda: "the broker is there" in program.said and listener.of("/status"))
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            daemon.opens("asystole", "p-1")
            eventually(lambda: listener.alerts() == [("p-1", "open")])
            assert "nothing can be stored" in program.said
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            eventually(lambda: "what comes is stored again" in program.said)
            daemon.opens("asystole", "p-2")
            eventually(lambda: listener.alerts()[-1:] == [("p-2", "open")])
            assert program.end(process) == 0
    assert listener.alerts() == [("p-1", "open"), ("p-2", "open")]


def test_after_a_day_without_the_broker_alerts_come_first_and_then_all_the_rest(tmp_path):
    """A status every ten seconds, and an alert every seven minutes."""
    broker = Mosquitto(tmp_path / "broker")
    statuses = [
        Post(f"s-{n}", STATUSES, "rhythmd/icu-1/bed-3/status", filled(n, 1100), retain=True) for n in range(DAY)
    ]
    alerts = [Post(f"a-{n}", ALERTS, "rhythmd/icu-1/bed-3/alert/asystole", filled(n, 900)) for n in range(DAY // 40)]
    with open_outbox(64, tmp_path) as outbox:
        outbox.add({}, [*statuses, *alerts])
    with Broadcast(tmp_path) as daemon, broker.running(), Listener(broker.port) as listener:
        program = Program(tmp_path, "bridge", settings(daemon.address, broker.port, publish="keep_mb = 64"))
        eventually(listener.is_listening)
        with program.running():
            began_s = monotonic()
            eventually(lambda: len(listener.alerts()) == len(alerts), within_s=60)
            alerts_s = monotonic() - began_s
            before = [message for message in listener.of("/status") if "number" in message]
            eventually(lambda: len(listener.of("/status")) >= DAY, within_s=200)
            print(f"{len(alerts)} alerts after {alerts_s:.1f} s, {DAY} statuses after {monotonic() - began_s:.1f} s")
    assert len(before) < DAY
    assert [message["number"] for message in listener.of("/status") if "number" in message] == list(range(DAY))


def filled(number: int, size: int) -> bytes:
    message = {"message_id": f"m-{number}", "id": f"p-{number}", "state": "open", "number": number}
    return json.dumps(message).encode().ljust(size)


def flood(daemon: Broadcast, statuses: int) -> None:
    daemon.tell(lambda house: [house.status() for _ in range(statuses)])


def test_with_certificates_and_a_password_the_broker_is_reached_and_without_them_not(tmp_path):
    openssl(tmp_path)
    passwords = tmp_path / "passwords"
    passwd = shutil.which("mosquitto_passwd")
    if passwd is None:
        pytest.skip("mosquitto_passwd is not installed: apt-get install mosquitto")
    passwords.touch(mode=0o600)
    subprocess.run([passwd, "-b", str(passwords), "icu", "geheim-4711"], check=True, capture_output=True)
    secured = f"""
        password_file {passwords}
        cafile {tmp_path}/ca.pem
        certfile {tmp_path}/server.pem
        keyfile {tmp_path}/server.key
        require_certificate true
        """
    broker = Mosquitto(tmp_path / "broker", secured)
    (tmp_path / "password").write_text("geheim-4711\n")
    (tmp_path / "wrong").write_text("geheim-0815\n")
    access = f'tls = true\nca = "{tmp_path}/ca.pem"\nuser = "icu"\npassword_file = "{tmp_path}/PASSWORD"\n'
    certificate = f'certificate = "{tmp_path}/client.pem"\nkey = "{tmp_path}/client.key"\n'
    right = access.replace("PASSWORD", "password")
    with Broadcast(tmp_path) as daemon, broker.running():
        program = Program(tmp_path, "bridge", "")
        for given, complaint in (
            (right, "the broker is away"),
            (right.replace("ca = ", "# ") + certificate, "certificate verify failed"),
            (access.replace("PASSWORD", "wrong") + certificate, "Not authorized"),
        ):
            program.configure(settings(daemon.address, broker.port, given))
            with program.running() as process:
                eventually(lambda: complaint in program.said)  # noqa: B023 it is asked at once
                assert program.end(process) == 0
        assert "the broker is there" not in program.said
        program.configure(settings(daemon.address, broker.port, right + certificate))
        with program.running() as process:
            eventually(lambda: "the broker is there" in program.said)
            assert program.end(process) == 0
    assert "geheim" not in program.said
    assert "holds secrets and others can read it" in program.said  # as the files above were made


def openssl(folder: Path) -> None:
    """A certificate authority, a server of 127.0.0.1 and a client, all in `folder`.

    To the letter of RFC 5280, which Python 3.13 asks for: what the key may sign, and whose key signed.
    """
    found = shutil.which("openssl")
    if found is None:
        pytest.skip("openssl is not installed: apt-get install openssl")

    def run(*arguments: object) -> None:
        subprocess.run([found, *map(str, arguments)], check=True, capture_output=True, cwd=folder)

    plain = ("-newkey", "rsa:2048", "-nodes", "-days", "2")
    signs = ("-subj", "/CN=test ca", "-addext", "keyUsage=critical,keyCertSign")
    run("req", "-x509", *plain, "-keyout", "ca.key", "-out", "ca.pem", *signs)
    for name, alternative in (("server", "IP:127.0.0.1"), ("client", "DNS:icu-1")):
        (folder / f"{name}.ext").write_text(f"subjectAltName={alternative}\nauthorityKeyIdentifier=keyid\n")
        run("req", *plain[:3], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext")
        run("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")


# The description.


def test_the_description_is_asyncapi_3():
    """By the schema of AsyncAPI itself (npm: @asyncapi/specs 6.11.1, Apache-2.0)."""
    schema = json.loads(gzip.decompress((ROOT / "tests" / "schemas" / "asyncapi-3.0.0.json.gz").read_bytes()))
    document = msgspec.yaml.decode((ROOT / "docs" / "asyncapi.yaml").read_bytes())
    jsonschema.Draft7Validator(schema).validate(document)
    for reference in references(document):
        place = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    document["operations"]["send_alert"]["action"] = "shout"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema).validate(document)


def references(part: object) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [found for each in part.values() for found in references(each)]
    return [found for each in part for found in references(each)] if isinstance(part, list) else []


def test_the_description_is_that_of_the_code():
    """Else: python -m rhythmd.bridge.asyncapi docs/asyncapi.yaml."""
    assert (ROOT / "docs" / "asyncapi.yaml").read_bytes() == msgspec.yaml.encode(description())
