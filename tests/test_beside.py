"""The programs beside the daemon can do nothing to it: with the real daemon, a patch, and a real broker."""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import test_deploy
from tests.beside import Program, receiver
from tests.brokers import Mosquitto
from tests.lateness import assert_that_none_delays_an_alert
from tests.test_bridge import settings as bridge_settings
from tests.test_notify import settings as notify_settings

UNITS = Path(__file__).parents[1] / "systemd"


@pytest.mark.alone
def test_notify_bridge_and_broker_that_hang_or_are_killed_delay_no_alert(tmp_path):
    pytest.importorskip("apprise", reason="apprise is not installed: pip install 'rhythmd[notify]'")
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed: pip install 'rhythmd[bridge]'")

    @contextmanager
    def beside(place):
        broker = Mosquitto(tmp_path / "broker")
        with ExitStack() as stack:
            phone = stack.enter_context(receiver())
            stack.enter_context(broker.running())
            notify = Program(tmp_path, "notify", notify_settings(place.address, phone.port))
            bridge = Program(tmp_path, "bridge", bridge_settings(place.address, broker.port))
            processes = [stack.enter_context(program.running()) for program in (notify, bridge)]
            yield [*processes, broker.process], lambda: None
            assert phone.got  # it took part
            assert "the broker is there" in bridge.said

    assert_that_none_delays_an_alert(tmp_path, beside)


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
