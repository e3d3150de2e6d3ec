"""Which format a port speaks: every link told from all others by its bytes, and over a real port."""

from __future__ import annotations

import json
import os
import threading
import time
import tty
from contextlib import contextmanager
from random import Random

import pytest

from daemon.config import Config
from daemon.links import LINKS
from daemon.links.frame import Frame
from daemon.patch import Patch
from rhythmd.commands import doctor
from rhythmd.guess import LISTEN_S, Guess, guess, overhear
from rhythmd.player import Faults, Player, excerpt
from rhythmd.pty_port import play
from rhythmd.recording import shipped
from tests.test_cli import rhythmd

links = pytest.mark.parametrize("name", LINKS)


def wire_of(name: str, *, for_s: float = LISTEN_S, faults: Faults | None = None) -> bytes:
    return b"".join(turn.wire for turn in Player(excerpt(shipped(), 300, for_s), name, faults).turns())


@links
def test_each_link_is_told_from_all_others_by_its_bytes(name):
    wire = wire_of(name)
    found = guess(wire[11:], LISTEN_S, 115200)
    assert found is not None
    assert found.link == name
    assert found.rate_hz == LINKS[name].rate_hz


@links
def test_some_damage_does_not_change_what_is_heard(name):
    found = guess(wire_of(name, for_s=5.0, faults=Faults(drop=0.02, corrupt=0.03)), 5.0, 115200)
    assert found is not None
    assert found.link == name


@pytest.mark.parametrize("size", [0, 5, 3000])
def test_what_is_no_ones_is_no_ones(size):
    assert guess(Random(5).randbytes(size), LISTEN_S, 115200) is None
    assert guess(bytes(size), LISTEN_S, 115200) is None
    assert guess(b"Hello, I am a modem\r\n" * (size // 20), LISTEN_S, 115200) is None


def test_each_firmware_of_a_shield_is_the_same_shield():
    """With 20 bytes of payload it looks like a HealthyPi 4, but for the blood pressure that that one makes up."""
    frame = b"\x0a\xfa\x14\0\2" + bytes(20) + b"\x00\x0b"
    assert guess(frame * 300, 300 / 125, 57600).link == "ads1292r"


def test_the_lines_have_what_differs_from_the_links_own():
    assert Guess("cyton", 115200, 249.0).lines("/dev/x") == ["[patch]", 'port = "/dev/x"', 'link = "cyton"']
    assert Guess("olimex", 115200, 498.0).lines("/dev/x")[3:] == ["rate_hz = 500.0", "baud = 115200"]
    assert Guess("ad8232", 9600, 190.0).rate_hz is None


def test_the_batch_that_comes_first_does_not_count_as_measured():
    """Three bursts a second apart bring two seconds of samples, and not three."""
    link = LINKS["healthypi5-batch"]
    burst = b"".join(link.encode(Frame(number, tuple(range(8)))) for number in range(12))
    master, slave = os.openpty()
    tty.setraw(slave)
    heard = []
    listener = threading.Thread(
        target=lambda: heard.append(overhear(Patch(port=os.ttyname(slave), link="healthypi5-batch")).guess)
    )
    listener.start()
    time.sleep(0.5)  # pyserial throws away what came before it opened the port
    for _ in range(3):
        os.write(master, burst)
        time.sleep(1.0)
    listener.join()
    os.close(master)
    os.close(slave)
    assert heard[0].samples_hz == pytest.approx(12 * 8, rel=0.1)


@contextmanager
def worn(path, name: str):
    """Somebody wears a patch of this kind."""
    stop = threading.Event()
    player = Player(excerpt(shipped(), 300, 60), name, loop=True)
    patch = threading.Thread(target=play, args=(player, path), kwargs={"stop": stop})
    patch.start()
    try:
        while not path.exists():
            time.sleep(0.01)
        yield
    finally:
        stop.set()
        patch.join()


def link_of(*arguments: object) -> tuple[int, dict]:
    result = rhythmd("doctor", "--json", *arguments)
    (finding,) = [each for each in json.loads(result.stdout) if each["of"] == "link"]
    return result.returncode, finding


@pytest.mark.alone  # it measures the rate
@pytest.mark.parametrize("name", ["healthypi5-batch", "bitalino", "ad8232"])
def test_doctor_says_which_format_a_port_speaks_and_what_to_write(tmp_path, name):
    """A BITalino is silent until it is told to start."""
    with worn(tmp_path / "patch", name):
        _, finding = link_of("--port", tmp_path / "patch")
    assert finding["verdict"] == "ok"
    assert finding["write"] == f'[patch]\nport = "{tmp_path}/patch"\nlink = "{name}"'


@pytest.mark.alone
def test_doctor_finds_a_configuration_that_is_not_the_patchs_and_accepts_the_one_it_wrote(tmp_path):
    config = tmp_path / "rhythmd.toml"
    config.write_text(f'[patch]\nport = "{tmp_path}/patch"\nlink = "cyton"\n')
    with worn(tmp_path / "patch", "olimex"):
        code, finding = link_of("--config", config)
        assert (code, finding["verdict"]) == (1, "FAIL")
        config.write_text(finding["write"])
        _, finding = link_of("--config", config)
        assert finding["verdict"] == "ok"
        assert finding["says"].endswith("as configured")


def test_doctor_fails_for_what_is_no_serial_port():
    code, finding = link_of("--port", "/dev/null")
    assert (code, finding["verdict"]) == (1, "FAIL")
    assert "is it a serial port?" in finding["says"]


def test_doctor_says_what_to_do_about_a_group_that_has_no_name(monkeypatch):
    if os.geteuid():
        pytest.skip("only root may give a port to such a group")
    _, slave = os.openpty()
    os.chown(os.ttyname(slave), -1, 54321)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may do everything
    (finding,) = doctor._port(Config(patch=Patch(port=os.ttyname(slave))))
    assert finding.verdict == "FAIL"
    assert "its group 54321 has no name here: sudo groupadd --gid 54321" in finding.says


def test_doctor_says_that_a_port_is_silent_or_speaks_nothing_that_is_known(tmp_path):
    master, slave = os.openpty()
    tty.setraw(slave)
    port = os.ttyname(slave)
    _, finding = link_of("--port", port)
    assert finding["verdict"] == "FAIL"
    assert "nothing comes" in finding["says"]
    stop = threading.Event()

    def babble() -> None:
        while not stop.wait(0.1):
            os.write(master, b"Lorem ipsum dolor\r\n")

    speaker = threading.Thread(target=babble)
    speaker.start()
    try:
        _, finding = link_of("--port", port)
    finally:
        stop.set()
        speaker.join()
        os.close(slave)
        os.close(master)
    assert finding["verdict"] == "FAIL"
    assert "of no format that is known" in finding["says"]
