"""Several patches, one gateway: real ports, a real daemon, and each patch's alerts are those of its recording alone."""

from __future__ import annotations

import os
import threading
import tty
from collections import defaultdict
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from daemon import config as cfg
from daemon.app import find_model
from daemon.messages import Alert, Answered, Beat, Status
from daemon.reporting import TimeLine, alert_message, beat_message
from engines.backend import open_backend
from rhythmd import patient
from rhythmd.analysis import analyze
from rhythmd.cli import main
from rhythmd.player import Player, excerpt, on_the_wire
from rhythmd.pty_port import play
from rhythmd.recording import Recording, shipped
from rhythmd.subscriber import Received, Subscriber
from rhythmd.subscribers import Subscribers
from tests.house import open_daemon
from tests.running import MANY_ALERTS, Place, fields, until

SPEED = 8.0
WEARERS = {
    "bed-1": patient.make("sinus 30, vt 12, sinus 20", seed=1).recording,
    "bed-2": patient.make("sinus 20, asystole 12, sinus 30", seed=2).recording,
    "bed-3": excerpt(shipped(), 0, 60),
    "bed-4": excerpt(shipped(), 300, 60),
    "bed-5": excerpt(shipped(), 600, 60),
    "bed-6": excerpt(shipped(), 900, 60),
    "bed-7": excerpt(shipped(), 1200, 60),
}
HOSTILE = "bed-8"
OWN_LIMITS = {"bed-5": "alerts.pause.rr_s = 1.2\nalerts.extreme_tachycardia = {rate_bpm = 75.0, beats = 3}\n"}


def beds(folder: Path) -> str:
    return "".join(
        f'[[patches]]\nid = "{name}"\nport = "{folder}/{name}"\n{OWN_LIMITS.get(name, "")}'
        for name in [*WEARERS, HOSTILE]
    )


class Ward(Place):
    """Eight patches' ports in one configuration."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        places = f'publish.bind = ["{self.address}"]\nstore.directory = "{self.state}"\nmetrics.port = 0\n'
        self.config.write_text(f"{places}{MANY_ALERTS}{beds(folder)}")


def expected(place: Place) -> dict[str, tuple[list, list]]:
    """What `rhythmd analyze` finds in each recording, with the limits of that bed: alerts as they open, and beats."""
    model, found = find_model(cfg.Config().engine.model), {}
    for patch, alerts in cfg.load(place.config).wearers:
        if patch.id in WEARERS:
            wire = on_the_wire(WEARERS[patch.id], "rhythmd")
            with open_backend("onnxruntime", model) as backend:
                analysed = analyze(wire, backend, model.manifest.heads, alerts)
            line = TimeLine(wire.rate_hz, wire.begins)
            raised = [alert_message(one, patch="", seq=0, line=line) for one in analysed.alerts]
            beats = [beat_message(one, patch="", seq=0, line=line) for one in analysed.beats]
            found[patch.id] = [*map(fields, raised)], [(one.sample, one.beat, one.probability) for one in beats]
    return found


def noise(seconds: float) -> Recording:
    return replace(WEARERS["bed-3"], counts=np.rint(np.random.default_rng(5).normal(0, 400, int(250 * seconds))))


def hostile(port: Path, stop: threading.Event) -> None:
    """Garbage as fast as it is read, then noise from an electrode, then away, and again."""
    garbage = np.random.default_rng(7).bytes(65_536)
    while not stop.is_set():
        master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        port.symlink_to(os.ttyname(slave))
        for _ in range(300):
            try:
                os.write(master, garbage)
            except BlockingIOError:
                stop.wait(0.01)
        port.unlink()
        os.close(slave)
        os.close(master)
        stop.wait(0.3)
        play(Player(noise(20), "rhythmd"), port, speed=SPEED, stop=stop)


def gathered(place: Place, *, disturbed: bool) -> dict[str, list[Received]]:
    """What was said of each patch while all seven were played."""
    came: dict[str, list[Received]] = defaultdict(list)
    stop = threading.Event()
    with place.running() as running, ExitStack() as stack:
        running.wait_until_ready()
        subscriber = stack.enter_context(closing(Subscriber(place.address, ("alert.", "event.", "beat", "status"))))
        assert subscriber.receive(20.0)
        wearing = [
            threading.Thread(
                target=play, args=(Player(recording, "rhythmd"), place.folder / name), kwargs={"speed": SPEED}
            )
            for name, recording in WEARERS.items()
        ]
        attack = threading.Thread(target=hostile, args=(place.folder / HOSTILE, stop))
        for thread in [*wearing, *[attack] * disturbed]:
            thread.start()
        present: set[str] = set()

        def all_have_gone(received: Received) -> bool:
            message = received.message
            came[message.patch].append(received)
            if isinstance(message, Status) and message.patch in WEARERS:
                (present.add if message.port == "open" else lambda _: None)(message.patch)
                gone[message.patch] = message.port == "absent" and message.patch in present
            return all(gone.values())

        gone = dict.fromkeys(WEARERS, False)
        try:
            until(subscriber, all_have_gone, within_s=90.0)
        finally:
            stop.set()
            for thread in [*wearing, *[attack] * disturbed]:
                thread.join()
        assert running.end() == 0
    return came


def test_seven_patches_beside_a_hostile_one_get_the_alerts_of_their_recordings(tmp_path):
    place = Ward(tmp_path)
    came = gathered(place, disturbed=True)
    wanted = expected(place)
    assert sum(len(raised) for raised, _ in wanted.values()) > 10
    for name, (raised, beats) in wanted.items():
        said = [one.message for one in came[name]]
        physiological = [
            fields(one)
            for one in said
            if isinstance(one, Alert) and one.state == "open" and one.category == "physiological"
        ]
        assert physiological == raised, name
        assert [(one.sample, one.beat, one.probability) for one in said if isinstance(one, Beat)] == beats, name
        assert {one.id.rpartition("-")[0].rpartition("-")[0] for one in said if isinstance(one, Alert)} <= {name}
    attacked = [one.message for one in came[HOSTILE] if isinstance(one.message, Status)]
    assert max(one.link.skipped_bytes for one in attacked) > 1_000_000
    assert max(one.link.connections for one in attacked) > 2
    assert {one.message.kind for one in came[HOSTILE] if isinstance(one.message, Alert)} >= {"patch_lost"}


def test_one_subscriber_follows_all_patches_or_one_and_each_is_answered_alone(tmp_path, capsys):
    place, topics = Ward(tmp_path), ("alert.", "answered", "status")
    connect = ("--connect", place.address)
    with place.running() as running, Subscriber(place.address, topics) as ward:
        running.wait_until_ready()
        lost: set[str] = set()

        def all_are_lost(received: Received) -> bool:
            lost.update([received.message.patch] * isinstance(received.message, Alert))
            return len(lost) == 8

        until(ward, all_are_lost)
        with Subscriber(place.address, topics, patch="bed-2") as one:
            until(one, lambda each: isinstance(each.message, Status) and each.message.calling)
            assert main(["ack", *connect, "--silence", "60", "--patch", "bed-2"]) == 0
            came = until(one, lambda each: isinstance(each.message, Status) and not each.message.calling)
        assert {each.message.patch for each in came} == {"bed-2"}
        assert [each.message.how for each in came if isinstance(each.message, Answered)] == ["silenced"]
        until(
            ward,
            lambda each: isinstance(each.message, Status) and each.message.patch == "bed-1" and each.message.calling,
        )
        assert main(["ack", *connect]) == 0
        assert sorted(line.split("-")[1] for line in capsys.readouterr().out.splitlines()) == list("1345678")
        assert main(["ack", *connect, "--silence", "1", "--patch", "bed-9"]) == 2
        assert main(["status", *connect]) == 1
        told = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
        assert [name for name in told if name != "!"] == sorted([*WEARERS, HOSTILE])
        assert main(["status", *connect, "--patch", "bed-3"]) == 1
        assert "bed-3: port absent" in capsys.readouterr().out
        assert main(["record", *connect, "--directory", str(tmp_path / "records")]) == 2
        assert "name one with --patch" in capsys.readouterr().err
        assert ward.lost == 0


def test_numbers_go_on_for_each_patch_by_itself(address, tmp_path):
    """So that who follows one knows what he missed of it, whatever the others said."""
    with open_daemon(address, tmp_path) as house, Subscriber(address, ("beat",)) as subscriber:
        house.serve_until(lambda: house.publisher.wanted("beat"))
        beds = [house.publisher.of("bed-1"), house.publisher.of("bed-2")]
        for patch, skipped in ((0, 0), (1, 0), (0, 0), (1, 2), (0, 0)):
            for _ in range(skipped):
                beds[patch].next_seq("beat")  # as if they had not come through
            told = house.common("beat") | {"seq": beds[patch].next_seq("beat"), "patch": f"bed-{patch + 1}"}
            values = {"beat": "N", "probability": 1.0, "rr_s": None, "heart_rate_bpm": None, "decided_sample": 0}
            beds[patch].send("beat", Beat(**values, **told))
        came = [subscriber.receive(5.0).message for _ in range(5)]
        assert [(one.patch, one.seq) for one in came if one.patch == "bed-1"] == [("bed-1", each) for each in (1, 2, 3)]
        assert [one.seq for one in came if one.patch == "bed-2"] == [1, 4]
        assert subscriber.lost == 2


def test_several_daemons_are_followed_as_one_and_one_that_is_away_keeps_nobody_waiting(tmp_path):
    addresses = [f"ipc://{tmp_path}/{name}.ipc" for name in ("east", "west", "away")]
    heard: list[str] = []

    def hear(ward: Subscribers, ids: set[str]) -> None:
        until_s = monotonic() + 10.0
        while not ids <= set(heard):
            assert monotonic() < until_s
            east.serve()
            west.serve()
            if received := ward.receive(0.02):
                heard.append(received.message.id)

    with open_daemon(addresses[0], tmp_path / "1") as east, open_daemon(addresses[1], tmp_path / "2") as west:
        with Subscribers(addresses, since=dict.fromkeys(addresses, 0)) as ward:
            for house in (east, west):
                house.serve_until(lambda house=house: house.publisher.wanted("alert."))
            east.opens("asystole", "east-1")
            west.opens("asystole", "west-1")
            west.opens("pause", "west-2")
            hear(ward, {"east-1", "west-1", "west-2"})
            marks = ward.marks
        east.opens("pause", "east-2")  # nobody listens
        with Subscribers(addresses, since=marks) as again:
            hear(again, {"east-2"})
    assert sorted(heard) == ["east-1", "east-2", "west-1", "west-2"]  # each once
    assert heard.index("west-1") < heard.index("west-2")
    with pytest.raises(ValueError, match="is no address"):
        Subscribers([addresses[0], "nonsense"])


def test_doctor_looks_at_each_patch_and_what_is_for_one_is_refused(tmp_path, capsys):
    place = Ward(tmp_path)
    main(["doctor", "--config", str(place.config)])
    said = capsys.readouterr().out
    assert [name for name in [*WEARERS, HOSTILE] if f"{tmp_path}/{name} is not there" in said] == [*WEARERS, HOSTILE]
    assert main(["run", "--config", str(place.config), "--port", "/dev/ttyUSB0"]) == 2
    assert "--port is for one patch" in capsys.readouterr().err
