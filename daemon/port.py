"""The reader: owns the serial port, opens it again for ever, and hands on what comes."""

from __future__ import annotations

import logging
import random
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Full, Queue
from time import monotonic, sleep
from typing import Any

import serial

from daemon.patch import Patch
from daemon.room import STOP

log = logging.getLogger(__name__)

SILENT_READ_S = 0.25
"""A read that gets nothing ends after this; so an empty Reading means that this much time passed in silence."""

MOST_BYTES = 4096

GATHER_S, GATHER_BYTES = 0.08, 1024
"""A reading of fewer bytes is followed by this pause: what trickles gathers meanwhile, and two frames cost the rooms
what one costs. More is a backlog or a replay, and is not waited for."""

BACK_OFF_S = (0.25, 5.0)

BETWEEN_COMMANDS_S = 0.1
"""What a BITalino's own software leaves, which reads one command at a time."""


class PortError(Exception):
    """The port's address is no good. The message names the remedy."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one read brought."""

    data: bytes  # b"": SILENT_READ_S passed and nothing came
    connected: bool
    connections: int  # how often the port was opened so far
    dropped_bytes: int  # thrown away so far because the next room was behind
    read_s: float  # host time, monotonic


@contextmanager
def open_port(patch: Patch) -> Iterator[Any]:
    """The patch's port, told to start sending. `port` is a device or any URL that pyserial takes."""
    link = patch.wire
    try:
        port = serial.serial_for_url(patch.port, do_not_open=True)
    except ValueError as error:
        raise PortError(f"patch.port: {patch.port}: {error}") from None
    port.baudrate, port.timeout, port.write_timeout = link.baud, SILENT_READ_S, SILENT_READ_S
    if "://" not in patch.port:
        port.exclusive = True  # two readers would each get half of the bytes
    port.open()
    try:
        for place, command in enumerate(link.start_commands):
            sleep(BETWEEN_COMMANDS_S * bool(place))
            port.write(command)
        yield port
        if link.stop_command:
            port.write(link.stop_command)
    finally:
        port.close()


def _read(port: Any) -> bytes:
    """All that waits, or the first byte to come; b"" when SILENT_READ_S pass without one."""
    data = bytes(port.read(max(1, min(port.in_waiting, MOST_BYTES))))
    with suppress(OSError):  # it hung up: what came before counts, and the next read says so
        while data and len(data) < MOST_BYTES and port.in_waiting:  # a socket tells of one byte at a time
            data += port.read(min(port.in_waiting, MOST_BYTES))
    return data


class Reader(threading.Thread):
    """The first room. It never waits for the others: when its queue is full it drops, and counts what it dropped."""

    def __init__(self, patch: Patch, outbox: Queue[Any], stop: threading.Event, broken: Callable[[], object]) -> None:
        super().__init__(name="reader")
        self._patch, self._outbox, self._stop_asked, self._broken = patch, outbox, stop, broken
        self.ready = threading.Event()
        self.busy_since_s: float | None = None
        self.error: BaseException | None = None
        self._connected = True  # until it turns out to be away
        self._away_s = 0.0  # up to when the next room was told that it is (monotonic)
        self._connections = 0
        self._dropped_bytes = 0
        self._wait_s = BACK_OFF_S[0]

    def run(self) -> None:
        self.ready.set()
        try:
            while not self._stop_asked.is_set():
                try:
                    self._read_until_lost()
                except (OSError, ValueError, termios.error) as error:  # ValueError: select takes no file above 1023
                    self._lost(error)
        except Exception as error:  # a bug: the supervisor ends the process, systemd restarts it
            self.error = error
            self._broken()
        finally:
            self._outbox.put(STOP)

    def _read_until_lost(self) -> None:
        with open_port(self._patch) as port:
            self._connected, self._connections = True, self._connections + 1
            log.info("patch %s: %s is open", self._patch.id, self._patch.port)
            while not self._stop_asked.is_set():
                self.busy_since_s = monotonic()
                data = _read(port)
                if data:
                    self._wait_s = BACK_OFF_S[0]
                self._hand_on(data)
                self.busy_since_s = None
                if 0 < len(data) < GATHER_BYTES:
                    sleep(GATHER_S)

    def _lost(self, error: Exception) -> None:
        """Says so once, then lets the back-off pass as silence, and with it the seconds that opening may take."""
        self.busy_since_s = None
        if self._connected:
            log.warning("patch %s: %s is away (%s); trying for ever", self._patch.id, self._patch.port, error)
            self._connected, self._away_s = False, monotonic()
        is_there = self._is_there()
        until = monotonic() + self._wait_s * random.uniform(0.8, 1.2)
        while monotonic() < until and not self._stop_asked.wait(SILENT_READ_S):
            while self._away_s + SILENT_READ_S <= monotonic():
                self._away_s += SILENT_READ_S
                self._hand_on(b"")
            was_there, is_there = is_there, self._is_there()
            if is_there and not was_there:  # plugged in again: the back-off is for what keeps failing
                self._wait_s = BACK_OFF_S[0]
                return
        self._wait_s = min(2 * self._wait_s, BACK_OFF_S[1])

    def _is_there(self) -> bool:
        """Whether the device has a file; a URL can only be tried."""
        return "://" not in self._patch.port and Path(self._patch.port).exists()

    def _hand_on(self, data: bytes) -> None:
        try:
            self._outbox.put_nowait(Reading(data, self._connected, self._connections, self._dropped_bytes, monotonic()))
        except Full:
            self._dropped_bytes += len(data)
