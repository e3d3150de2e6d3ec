"""Lends a patch a serial port: plays a player's frames through a pty into whatever opens it.

What the kernel does here was tried out, not guessed: a master polls POLLHUP while no slave is open; in packet mode
it hears when the reader throws away its input; closing the master throws away what the reader has not read.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import termios
import threading
import tty
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from itertools import groupby
from pathlib import Path
from time import monotonic

from daemon.links import Link
from rhythmd.player import Fate, Player, Turn

SETTLE_S = 0.5
"""A reader may throw away its input when it opens a port (pyserial does); one that has not by now never will."""
_LOOK_S = 0.01
_BATCH_BYTES = 2048
_EMPTY_S = 0.3
"""Before what was written counts as read. A single empty look may fall between two of the kernel's buffers, and a
reader still collecting throws away what it holds when the port hangs up (pyserial's read(n) does)."""


class PtyPort:
    """A patch plugged in: the master's side of a raw pty. `device` is what a reader opens."""

    def __init__(self, link: Link, stop: threading.Event) -> None:
        self._link, self._stop = link, stop
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.device = os.ttyname(slave)
        os.close(slave)  # from now on the kernel tells whether somebody else has it open
        fcntl.ioctl(self._master, termios.TIOCPKT, array.array("i", [1]))
        os.set_blocking(self._master, False)
        self._poll = select.poll()
        self._opened_at_s: float | None = None
        self._flushed = False
        self._start = link.start_commands[-1] if link.start_commands else b""
        self._started = not self._start

    def close(self) -> None:
        """The reader sees a hang-up."""
        os.close(self._master)

    @property
    def wanted(self) -> bool:
        """Somebody has it open and, where the link has a start command, has given it."""
        return self._opened_at_s is not None and self._started

    def wait_until_wanted(self) -> None:
        """Returns once there is a reader, is ready and wants data, or `stop` is set."""
        while not self._stop.is_set():
            self._look(0.0)
            if self.wanted and (self._start or self._settled()):
                return
            self._stop.wait(_LOOK_S)

    def send(self, wire: bytes | bytearray) -> None:
        """Writes all of it, as fast as the reader reads. What a reader that leaves has not taken is lost."""
        rest = memoryview(wire)
        self._look(0.0)
        while rest and self._opened_at_s is not None and not self._stop.is_set():
            rest = rest[self._written(rest) :]

    def drain(self) -> None:
        """Returns once the reader has read everything, or has left."""
        empty_since_s = monotonic()
        while monotonic() - empty_since_s < _EMPTY_S and self._opened_at_s is not None and not self._stop.wait(_LOOK_S):
            if self._unread_bytes():
                empty_since_s = monotonic()
            self._look(0.0)

    def _written(self, data: memoryview) -> int:
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            self._look(_LOOK_S)
            return 0

    def _settled(self) -> bool:
        return self._flushed or (self._opened_at_s is not None and monotonic() - self._opened_at_s > SETTLE_S)

    def _look(self, wait_for_room_s: float) -> None:
        """Notes who came, left, or sent a command."""
        interest = select.POLLIN | select.POLLPRI | (select.POLLOUT if wait_for_room_s else 0)
        self._poll.register(self._master, interest)
        events = dict(self._poll.poll(1e3 * wait_for_room_s)).get(self._master, 0)
        if events & select.POLLHUP:
            self._opened_at_s, self._flushed, self._started = None, False, not self._start
            return
        if self._opened_at_s is None:
            self._opened_at_s = monotonic()
        if events & (select.POLLIN | select.POLLPRI):
            with suppress(OSError):  # the reader left in between: the next look says so
                self._note(os.read(self._master, 4096))

    def _note(self, packet: bytes) -> None:
        kind, data = packet[0], packet[1:]
        self._flushed = self._flushed or bool(kind & termios.TIOCPKT_FLUSHREAD)
        if kind == termios.TIOCPKT_DATA and self._start:
            start, stop = data.rfind(self._start), data.rfind(self._link.stop_command)
            if start != stop:  # both -1: another command
                self._started = start > stop

    def _unread_bytes(self) -> int:
        try:
            slave = os.open(self.device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError:  # the reader has taken it for itself alone (TIOCEXCL): no way to ask
            return 0
        try:
            count = array.array("i", [0])
            fcntl.ioctl(slave, termios.FIONREAD, count)
            return count[0]
        finally:
            os.close(slave)


def play(
    player: Player,
    path: Path | None = None,
    *,
    speed: float = 1.0,
    stop: threading.Event | None = None,
    plugged_in: Callable[[str], None] = lambda _port: None,
    progress: Callable[[float], None] = lambda _due_s: None,
) -> Counter[Fate]:
    """Plays to the end, or until `stop` is set, and says what became of the frames.

    `path` becomes a symbolic link to the port; `plugged_in` hears the port's name whenever it (re)appears, `progress`
    the patch time. `speed` 0 goes as fast as the reader reads. Time stands still while nobody has the port open.
    """
    stop = stop or threading.Event()
    fates: Counter[Fate] = Counter()
    for away, turns in groupby(player.turns(), lambda turn: turn.fate is Fate.UNPLUGGED):
        if away:
            gone = sum(1 for _ in turns)
            fates[Fate.UNPLUGGED] += gone
            stop.wait(gone * player.link.samples_per_frame / player.link.rate_hz / speed if speed else 0.0)
        else:
            with closing(PtyPort(player.link, stop)) as port, _alias(path, port.device) if path else nullcontext():
                plugged_in(str(path or port.device))
                _play_turns(port, turns, fates, speed, stop, progress)
                port.drain()
        if stop.is_set():  # before groupby looks for the end of a group that has none when the player loops
            break
    return fates


def _play_turns(
    port: PtyPort,
    turns: Iterable[Turn],
    fates: Counter[Fate],
    speed: float,
    stop: threading.Event,
    progress: Callable[[float], None],
) -> None:
    """Writes each frame when it is due on an absolute schedule; what is due already goes out in one write."""
    batch = bytearray()
    begun_s = 0.0  # host time of patch time 0
    for turn in turns:
        if not port.wanted:
            port.wait_until_wanted()
            begun_s = monotonic() - (turn.due_s / speed if speed else 0.0)
        if stop.is_set():
            return
        fates[turn.fate] += 1
        batch += turn.wire
        early_s = begun_s + turn.due_s / speed - monotonic() if speed else 0.0
        if early_s > 0 or len(batch) >= _BATCH_BYTES:
            stop.wait(max(0.0, early_s))
            port.send(batch)
            batch.clear()
            progress(turn.due_s)
    port.send(batch)


@contextmanager
def _alias(path: Path, device: str) -> Iterator[None]:
    """A stable name, as udev gives one: it goes before the port does, so that nobody opens what is going."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(device)
    new.replace(path)
    try:
        yield
    finally:
        if path.is_symlink() and str(path.readlink()) == device:
            path.unlink()
