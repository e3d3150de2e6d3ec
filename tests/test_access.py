"""Who gets in from another machine, on real sockets with real keys: nobody without one, nobody longer than he may."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

import pytest
import zmq

from daemon import config as cfg
from daemon import doors
from daemon.config import ConfigError
from daemon.doors import open_doors
from daemon.keys import read_clients, read_server
from daemon.requests import desk_of
from rhythmd.cli import main
from rhythmd.desk import Access, read_keys
from rhythmd.subscriber import Subscriber
from tests.house import Daemon, open_daemon, served
from tests.ports import free_port


@pytest.fixture
def keys(tmp_path) -> Path:
    folder = tmp_path / "keys"
    assert main(["keys", "init", str(folder)]) == 0
    for name in ("ward-3", "ward-4"):
        assert main(["keys", "add", str(folder), name, "--output", str(tmp_path / f"{name}.json")]) == 0
    return folder


@pytest.fixture
def everywhere() -> str:
    """All addresses of this machine: others could reach it."""
    return f"tcp://0.0.0.0:{free_port()}"


@pytest.fixture
def address(everywhere) -> str:
    """The same door from this machine."""
    return everywhere.replace("0.0.0.0", "127.0.0.1")


@pytest.fixture
def house(everywhere, keys, tmp_path):
    with open_daemon(everywhere, tmp_path / "state", str(keys)) as daemon:
        yield daemon


def told(house: Daemon, address: str, access: Access | None) -> list[str]:
    """What one who connects so is told within a second."""

    def ask() -> list[str]:
        with Subscriber(address, since=0, keys=access) as subscriber:
            return [each.message.id for each in iter(lambda: subscriber.receive(1.5), None)]

    return served(house, ask)


def test_who_has_a_key_is_told_everything(house, address, tmp_path):
    house.opens("lead_off", "a-1")
    assert told(house, address, read_keys(tmp_path / "ward-3.json")) == ["a-1"]
    assert house.doors.look() is False
    assert house.doors.refused == 0


def strangers(tmp_path) -> dict[str, Access | None]:
    good = read_keys(tmp_path / "ward-3.json")
    public, secret = (key.decode() for key in zmq.curve_keypair())
    other, _ = (key.decode() for key in zmq.curve_keypair())
    return {
        "no key": None,
        "a key that nobody gave": Access(server=good.server, public=public, secret=secret),
        "another daemon's key": Access(server=other, public=good.public, secret=good.secret),
    }


@pytest.mark.parametrize("who", ["no key", "a key that nobody gave", "another daemon's key"])
def test_a_stranger_is_told_nothing_is_counted_and_harms_nobody(house, address, tmp_path, who):
    house.opens("lead_off", "a-1")
    assert told(house, address, strangers(tmp_path)[who]) == []
    house.doors.look()
    assert house.doors.refused >= 1
    assert told(house, address, read_keys(tmp_path / "ward-3.json")) == ["a-1"]


@pytest.mark.alone
def test_a_flood_of_strangers_holds_up_no_alert(tmp_path):
    """With ZeroMQ's own limit it stood still after 2,000 of them until they were counted."""
    place = "127.0.0.1", free_port()
    address = f"tcp://127.0.0.1:{place[1]}"
    with open_daemon(address, tmp_path) as house, Subscriber(address, ("alert.",)) as subscriber:
        house.serve_until(lambda: b"alert." in house.publisher._subscriptions)
        for _ in range(2200):
            with socket.create_connection(place, timeout=5) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        house.opens("asystole", "a-1")
        assert served(house, lambda: subscriber.receive(5)).message.id == "a-1"
        house.doors.look()
        assert house.doors.refused > 2000


def test_a_throng_is_shown_out_and_who_needs_to_comes_back(tmp_path, monkeypatch, caplog):
    """ZeroMQ aborts the process that has no file left for one more at an ipc address."""
    monkeypatch.setattr(doors, "MOST_CONNECTIONS", 20)
    address = f"ipc://{tmp_path}/a.ipc"
    with open_daemon(address, tmp_path) as house, Subscriber(address) as subscriber, zmq.Context() as context:
        house.serve_until(lambda: b"alert." in house.publisher._subscriptions)
        assert house.doors.look() is False
        throng = [context.socket(zmq.SUB) for _ in range(25)]
        for one in throng:
            one.connect(address)
        until_s = monotonic() + 10
        while not house.doors.look():
            assert monotonic() < until_s
            house.serve()
            sleep(0.01)
        house.publisher.all_left()
        for one in throng:
            one.close(linger=0)
        while not house.publisher._subscriptions:  # it subscribes again when it is asked for the next alert
            assert monotonic() < until_s
            house.serve()
            subscriber.receive(0.05)
        house.opens("asystole", "a-1")
        assert served(house, lambda: subscriber.receive(5)).message.id == "a-1"
        assert house.doors.look() is False
    assert "more than 20" in caplog.text


def test_who_knocks_all_night_is_told_of_once_a_minute_with_the_count(house, address, tmp_path, caplog):
    for _ in range(3):
        assert told(house, address, strangers(tmp_path)["a key that nobody gave"]) == []
        house.doors.look()
    (first,) = [record.message for record in caplog.records if "refused" in record.message]
    assert re.match(r"[1-9]\d* connections refused, the last with key .{8}\.\.\.$", first)
    house.doors._tell_due_s = 0.0  # a minute later
    house.doors.look()
    messages = [record.message for record in caplog.records if "refused" in record.message]
    assert sum(int(message.split()[0]) for message in messages) == house.doors.refused


def test_a_revoked_key_is_shown_out_at_once_and_the_others_come_back(house, address, keys, tmp_path):
    with (
        Subscriber(address, keys=read_keys(tmp_path / "ward-3.json")) as revoked,
        Subscriber(address, keys=read_keys(tmp_path / "ward-4.json")) as kept,
    ):
        house.serve_until(lambda: {b"alert.", b"event."} <= house.publisher._subscriptions)
        sleep(0.3)
        house.serve()
        house.opens("lead_off", "a-1")
        assert [each.receive(2).message.id for each in (revoked, kept)] == ["a-1", "a-1"]
        assert main(["keys", "revoke", str(keys), "ward-3"]) == 0
        assert house.doors.look() is True
        house.publisher.all_left()
        until = monotonic() + 10
        while not house.publisher._subscriptions and monotonic() < until:
            house.serve()
            kept.receive(0.05)
        house.status()
        served(house, lambda: kept.receive(0.3))
        house.opens("asystole", "a-2")
        assert served(house, lambda: kept.receive(5)).message.id == "a-2"
        assert served(house, lambda: revoked.receive(1)) is None


def test_a_key_that_is_added_is_let_in_without_a_restart(house, address, keys, tmp_path):
    assert main(["keys", "add", str(keys), "ward-5", "--output", str(tmp_path / "ward-5.json")]) == 0
    assert house.doors.look() is False
    house.opens("lead_off", "a-1")
    assert told(house, address, read_keys(tmp_path / "ward-5.json")) == ["a-1"]


def test_loopback_stays_open_beside_a_guarded_address(keys, everywhere, tmp_path):
    here = f"ipc://{tmp_path}/alerts.ipc"
    with (
        open_doors((everywhere, here), str(keys)) as doors,
        zmq.Context() as context,
        context.socket(zmq.SUB) as plain,
    ):
        plain.setsockopt(zmq.LINGER, 0)
        plain.subscribe(b"")
        plain.connect(here)
        assert doors.publisher.poll(5000)
        doors.publisher.recv()
        doors.publisher.send(b"hello")
        assert plain.poll(2000)


def test_bytes_that_are_no_zeromq_are_answered_with_a_hang_up_and_harm_nobody(house, address, tmp_path):
    host, port = address.removeprefix("tcp://").split(":")
    for each in (int(port), int(desk_of(address).rpartition(":")[2])):
        with socket.create_connection((host, each)) as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
            stranger.settimeout(5)
            with suppress(ConnectionResetError):
                while stranger.recv(4096):
                    pass
    house.opens("lead_off", "a-1")
    assert told(house, address, read_keys(tmp_path / "ward-3.json")) == ["a-1"]


@pytest.mark.parametrize("bind", ["tcp://0.0.0.0:8251", "tcp://*:8251", "tcp://192.168.1.5:8251", "tcp://eth0:8251"])
def test_an_address_that_others_can_reach_is_refused_without_keys(bind):
    config = cfg.Config(publish=cfg.Publish(bind=(bind,)))
    with pytest.raises(ConfigError, match=r"publish\.bind: .* can be reached from other machines: .*rhythmd keys init"):
        cfg.check(config, "test")
    cfg.check(cfg.Config(publish=cfg.Publish(bind=(bind,), keys="/etc/rhythmd/keys")), "test")


def test_secrets_are_for_their_owner_alone_and_a_leak_is_refused(keys, tmp_path):
    for path in (keys / "server.json", tmp_path / "ward-3.json"):
        assert path.stat().st_mode & 0o777 == 0o600
    (keys / "server.json").chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others; `chmod 600"):
        read_server(keys)


def test_a_folder_without_keys_is_refused_with_the_command_that_makes_them(tmp_path):
    with pytest.raises(ConfigError, match=r"publish\.keys: .*server\.json is missing; `rhythmd keys init"):
        read_server(tmp_path)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "x" * 65])
def test_a_name_that_could_be_a_path_is_refused(keys, name, capsys):
    assert main(["keys", "add", str(keys), name]) == 2
    assert "give a name of letters" in capsys.readouterr().err


def test_what_is_no_key_lets_nobody_in(keys):
    (keys / "clients" / "empty.key").write_bytes(b"")
    (keys / "clients" / "note.txt").write_bytes(b"x" * 40)
    assert sorted(read_clients(keys).values()) == ["ward-3", "ward-4"]


def test_the_same_name_twice_is_refused_and_neither_key_changes(keys, tmp_path, capsys):
    before = read_clients(keys)
    assert main(["keys", "add", str(keys), "ward-3", "--output", str(tmp_path / "again.json")]) == 2
    assert "there is one of this name" in capsys.readouterr().err
    assert read_clients(keys) == before
    assert not (tmp_path / "again.json").exists()


def test_zeromq_sends_no_heartbeats_for_then_one_who_floods_and_leaves_aborts_the_daemon(house):
    """Seen with libzmq 4.3.5; the kernel's keep-alive finds out who is gone."""
    for each in (house.doors.publisher, house.doors.desk):
        assert (each.getsockopt(zmq.HEARTBEAT_IVL), each.getsockopt(zmq.TCP_KEEPALIVE)) == (0, 1)
