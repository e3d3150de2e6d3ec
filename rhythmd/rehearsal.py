"""The real daemon in its own process, a player in place of the patch, and a subscriber: for demo, bench and tests."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from daemon.messages import Status
from rhythmd.player import Player
from rhythmd.pty_port import play
from rhythmd.subscriber import Received, Subscriber

EVERYTHING = ("alert.", "event.", "beat", "status")
START_S, CATCH_UP_S, STOP_S = 30.0, 30.0, 20.0


class RehearsalError(Exception):
    """The daemon did not do what a rehearsal needs; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon and where it is reached."""

    process: subprocess.Popen[bytes]
    port: Path  # where it looks for the patch
    address: str
    log: Path

    def fail(self, what: str) -> RehearsalError:
        lines = self.log.read_text(errors="replace").splitlines()[-15:]
        return RehearsalError("\n".join([what, *lines]))


@contextmanager
def daemon(settings: str = "") -> Iterator[Daemon]:
    """A daemon with its own port and socket in a folder of its own; `settings` is more TOML. Stopped with SIGTERM."""
    with tempfile.TemporaryDirectory(prefix="rhythmd-") as folder:
        port, address, log = Path(folder, "patch"), f"ipc://{folder}/alerts.ipc", Path(folder, "log")
        config = Path(folder, "rhythmd.toml")
        places = f'patch.port = "{port}"\npublish.bind = ["{address}"]\nstore.directory = "{folder}"\n'
        places += "" if "metrics" in settings else "metrics.port = 0\n"
        config.write_text(places + settings)
        with log.open("wb") as output:
            command = [sys.executable, "-m", "rhythmd", "run", "--config", str(config)]
            process = subprocess.Popen(command, stderr=output, stdout=output)
        try:
            yield Daemon(process, port, address, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def worn(player: Player, port: Path, *, speed: float = 1.0) -> Iterator[None]:
    """Somebody wears the patch meanwhile."""
    stop = threading.Event()
    patch = threading.Thread(target=play, args=(player, port), kwargs={"speed": speed, "stop": stop})
    patch.start()
    try:
        yield
    finally:
        stop.set()
        patch.join()


def rehearse(
    running: Daemon,
    player: Player,
    *,
    speed: float,
    heard: Callable[[Received], None] = lambda _: None,
    sent: Callable[[float], None] = lambda _: None,
) -> list[Received]:
    """Play to the daemon, stop it when it has judged everything, and return all that it published meanwhile.

    `heard` is called with each message as it comes, `sent` with the patch time up to which frames have been sent.
    """
    received: list[Received] = []

    def note(one: Received) -> None:
        received.append(one)
        heard(one)

    with Subscriber(running.address, EVERYTHING) as subscriber:
        first = subscriber.receive(START_S)
        if first is None:
            raise running.fail(f"the daemon was not ready within {START_S:g} s")
        note(first)
        stop = threading.Event()
        patch = threading.Thread(
            target=play, args=(player, running.port), kwargs={"speed": speed, "stop": stop, "progress": sent}
        )
        patch.start()
        try:
            _follow(running, subscriber, patch, note)
        finally:
            stop.set()
            patch.join()
        running.process.send_signal(signal.SIGTERM)
        ended = False
        while not ended:
            ended = running.process.poll() is not None  # asked first: what it sent before is read below
            while one := subscriber.receive(0.3):
                note(one)
    return received


def _follow(running: Daemon, subscriber: Subscriber, patch: threading.Thread, note: Callable[[Received], None]) -> None:
    """Until the player is through and the daemon has said since that nothing more comes."""
    played_at_s = None
    while True:
        one = subscriber.receive(1.0)
        if one:
            note(one)
        if running.process.poll() is not None:
            raise running.fail(f"the daemon ended with {running.process.returncode}")
        if patch.is_alive():
            continue
        played_at_s = played_at_s or monotonic()
        status = one.message if one and isinstance(one.message, Status) else None
        if status and status.port == "absent" and monotonic() - played_at_s > 1.0:
            return
        if monotonic() - played_at_s > CATCH_UP_S:
            raise running.fail(f"the daemon had not caught up {CATCH_UP_S:g} s after the recording ended")
