"""Somebody wears the patch that is plugged into the machine: plays frames in real time into its USB serial port."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from time import monotonic
from types import TracebackType

from rhythmd.player import Player


class Wearer:
    """From `__enter__` on, until the recording or the power ends. While unplugged, what is due is lost."""

    def __init__(self, patch: socket.socket, player: Player) -> None:
        self._patch, self._player = patch, player
        self._stop = threading.Event()
        self.plugged = True
        self.samples = 0  # sent so far
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
                    self._patch.sendall(turn.wire)
                self.samples += self._player.link.samples_per_frame

    def _drain(self) -> None:
        """QEMU stands still when nobody takes what the guest writes, and a tty echoes until it is told not to."""
        with suppress(OSError):
            while self._patch.recv(65536):
                pass
