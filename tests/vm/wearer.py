"""Somebody wears the patch that is plugged into the machine: plays frames in real time into its USB serial port."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from time import monotonic
from types import TracebackType

from rhythmd.player import Player

SEND_BUFFER_BYTES = 32768  # a small message costs the kernel 768: three seconds of frames


class Wearer:
    """From `__enter__` on, until the recording or the power ends. While unplugged, what is due is lost.

    What nobody reads is lost too, as with a patch, but for three seconds of it; a `patient` wearer waits instead, for
    a machine that is slower than the heart.
    """

    def __init__(self, patch: socket.socket, player: Player, *, patient: bool = False) -> None:
        self._patch, self._player, self._patient = patch, player, patient
        patch.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._stop = threading.Event()
        self.plugged = True
        self._playing = threading.Thread(target=self._play)
        self._draining = threading.Thread(target=self._drain, daemon=True)

    def __enter__(self) -> Wearer:  # noqa: PYI034 typing.Self comes with Python 3.11
        self._draining.start()
        self._playing.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._playing.join()

    def wait(self) -> None:
        """Until all is sent."""
        self._playing.join()

    def _play(self) -> None:
        begun_s = monotonic()
        with suppress(OSError):  # the power is cut
            for turn in self._player.turns():
                if self._stop.wait(max(0.0, begun_s + turn.due_s - monotonic())):
                    return
                if self.plugged:
                    self._send(turn.wire)

    def _send(self, wire: bytes) -> None:
        if self._patient:
            self._patch.sendall(wire)
            return
        with suppress(BlockingIOError):
            self._patch.send(wire, socket.MSG_DONTWAIT)

    def _drain(self) -> None:
        """QEMU stands still when nobody takes what the guest writes, and a tty echoes until it is told not to."""
        with suppress(OSError):
            while self._patch.recv(65536):
                pass
