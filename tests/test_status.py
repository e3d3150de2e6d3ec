"""`rhythmd status`: a daemon that runs is not yet one that watches."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from threading import Event, Thread

import pytest
from msgspec.structs import replace

from daemon.kinds import KINDS
from daemon.messages import Latency, LinkCounts, Queues, Status
from rhythmd import patient, rehearsal
from rhythmd.cli import main
from rhythmd.commands.status import REMEDY, reasons
from rhythmd.player import Player
from rhythmd.pty_port import play
from rhythmd.subscriber import Subscriber

WELL = Status(
    seq=1, patch="p", sample=999, utc=datetime(2026, 1, 1, tzinfo=timezone.utc), port="open", silent=False,
    quality="good", battery_low=False, rhythm="N", heart_rate_bpm=71.5, open_alerts=(), engine="onnxruntime", model="m",
    engine_asked="onnxruntime", link=LinkCounts(samples=1000), uptime_s=60.0, sample_age_s=0.1,
    latency=Latency.of(engine_ms=[1.5, 1.5], read_to_sent_ms=[]),
)  # fmt: skip

ILL = {
    "patch_lost": {"port": "absent"},
    "signal_lost": {"silent": True},
    "signal_lost: no samples come": {"sample_age_s": 60.0},  # a dsp room that hangs, a link that is not the patch's
    "signal_lost: no samples come:": {"sample_age_s": None},
    "quality: noisy for": {"quality": "noisy", "unfit_s": 40.0},
    "engine_failing: onnxruntime in place of tensorrt": {"engine_asked": "tensorrt"},
    "storage_failing": {"storage": "database or disk is full"},
    "behind": {"queues": Queues(readings=2000)},
    "lead_off": {"technical": ("lead_off",)},
}


def test_a_daemon_that_watches_is_healthy():
    assert reasons(WELL) == []


@pytest.mark.parametrize("change", [{"unfit_s": 3.0, "quality": "noisy"}, {"battery_low": True}, {"rhythm": "VF"}])
def test_a_moment_of_noise_a_low_battery_or_a_sick_heart_is_no_sick_daemon(change):
    assert reasons(replace(WELL, **change)) == []


@pytest.mark.parametrize("reason", ILL)
def test_what_keeps_it_from_watching_is_one_line_with_a_remedy(reason):
    (found,) = reasons(replace(WELL, **ILL[reason]))
    assert found.startswith(reason)
    assert len(found) > len(reason) + 20
    assert "\n" not in found


def test_every_technical_condition_has_its_remedy():
    assert set(REMEDY) == {name for name, kind in KINDS.items() if kind.category == "technical"}


def test_no_daemon_is_exit_code_2(tmp_path, capsys):
    assert main(["status", "--connect", f"ipc://{tmp_path}/nobody"]) == 2
    assert "no daemon answers" in capsys.readouterr().err


def test_the_real_daemon_is_ill_without_a_patch_and_well_with_one(capsys):
    player = Player(patient.make("sinus 60", seed=1).recording, "rhythmd")
    with rehearsal.daemon() as running:
        with Subscriber(running.address, ("status",)) as subscriber:
            assert subscriber.receive(30.0)
        assert main(["status", "--connect", running.address, "--json"]) == 1
        told = json.loads(capsys.readouterr().out)
        assert (told["healthy"], told["status"]["port"]) == (False, "absent")
        assert told["reasons"][0].startswith("patch_lost")
        stop = Event()
        patch = Thread(target=play, args=(player, running.port), kwargs={"speed": 1.0, "stop": stop})
        patch.start()
        try:
            codes = []
            while 0 not in codes and len(codes) < 30:
                with Subscriber(running.address, ("status",)) as subscriber:
                    subscriber.receive(2.0)
                    subscriber.receive(2.0)
                codes.append(main(["status", "--connect", running.address]))
            shown = capsys.readouterr().out.split("rhythmd ")
        finally:
            stop.set()
            patch.join()
    assert codes[-1] == 0
    assert "healthy, up" in shown[-1]
    assert "onnxruntime" in shown[-1]
    assert "! " not in shown[-1]
