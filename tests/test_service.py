"""The daemon as systemd sees it: a real process, a real notify socket, real signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from daemon import app
from daemon.messages import Alert, Status
from daemon.room import STOP, Room
from rhythmd import patient
from rhythmd.cli import main
from rhythmd.player import Player
from rhythmd.pty_port import play
from rhythmd.subscriber import Subscriber
from tests.running import until

UNIT = Path(__file__).parents[1] / "systemd" / "rhythmd.service"
OVERVIEW = Path(__file__).parents[1] / "docs" / "overview.md"


PROGRAM = """
import sys, threading, time
import daemon.app, rhythmd.cli
{spoiled}
sys.exit(rhythmd.cli.main(sys.argv[1:]))
"""
PLACES = 'patch.port = "{port}"\npublish.bind = ["ipc://{folder}/alerts.ipc"]\n'
PLACES += 'store.directory = "{folder}"\nmetrics.port = {metrics}\n'


class Service:
    """`rhythmd run` in a process of its own, told where systemd would listen."""

    def __init__(
        self,
        folder: Path,
        settings: str = "",
        *,
        metrics: int = 0,
        spoiled: str = "",
        port: str = "",
        stderr: Any = subprocess.PIPE,
        **environment: str,
    ) -> None:
        """`spoiled` is Python that runs before the daemon does: what a bug or a broken driver would do to it."""
        self.port, self.address = folder / "patch", f"ipc://{folder}/alerts.ipc"
        config = folder / "rhythmd.toml"
        config.write_text(PLACES.format(port=port or self.port, folder=folder, metrics=metrics) + settings)
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.bind(str(folder / "notify"))
        self._notices.settimeout(20)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(spoiled=spoiled), "run", "--config", str(config)],
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), **environment},
            stderr=stderr,
            text=True,
        )

    def notice(self) -> str:
        """The next one; raises TimeoutError."""
        return self._notices.recv(256).decode()

    def until(self, wanted: str) -> None:
        while self.notice() != wanted:
            pass

    def end(self, sign: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(sign)
        _, log = self.process.communicate(timeout=20)
        self._notices.close()
        return self.process.returncode, log

    def starved_after_s(self, at_most_s: float = 60.0) -> float:
        """How long the watchdog is fed from now on, until it is not for 1.5 seconds."""
        began = last = time.monotonic()
        self._notices.settimeout(1.5)
        try:
            while last - began < at_most_s:
                if self.notice() == "WATCHDOG=1":
                    last = time.monotonic()
        except TimeoutError:
            pass
        return last - began


@pytest.fixture
def service(tmp_path):
    started = Service(tmp_path)
    yield started
    started.process.kill()
    started.process.communicate()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_it_says_ready_then_feeds_the_watchdog_and_stops_with_0_when_asked(service, sign):
    assert service.notice() == "READY=1"
    service.until("WATCHDOG=1")
    service.until("WATCHDOG=1")
    code, log = service.end(sign)
    assert (code, "Traceback" in log) == (0, False)


def test_a_start_that_takes_long_is_not_ended_by_the_watchdog(tmp_path):
    """systemd's runs from the first WATCHDOG=1 on, ready or not: a start has TimeoutStartSec=, and imports from a slow
    card may keep the main thread waiting for longer than a room may hang."""
    slow = "import daemon.ward\nfast = daemon.ward.open_engine\n"
    slow += "daemon.ward.open_engine = lambda *a, **k: (time.sleep(2.0), fast(*a, **k))[1]"
    service = Service(tmp_path, spoiled=slow)
    try:
        assert service.notice() == "READY=1"
    finally:
        service.process.kill()
        service.process.communicate()


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


@pytest.mark.parametrize("is_journal", [True, False])
def test_the_journal_is_given_priorities_and_everybody_else_the_time(tmp_path, is_journal):
    """A shell that a service started inherits JOURNAL_STREAM without its stream."""
    stream = tmp_path / "stderr"
    with stream.open("wb") as stderr:
        place = os.fstat(stderr.fileno())
        service = Service(
            tmp_path, stderr=stderr, JOURNAL_STREAM=f"{place.st_dev}:{place.st_ino}" if is_journal else "8:12345"
        )
        service.until("READY=1")
        time.sleep(0.5)
        service.end(signal.SIGTERM)
    lines = stream.read_text().splitlines()
    priorities = [line[1] for line in lines if re.match(r"<[2-7]>", line)]
    assert (priorities == []) != is_journal
    assert is_journal == any(line.startswith("<4>") and "is away" in line for line in lines)
    assert all(re.match(r"<\d>\S|20\d\d-", line) for line in lines)


HUNG = {
    "reader": "import daemon.port\ndaemon.port._read = hang",
    "dsp": "import daemon.listening\ndaemon.listening.Chain.__call__ = hang",
    "judge": "import daemon.engine, daemon.judge\ndaemon.judge.Judge.window = hang",
}
"""A driver that never returns, a bug that never ends, a GPU that never answers."""


@pytest.fixture
def patch(tmp_path):
    """Plays a patient for as long as the test lasts."""
    player = Player(patient.make("sinus 120", seed=1).recording, "rhythmd")
    stop = threading.Event()
    playing = threading.Thread(target=play, args=(player, tmp_path / "patch"), kwargs={"speed": 1.0, "stop": stop})
    playing.start()
    yield
    stop.set()
    playing.join()


@pytest.mark.parametrize("room", HUNG)
def test_a_room_that_hangs_in_a_real_daemon_starves_the_watchdog_and_the_journal_shows_where(room, tmp_path, patch):
    """systemd then sends SIGABRT and starts it again."""
    hang = "def hang(*_, **__):\n    sys.stderr.write('hangs\\n'); sys.stderr.flush(); threading.Event().wait()\n"
    stuck_after_s = 1.0
    spoiled = f"{hang}{HUNG[room]}\ndaemon.app.STUCK_AFTER_S = {stuck_after_s}"
    service = Service(tmp_path, spoiled=spoiled, PYTHONFAULTHANDLER="1")
    try:
        while service.process.stderr.readline() != "hangs\n":
            pass
        assert service.starved_after_s() < stuck_after_s + 2 * app.PERIOD_S
        lines = iter(service.process.stderr.readline, "")
        assert any(line.endswith(f" ERROR {room} has been at one thing for 1 s:\n") for line in lines)
        assert any("in hang" in line for line in lines)
        code, log = service.end(signal.SIGABRT)
    finally:
        service.process.kill()
        service.process.communicate()
    assert code == -signal.SIGABRT
    assert "in hang" in log


def test_the_watchdog_waits_longer_than_a_room_may_take():
    """Else systemd would kill a daemon that is slow and not stuck."""
    (watchdog_s,) = re.findall(r"^WatchdogSec=(\d+)$", UNIT.read_text(), re.M)
    assert float(watchdog_s) > app.STUCK_AFTER_S + 2 * app.PERIOD_S


def test_a_stop_ends_before_systemd_kills_it():
    """What is done after the last window takes seconds on a slow machine."""
    (stop_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.M)
    assert float(stop_s) >= app.DRAIN_S + 10


def test_a_stop_waits_only_so_long_for_a_backlog_and_says_what_was_left(tmp_path):
    slow = "import daemon.engine\nfast = daemon.engine.Engine.infer\ndaemon.app.DRAIN_S = 1.0\n"
    slow += "daemon.engine.Engine.infer = lambda *a: (time.sleep(0.5), fast(*a))[1]"
    service = Service(tmp_path, spoiled=slow)
    player = Player(patient.make("sinus 300", seed=1).recording, "rhythmd")
    stop = threading.Event()
    patch = threading.Thread(target=play, args=(player, service.port), kwargs={"speed": 40.0, "stop": stop})
    patch.start()
    try:
        with Subscriber(service.address, ("status",)) as subscriber:
            until(subscriber, lambda one: isinstance(one.message, Status) and one.message.queues.windows > 40)
            began_s = time.monotonic()
            code, log = service.end(signal.SIGTERM)
            took_s = time.monotonic() - began_s
    finally:
        stop.set()
        patch.join()
    (left,) = re.findall(r"up to (\d+) readings and windows are lost", log)
    assert code == 0
    assert took_s < 8.0  # and not the 20 s and more that the windows would take
    assert int(left) > 30


def test_status_goes_on_while_the_port_takes_long_to_open(tmp_path):
    """A host that is not there: a connection to it is tried for five seconds."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as full, ExitStack() as others:
        for _ in range(2):
            other = others.enter_context(closing(socket.socket()))
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        service = Service(tmp_path, port=f"socket://127.0.0.1:{full.getsockname()[1]}")
        try:
            service.until("READY=1")
            began_s = time.monotonic()
            with Subscriber(service.address, ("status",)) as subscriber:
                assert all(subscriber.receive(20.0) for _ in range(3))
            assert time.monotonic() - began_s < 4.0
        finally:
            service.process.kill()
            service.process.communicate()


def test_a_slow_engine_is_no_hang_stalls_no_reader_and_status_tells_of_it_meanwhile(tmp_path):
    """Ten windows a second for fifty that come: the queues fill, and nobody waits for a turn's end to be told."""
    slow = "import daemon.engine\nfast = daemon.engine.Engine.infer\ndaemon.app.STUCK_AFTER_S = 1.0\n"
    slow += "daemon.app.WINDOWS = 256\ndaemon.engine.Engine.infer = lambda *a: (time.sleep(0.1), fast(*a))[1]"
    service = Service(tmp_path, spoiled=slow)
    player = Player(patient.make("sinus 1200", seed=1).recording, "rhythmd")
    stop = threading.Event()
    patch = threading.Thread(target=play, args=(player, service.port), kwargs={"speed": 40.0, "stop": stop})
    patch.start()
    try:
        with Subscriber(service.address, ("status",)) as subscriber:
            status = subscriber.receive(20.0).message
            until_s = time.monotonic() + 30
            while status.queues.readings < 30:  # the dsp room waits for the judge, which is at it
                assert time.monotonic() < until_s
                heard = subscriber.receive(3.0)
                assert heard, "status waits for the end of a turn"
                status = heard.message
        assert status.queues.windows > 200
        assert status.link.dropped_bytes == 0
        assert service.starved_after_s(at_most_s=12.0) >= 12.0
    finally:
        stop.set()
        patch.join()
        service.process.kill()
        service.process.communicate()


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


def test_the_overview_names_every_thread(tmp_path):
    """Those that a real daemon has when it is ready, with keys and metrics."""
    assert main(["keys", "init", str(tmp_path / "keys")]) == 0
    tells = (
        "say = daemon.app.notify\nnames = lambda: print(*(t.name for t in threading.enumerate()), file=sys.stderr)\n"
    )
    tells += "daemon.app.notify = lambda text: (say(text), text == 'READY=1' and names())"
    tells += "\nimport daemon.metrics\ndaemon.metrics.LOOPBACK = '127.0.0.2'"  # whoever else runs here has another
    service = Service(tmp_path, f'publish.keys = "{tmp_path}/keys"\n', metrics=9250, spoiled=tells)
    service.until("READY=1")
    service.until("WATCHDOG=1")
    _, log = service.end(signal.SIGTERM)
    (threads,) = (line.split() for line in log.splitlines() if line.startswith("MainThread"))
    assert set(threads) >= {"reader", "dsp", "judge"}
    text = OVERVIEW.read_text().replace("| main |", "`MainThread`")
    assert [name for name in threads if f"`{name}`" not in text] == []
