"""Keep ECG on disk: a strip around every alert of a daemon and, if the configuration says so, all of it.

rhythmd record                       into the folder that `records.directory` names
rhythmd record --patch bed-3         of a daemon that reads several: one recorder for each, each with its own folder
rhythmd record --full-disclosure     everything, in hours, whatever the configuration says

A program of its own, so that neither it nor its disk can hold up an alert. Stop it with Ctrl-C or SIGTERM, or pull the
plug: all files can be read at any moment, and the next start finishes what was cut off. `rhythmd export` makes other
formats of what it keeps, `rhythmd report` a report. The folder holds
  strips/   <alert id>.hea .dat .rhy   WFDB, from 30 s before to 30 s after; .json is the alert
  hours/    <UTC>.hea .dat .rhy        WFDB; without full disclosure the signal of the last hour or so
"""

from __future__ import annotations

import argparse
import fcntl
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import msgspec

from daemon.config import Config, ConfigError, load
from daemon.messages import Status
from daemon.notify import notify
from daemon.publish import reachable
from rhythmd.desk import read_keys
from rhythmd.journal import log_to_stderr
from rhythmd.records import records_folder
from rhythmd.records.recorder import MARK, Recorder
from rhythmd.subscriber import ADDRESS, Mark, Subscriber

TOPICS = ("alert.", "event.", "beat", "clock", "status", "wave")
SYNC_EVERY_S = 1.0
"""So much signal may be lost with the power, and what was on its way."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--connect", default=ADDRESS, metavar="ADDRESS", help="of the daemon (default: %(default)s)")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="of `rhythmd keys add`, for a daemon elsewhere")
    parser.add_argument("--config", type=Path, metavar="FILE", help="as for `rhythmd run`; its [records] says where")
    parser.add_argument("--patch", metavar="NAME", help="whose, of a daemon that reads several")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="where to write, instead of records.directory")
    parser.add_argument("--full-disclosure", action="store_true", help="keep all signal, not only strips")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))


def run(args: argparse.Namespace) -> int:
    log_to_stderr(args.log_level)
    config = load(args.config) if args.config else Config()
    stopped: list[int] = []
    for sign in (signal.SIGINT, signal.SIGTERM):  # nothing is cut short: the loop below looks twice a second
        signal.signal(sign, lambda number, _frame: stopped.append(number))
    with _locked(args.directory or records_folder(config)) as folder:
        recorder = Recorder(
            folder,
            keep_bytes=1e6 * config.records.keep_mb,
            full_disclosure=args.full_disclosure or config.records.full_disclosure,
        )
        try:
            keys = read_keys(args.keys) if args.keys else None
            since = _mark(folder / MARK)
            subscriber = Subscriber(reachable(args.connect), TOPICS, since=since, keys=keys, patch=args.patch)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        with subscriber:
            notify("READY=1")
            _follow(subscriber, recorder, stopped)
            notify("STOPPING=1")
            recorder.close()
    return 0


def _follow(subscriber: Subscriber, recorder: Recorder, stopped: list[int]) -> None:
    due_s = monotonic()
    while not stopped:
        if received := subscriber.receive(max(0.0, min(due_s - monotonic(), SYNC_EVERY_S / 2))):
            if isinstance(received.message, Status) and received.message.patches > 1 and not subscriber.patch:
                raise ConfigError("the daemon reads several patches: name one with --patch, and its own --directory")
            recorder.take(received)
        if monotonic() >= due_s:
            due_s = monotonic() + SYNC_EVERY_S
            recorder.tick(subscriber.mark)
            notify("WATCHDOG=1")


def _mark(path: Path) -> Mark | None:
    """How far the last recorder came; None at the first start, which begins with what stands open."""
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(path.read_bytes(), type=Mark)
    return None


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        file = (folder / "lock").open("wb")
    except OSError as error:
        raise ConfigError(f"records.directory: {folder}: {error.strerror}; name one that can be written") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"records.directory: another rhythmd record writes to {folder}; give each a directory of its own"
            ) from None
        yield folder
