"""The daemon as systemd sees it: a real process, a real notify socket, real signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from daemon import app
from daemon.messages import Alert
from daemon.room import STOP, Room
from rhythmd import patient
from rhythmd.player import Player
from rhythmd.pty_port import play
from rhythmd.subscriber import Subscriber

OVERVIEW = Path(__file__).parents[1] / "docs" / "overview.md"


class Service:
    """`rhythmd run` in a process of its own, told where systemd would listen."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        self.port, self.address = folder / "patch", f"ipc://{folder}/alerts.ipc"
        config = folder / "rhythmd.toml"
        places = f'patch.port = "{self.port}"\npublish.bind = ["{self.address}"]\nstore.directory = "{folder}"\n'
        config.write_text(places + settings)
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.bind(str(folder / "notify"))
        self._notices.settimeout(20)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rhythmd", "run", "--config", str(config)],
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
            stderr=subprocess.PIPE,
            text=True,
        )

    def notice(self) -> str:
        return self._notices.recv(256).decode()

    def until(self, wanted: str) -> None:
        while self.notice() != wanted:
            pass

    def end(self, sign: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(sign)
        _, log = self.process.communicate(timeout=20)
        self._notices.close()
        return self.process.returncode, log


@pytest.fixture
def service(tmp_path):
    started = Service(tmp_path)
    yield started
    started.process.kill()
    started.process.communicate()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_it_says_ready_then_feeds_the_watchdog_and_stops_with_0_when_asked(service, sign):
    assert service.notice() in {"READY=1", "WATCHDOG=1"}
    service.until("WATCHDOG=1")
    service.until("WATCHDOG=1")
    code, log = service.end(sign)
    assert (code, "Traceback" in log) == (0, False)


def test_it_is_ready_before_the_patch_is_there_and_says_once_that_it_is_away(service):
    service.until("READY=1")
    time.sleep(2.0)
    _, log = service.end(signal.SIGTERM)
    assert log.count("is away") == 1


def test_a_signal_during_start_up_still_ends_in_order(service):
    time.sleep(0.05)
    code, log = service.end(signal.SIGTERM)
    assert code in {0, -signal.SIGTERM}  # before Python has come to block the signal, the kernel's way holds
    assert "Traceback" not in log


def test_what_is_open_when_it_stops_is_closed_as_interrupted(service):
    service.until("READY=1")
    player = Player(patient.make("sinus 12, asystole 60", seed=1).recording, "rhythmd")
    stop = threading.Event()
    patch = threading.Thread(target=play, args=(player, service.port), kwargs={"speed": 20.0, "stop": stop})
    with Subscriber(service.address) as subscriber:
        patch.start()
        try:
            opened = received(subscriber, "asystole")
            assert opened.state == "open"
            code, _ = service.end(signal.SIGTERM)
        finally:
            stop.set()
            patch.join()
        closed = received(subscriber, "asystole")
    assert (code, closed.id, closed.state, closed.ended_by) == (0, opened.id, "closed", "interrupted")


def received(subscriber: Subscriber, kind: str) -> Alert:
    while one := subscriber.receive(20.0):
        if isinstance(one.message, Alert) and one.message.kind == kind:
            return one.message
    raise AssertionError(f"no alert {kind}")


def test_a_second_daemon_on_the_same_address_is_told_so_in_one_line(service, tmp_path):
    service.until("READY=1")
    config = tmp_path / "second.toml"
    places = f'patch.port = "/dev/elsewhere"\npublish.bind = ["{service.address}"]\n'
    config.write_text(f'{places}store.directory = "{tmp_path}/second"\n')
    second = subprocess.run(
        [sys.executable, "-m", "rhythmd", "run", "--config", str(config)], capture_output=True, text=True, timeout=30
    )
    assert second.returncode == 2
    assert "publish.bind" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_hung_room_starves_the_watchdog(monkeypatch):
    """The watchdog lives from progress: a room that works on one thing for too long is stuck."""
    monkeypatch.setattr(app, "STUCK_AFTER_S", 0.1)
    let_go = threading.Event()

    def hang(_: list[object]) -> list[object]:
        let_go.wait(5)
        return []

    room = room_of(hang)
    assert not app._is_stuck(room)
    room._inbox.put("work")
    deadline = time.monotonic() + 5
    while not app._is_stuck(room) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert app._is_stuck(room)
    let_go.set()
    room._inbox.put(STOP)
    room.join(5)
    assert not room.is_alive()


def room_of(work):
    from contextlib import contextmanager
    from queue import Queue

    @contextmanager
    def opens():
        yield work

    room = Room("test", opens, Queue(), None, lambda: None)
    room.start()
    room.ready.wait(5)
    return room


def test_a_room_that_breaks_ends_the_process_with_1(tmp_path):
    """A bug must not leave a daemon that looks alive."""
    program = (
        "import sys, daemon.judge, rhythmd.cli\n"
        "daemon.judge.Judge.condition = lambda *a, **k: 1 / 0\n"
        "sys.exit(rhythmd.cli.main(sys.argv[1:]))\n"
    )
    config = tmp_path / "rhythmd.toml"
    places = f'patch.port = "{tmp_path}/patch"\npublish.bind = ["ipc://{tmp_path}/alerts.ipc"]\n'
    config.write_text(f'{places}store.directory = "{tmp_path}"\n')
    broken = subprocess.run(
        [sys.executable, "-c", program, "run", "--config", str(config)], capture_output=True, text=True, timeout=60
    )
    assert broken.returncode == 1
    assert "ZeroDivisionError" in broken.stderr


def test_the_overview_names_every_thread():
    text = OVERVIEW.read_text()
    assert all(f"`{name}`" in text for name in ("reader", "dsp", "judge"))
