"""Processes killed at random instants while a replayed recording raises alerts: nothing is lost, nothing is told twice.

RHYTHMD_KILLS says how many, 6 by default; `make reliability` makes it 200.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from time import monotonic, sleep

import pytest

from daemon import config as cfg
from daemon.app import find_model
from daemon.config import Config
from daemon.ledger import open_ledger
from daemon.messages import Alert
from daemon.reporting import TimeLine, alert_message
from engines.backend import open_backend
from rhythmd.analysis import analyze
from rhythmd.player import Player, excerpt, on_the_wire
from rhythmd.pty_port import play
from rhythmd.recording import shipped
from rhythmd.subscriber import Subscriber

KILLS = int(os.environ.get("RHYTHMD_KILLS", "6"))
SPEED = 30.0
RECORDING = excerpt(shipped(), 300, 240)
SETTINGS = "[alerts]\nventricular_couplet.action = 'alarm'\nfrequent_pvc.per_minute = 2\npause.rr_s = 1.0\n"


def fields(alert: Alert) -> tuple:
    """What must be equal from run to run."""
    return alert.kind, alert.onset_sample, alert.raised_sample, tuple(sorted(alert.evidence.items()))


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("kills")
    file = folder / "rhythmd.toml"
    places = f'patch.port = "{folder}/patch"\npublish.bind = ["ipc://{folder}/alerts.ipc"]\n'
    file.write_text(f'{places}store.directory = "{folder}/state"\n{SETTINGS}')
    return file


@pytest.fixture(scope="module")
def unkilled(config) -> list[tuple]:
    """The alerts of a run that nobody kills, as they open."""
    limits = cfg.load(config).alerts
    model = find_model(Config().engine.model)
    wire = on_the_wire(RECORDING, "rhythmd")
    with open_backend("onnxruntime", model) as backend:
        found = analyze(wire, backend, model.manifest.heads, limits)
    line = TimeLine(wire.rate_hz, wire.begins)
    opened = [fields(alert_message(one, patch="", seq=0, line=line)) for one in found.alerts]
    assert len(opened) > 10
    return opened


def run(config: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "rhythmd", "run", "--config", str(config)]
    return subprocess.Popen(command, stderr=(config.parent / "log").open("ab"))


def test_a_daemon_killed_at_any_instant_has_told_and_kept_the_same(config, unkilled):
    """Whatever a subscriber heard is in the ledger, and what was told of each run is how the unkilled run begins."""
    chance = random.Random(1)
    address, port = f"ipc://{config.parent}/alerts.ipc", config.parent / "patch"
    told: list[Alert] = []
    with Subscriber(address, since=0) as subscriber:
        for _ in range(KILLS):
            process, stop = run(config), threading.Event()
            patch = threading.Thread(
                target=play, args=(Player(RECORDING, "rhythmd"), port), kwargs={"speed": SPEED, "stop": stop}
            )
            patch.start()
            lives_until_s = monotonic() + chance.uniform(1.0, 6.0)
            while monotonic() < lives_until_s:
                if one := subscriber.receive(0.05):
                    told.append(one.message)
            process.send_signal(signal.SIGKILL)
            process.wait()
            stop.set()
            patch.join()
        process = run(config)
        while one := subscriber.receive(5.0):
            told.append(one.message)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    heard = [one.serial for one in told]
    assert sorted(set(heard)) == heard  # in order, none twice
    with open_ledger(config.parent / "state") as ledger:
        kept = ledger.since(0, ("alert.", "event."), most=10**6).entries
    assert set(heard) <= {entry.serial for entry in kept}
    assert {entry.serial for entry in kept} - set(heard) <= {entry.serial for entry in kept[-3:]}  # said in farewell
    runs: dict[str, list[tuple]] = {}
    for one in told:
        if one.state == "open" and one.category == "physiological":
            runs.setdefault(one.id.rpartition("-")[0], []).append(fields(one))
    assert sum(map(len, runs.values())) > KILLS / 2
    for opened in runs.values():
        assert opened == unkilled[: len(opened)]
    closed = [one.id for one in told if one.state == "closed"]
    assert sorted(set(closed)) == sorted(closed)
    assert {one.id for one in told if one.state == "open"} - set(closed) <= {one.id for one in told[-5:]}


def test_a_subscriber_killed_at_any_instant_has_dealt_with_every_alert_once(config, unkilled):
    """It keeps what it made of an alert and the alert's serial in one write; that is its mark."""
    chance = random.Random(2)
    address, port, file = f"ipc://{config.parent}/alerts.ipc", config.parent / "patch", config.parent / "dealt"
    program = """
        import json, os, sys
        from rhythmd import Mark, Subscriber
        address, file = sys.argv[1:]
        with open(file, "ab+") as dealt:
            dealt.seek(0)
            lines = dealt.read().split(b"\\n")
            dealt.truncate(dealt.tell() - len(lines[-1]))  # a line cut off by the kill was not dealt with
            since = Mark(**json.loads(lines[-2])["mark"]) if len(lines) > 1 else 0
            with Subscriber(address, since=since) as alerts:
                for received in alerts:
                    mark = {"ledger": alerts.mark.ledger, "serial": alerts.mark.serial}
                    line = json.dumps({"mark": mark, "serial": received.message.serial})
                    dealt.write(line.encode() + b"\\n")
                    dealt.flush()
                    os.fsync(dealt.fileno())
    """
    process, stop = run(config), threading.Event()
    player = Player(RECORDING, "rhythmd", loop=True)
    patch = threading.Thread(target=play, args=(player, port), kwargs={"speed": SPEED, "stop": stop})
    patch.start()
    command = [sys.executable, "-c", textwrap.dedent(program), address, str(file)]
    for _ in range(KILLS):
        subscriber = subprocess.Popen(command)
        sleep(chance.uniform(0.3, 2.0))
        subscriber.send_signal(signal.SIGKILL)
        subscriber.wait()
    stop.set()
    patch.join()
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    process, subscriber = run(config), subprocess.Popen(command)
    sleep(6.0)  # it starts, and is told all that it missed
    subscriber.kill()
    subscriber.wait()
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    dealt = [json.loads(line)["serial"] for line in file.read_bytes().splitlines()]
    with open_ledger(config.parent / "state") as ledger:
        kept = [entry.serial for entry in ledger.since(0, ("alert.", "event."), most=10**6).entries]
    assert dealt == kept[: len(dealt)]
    assert len(kept) - len(dealt) <= 3  # said in farewell
    assert len(dealt) > KILLS
