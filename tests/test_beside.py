"""The programs beside the daemon can do nothing to it: with the real daemon, a patch, and a real broker."""

from __future__ import annotations

import re
import signal
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import pytest

from daemon.messages import Alert, Status
from rhythmd import patient
from rhythmd.player import Player
from rhythmd.subscriber import Subscriber
from tests import test_deploy
from tests.beside import Program, receiver
from tests.brokers import Mosquitto
from tests.running import MANY_ALERTS, Place, fields, raised_in, until
from tests.test_bridge import settings as bridge_settings
from tests.test_notify import settings as notify_settings

RATE_HZ = 250
SPEED = 10.0
UNITS = Path(__file__).parents[1] / "systemd"


def test_notify_bridge_and_broker_that_hang_or_are_killed_delay_no_alert(tmp_path):
    """From the moment that the patch has sent what an alert needed."""
    pytest.importorskip("apprise", reason="apprise is not installed: pip install 'rhythmd[notify]'")
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed: pip install 'rhythmd[bridge]'")
    broker = Mosquitto(tmp_path / "broker")
    place = Place(tmp_path, MANY_ALERTS)
    recording = patient.make("sinus 6, vt 6 @190, sinus 4, asystole 6, sinus 2, " * 4, seed=1).recording
    late_s: dict[str, list[float]] = {"alive": [], "hanging": [], "killed": []}
    sent, found = [], []
    with ExitStack() as stack:
        stack.enter_context(place.running())
        subscriber = stack.enter_context(Subscriber(place.address, ("alert.", "event.", "status")))
        until(subscriber, lambda one: isinstance(one.message, Status))
        phone = stack.enter_context(receiver())
        stack.enter_context(broker.running())
        notify = Program(tmp_path, "notify", notify_settings(place.address, phone.port))
        bridge = Program(tmp_path, "bridge", bridge_settings(place.address, broker.port))
        others = [stack.enter_context(program.running()) for program in (notify, bridge)] + [broker.process]
        stack.enter_context(
            place.patch(Player(recording, "rhythmd"), SPEED, lambda due_s: sent.append((due_s, monotonic())))
        )
        state = "alive"
        while True:
            one = until(subscriber, lambda _: True)[-1].message
            if isinstance(one, Status) and one.port == "absent" and one.sample > 0:
                break
            if not isinstance(one, Alert) or one.state != "open" or one.category != "physiological":
                continue
            found.append(fields(one))
            needed_s = one.raised_sample / RATE_HZ
            late_s[state].append(monotonic() - next(at_s for due_s, at_s in sent if due_s >= needed_s))
            if state == "alive" and needed_s > 30:
                state = "hanging"
                for process in others:
                    process.send_signal(signal.SIGSTOP)
            elif state == "hanging" and needed_s > 60:
                state = "killed"
                for process in others:
                    process.kill()
        assert phone.got  # it took part
        assert "the broker is there" in bridge.said
    assert found == raised_in(recording, place)
    assert all(len(each) > 2 for each in late_s.values()), late_s
    print({state: f"{len(each)} alerts, the latest {max(each):.2f} s" for state, each in late_s.items()})
    assert max(max(each) for each in late_s.values()) < 1.0


@pytest.mark.parametrize("name", ["notify", "bridge"])
def test_each_of_their_units_is_without_fault_and_exposes_little(name, tmp_path):
    file = UNITS / f"rhythmd-{name}.service"
    keys = test_deploy.settings(file)
    assert keys.keys() & test_deploy.NEWER_THAN_JETPACK_6 == set()
    assert "ProcSubset" not in keys  # ONNX Runtime is not loaded here, but numpy reads /proc/cpuinfo too
    assert keys["ExecStart"] == [f"/opt/rhythmd/bin/rhythmd {name}"]
    assert keys["LoadCredential"] == [f"{name}.toml:/etc/rhythmd/{name}.toml"]
    unit = tmp_path / file.name
    unit.write_text(re.sub(r"(?m)^ExecStart=.*$", "ExecStart=/bin/true", file.read_text()))
    analyze = test_deploy.tool("systemd-analyze", "apt-get install systemd")
    assert test_deploy.run(analyze, "verify", unit) == ""
    if "--offline" in test_deploy.run(analyze, "--help"):
        test_deploy.run(analyze, "security", "--offline=yes", "--threshold=13", unit)
