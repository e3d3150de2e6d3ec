"""Builds the rooms, watches over them, brings them down in order."""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import Queue
from time import monotonic
from typing import Any

from daemon.config import Config, ConfigError
from daemon.listening import Listener
from daemon.metrics import Metrics, open_metrics
from daemon.notify import notify
from daemon.patch import Patch
from daemon.port import PortError, Reader
from daemon.publish import resolve
from daemon.room import Room, Work
from daemon.turns import Turns
from daemon.ward import open_ward
from dsp.signal import R_INDEX, RATE_HZ
from dsp.windows import INPUT_SHAPES, NORMALISATION
from engines import model
from engines.errors import EngineError

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
READINGS = 4096  # at 25 frames a second more than two minutes
WINDOWS = 1024
PERIOD_S = 0.5
STUCK_AFTER_S = 5.0
DRAIN_S = 10.0
"""When it is told to stop, what waits is judged for so long; systemd kills it after TimeoutStopSec=."""

USER_ERRORS = (ConfigError, EngineError, PortError)
"""What the user can mend: one line, exit code 2."""


def find_model(name: str) -> model.Model:
    """A model by the name it is shipped under, or by its path."""
    path = Path(name) if name.endswith(".onnx") else model.SHIPPED / f"{name}.onnx"
    loaded = model.load(path)
    made_for, made_here = _promises(loaded.manifest), (RATE_HZ, R_INDEX, INPUT_SHAPES, NORMALISATION)
    if made_for != made_here:
        raise EngineError(
            f"engine.model: {path} reads windows of (rate, R index, shapes, normalisation) {made_for}, this version "
            f"makes {made_here}; choose a model made for it"
        )
    return loaded


def _promises(manifest: model.Manifest) -> tuple[int, int, tuple[tuple[int, ...], ...], str]:
    shapes = tuple(each.shape for each in manifest.inputs)
    return manifest.rate_hz, manifest.r_index, shapes, manifest.normalisation


@contextmanager
def stop_asked() -> Iterator[int]:
    """A file descriptor that becomes readable when SIGINT or SIGTERM comes.

    Whichever thread the kernel gives the signal to: blocking the signals and waiting for them would need every thread
    to block them, and numerical libraries start theirs when they are imported.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before_fd = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = {sign: signal.signal(sign, lambda *_: None) for sign in STOP_SIGNALS}
    try:
        yield reading
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
        signal.set_wakeup_fd(before_fd)
        os.close(reading)
        os.close(writing)


def run(config: Config) -> int:
    """Run until SIGINT or SIGTERM. Returns the exit code: 0, or 1 when a room broke."""
    with stop_asked() as asked, open_metrics(config.metrics.port) as metrics:
        return supervise(config, asked, notify, metrics)


def supervise(config: Config, asked: int, tell: Callable[[str], None], metrics: Metrics) -> int:
    """Start the rooms, tell systemd how they do, and stop them, each after the one that feeds it."""
    patches = [wearer.patch for wearer in config.wearers]
    if not patches[0].port:
        raise ConfigError("patch.port: no port is given; `rhythmd doctor` lists the ports that are there")
    loaded = find_model(config.engine.model)
    stop = threading.Event()
    readings: list[Queue[Any]] = [Queue(READINGS) for _ in patches]
    windows = Turns(len(patches), WINDOWS)

    def waiting(place: int) -> tuple[int, int]:
        return readings[place].qsize(), windows.inboxes[place].queue.qsize()

    judge = Room("judge", partial(open_ward, config, loaded, metrics, waiting), windows, None, stop.set)
    of_each = list(zip(patches, readings, windows.inboxes, strict=True))
    dsp = [Room("dsp", partial(_open_listener, patch), inbox, outbox, stop.set) for patch, inbox, outbox in of_each]
    readers = [Reader(patch, inbox, stop, stop.set) for patch, inbox, _ in of_each]
    rooms: list[Room | Reader] = [judge, *dsp, *readers]
    for room in rooms:
        room.start()
    _watch(rooms, stop, asked, tell, f"{loaded.id} on {config.engine.backend}, publishing on {_places(config)}")
    tell("STOPPING=1")
    stop.set()
    for sign in STOP_SIGNALS:
        signal.signal(sign, signal.SIG_DFL)  # a second one ends it at once, also when a room hangs
    _end(readers, [*dsp, judge])
    return _verdict([room.error for room in rooms if room.error])


def _places(config: Config) -> str:
    return " ".join(map(resolve, config.publish.bind))


def _watch(
    rooms: list[Room | Reader], stop: threading.Event, asked: int, tell: Callable[[str], None], does: str
) -> None:
    """Until a signal comes or a room breaks."""
    told, stuck = False, set[Room | Reader]()
    while not stop.is_set() and not select.select([asked], [], [], PERIOD_S)[0]:
        if not told and all(room.ready.is_set() for room in rooms):
            tell("READY=1")
            told = True
            log.info("ready: %s", does)
        before, stuck = stuck, set(filter(_is_stuck, rooms))
        for room in stuck - before:
            _show(room)
        if told and not stuck:  # the first one arms it, also during a start
            tell("WATCHDOG=1")


def _end(readers: list[Reader], rooms: list[Room]) -> None:
    """Wait for all, each after those that feed it, and not for ever: a backlog may take longer than systemd waits."""
    until_s = monotonic() + DRAIN_S
    for room in (*readers, *rooms):
        room.join(max(0.0, until_s - monotonic()))
    for room in rooms:
        room.hurry()
    for room in (*readers, *rooms):
        room.join()
    if left := sum(room.left for room in rooms):
        log.warning("no time to judge all that had come: up to %d readings and windows are lost", left)


def _is_stuck(room: Room | Reader) -> bool:
    since_s = room.busy_since_s
    return since_s is not None and monotonic() - since_s > STUCK_AFTER_S


def _show(room: Room | Reader) -> None:
    """Where it is, for the log. What Python shows of itself when systemd aborts the process may end in the middle: it
    stumbles over threads that go on.
    """
    stack = traceback.format_stack(sys._current_frames().get(room.ident or 0))  # noqa: SLF001 - there is no other way
    log.error("%s has been at one thing for %g s:\n%s", room.name, STUCK_AFTER_S, "".join(stack))


def _verdict(errors: list[BaseException]) -> int:
    for error in errors:
        if isinstance(error, USER_ERRORS):
            raise error
        log.error("a room broke", exc_info=error)
    return 1 if errors else 0


@contextmanager
def _open_listener(patch: Patch) -> Iterator[Work]:
    yield Listener(patch)
