"""Judge recordings as the daemon would have, as fast as the machine goes.

rhythmd analyze RECORD... --output-dir DIR [--lead NAME|INDEX] [--jobs N]

RECORD is a WFDB record's path without suffix, or `shipped` for the one that comes along. For each, DIR gets at the
record's own sampling frequency:
  <record>.rhy            WFDB annotations: beats N S V Q, rhythm changes (N (AFIB (SVTA (VT (VF (ASYS (NOISE
  <record>.alerts.jsonl   one object per alert, the fields of the published one; `raised_sample` is when the daemon
                          would have published it, `end_sample` is null while it is open
  <record>.analysis.json  what made them: record, model, configuration, program
Interrupted, the same command goes on where it stopped, also within a recording; what is there already and was made by
the same is left. A record that cannot be read is named, also in DIR/failed.jsonl (record, why); the others are done.
Exit codes: 0 all done, 3 some records failed, 2 something to mend before any can be done, 130 stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from ctypes import c_bool, c_double
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from daemon.app import find_model
from daemon.config import Config, ConfigError, load
from rhythmd.archive import Job, Outcome, Watch, do
from rhythmd.recording import RecordError, duration_s, stem

LOOK_S = 0.2
SOME_FAILED = 3
Done = tuple[Job, Outcome | None, str]
"""One job, its outcome (None: it could not be done) and what was wrong."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("records", nargs="+", metavar="RECORD")
    parser.add_argument("--output-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--lead", help="by name, or by index from 0 (default: the first ECG lead)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="default: %(default)s")
    parser.add_argument("--config", type=Path, metavar="FILE", help="thresholds and engine, as for `rhythmd run`")
    parser.add_argument("--again", action="store_true", help="also what is there already")


def run(args: argparse.Namespace) -> int:
    config = load(args.config) if args.config else Config()
    find_model(config.engine.model)  # a bad model is one error, not one for each record
    names = Counter(Path(stem(record)).name for record in args.records)
    if twice := sorted(name for name, times in names.items() if times > 1):
        raise RecordError(f"{', '.join(twice)}: given twice; results are named after the record")
    try:
        args.output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output-dir {args.output_dir}: {error.strerror}") from None
    jobs = [Job(record, args.lead, args.output_dir, config, args.again) for record in args.records]
    shared = _Shared()
    outcomes: Counter[Outcome | None] = Counter()
    failed: dict[str, str] = {}
    with _interrupts(shared), _bar(args.records) as bar:
        for job, outcome, wrong in _all_done(jobs, args.jobs, shared, bar):
            outcomes[outcome] += 1
            if wrong:
                failed[job.record] = wrong
                bar.write(f"rhythmd: {wrong}", file=sys.stderr)
    _list(args.output_dir / "failed.jsonl", failed)
    if left := outcomes["there already"]:
        print(f"{left} there already, made by the same; --again does them again", file=sys.stderr)
    if shared.stop.value:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    if len(failed) == len(jobs):
        return 2
    return SOME_FAILED if failed else 0


def _list(path: Path, failed: dict[str, str]) -> None:
    """Those of this run; no file where there are none."""
    lines = [json.dumps({"record": record, "why": why}) + "\n" for record, why in sorted(failed.items())]
    try:
        path.write_text("".join(lines)) if lines else path.unlink(missing_ok=True)
    except OSError as error:
        print(f"rhythmd: {path}: {error.strerror}; what failed is not listed there", file=sys.stderr)


class _Shared:
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


def _all_done(jobs: list[Job], workers: int, shared: _Shared, bar: Any) -> Iterator[Done]:
    """As they are done."""
    shown = 0.0

    def show() -> None:
        nonlocal shown
        now = sum(shared.hours)
        bar.update(now - shown)
        shown = now

    if min(workers, len(jobs)) <= 1:
        watch = shared.watch()

        def heard(hours: float) -> None:
            watch.heard(hours)
            show()

        for job in jobs:
            yield _tried(job, Watch(heard, watch.stop))
        return
    with ProcessPoolExecutor(min(workers, len(jobs)), initializer=_become_worker, initargs=(shared,)) as pool:
        left: set[Future[Done]] = {pool.submit(_work, job) for job in jobs}
        while left:
            done, left = wait(left, LOOK_S, FIRST_COMPLETED)
            show()
            try:
                yield from [future.result() for future in done]
            except BrokenProcessPool:
                raise ConfigError(
                    "a worker was killed, perhaps for want of memory: the same command goes on, with a smaller --jobs"
                ) from None


def _tried(job: Job, watch: Watch) -> Done:
    if watch.stop():
        return job, "stopped", ""
    try:
        return job, do(job, watch), ""
    except RecordError as error:
        return job, None, " ".join(str(error).split())  # one line, whatever a parser says


_in_worker: _Shared | None = None


def _become_worker(shared: _Shared) -> None:
    global _in_worker  # noqa: PLW0603 - a worker's one place between its start and its jobs
    _in_worker = shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal tells all; the first process stops the others
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _work(job: Job) -> Done:
    assert _in_worker is not None
    return _tried(job, _in_worker.watch())


@contextmanager
def _interrupts(shared: _Shared) -> Iterator[None]:
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


def _bar(records: list[str]) -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        raise ConfigError("rhythmd analyze needs tqdm: pip install 'rhythmd[evaluate]'") from None
    hours = sum(duration_s(record) for record in records) / 3600
    form = "{l_bar}{bar}| {n:.1f} of {total:.1f} h of ECG [{elapsed}<{remaining}, {rate_fmt}]"
    return tqdm(total=hours, unit="h", smoothing=0.05, disable=None, bar_format=form)
