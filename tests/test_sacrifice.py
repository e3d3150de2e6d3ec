"""What is given up when something is too slow: never the reader's bytes, never an alert; of what is told live, whatever
a subscriber has not taken, which it sees by `seq`, and of which it fetches the alerts again."""

from __future__ import annotations

import socket
import time
from itertools import pairwise
from time import monotonic

import pytest

from daemon.messages import Alert, Beat, Status, Wave
from rhythmd import patient, subscriber
from rhythmd.player import Player
from rhythmd.recording import Recording
from rhythmd.subscriber import ALERTS, Received, Subscriber
from tests.running import MANY_ALERTS, Place, at_length, caught_up, fields, many, raised_in, until

SECONDS = many("RHYTHMD_SLOW_SECONDS", 24, 96)
SPEED = 30.0
SCRIPT = "sinus 6, vt 6 @190, sinus 4, asystole 6, sinus 2"

PATIENT = patient.make(", ".join([SCRIPT] * round(SECONDS / 24)), seed=1).recording
LONGER = patient.make(", ".join([SCRIPT] * 15), seed=1).recording

SLOW = """
    import time, daemon.engine
    run = daemon.engine.Engine._run
    daemon.engine.Engine._run = lambda self, inputs: time.sleep(0.3) or run(self, inputs)
"""
STUCK = """
    import time, daemon.app, daemon.engine
    daemon.app.STUCK_AFTER_S = 1.0
    run, sleeps = daemon.engine.Engine._run, [0.0] * 9 + [3.0]
    daemon.engine.Engine._run = lambda self, inputs: time.sleep(sleeps.pop(0) if sleeps else 0.0) or run(self, inputs)
"""
SHORT_QUEUES = "import daemon.doors; daemon.doors.QUEUED_MESSAGES = 200"

pytestmark = pytest.mark.timeout(120 + 3 * SECONDS)


def opened(received: list[Received]) -> list[tuple]:
    alerts = [one.message for one in received if isinstance(one.message, Alert)]
    return [fields(alert) for alert in alerts if alert.state == "open" and alert.category == "physiological"]


def is_last_status(one: Received) -> bool:
    """The patch has gone and all that it sent is judged."""
    return isinstance(one.message, Status) and one.message.port == "absent" and one.message.sample > 0


def followed(place: Place, subscriber: Subscriber, worn: Recording = PATIENT, speed: float = SPEED) -> list[Received]:
    """All that comes while the patch is worn to its end, as it came."""
    until(subscriber, lambda one: isinstance(one.message, Status))
    received: list[Received] = []
    with place.patch(Player(worn, "rhythmd"), speed):
        received += until(subscriber, lambda one: isinstance(one.message, Status) and one.message.sample > 0)
        received += until(subscriber, is_last_status, within_s=60 + 2 * SECONDS)
    return received + caught_up(subscriber)


@at_length
def test_a_slow_engine_delays_alerts_and_loses_none_and_the_daemon_goes_on_telling_how_it_is(tmp_path):
    """300 ms a window, at thirty windows a second."""
    place = Place(tmp_path, MANY_ALERTS, before=SLOW)
    with Subscriber(place.address, (*ALERTS, "status")) as subscriber, place.running() as running:
        received = followed(place, subscriber)
        assert running.end() == 0
    statuses = [one.message for one in received if isinstance(one.message, Status)]
    assert statuses[-1].latency.engine_p50_ms > 290
    assert statuses[-1].latency.read_to_sent_p99_ms > 2000
    uptimes = [status.uptime_s for status in statuses]
    assert max(after - before for before, after in pairwise(uptimes)) < 2.5
    assert max(status.queues.windows for status in statuses) > 10
    link = statuses[-1].link
    assert (link.samples, link.lost_samples, link.dropped_bytes) == (len(PATIENT.counts) // 10 * 10, 0, 0)
    assert opened(received) == raised_in(PATIENT, place)


@at_length
def test_an_engine_that_hangs_for_a_while_starves_the_watchdog_and_then_loses_nothing(tmp_path, monkeypatch):
    place = Place(tmp_path, MANY_ALERTS, before=STUCK)
    fed_s: list[float] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with Subscriber(place.address, (*ALERTS, "status")) as subscriber, place.running() as running:
            until(subscriber, lambda one: isinstance(one.message, Status))
            with place.patch(Player(PATIENT, "rhythmd"), SPEED):
                received: list[Received] = []
                while not received or not is_last_status(received[-1]):
                    if one := subscriber.receive(0.1):
                        received.append(one)
                    try:
                        if b"WATCHDOG=1" in notices.recv(256):
                            fed_s.append(monotonic())
                    except BlockingIOError:
                        pass
            received += caught_up(subscriber)
            assert running.end() == 0
    assert max(after - before for before, after in pairwise(fed_s)) > 1.8
    link = received[-1].message.link
    assert (link.samples, link.lost_samples, link.dropped_bytes) == (len(PATIENT.counts) // 10 * 10, 0, 0)
    assert opened(received) == raised_in(PATIENT, place)


@at_length
def test_a_subscriber_that_falls_behind_loses_waves_and_beats_and_no_alert(tmp_path, monkeypatch):
    """Its queues are shortened here, so that they overflow within seconds."""
    monkeypatch.setattr(subscriber, "QUEUED_MESSAGES", 100)
    place = Place(tmp_path, MANY_ALERTS, before=SHORT_QUEUES)
    with (
        Subscriber(place.address, (*ALERTS, "beat", "wave"), since=0) as slow,
        Subscriber(place.address, (*ALERTS, "status")) as watching,
        place.running() as running,
    ):
        until(slow, lambda one: True)
        received = followed(place, watching, LONGER, speed=0.0)
        time.sleep(0.5)
        late = caught_up_in_silence(slow)
        assert received[-1].message.queues.slow_subscribers >= 1
        assert running.end() == 0
    assert opened(late) == opened(received) == raised_in(LONGER, place)
    kinds = [type(one.message) for one in late]
    assert slow.lost > 0
    assert kinds.count(Wave) < len(LONGER.counts) / 25 - 50
    assert kinds.count(Beat) > 0


def caught_up_in_silence(slow: Subscriber) -> list[Received]:
    return list(iter(lambda: slow.receive(2.5), None))  # a status each second tells it what it has missed
