"""Numbers for Prometheus: from a real daemon by HTTP, on loopback alone, and at nobody's cost."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from time import monotonic, sleep

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from daemon.messages import Beat
from daemon.metrics import Metrics, open_metrics
from rhythmd import patient, rehearsal
from rhythmd.player import Player
from tests.ports import free_port
from tests.test_messages import STATUS, alerts, beats


@pytest.fixture
def port() -> int:
    return free_port()


def page(port: int, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read().decode()


def samples(text: str) -> dict[tuple, float]:
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_the_judge_room_counts_stands_on_the_page(port):
    with open_metrics(port) as metrics:
        for alert in alerts("asystole"):
            metrics.alert(alert)
        for beat in beats():
            metrics.beat(beat)
        metrics.engine_took(0.0015)
        metrics.sent_after(0.003)
        metrics.status(STATUS)
        found = samples(page(port))
    assert found["rhythmd_alerts_total", ("kind", "asystole"), ("patch", "p"), ("state", "open")] == 1
    assert found["rhythmd_alerts_total", ("kind", "asystole"), ("patch", "p"), ("state", "closed")] == 1
    assert found["rhythmd_beats_total", ("beat", "N"), ("patch", "p")] == 1
    assert found["rhythmd_engine_seconds_bucket", ("le", "0.001")] == 0
    assert found["rhythmd_engine_seconds_bucket", ("le", "0.002")] == 1
    assert found["rhythmd_read_to_sent_seconds_count",] == 1
    assert found["rhythmd_heart_rate_bpm", ("patch", "p")] == STATUS.heart_rate_bpm
    assert found["rhythmd_open_alerts", ("patch", "p")] == 1
    assert found["rhythmd_engine", ("engine", "onnxruntime"), ("model", "m")] == 1


def test_the_numbers_of_several_patches_stand_beside_each_other_and_those_of_the_daemon_once(port):
    with open_metrics(port) as metrics:
        for name, rate_bpm in (("bed-1", 60.0), ("bed-2", 90.0)):
            metrics.status(replace(STATUS, patch=name, heart_rate_bpm=rate_bpm))
        found = samples(page(port))
    assert found["rhythmd_heart_rate_bpm", ("patch", "bed-1")] == 60
    assert found["rhythmd_heart_rate_bpm", ("patch", "bed-2")] == 90
    assert [place for place in found if place[0] == "rhythmd_refused_requests_total"] == [
        ("rhythmd_refused_requests_total",)
    ]


def test_the_page_of_a_real_daemon_agrees_with_what_it_published(port):
    player = Player(patient.make("sinus 20, asystole 12, sinus 10", seed=1).recording, "rhythmd")
    pages: list[str] = []

    def look(received):
        if isinstance(received.message, Beat):
            pages.append(page(port))

    with rehearsal.daemon(f"metrics.port = {port}\n") as running:
        received = rehearsal.rehearse(running, player, speed=20.0, heard=look)
    judged = [one.message for one in received if isinstance(one.message, Beat)]
    last = samples(pages[-1])
    assert len(judged) - 3 <= sum(value for (name, *_), value in last.items() if name == "rhythmd_beats_total")
    assert last["rhythmd_engine_seconds_count",] >= len(judged)
    assert last["rhythmd_frames_total", ("patch", "patch0")] > 500
    assert last["rhythmd_status_age_seconds",] < 5


def test_before_the_first_status_the_page_is_there(port):
    with open_metrics(port):
        assert "rhythmd_engine_seconds_count 0" in page(port)


def test_only_the_page_is_served(port):
    with open_metrics(port), pytest.raises(urllib.error.HTTPError, match="404"):
        page(port, "/etc/passwd")


def test_other_machines_do_not_reach_it(port):
    """Nor does who uses another address of this one: all but 127.0.0.1 are refused."""
    with open_metrics(port), socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.2", port)) != 0


def test_a_port_that_is_taken_is_said_and_stops_nothing(port, caplog):
    with open_metrics(port), open_metrics(port) as second:
        second.status(STATUS)
    assert [record.message for record in caplog.records if "metrics.port" in record.message]


def test_port_0_is_nobody_told_and_no_thread():
    with open_metrics(0):
        assert "metrics" not in {thread.name for thread in threading.enumerate()}


def test_its_thread_ends_with_it(port):
    with open_metrics(port):
        assert "metrics" in {thread.name for thread in threading.enumerate()}
    sleep(0.1)
    assert "metrics" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.alone
def test_readers_who_never_read_cost_one_thread_and_the_judge_nothing(port):
    with open_metrics(port) as metrics:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
        began, threads = monotonic(), threading.active_count()
        for _ in range(1000):
            metrics.status(STATUS)
            metrics.engine_took(0.001)
        assert monotonic() - began < 1.0
        assert threading.active_count() == threads
        for one in silent:
            one.close()
        assert "rhythmd_frames_total" in page(port)


@pytest.mark.alone
def test_counting_costs_microseconds():
    metrics = Metrics()
    began = monotonic()
    for _ in range(10_000):
        metrics.sent_after(0.003)
    assert (monotonic() - began) / 10_000 < 100e-6
