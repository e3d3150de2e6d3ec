"""A day of patch time in one daemon, and signals at any moment of its life.

RHYTHMD_HOURS says how much patch time, a quarter of one by default; RHYTHMD_SIGNALS how many signals, a few by default.
"""

from __future__ import annotations

import random
import signal
import threading
from time import monotonic, sleep

import pytest

from daemon.ledger import FILE
from daemon.messages import Alert, Status
from rhythmd.player import Player
from rhythmd.recording import shipped
from rhythmd.subscriber import ALERTS, Subscriber
from tests.running import AT_LENGTH, MANY_ALERTS, Place, at_length, last_words, many, until

HOURS = many("RHYTHMD_HOURS", 0.1, 24)
SIGNALS = int(many("RHYTHMD_SIGNALS", 2, 40))
GROWTH_KB = 5_000
LEAD_S = 1200.0
"""Patch time that waits for the daemon: a status a second tells how far it has come."""

LARGEST_LOG = 1_100_000
"""Bytes of the ledger's write-ahead log."""

pytestmark = pytest.mark.timeout(300 + 300 * HOURS + 10 * SIGNALS)


@pytest.mark.alone
def test_a_long_time_leaves_memory_handles_threads_and_log_as_they_were(tmp_path):
    """A recording over and over, as fast as the daemon judges; a subscriber keeps up."""
    place = Place(tmp_path, MANY_ALERTS)
    begun_s = monotonic()
    seen: list[tuple[int, int, int]] = []  # memory in kB, handles, threads, at each status
    largest_log = alerts = sample = 0
    over = threading.Event()

    def wait_for_it(due_s: float) -> None:
        while due_s - sample / 250 > LEAD_S and not over.wait(0.01):
            pass

    with Subscriber(place.address, (*ALERTS, "status"), since=0) as subscriber, place.running() as running:
        until(subscriber, lambda one: isinstance(one.message, Status))
        with place.patch(Player(shipped(), "rhythmd", loop=True), 0.0, wait_for_it):
            while sample < HOURS * 3600 * 250:
                one = subscriber.receive(10.0)
                assert one is not None
                alerts += isinstance(one.message, Alert) and one.message.state == "open"
                if isinstance(one.message, Status):
                    sample = one.message.sample
                    seen.append((running.memory_kb, running.handles, running.threads))
                    largest_log = max(largest_log, (place.state / f"{FILE}-wal").stat().st_size)
            over.set()
        link = one.message.link
        assert running.end() == 0
    assert (link.lost_samples, link.dropped_bytes, link.damaged_frames) == (0, 0, 0)
    warm = seen[len(seen) // 5 :] if len(seen) > 10 else seen[-3:]
    quarter = max(1, len(warm) // 4)
    growth_kb = max(each[0] for each in warm[-quarter:]) - max(each[0] for each in warm[:quarter])
    assert growth_kb < GROWTH_KB or not AT_LENGTH  # a few seconds tell nothing
    assert len({each[1] for each in warm}) == 1
    assert len({each[2] for each in warm}) == 1
    assert largest_log < LARGEST_LOG
    print(
        f"{sample / 250 / 3600:.1f} h of patch time in {monotonic() - begun_s:.0f} s: {alerts} alerts, "
        f"{warm[-1][0] / 1000:.0f} MB, grown by {growth_kb} kB since warm, {warm[-1][1]} handles, "
        f"{warm[-1][2]} threads, largest log {largest_log / 1000:.0f} kB"
    )


@pytest.mark.parametrize("sign", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=at_length)])
def test_a_signal_at_any_moment_ends_it_in_good_order_and_leaves_nothing_behind(tmp_path, sign):
    """While Python starts, while the rooms open, while it runs: 0, or killed by the signal before it could look for
    it; never a trace, never a lock that keeps the next one out, and what was open is closed."""
    chance = random.Random(5)
    place = Place(tmp_path, MANY_ALERTS)
    codes = []
    with Subscriber(place.address, ALERTS, since=0) as subscriber:
        alerts: list[Alert] = []
        for number in range(SIGNALS):
            with place.running() as running, place.patch(Player(shipped(), "rhythmd", loop=True), 100.0):
                if number % 2:
                    running.wait_until_ready()
                sleep(chance.uniform(0.0, 1.5))
                ready = " ready: " in running.said
                codes.append((ready, running.end(sign)))
                assert "Traceback" not in running.said or not ready
            alerts += [one.message for one in last_words(subscriber)]
        with place.running() as running:  # an alert that was told before the desk answered for those before it
            running.wait_until_ready()
            alerts += [one.message for one in iter(lambda: subscriber.receive(6.0 if AT_LENGTH else 2.0), None)]
            assert running.end() == 0
        alerts += [one.message for one in last_words(subscriber)]
    assert all(code == 0 for ready, code in codes if ready)
    assert {code for _, code in codes} <= {0, 1, -sign, 130}  # 1: Python's own, while it starts
    assert {1, 130}.isdisjoint(code for _, code in codes) or sign is signal.SIGINT
    kept = place.kept()
    assert sorted(alert.serial for alert in alerts) == [entry.serial for entry in kept]
    assert sorted(a.id for a in alerts if a.state == "open") == sorted(a.id for a in alerts if a.state == "closed")


@at_length
def test_a_second_signal_ends_it_at_once_though_a_room_hangs(tmp_path):
    stuck = "import time, daemon.judge; daemon.judge.Judge.window = lambda self, window: time.sleep(600)"
    place = Place(tmp_path, before=stuck)
    with place.running() as running, place.patch(Player(shipped(), "rhythmd", loop=True), 100.0):
        running.wait_until_ready()
        sleep(1.5)
        running.process.send_signal(signal.SIGTERM)
        sleep(1.0)
        assert running.process.poll() is None  # it waits for its room
        began_s = monotonic()
        assert running.end() == -signal.SIGTERM
        assert monotonic() - began_s < 1.0
