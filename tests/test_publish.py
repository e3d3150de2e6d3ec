"""The publisher and the subscriber, on real sockets."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
from contextlib import closing
from functools import partial
from time import monotonic, sleep

import msgspec
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.announcer import left_in
from daemon.attention import MOST_CALLS
from daemon.config import ConfigError
from daemon.desk import REQUESTS_A_TURN
from daemon.doors import QUEUED_MESSAGES, open_doors
from daemon.publish import resolve
from daemon.requests import Acknowledge, desk_of
from rhythmd import Subscriber
from rhythmd import desk as client
from tests.house import Daemon, open_daemon, received, served


def join(house: Daemon, address: str, *topics: str) -> Subscriber:
    """A subscriber whose subscriptions the publisher has answered."""
    answered, answer = set(), type(house.publisher)._answer
    house.publisher._answer = lambda verb, prefix: (answered.add(prefix), answer(house.publisher, verb, prefix))
    subscriber = Subscriber(address, topics)
    house.serve_until(lambda: {topic.encode() for topic in topics} <= answered)
    return subscriber


def test_a_late_joiner_is_told_the_status_and_the_open_alerts_and_not_the_closed_ones(house, address):
    house.opens("asystole", "a-1")
    house.opens("lead_off", "a-2")
    house.closes("asystole", "a-1")
    house.status()
    house.status()
    with join(house, address, "alert.", "status") as late:
        told = received(late)
    assert [(each.topic, each.message.seq) for each in told] == [("alert.lead_off", 1), ("status", 2)]
    assert told[0].message.id == "a-2"


def test_what_stands_open_is_told_though_a_status_comes_before_it(house, address):
    house.opens("asystole", "a-1")
    with Subscriber(address, ("alert.", "status")) as late:
        first = None
        while first is None:  # its subscriptions are there, and not yet answered
            house.status()
            first = late.receive(timeout_s=0.05)
        assert first.topic == "status"
        assert late.mark is None, "whoever went on from here would miss what stands open"
        house.publisher.welcome()
        house.publisher.welcome()
        house.status()
        assert [each.message.id for each in received(late) if each.topic == "alert.asystole"] == ["a-1"]
        assert late.mark.serial == 1
        house.closes("asystole", "a-1")
        assert [each.message.state for each in received(late)] == ["closed"]
        house.publisher._answer(b"\x01", b"")  # another one joins
        assert not received(late)
        assert late.mark.serial == 2


def test_a_mark_does_not_go_back_for_what_stands_open(house, address):
    house.opens("asystole", "a-1")
    house.opens("lead_off", "a-2")
    house.closes("lead_off", "a-2")
    with Subscriber(address, ("alert.", "status")) as late:
        while late.mark is None:
            house.status()
            late.receive(timeout_s=0.05)
        house.publisher.welcome()
        told = iter(partial(late.receive, timeout_s=0.2), None)
        assert [late.mark.serial for each in told if each.topic == "alert.asystole"] == [3]


def test_whoever_was_there_is_told_nothing_twice_when_another_joins(house, address):
    with join(house, address, "alert.", "status") as early:
        house.opens("lead_off", "a-1")
        house.status()
        with join(house, address, "alert.", "status") as late:
            assert [each.topic for each in received(late)] == ["alert.lead_off", "status"]
        assert [each.topic for each in received(early)] == ["alert.lead_off", "status"]
        house.closes("lead_off", "a-1")
        assert [each.message.state for each in received(early)] == ["closed"]
        assert early.lost == 0


def test_messages_are_numbered_by_topic_and_come_in_order(house, address):
    with join(house, address, "") as subscriber:
        for _ in range(3):
            house.beat()
            house.status()
        told = [(each.topic, each.message.seq) for each in received(subscriber)]
    assert told == [(topic, seq) for seq in (1, 2, 3) for topic in ("beat", "status")]


def test_a_jump_of_the_number_is_counted_as_lost(house, address):
    with join(house, address, "beat") as subscriber:
        house.beat()
        for _ in range(5):
            house.publisher.next_seq("beat")  # as if they had not come through
        house.beat()
        assert [each.message.seq for each in received(subscriber)] == [1, 7]
        assert subscriber.lost == 5


def test_numbers_go_on_when_a_daemon_starts_again(address, tmp_path):
    with open_daemon(address, tmp_path) as house:
        subscriber = join(house, address, "beat", "alert.")
        for _ in range(5):
            house.beat()
        house.opens("asystole", "first-1")
        assert len(received(subscriber)) == 6
    with open_daemon(address, tmp_path) as house, subscriber:
        # ZeroMQ subscribes again when the subscriber next looks for messages.
        house.serve_until(lambda: subscriber.receive(timeout_s=0.01) or len(house.publisher._subscriptions) == 3)
        house.opens("asystole", "second-1")
        house.beat()
        assert [each.message.seq for each in received(subscriber)] == [2, 6]
        assert subscriber.lost == 0


def test_one_who_never_reads_stalls_nobody(house, address):
    context = zmq.Context()
    with context.socket(zmq.SUB) as idle:
        idle.setsockopt(zmq.RCVHWM, 1)
        idle.setsockopt(zmq.RCVBUF, 1024)
        idle.setsockopt(zmq.SUBSCRIBE, b"beat")
        idle.connect(address)
        with join(house, address, "status") as reader:
            house.serve_until(lambda: b"beat" in house.publisher._subscriptions)
            began = monotonic()
            for _ in range(QUEUED_MESSAGES + 5000):
                house.beat()
            house.status()
            assert monotonic() - began < 5.0
            assert [each.topic for each in received(reader)] == ["status"]
        idle.setsockopt(zmq.LINGER, 0)
    context.destroy(linger=0)


def test_one_who_falls_behind_is_counted_once_and_the_others_get_every_message(house, address):
    context = zmq.Context()
    with context.socket(zmq.SUB) as idle, Subscriber(address, ("beat",)) as keen:
        idle.setsockopt(zmq.RCVHWM, 1)
        idle.setsockopt(zmq.RCVBUF, 1024)
        idle.setsockopt(zmq.SUBSCRIBE, b"")  # the keen one's `beat` shows by itself
        idle.connect(address)
        house.serve_until(lambda: {b"", b"beat"} <= house.publisher._subscriptions)
        heard = 0
        for _ in range(30):
            for _ in range(500):
                house.beat()
            heard += sum(1 for _ in iter(lambda: keen.receive(0.02), None))
        heard += len(received(keen))
        assert (heard, keen.lost) == (15_000, 0)
        assert house.publisher.slow == 1
        idle.setsockopt(zmq.LINGER, 0)
    context.destroy(linger=0)


def test_the_wave_is_wanted_only_while_someone_subscribes_to_it(house, address):
    assert not house.publisher.wanted("wave")
    with join(house, address, "wave"), join(house, address, "wave") as second:
        assert house.publisher.wanted("wave")
        house.wave()
        (told,) = received(second)
        assert (told.message.samples, told.data) == (2, b"\x01\x00\x02\x00")
    house.serve_until(lambda: not house.publisher.wanted("wave"))  # though two had joined, ZeroMQ tells it once


def test_one_who_subscribes_to_alerts_alone_does_not_want_the_wave(house, address):
    with join(house, address, "alert."):
        assert not house.publisher.wanted("wave")
        assert house.publisher.wanted("alert.asystole")


def test_a_message_from_a_peer_that_is_no_subscription_changes_nothing(house, address):
    context = zmq.Context()
    with join(house, address, "wave"), context.socket(zmq.XSUB) as peer:
        peer.connect(address)
        peer.send(b"xwave")
        peer.send(b"")
        sleep(0.1)
        house.publisher.welcome()
        assert house.publisher.wanted("wave")
    context.destroy(linger=0)


def test_only_owner_and_group_may_use_the_ipc_socket(house, tmp_path):
    assert (tmp_path / "alerts.ipc").stat().st_mode & 0o777 == 0o660


def test_an_ipc_address_in_use_is_refused_and_stays_with_the_one_who_has_it(house, address):
    complaint = r"publish\.bind: ipc://.*: .*in use.*; is another rhythmd running\?"
    with pytest.raises(ConfigError, match=complaint), open_doors((address,)):
        pass
    house.status()
    with join(house, address, "status") as subscriber:
        assert len(received(subscriber)) == 1


def test_a_tcp_address_in_use_is_refused_with_the_remedy():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"in use .*; is another rhythmd running"), open_doors((address,)):
            pass


def test_what_a_crash_left_behind_is_no_obstacle(address, tmp_path):
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "alerts.ipc"))
    left.close()
    with open_doors((address,)):
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


def test_a_subscriber_that_was_away_gets_what_it_missed_in_order_and_once(house, address):
    for number in range(5):
        house.opens("lead_off", f"a-{number}")
        house.closes("lead_off", f"a-{number}")
    with Subscriber(address, since=0) as late:
        told = served(house, lambda: received(late))
    assert [(each.message.id, each.message.state) for each in told] == [
        (f"a-{number}", state) for number in range(5) for state in ("open", "closed")
    ]


def test_a_subscriber_goes_on_from_its_mark_whichever_of_the_two_was_restarted(address, tmp_path):
    with open_daemon(address, tmp_path) as house:
        house.opens("lead_off", "a-1")
        house.closes("lead_off", "a-1")
        with Subscriber(address, since=0) as subscriber:
            assert served(house, lambda: subscriber.receive(5)).message.state == "open"
            mark = subscriber.mark  # it dies here, having dealt with one of two
    with open_daemon(address, tmp_path) as house:
        house.opens("asystole", "b-1")
        with Subscriber(address, since=mark) as subscriber:
            told = served(house, lambda: received(subscriber))
    assert [(each.message.id, each.message.state) for each in told] == [("a-1", "closed"), ("b-1", "open")]


def test_what_was_lost_on_the_wire_is_fetched_before_the_next_alert_is_given_out(house, address):
    with join(house, address, "alert.") as subscriber:
        house.status()
        assert received(subscriber) == []
        sending = house.publisher.send_frames
        house.publisher.send_frames = lambda frames: frames  # as a queue that is full does
        house.opens("lead_off", "a-1")
        house.closes("lead_off", "a-1")
        house.publisher.send_frames = sending
        house.opens("lead_off", "a-2")
        told = served(house, lambda: received(subscriber))
    assert [(each.message.id, each.message.state) for each in told] == [
        ("a-1", "open"), ("a-1", "closed"), ("a-2", "open"),
    ]  # fmt: skip


def test_a_lost_last_alert_is_noticed_by_the_next_status(house, address):
    with join(house, address, "alert.") as subscriber:
        house.status()
        assert received(subscriber) == []
        sending = house.publisher.send_frames
        house.publisher.send_frames = lambda frames: frames
        house.opens("asystole", "a-1")
        house.publisher.send_frames = sending
        house.status()
        assert [each.message.id for each in served(house, lambda: received(subscriber))] == ["a-1"]


def test_an_alert_is_given_out_at_once_though_the_desk_does_not_answer_and_never_twice(house, address):
    with join(house, address, "alert.") as subscriber:
        house.status()
        assert received(subscriber) == []
        sending = house.publisher.send_frames
        house.publisher.send_frames = lambda frames: frames
        house.opens("lead_off", "a-1")
        house.publisher.send_frames = sending
        house.opens("asystole", "a-2")
        assert [each.message.id for each in received(subscriber)] == ["a-2"]  # nobody serves the desk
        house.status()
        assert [each.message.id for each in served(house, lambda: received(subscriber))] == ["a-1"]


def test_a_daemon_with_a_new_ledger_is_followed_from_its_beginning(address, tmp_path):
    with open_daemon(address, tmp_path / "first") as house, Subscriber(address, since=0) as subscriber:
        house.opens("lead_off", "a-1")
        assert [each.message.id for each in served(house, lambda: received(subscriber))] == ["a-1"]
        mark = subscriber.mark
    with open_daemon(address, tmp_path / "second") as house:
        house.opens("lead_off", "b-1")
        with Subscriber(address, since=mark) as subscriber:
            assert [each.message.id for each in served(house, lambda: received(subscriber))] == ["b-1"]


def test_a_latching_alarm_calls_after_it_closed_until_someone_has_acknowledged_it(house, address):
    house.opens("asystole", "a-1", latching=True)
    house.closes("asystole", "a-1", latching=True)
    assert house.announcer.attention.calling(monotonic()) == ("a-1",)
    with join(house, address, "alert.") as late:
        assert [(each.message.id, each.message.state) for each in received(late)] == [("a-1", "closed")]
    with zmq.Context() as context, closing(client.Desk(context, desk_of(address))) as desk:
        acknowledge = partial(desk.ask, Acknowledge(id="a-1", by="night nurse"))
        assert served(house, acknowledge)[0].error is None
        with pytest.raises(client.DeskError, match="no alarm 'a-1' stands or calls"):
            served(house, acknowledge)
    with Subscriber(address, ("answered",), since=0) as subscriber:
        (told,) = served(house, lambda: received(subscriber))
    assert (told.message.how, told.message.id, told.message.by) == ("acknowledged", "a-1", "night nurse")
    assert house.announcer.attention.calling(monotonic()) == ()
    with join(house, address, "alert.") as late:
        assert received(late) == []


def test_whoever_joins_late_is_told_who_acknowledged_an_alarm_that_still_stands(house, address):
    house.opens("asystole", "a-1", latching=True)
    assert house.announcer.answered(Acknowledge(id="a-1", by="x"), house.common) is None
    with join(house, address, "alert.", "answered") as late:
        assert [each.topic for each in received(late)] == ["alert.asystole", "answered"]
    house.closes("asystole", "a-1", latching=True)
    with join(house, address, "alert.", "answered") as late:
        assert received(late) == []


def test_an_alert_that_was_open_when_the_daemon_died_is_closed_as_interrupted(address, tmp_path):
    with open_daemon(address, tmp_path) as house:
        house.opens("lead_off", "a-1")
        house.opens("asystole", "a-2")
        house.closes("asystole", "a-2")
    with open_daemon(address, tmp_path) as house:
        house.announcer.go_on(left_in(house.ledger), house.common)
        assert house.ledger.standing() == []
        with Subscriber(address, since=0) as subscriber:
            messages = [each.message for each in served(house, lambda: received(subscriber))]
    told = [(each.id, each.state, each.ended_by) for each in messages]
    assert told[-1] == ("a-1", "closed", "interrupted")
    assert len(told) == 4


def test_a_latching_alarm_that_nobody_acknowledged_calls_after_a_restart_and_a_late_joiner_is_told(address, tmp_path):
    with open_daemon(address, tmp_path) as house:
        house.opens("asystole", "closed", latching=True)
        house.closes("asystole", "closed", latching=True)
        house.opens("asystole", "left-open", latching=True)
    for _ in range(2):
        with open_daemon(address, tmp_path) as house:
            house.announcer.go_on(left_in(house.ledger), house.common)
            assert house.announcer.attention.calling(monotonic()) == ("closed", "left-open")
            with join(house, address, "alert.") as late:
                told = [(each.message.id, each.message.state) for each in received(late)]
            assert told == [("closed", "closed"), ("left-open", "closed")]
    with open_daemon(address, tmp_path) as house:
        house.announcer.go_on(left_in(house.ledger), house.common)
        assert house.announcer.answered(Acknowledge(id="closed", by="x"), house.common) is None
    with open_daemon(address, tmp_path) as house:
        house.announcer.go_on(left_in(house.ledger), house.common)
        assert house.announcer.attention.calling(monotonic()) == ("left-open",)


def test_an_alarm_that_was_acknowledged_while_open_does_not_call_because_the_daemon_died(address, tmp_path):
    with open_daemon(address, tmp_path) as house:
        house.opens("asystole", "a-1", latching=True)
        assert house.announcer.answered(Acknowledge(id="a-1", by="x"), house.common) is None
    with open_daemon(address, tmp_path) as house:
        house.announcer.go_on(left_in(house.ledger), house.common)
        assert house.announcer.attention.calling(monotonic()) == ()
        assert house.ledger.standing() == []


def test_what_is_given_up_of_what_nobody_answers_is_told_to_nobody_and_forgotten_on_disk(house, address):
    for number in range(MOST_CALLS + 2):
        house.opens("asystole", f"a-{number}", latching=True)
        house.closes("asystole", f"a-{number}", latching=True)
    assert len(house.ledger.standing()) == MOST_CALLS
    with join(house, address, "alert.") as late:
        assert [each.message.id for each in received(late)] == [f"a-{number}" for number in range(2, MOST_CALLS + 2)]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    request=st.binary(max_size=200) | st.builds(bytes, st.lists(st.sampled_from(b'{}[]":,ask since0 19'), max_size=60))
)
def test_garbage_at_the_desk_is_answered_with_an_error_and_counted(house, request):
    before = house.asked.refused
    with pytest.raises((msgspec.DecodeError, ValueError)):
        house.asked._answer([request])
    assert house.asked.refused == before


def test_a_flood_of_requests_is_served_a_few_at_a_time(house, address):
    """Whoever floods the desk waits in his own queue; the judge room answers a few and goes on."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as flood:
        flood.setsockopt(zmq.LINGER, 0)
        flood.connect(desk_of(address))
        for _ in range(200):
            flood.send(b'{"ask": "since", "serial": 0, "topics": [""]}')
        sleep(0.2)
        house.asked.serve()
        sleep(0.1)
        answered = 0
        while flood.poll(50):
            flood.recv_multipart()
            answered += 1
    assert answered == REQUESTS_A_TURN


def test_what_is_given_up_at_a_restart_is_told_to_nobody_and_ends_with_the_next_alert(address, tmp_path, monkeypatch):
    with open_daemon(address, tmp_path) as house:
        for number in range(5):
            house.opens("asystole", f"a-{number}", latching=True)
            house.closes("asystole", f"a-{number}", latching=True)
    monkeypatch.setattr("daemon.attention.MOST_CALLS", 3)  # as if another patch's were among them
    with open_daemon(address, tmp_path) as house:
        house.announcer.go_on(left_in(house.ledger), house.common)
        with join(house, address, "alert.") as late:
            assert [each.message.id for each in received(late)] == ["a-2", "a-3", "a-4"]
        house.opens("lead_off", "b-1")
        assert len(house.ledger.standing()) == 4
