"""What the bridge publishes where, and what it gives up first: without a broker."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.config import ConfigError
from daemon.database import connect
from daemon.messages import Alert, Answered, Status
from rhythmd.bridge.app import Bridge
from rhythmd.bridge.broker import Link
from rhythmd.bridge.config import DEFAULT_FILE, Broker, Gateway, Settings, check, device_of, port_of
from rhythmd.bridge.outbox import SCHEMA, Outbox, open_outbox
from rhythmd.bridge.payloads import PAYLOADS, encode, id_of, payload_of
from rhythmd.bridge.topics import ALERTS, STATUSES, STRIPS, Post, is_news, topic_of
from rhythmd.following import Heard
from rhythmd.settings import Source
from rhythmd.subscriber import Mark, Received
from tests.house import BEGAN
from tests.test_notify_rules import alert, answer, status

ROOT = Path(__file__).parents[1]


def test_the_payload_is_the_daemons_message_with_device_daemon_and_id():
    for topic, message in (("alert.asystole", alert()), ("answered", answer()), ("status", status())):
        sent = msgspec.json.decode(encode(payload_of(topic, message, device="icu", daemon="bed-3")))
        own = {key: sent.pop(key) for key in ("device", "daemon", "message_id")}
        assert own == {"device": "icu", "daemon": "bed-3", "message_id": id_of(topic, message)}
        assert sent == msgspec.json.decode(msgspec.json.encode(message))
    assert set(PAYLOADS) == {Alert, Answered, Status}


def test_ids_differ_where_messages_do():
    later = msgspec.structs.replace(alert(), utc=BEGAN.replace(year=2027))
    ids = [
        id_of("alert.asystole", alert()),
        id_of("alert.asystole", alert(seq=2)),
        id_of("event.asystole", alert()),
        id_of("alert.asystole", alert(patch="q")),
        id_of("alert.asystole", later),  # of a new ledger, whose numbers begin again
    ]
    assert len(set(ids)) == len(ids)


def test_topics_name_fleet_device_daemon_and_kind():
    assert topic_of("ward/rhythmd", "icu", "bed-3", "alert.asystole") == "ward/rhythmd/icu/bed-3/alert/asystole"
    assert topic_of("rhythmd", "icu", "bed-3", "status") == "rhythmd/icu/bed-3/status"


def test_the_patches_of_one_daemon_have_topics_of_their_own(tmp_path):
    settings_ = Settings(daemon=(Gateway(name="ward", several=True), Gateway(name="bed-9")))
    with open_outbox(64.0, tmp_path) as outbox:
        bridge = Bridge(settings_, "icu", outbox, None)  # the broker is away: all waits
        bridge.turn(
            [
                Heard("ward", Received("alert.asystole", alert(patch="bed.1")), None),
                Heard("ward", Received("status", status(patch="bed-1")), None),
                Heard("ward", Received("status", status(patch="bed-2")), None),
                Heard("bed-9", Received("status", status(patch="patch0")), None),
            ]
        )
        topics = [row.post.topic for row in outbox.next(set(), 10)]
    assert topics[0] == "rhythmd/icu/ward/bed_1/alert/asystole"
    assert set(topics[1:]) == {f"rhythmd/icu/{place}/status" for place in ("ward/bed-1", "ward/bed-2", "bed-9")}


def test_a_status_is_published_when_something_changed_or_it_is_time():
    assert is_news(status(), None, 0.0, 10.0)
    assert not is_news(status(uptime_s=5.0, heart_rate_bpm=61.0), status(heart_rate_bpm=60.0), 9.9, 10.0)
    assert is_news(status(), status(), 10.0, 10.0)
    for change in (
        {"port": "absent"},
        {"quality": "noisy"},
        {"calling": ("a",)},
        {"rhythm": "AFIB"},
        {"storage": "full"},
    ):
        assert is_news(status(**change), status(), 0.1, 10.0), change


def post(number: int, rank: int, size: int = 1000) -> Post:
    return Post(f"m-{number}", rank, f"t/{rank}", bytes(size))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from((ALERTS, STRIPS, STATUSES)), st.integers(0, 3000)), max_size=60), st.data())
def test_over_the_limit_the_oldest_statuses_go_then_strips_and_alerts_never(posts, data):
    keep = data.draw(st.integers(1000, 50_000))
    made = [post(number, rank, size) for number, (rank, size) in enumerate(posts)]
    with closing(connect(":memory:", SCHEMA)) as db:
        outbox = Outbox(db, keep)
        outbox.add({}, made)
        outbox.drop(set())
        left = {row.post.message_id for row in outbox.next(set(), 1000)}
        assert outbox.bytes == sum(len(one.payload) for one in made if one.message_id in left)
    gone = [one for one in made if one.message_id not in left]
    stay = [one for one in made if one.message_id in left]
    assert not any(one.rank == ALERTS for one in gone)
    size = sum(len(one.payload) for one in stay)
    assert size <= keep or all(one.rank == ALERTS for one in stay)
    if gone:
        assert size + max(len(one.payload) for one in gone) > keep  # no more went than had to
    by_rank = {rank: [one for one in gone if one.rank == rank] for rank in (STRIPS, STATUSES)}
    for rank, those in by_rank.items():
        assert those == [one for one in made if one.rank == rank][: len(those)]  # the oldest
    if by_rank[STRIPS]:
        assert not any(one.rank == STATUSES for one in stay)


def test_alerts_are_sent_before_the_statuses_of_a_day_and_in_order(tmp_path):
    with open_outbox(64, tmp_path) as outbox:
        outbox.add({}, [post(1, STATUSES), post(2, STRIPS), post(3, ALERTS), post(4, STATUSES), post(5, ALERTS)])
        order = [row.post.message_id for row in outbox.next(set(), 10)]
        assert order == ["m-3", "m-5", "m-2", "m-1", "m-4"]
        on_the_way = {row.number for row in outbox.next(set(), 2)}
        assert [row.post.message_id for row in outbox.next(on_the_way, 2)] == ["m-2", "m-1"]


def test_mark_and_messages_are_kept_together_and_one_id_once(tmp_path):
    with open_outbox(64, tmp_path) as outbox:
        outbox.add({"bed-3": Mark("l", 7)}, [post(1, ALERTS), post(1, ALERTS)])
    with open_outbox(64, tmp_path) as outbox:
        assert outbox.marks() == {"bed-3": Mark("l", 7)}
        (row,) = outbox.next(set(), 10)
        assert (row.post, outbox.bytes) == (post(1, ALERTS), 1000)
        outbox.confirmed([row])
        assert (outbox.waiting(), outbox.bytes, outbox.counts()) == (0, 0, {"published": 1})


def test_two_of_a_kind_cannot_share_an_outbox(tmp_path):
    with open_outbox(64, tmp_path), pytest.raises(ConfigError, match="another `rhythmd bridge` uses it"):
        open_outbox(64, tmp_path).__enter__()


def test_the_manual_holds_the_defaults():
    assert msgspec.toml.decode(DEFAULT_FILE.read_bytes(), type=Settings) == Settings()
    check(Settings(), "here")
    assert (port_of(Broker()), port_of(Broker(tls=True)), port_of(Broker(port=1))) == (1883, 8883, 1)
    assert device_of(Settings().publish)


def test_the_example_of_the_page_is_a_good_file(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "fleet.md").read_text(), re.DOTALL)
    for name in ("device.pem", "device.key"):
        (tmp_path / name).touch()
    settings_ = msgspec.toml.decode(
        example.replace("/run/credentials/rhythmd-bridge.service", str(tmp_path)), type=Settings
    )
    check(settings_, "docs/fleet.md")
    assert [source.name for source in settings_.daemon] == ["bed-3", "bed-4"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"broker": Broker(host="broker.example")}, r"broker\.host: broker.example is another machine"),
        ({"broker": Broker(tls=True, key="x")}, r"broker\.certificate and broker\.key"),
        ({"broker": Broker(ca="x")}, r"broker\.tls: set it to true"),
        ({"broker": Broker(password_file="x")}, r"broker\.user: a password needs its user"),
        ({"broker": Broker(tls=True, ca="/nowhere.pem")}, r"broker\.ca: /nowhere\.pem cannot be read"),
        ({"daemon": (Source(), Source())}, r"daemon\.name: patch0 is there twice"),
    ],
)
def test_what_would_leak_or_never_connect_is_refused(change, complaint):
    with pytest.raises(ConfigError, match=complaint):
        check(Settings(**change), "here")


def test_a_broker_elsewhere_is_allowed_with_tls_or_when_the_network_is_said_to_be_encrypted():
    for broker in (Broker(host="broker.example", tls=True), Broker(host="10.0.0.7", plain=True)):
        check(Settings(broker=broker), "here")


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"tls": True, "ca": "{file}"}, "broker.ca"),
        ({"tls": True, "certificate": "{file}", "key": "{file}"}, "broker.certificate and broker.key"),
        ({"user": "u", "password_file": "{folder}"}, "broker.password_file"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named_by_its_key(tmp_path, change, key):
    (tmp_path / "no.pem").write_text("not PEM\n")
    places = {"file": str(tmp_path / "no.pem"), "folder": str(tmp_path)}
    broker = Broker(**{name: each.format(**places) if isinstance(each, str) else each for name, each in change.items()})
    pytest.importorskip("paho", reason="paho-mqtt is not installed: pip install 'rhythmd[bridge]'")
    with pytest.raises(ConfigError, match=key), open_outbox(64, tmp_path):  # the outbox's folder is not to blame
        Link(broker, "rhythmd-x", post(1, ALERTS), SimpleQueue())


def test_what_fails_while_the_outbox_is_open_is_not_taken_for_its_folder(tmp_path):
    with pytest.raises(FileNotFoundError), open_outbox(64, tmp_path):
        raise FileNotFoundError


def test_a_disk_that_does_not_even_take_what_is_dropped_ends_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    with open_outbox(1e-3, tmp_path) as outbox:
        outbox.add({}, [post(number, STATUSES) for number in range(3)])
        bridge = Bridge(Settings(), "x", outbox, None)
        with monkeypatch.context() as patched:
            patched.setattr(outbox, "drop", full)
            bridge.turn([])
        assert outbox.waiting() == 3
        bridge.turn([Heard("patch0", Received("status", status()), None)])  # which is stored: the disk is well again
        assert outbox.waiting() < 3


def test_what_was_dropped_takes_no_room_in_the_file(tmp_path):
    with open_outbox(0.01, tmp_path) as outbox:
        outbox.add({}, [post(number, STATUSES, size=4000) for number in range(60)])
        outbox.drop(set())
    with closing(sqlite3.connect(tmp_path / "bridge.db")) as db:
        assert db.execute("pragma freelist_count").fetchone() == (0,)
