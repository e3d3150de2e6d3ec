"""Recorded wire bytes through the whole daemon: the real process, a pty, the engine, a socket. Goldens beside them.

`pytest tests/test_replay.py --update-replays` writes the goldens anew, after a change that is meant to change them.
`python tests/test_replay.py` makes the recordings themselves.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from daemon.app import find_model
from daemon.config import Config
from daemon.links import LINKS
from daemon.messages import Alert, Beat, Status
from daemon.reporting import TimeLine, alert_message, beat_message
from engines.backend import open_backend
from rhythmd import patient, rehearsal
from rhythmd.analysis import analyze
from rhythmd.player import Fate, Faults, Player, Span, Turn, excerpt
from rhythmd.recording import NO_DATE, Recording, shipped
from rhythmd.subscriber import Received

REPLAYS = Path(__file__).parent / "replays"
RECORDINGS = sorted(REPLAYS.glob("*.bin"))
VOLATILE = {"id", "utc", "patch", "seq", "schema", "serial", "previous"}
PATIENT = "patch.silence_limit_s = 60\n"  # a machine that stalls between two frames is no patch that is silent
CHUNK_BYTES = 997  # no multiple of a frame: the daemon must put them together


class Wire:
    """A patch that sends recorded bytes."""

    def __init__(self, recording: Path) -> None:
        self.link = LINKS[recording.suffixes[0].removeprefix(".")]
        self._bytes = recording.read_bytes()

    def turns(self):
        for number, start in enumerate(range(0, len(self._bytes), CHUNK_BYTES)):
            yield Turn(0.0, number, Fate.SENT, self._bytes[start : start + CHUNK_BYTES])


def alerts_of(recording: Path) -> list[dict]:
    """Every alert as it last stood, less what differs from run to run."""
    link = recording.suffixes[0].removeprefix(".")
    with rehearsal.daemon(f'{PATIENT}patch.link = "{link}"\n') as running:
        received = rehearsal.rehearse(running, Wire(recording), speed=0)
    last = {one.message.id: msgspec.to_builtins(one.message) for one in received if isinstance(one.message, Alert)}
    return [
        {key: value for key, value in alert.items() if key not in VOLATILE}
        for alert in last.values()
        if alert["kind"] != "patch_lost"  # as soon as the pty closes: a matter of the machine's speed
    ]


def same(found: dict, golden: dict) -> bool:
    """Samples and kinds exactly; measured evidence to a tolerance, for networks differ in the last digits."""
    evidence, expected = found.pop("evidence"), golden.pop("evidence")
    alike = evidence.keys() == expected.keys() and all(
        math.isclose(value, expected[key], abs_tol=0.01) if isinstance(value, float) else value == expected[key]
        for key, value in evidence.items()
    )
    return found == golden and alike


def test_there_are_recordings():
    assert len(RECORDINGS) >= 3


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_alerts_are_those_on_file(recording, update_replays):
    golden = recording.with_suffix(".alerts.jsonl")
    found = alerts_of(recording)
    if update_replays:
        golden.write_text("".join(json.dumps(alert) + "\n" for alert in found))
    expected = [json.loads(line) for line in golden.read_text().splitlines()]
    assert [alert["kind"] for alert in found] == [alert["kind"] for alert in expected]
    assert all(same(alert, on_file) for alert, on_file in zip(found, expected, strict=True))


def analyzed(recording: Recording) -> tuple[list[dict], list[dict]]:
    model = find_model(Config().engine.model)
    with open_backend("onnxruntime", model) as backend:
        analysis = analyze(recording, backend, model.manifest.heads, Config().alerts)
    line = TimeLine(recording.rate_hz, NO_DATE)
    beats = [msgspec.to_builtins(beat_message(beat, patch="", seq=0, line=line)) for beat in analysis.beats]
    alerts = [msgspec.to_builtins(alert_message(alert, patch="", seq=0, line=line)) for alert in analysis.alerts]
    return beats, alerts


def steady(fields: dict) -> dict:
    return {key: value for key, value in fields.items() if key not in VOLATILE}


@pytest.mark.parametrize("rate_hz", [250.0, 360.0])
def test_analysis_gives_exactly_what_the_daemon_gives_live(rate_hz):
    """The same samples, by way of a pty in one case and of a file in the other: every beat and alert is equal."""
    simulated = patient.make("sinus 20, pvc 20, vt 8, sinus 10, asystole 7, sinus 5", seed=3, rate_hz=rate_hz)
    recording = replace(excerpt(shipped(), 280, 150), name="x") if rate_hz == 250.0 else simulated.recording
    with rehearsal.daemon(f"{PATIENT}patch.rate_hz = {rate_hz}\n") as running:
        # The link carries any rate; the player is told that the recording's is the link's own.
        received = rehearsal.rehearse(running, Player(replace(recording, rate_hz=250.0), "rhythmd"), speed=0)
    beats, alerts = assert_equal(received, analyzed(recording))
    assert len(beats) > 60
    assert rate_hz == 250.0 or alerts


@pytest.mark.parametrize("speed", [0.0, 5.0], ids=["as fast as it goes", "slowly enough to be missed"])
def test_a_long_loss_is_told_alike_live_and_in_the_analysis(speed):
    """Whether the silence was noticed while it lasted, or the sample numbers jumped before anyone could."""
    whole = excerpt(shipped(), 300, 45)
    counts = whole.counts.copy()
    counts[2500:2550] = counts[4000:7500] = np.nan  # bridged; 14 s, a new session
    recording = replace(whole, counts=counts, name="x")
    with rehearsal.daemon("" if speed else PATIENT) as running:
        received = rehearsal.rehearse(running, Player(recording, "rhythmd"), speed=speed)
    _, alerts = assert_equal(received, analyzed(recording))
    assert [(alert["kind"], alert["onset_sample"], alert["end_sample"]) for alert in alerts] == [
        ("signal_lost", 4000, 7500)
    ]


def assert_equal(received: list[Received], analysis: tuple[list[dict], list[dict]]) -> tuple[list[dict], list[dict]]:
    """Every beat and every alert that ended by itself."""
    live_beats = [steady(msgspec.to_builtins(one.message)) for one in received if isinstance(one.message, Beat)]
    last = {one.message.id: one.message for one in received if isinstance(one.message, Alert)}
    live_alerts = [
        steady(msgspec.to_builtins(alert))
        for alert in last.values()
        if alert.kind != "patch_lost" and alert.ended_by != "interrupted"
    ]
    beats, alerts = analysis
    assert [steady(beat) for beat in beats] == live_beats
    assert [steady(alert) for alert in alerts if alert["end_sample"] is not None] == live_alerts
    return live_beats, live_alerts


def test_what_was_sent_is_delivered_or_counted_as_lost():
    recording = excerpt(shipped(), 300, 60)
    player = Player(recording, "rhythmd", Faults(drop=0.05, corrupt=0.05), seed=7)
    sent = list(player.turns())
    with rehearsal.daemon() as running:
        received = rehearsal.rehearse(running, player, speed=0)
    link = [one.message for one in received if isinstance(one.message, Status)][-1].link
    arrived = [turn.sequence for turn in sent if turn.fate is Fate.SENT]
    assert link.frames == len(arrived)
    assert link.lost_samples == 10 * (arrived[-1] - arrived[0] + 1 - len(arrived))
    assert link.dropped_bytes == 0


def make_recordings() -> None:
    def write(name: str, recording: Recording, link: str, faults: Faults) -> None:
        wire = b"".join(turn.wire for turn in Player(recording, link, faults, seed=1).turns())
        (REPLAYS / f"{name}.{link}.bin").write_bytes(wire)

    lethal = patient.make("sinus 15, vt 8, sinus 8, vf 10, asystole 8, sinus 12", seed=11)
    write("synthetic-lethal", lethal.recording, "rhythmd", Faults(drop=0.01, corrupt=0.01))
    af = patient.make("sinus 10, af 70, sinus 30", seed=12)
    write("synthetic-af", af.recording, "rhythmd", Faults(drop=0.01))
    slow = patient.make("sinus 8, brady 16, sinus 8", seed=13)
    write("synthetic-slow", slow.recording, "cyton", Faults(drop=0.01))
    # AHA 0201 around its one couplet; ODC-By 1.0, see rhythmd/recording.py
    write("aha0201-couplet", excerpt(shipped(), 1560, 60), "rhythmd", Faults(lead_off=(Span(48, 8),)))


if __name__ == "__main__":
    make_recordings()
