"""Recordings shared out among processes of this machine."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from ctypes import c_bool, c_double
from multiprocessing import get_context, parent_process
from threading import Thread

from daemon.config import Config, ConfigError
from rhythmd.archive import Held, Job, Outcome, Watch, do
from rhythmd.recording import RecordError

LOOK_S = 0.2

Done = tuple[Job, Outcome | None, str]
"""One job, its outcome (None: it could not be done) and what was wrong."""


class Shared:
    """What this process and its workers both see. Raw, without locks: a signal handler sets one, and who reads the
    other wants to know about how much.
    """

    def __init__(self) -> None:
        context = get_context()
        self.stop = context.RawValue(c_bool, False)
        self.hours = context.RawArray(c_double, 1024)  # of ECG heard, each worker in a place of its own

    def watch(self) -> Watch:
        place = os.getpid() % len(self.hours)

        def heard(hours: float) -> None:
            self.hours[place] += hours

        return Watch(heard, lambda: bool(self.stop.value))


def all_done(jobs: list[Job], workers: int, shared: Shared, show: Callable[[float], object]) -> Iterator[Done]:
    """As they are done; `show` is told now and then how many hours of ECG have been heard in all."""
    if min(workers, len(jobs)) <= 1:
        watch = shared.watch()

        def heard(hours: float) -> None:
            watch.heard(hours)
            show(sum(shared.hours))

        with closing(Held(jobs[0].config)) as held:
            for job in jobs:
                yield _tried(job, Watch(heard, watch.stop), held)
        return
    with ProcessPoolExecutor(
        min(workers, len(jobs)), initializer=_become_worker, initargs=(shared, jobs[0].config)
    ) as pool:
        try:
            left: set[Future[Done]] = {pool.submit(_work, job) for job in jobs}
            while left:
                done, left = wait(left, LOOK_S, FIRST_COMPLETED)
                show(sum(shared.hours))
                yield from [future.result() for future in done]
        except BrokenProcessPool:
            raise ConfigError(
                "a worker was killed, perhaps for want of memory: the same command goes on, with a smaller --jobs"
            ) from None
        except BaseException:
            shared.stop.value = True  # the pool waits for its workers, which would do all that is left
            raise


def one_line(text: str) -> str:
    return " ".join(text.split())  # whatever a parser says


def _tried(job: Job, watch: Watch, held: Held) -> Done:
    if watch.stop():
        return job, "stopped", ""
    try:
        return job, do(job, watch, held), ""
    except RecordError as error:
        return job, None, one_line(str(error))


_in_worker: tuple[Shared, Held] | None = None


def _become_worker(shared: Shared, config: Config) -> None:
    global _in_worker  # noqa: PLW0603 - a worker's one place between its start and its jobs
    gc.freeze()  # what was imported stays: to look through it again and again takes a tenth of the time
    _in_worker = shared, Held(config)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells all; the first process stops the others
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """It may be killed, by a second Ctrl-C too: nobody would hear of what is done here, or could stop it."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(job: Job) -> Done:
    assert _in_worker is not None
    shared, held = _in_worker
    return _tried(job, shared.watch(), held)


@contextmanager
def interrupts(shared: Shared) -> Iterator[None]:
    """SIGINT and SIGTERM ask to stop between two blocks; a second one ends it at once."""
    signals = (signal.SIGINT, signal.SIGTERM)

    def ask(*_: object) -> None:
        shared.stop.value = True
        for sign in signals:
            signal.signal(sign, signal.SIG_DFL)

    before = {sign: signal.signal(sign, ask) for sign in signals}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
