"""How far something slow is, on one line of stderr that overwrites itself; a plain line where that is no terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

CLEAR = "\r\x1b[K"


class Progress:
    """What is being done and the share of it that is done, told from any thread."""

    def __init__(self) -> None:
        self._text = ""
        self._share: float | None = None
        self._began_s = monotonic()

    def doing(self, text: str) -> None:
        self.done()
        self._text, self._share, self._began_s = text, None, monotonic()
        if not sys.stderr.isatty():  # said at once: a log that is cut off shows where
            print(text, file=sys.stderr, flush=True)

    def done(self) -> None:
        """Leave a line behind of what took a second or more, so that it is seen where the time went."""
        took_s = monotonic() - self._began_s
        if self._text and took_s >= 1:
            what = f"{CLEAR}{self._text}: " if sys.stderr.isatty() else "  "
            print(f"{what}{took_s:.0f} s", file=sys.stderr, flush=True)
        self._text = ""

    def share(self, share: float) -> None:
        self._share = share

    def draw(self) -> None:
        share = "" if self._share is None else f"{100 * self._share:3.0f} %, "
        sys.stderr.write(f"{CLEAR}{self._text}: {share}{monotonic() - self._began_s:.0f} s")
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
        progress.done()
        return
    thread = threading.Thread(target=draw, name="progress", daemon=True)
    thread.start()
    try:
        yield progress
    finally:
        stop.set()
        thread.join()
        progress.done()
        sys.stderr.write(CLEAR)
