"""The publisher and the subscriber, on real sockets."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
from datetime import datetime, timedelta, timezone
from time import monotonic, sleep

import pytest
import zmq

from daemon.config import ConfigError
from daemon.messages import Alert, Beat, Latency, LinkCounts, Status, Wave
from daemon.publish import QUEUED_MESSAGES, Publisher, open_publisher, resolve
from rhythmd import Subscriber

BEGAN = datetime(2026, 1, 1, tzinfo=timezone.utc)
ALERT = {
    "category": "physiological", "priority": "high", "action": "alarm", "latching": True, "onset_sample": 0,
    "raised_sample": 9, "end_sample": None, "ended_by": None, "evidence": {},
}  # fmt: skip


@pytest.fixture
def address(tmp_path):
    return f"ipc://{tmp_path}/alerts.ipc"


class Desk:
    """A publisher, and what the judge does with it."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher

    def _common(self, topic: str) -> dict:
        seq = self.publisher.next_seq(topic)
        return {"seq": seq, "patch": "p", "sample": seq, "utc": BEGAN + timedelta(seconds=seq)}

    def beat(self) -> None:
        values = {"beat": "N", "probability": 1.0, "rr_s": None, "heart_rate_bpm": None, "decided_sample": 0}
        self.publisher.send("beat", Beat(**values, **self._common("beat")))

    def opens(self, kind: str, id_: str) -> None:
        message = Alert(id=id_, kind=kind, state="open", **ALERT, **self._common(f"alert.{kind}"))
        self.publisher.remember(id_, self.publisher.send(f"alert.{kind}", message))

    def closes(self, kind: str, id_: str) -> None:
        message = Alert(id=id_, kind=kind, state="closed", **ALERT, **self._common(f"alert.{kind}"))
        self.publisher.send(f"alert.{kind}", message)
        self.publisher.forget(id_)

    def status(self) -> None:
        message = Status(
            port="open", silent=False, quality="good", battery_low=False, rhythm="N", heart_rate_bpm=None,
            open_alerts=(), engine="", model="", link=LinkCounts(), uptime_s=0.0,
            latency=Latency.of(engine_ms=[], read_to_sent_ms=[]), **self._common("status"),
        )  # fmt: skip
        self.publisher.remember("status", self.publisher.send("status", message))

    def wave(self) -> None:
        message = Wave(rate_hz=250, samples=2, counts_per_mv=1000, missing=-32768, **self._common("wave"))
        self.publisher.send("wave", message, b"\x01\x00\x02\x00")

    def welcome_until(self, holds) -> None:
        """Subscriptions arrive when ZeroMQ has carried them."""
        until = monotonic() + 5.0
        while not holds():
            assert monotonic() < until
            self.publisher.welcome()
            sleep(0.005)


@pytest.fixture
def desk(address):
    with open_publisher((address,)) as publisher:
        yield Desk(publisher)


def join(desk: Desk, address: str, *topics: str) -> Subscriber:
    """A subscriber whose subscriptions the publisher has answered."""
    subscriber = Subscriber(address, topics)
    before = set(desk.publisher._subscriptions)
    desk.welcome_until(lambda: before | {topic.encode() for topic in topics} <= desk.publisher._subscriptions)
    until = monotonic() + 0.1  # the same topic again changes nothing that could be waited for
    while monotonic() < until:
        desk.publisher.welcome()
        sleep(0.005)
    return subscriber


def received(subscriber: Subscriber) -> list:
    """All that has come."""
    return list(iter(lambda: subscriber.receive(timeout_s=0.2), None))


def test_a_late_joiner_is_told_the_status_and_the_open_alerts_and_not_the_closed_ones(desk, address):
    desk.opens("asystole", "a-1")
    desk.opens("lead_off", "a-2")
    desk.closes("asystole", "a-1")
    desk.status()
    desk.status()
    with join(desk, address, "alert.", "status") as late:
        told = received(late)
    assert [(each.topic, each.message.seq) for each in told] == [("alert.lead_off", 1), ("status", 2)]
    assert told[0].message.id == "a-2"


def test_whoever_was_there_is_told_nothing_twice_when_another_joins(desk, address):
    with join(desk, address, "alert.", "status") as early:
        desk.opens("lead_off", "a-1")
        desk.status()
        with join(desk, address, "alert.", "status") as late:
            assert [each.topic for each in received(late)] == ["alert.lead_off", "status"]
        assert [each.topic for each in received(early)] == ["alert.lead_off", "status"]
        desk.closes("lead_off", "a-1")
        assert [each.message.state for each in received(early)] == ["closed"]
        assert early.lost == 0


def test_messages_are_numbered_by_topic_and_come_in_order(desk, address):
    with join(desk, address, "") as subscriber:
        for _ in range(3):
            desk.beat()
            desk.status()
        told = [(each.topic, each.message.seq) for each in received(subscriber)]
    assert told == [(topic, seq) for seq in (1, 2, 3) for topic in ("beat", "status")]


def test_a_jump_of_the_number_is_counted_as_lost(desk, address):
    with join(desk, address, "beat") as subscriber:
        desk.beat()
        for _ in range(5):
            desk.publisher.next_seq("beat")  # as if they had not come through
        desk.beat()
        assert [each.message.seq for each in received(subscriber)] == [1, 7]
        assert subscriber.lost == 5


def test_a_daemon_that_starts_again_is_followed_and_its_low_numbers_are_no_loss(address):
    with open_publisher((address,)) as publisher:
        desk = Desk(publisher)
        subscriber = join(desk, address, "beat", "alert.")
        for _ in range(5):
            desk.beat()
        desk.opens("asystole", "first-1")
        assert len(received(subscriber)) == 6
    with open_publisher((address,)) as publisher, subscriber:
        desk = Desk(publisher)
        # ZeroMQ subscribes again when the subscriber next looks for messages.
        desk.welcome_until(lambda: subscriber.receive(timeout_s=0.01) or len(publisher._subscriptions) == 2)
        desk.opens("asystole", "second-1")
        desk.beat()
        assert [each.message.seq for each in received(subscriber)] == [1, 1]
        assert subscriber.lost == 0


def test_the_same_number_of_a_daemon_that_started_again_is_not_taken_for_a_repeat():
    with Subscriber("inproc://nowhere") as subscriber:
        beat = Beat(
            seq=1, patch="p", sample=1, utc=BEGAN, beat="N", probability=1.0, rr_s=None, heart_rate_bpm=None,
            decided_sample=0,
        )  # fmt: skip
        again = Beat(**{name: getattr(beat, name) for name in beat.__struct_fields__} | {"utc": BEGAN + timedelta(1)})
        assert [subscriber._is_repeated("beat", each) for each in (beat, beat, again)] == [False, True, False]


def test_one_who_never_reads_stalls_nobody(desk, address):
    context = zmq.Context()
    with context.socket(zmq.SUB) as idle:
        idle.setsockopt(zmq.RCVHWM, 1)
        idle.setsockopt(zmq.RCVBUF, 1024)
        idle.setsockopt(zmq.SUBSCRIBE, b"beat")
        idle.connect(address)
        with join(desk, address, "status") as reader:
            desk.welcome_until(lambda: b"beat" in desk.publisher._subscriptions)
            began = monotonic()
            for _ in range(QUEUED_MESSAGES + 5000):
                desk.beat()
            desk.status()
            assert monotonic() - began < 5.0
            assert [each.topic for each in received(reader)] == ["status"]
        idle.setsockopt(zmq.LINGER, 0)
    context.destroy(linger=0)


def test_the_wave_is_wanted_only_while_someone_subscribes_to_it(desk, address):
    assert not desk.publisher.wanted("wave")
    with join(desk, address, "wave"), join(desk, address, "wave") as second:
        assert desk.publisher.wanted("wave")
        desk.wave()
        (told,) = received(second)
        assert (told.message.samples, told.data) == (2, b"\x01\x00\x02\x00")
    desk.welcome_until(lambda: not desk.publisher.wanted("wave"))  # though two had joined, ZeroMQ tells it once


def test_one_who_subscribes_to_alerts_alone_does_not_want_the_wave(desk, address):
    with join(desk, address, "alert."):
        assert not desk.publisher.wanted("wave")
        assert desk.publisher.wanted("alert.asystole")


def test_a_message_from_a_peer_that_is_no_subscription_changes_nothing(desk, address):
    context = zmq.Context()
    with join(desk, address, "wave"), context.socket(zmq.XSUB) as peer:
        peer.connect(address)
        peer.send(b"xwave")
        peer.send(b"")
        sleep(0.1)
        desk.publisher.welcome()
        assert desk.publisher.wanted("wave")
    context.destroy(linger=0)


def test_only_owner_and_group_may_use_the_ipc_socket(desk, tmp_path):
    assert (tmp_path / "alerts.ipc").stat().st_mode & 0o777 == 0o660


def test_an_ipc_address_in_use_is_refused_and_stays_with_the_one_who_has_it(desk, address):
    complaint = r"publish\.bind: ipc://.*: .*in use.*; is another rhythmd running\?"
    with pytest.raises(ConfigError, match=complaint), open_publisher((address,)):
        pass
    desk.status()
    with join(desk, address, "status") as subscriber:
        assert len(received(subscriber)) == 1


def test_a_tcp_address_in_use_is_refused_with_the_remedy():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"in use .*; is another rhythmd running"), open_publisher((address,)):
            pass


def test_what_a_crash_left_behind_is_no_obstacle(address, tmp_path):
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "alerts.ipc"))
    left.close()
    with open_publisher((address,)):
        pass


@pytest.mark.parametrize("variable", ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"])
def test_sockets_live_in_the_runtime_directory(monkeypatch, variable):
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setenv(variable, "/run/x")
    expected = "/run/x" if variable == "RUNTIME_DIRECTORY" else "/run/x/rhythmd"
    assert resolve("ipc://{runtime}/alerts.ipc") == f"ipc://{expected}/alerts.ipc"


def test_the_subscriber_needs_pyzmq_and_msgspec_alone():
    program = """
        import sys
        from importlib.abc import MetaPathFinder

        class Absent(MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {"numpy", "scipy", "serial", "onnxruntime", "dsp", "engines", "wfdb"}:
                    raise ImportError(f"{name} is not installed here")

        sys.meta_path.insert(0, Absent())
        from rhythmd import Subscriber
        with Subscriber("ipc:///nowhere") as alerts:
            print(alerts.receive(timeout_s=0.01))
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "None\n", "")
