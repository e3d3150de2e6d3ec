"""The real daemon in a process of its own, in a folder that outlives it: to be killed, unplugged, filled, flooded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

from daemon import config as cfg
from daemon.app import find_model
from daemon.ledger import Entry, open_ledger
from daemon.messages import Alert, Durable, Status
from daemon.reporting import TimeLine, alert_message
from engines.backend import open_backend
from rhythmd.analysis import analyze
from rhythmd.player import Player, on_the_wire
from rhythmd.pty_port import play
from rhythmd.recording import Recording
from rhythmd.subscriber import Received, Subscriber

MANY_ALERTS = "[alerts]\nventricular_couplet.action = 'alarm'\nfrequent_pvc.per_minute = 2\npause.rr_s = 1.0\n"
"""Settings with which the shipped recording raises an alert every few seconds of it."""


AT_LENGTH = "RHYTHMD_RELIABILITY" in os.environ
"""`make reliability` sets it; without it these tests take a minute together, and do a little of everything."""

at_length = pytest.mark.skipif(not AT_LENGTH, reason="takes long: `make reliability` runs it")


def many(variable: str, few: float, full: float) -> float:
    """How many: as the environment says, else what `make reliability` does in full and the other tests do a little."""
    return float(os.environ.get(variable, full if AT_LENGTH else few))


def fields(alert: Alert) -> tuple:
    """What must be equal from run to run."""
    return alert.kind, alert.onset_sample, alert.raised_sample, tuple(sorted(alert.evidence.items()))


def raised_in(recording: Recording, place: Place) -> list[tuple]:
    """The alerts of a run that nothing disturbs, as they open."""
    limits, model = cfg.load(place.config).alerts, find_model(cfg.Config().engine.model)
    wire = on_the_wire(recording, "rhythmd")
    with open_backend("onnxruntime", model) as backend:
        found = analyze(wire, backend, model.manifest.heads, limits)
    line = TimeLine(wire.rate_hz, wire.begins)
    return [fields(alert_message(one, patch="", seq=0, line=line)) for one in found.alerts]


def memory_kb(process: str = "self") -> int:
    """Resident, without what is shared with others through files."""
    lines = Path("/proc", process, "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


class Place:
    """A folder with a configuration; daemons are started in it one after the other."""

    def __init__(self, folder: Path, settings: str = "", state: Path | None = None, before: str = "") -> None:
        self.folder, self.state = folder, state or folder / "state"
        self.port, self.address, self.log = folder / "patch", f"ipc://{folder}/alerts.ipc", folder / "log"
        self.config = folder / "rhythmd.toml"
        places = f'patch.port = "{self.port}"\npublish.bind = ["{self.address}"]\nstore.directory = "{self.state}"\n'
        self.config.write_text(f"{places}metrics.port = 0\n{settings}")
        self._before = textwrap.dedent(before)  # a program that runs in the daemon's process before the daemon does

    def start(self, **environment: str) -> Running:
        program = f"{self._before}\nimport sys, rhythmd.cli\nsys.exit(rhythmd.cli.main(sys.argv[1:]))\n"
        command = [sys.executable, "-c", program, "run", "--config", str(self.config)]
        with self.log.open("ab") as log:
            before = log.tell()
            process = subprocess.Popen(command, stderr=log, env={**os.environ, **environment})
        return Running(process, self.log, before)

    @contextmanager
    def running(self) -> Iterator[Running]:
        running = self.start()
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.kill()

    @contextmanager
    def patch(
        self, player: Player, speed: float, sent: Callable[[float], None] = lambda _due_s: None
    ) -> Iterator[threading.Event]:
        """Somebody wears the patch; the event tells that he has taken it off. `sent` hears the patch time."""
        stop = threading.Event()
        more = {"speed": speed, "stop": stop, "progress": sent}
        patch = threading.Thread(target=play, args=(player, self.port), kwargs=more)
        patch.start()
        try:
            yield stop
        finally:
            stop.set()
            patch.join()

    def kept(self) -> list[Entry]:
        """What the ledger has, when no daemon runs."""
        found: list[Entry] = []
        with open_ledger(self.state) as ledger:
            page = ledger.since(0, ("alert.", "event."), most=10**6)
            while page.more:  # it looks at some thousands at once
                found += page.entries
                page = ledger.since(page.upto, ("alert.", "event."), most=10**6)
        return [*found, *page.entries]


class Running:
    """One daemon's process, seen from outside."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, before: int) -> None:
        self.process = process
        self._log, self._before = log, before

    @property
    def said(self) -> str:
        """Its log so far."""
        return self._log.read_bytes()[self._before :].decode()

    def wait_until_ready(self) -> None:
        eventually(lambda: " ready: " in self.said)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self, sign: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(sign)
        return self.process.wait(30)

    @property
    def memory_kb(self) -> int:
        return memory_kb(str(self.process.pid))

    @property
    def handles(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))


def until(subscriber: Subscriber, holds, within_s: float = 20.0) -> list[Received]:
    """All that comes up to the first message for which it holds, that one too."""
    came: list[Received] = []
    deadline_s = monotonic() + within_s
    while monotonic() < deadline_s:
        if one := subscriber.receive(0.2):
            came.append(one)
            if holds(one):
                return came
    raise AssertionError(f"it never came; the last was {came[-1:]}")


def last_words(subscriber: Subscriber) -> list[Received]:
    """What a daemon said before it ended."""
    return list(iter(lambda: subscriber.receive(0.5), None))


def caught_up(subscriber: Subscriber, within_s: float = 20.0) -> list[Received]:
    """All up to a status that tells of nothing that this subscriber has not had. It must follow `status`."""
    had = subscriber.mark.serial if subscriber.mark else 0

    def all_had(one: Received) -> bool:
        nonlocal had
        if isinstance(one.message, Durable):
            had = one.message.serial
        return isinstance(one.message, Status) and one.message.serial == had

    return until(subscriber, all_had, within_s)


def eventually(holds, within_s: float = 20.0) -> None:
    deadline_s = monotonic() + within_s
    while not holds():
        assert monotonic() < deadline_s
        sleep(0.05)
