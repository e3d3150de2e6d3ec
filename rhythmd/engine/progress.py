"""How far something slow is, on one line of stderr that overwrites itself; a plain line where that is no terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic


class Progress:
    """What is being done and the share of it that is done, told from any thread."""

    def __init__(self) -> None:
        self._text = ""
        self._share: float | None = None
        self._began_s = monotonic()

    def doing(self, text: str) -> None:
        self._text, self._share, self._began_s = text, None, monotonic()
        if not sys.stderr.isatty():
            print(text, file=sys.stderr)

    def share(self, share: float) -> None:
        self._share = share

    def draw(self) -> None:
        share = "" if self._share is None else f"{100 * self._share:3.0f} %, "
        sys.stderr.write(f"\r\x1b[K{self._text}: {share}{monotonic() - self._began_s:.0f} s")
        sys.stderr.flush()


@contextmanager
def shown() -> Iterator[Progress]:
    """TensorRT builds for minutes without the GIL: a thread of its own keeps the line alive."""
    progress = Progress()
    stop = threading.Event()

    def draw() -> None:
        while not stop.wait(0.5):
            progress.draw()

    if not sys.stderr.isatty():
        yield progress
        return
    thread = threading.Thread(target=draw, name="progress", daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        stop.set()
        thread.join()
        sys.stderr.write("\r\x1b[K")
