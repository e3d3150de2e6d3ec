"""A daemon that tells what a test wants, and a program beside it in a process of its own, to be killed at will."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic

from tests.house import Daemon, open_daemon
from tests.running import eventually


class Broadcast:
    """A daemon's sockets, ledger and desk, in a thread that also sends a status ten times a second."""

    def __init__(self, folder: Path) -> None:
        self.address = f"ipc://{folder}/alerts.ipc"
        self._folder = folder
        self._orders: SimpleQueue[Callable[[Daemon], None]] = SimpleQueue()
        self.age_s = 0.0  # of what it tells
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Broadcast:  # noqa: PYI034 typing.Self comes with Python 3.11
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def tell(self, order: Callable[[Daemon], None]) -> None:
        """Done when it is on disk and published."""
        done = threading.Event()
        self._orders.put(lambda daemon: (order(daemon), done.set())[0])
        assert done.wait(10)

    def opens(self, kind: str, id_: str, *, latching: bool = True) -> None:
        self.tell(lambda daemon: daemon.opens(kind, id_, latching=latching))

    def closes(self, kind: str, id_: str, *, latching: bool = True) -> None:
        self.tell(lambda daemon: daemon.closes(kind, id_, latching=latching))

    def _utc(self) -> datetime:
        return datetime.now(timezone.utc) - timedelta(seconds=self.age_s)

    def _run(self) -> None:
        told_s = 0.0
        with open_daemon(self.address, self._folder / "ledger") as daemon:
            daemon.common = lambda topic: {**Daemon.common(daemon, topic), "utc": self._utc()}
            while not self._stop.is_set():
                daemon.serve()
                if monotonic() > told_s + 0.1:
                    told_s = monotonic()
                    daemon.status()
                try:
                    self._orders.get(timeout=0.005)(daemon)
                except Empty:
                    continue


class Program:
    """`rhythmd notify` or `rhythmd bridge`, started again and again with the same files."""

    def __init__(self, folder: Path, name: str, settings: str) -> None:
        self.folder, self.name = folder, name
        self.config, self.log = folder / f"{name}.toml", folder / f"{name}.log"
        self.log.touch()
        self.configure(settings)
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, settings: str) -> None:
        self.config.touch(mode=0o600)
        self.config.write_text(settings)

    @property
    def said(self) -> str:
        return self.log.read_text()

    @contextmanager
    def running(self, before: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """`before` is run in its process first."""
        code = f"{textwrap.dedent(before)}\nimport sys, rhythmd.cli\nsys.exit(rhythmd.cli.main(sys.argv[1:]))\n"
        command = [
            sys.executable,
            "-c",
            code,
            self.name,
            "--log-level",
            "debug",
            "--config",
            str(self.config),
            "--state",
            str(self.folder),
        ]
        times = self.said.count(" ready: ")
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            eventually(lambda: process.poll() is not None or self.said.count(" ready: ") > times)
            yield process
        finally:
            process.kill()
            process.wait()

    def end(self, process: subprocess.Popen[bytes]) -> int:
        process.send_signal(signal.SIGTERM)
        return process.wait(20)


def kill(process: subprocess.Popen[bytes]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


class Receiver(ThreadingHTTPServer):
    """What apprise's json:// sends to."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.got: list[dict] = []
        self.answer: Callable[[dict], int] = lambda _message: 200

    @property
    def port(self) -> int:
        return self.server_address[1]

    def bodies(self) -> list[str]:
        return [message["message"] for message in self.got]


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.server.answer({**message, "path": self.path})
        if status == 200:
            self.server.got.append(message)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiver(port: int = 0) -> Iterator[Receiver]:
    with Receiver(port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
