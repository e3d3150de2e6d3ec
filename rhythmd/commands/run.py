"""The daemon: reads the patch, judges every beat, publishes alerts, until SIGINT or SIGTERM.

rhythmd run --config rhythmd.toml
rhythmd run --port /dev/serial/by-id/usb-...    no file needed for a first try

A patch that is away is waited for, and said so once. Exit codes: 0 stopped as asked, 1 a bug, 2 something to mend.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TextIO

from msgspec.structs import replace

from daemon import app
from daemon.config import Config, check, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML; `rhythmd config` prints one to start from")
    parser.add_argument("--port", help="the patch's port, instead of the file's patch.port")
    parser.add_argument("--link", help="its wire format, instead of the file's patch.link")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))


def run(args: argparse.Namespace) -> int:
    _log(args.log_level)
    config = load(args.config) if args.config else Config()
    given = {key: value for key in ("port", "link") if (value := getattr(args, key)) is not None}
    config = replace(config, patch=replace(config.patch, **given))
    check(config, str(args.config or "command line"))
    return app.run(config)


def _log(level: str) -> None:
    """To stderr. journald knows the time and reads the priority from `<N>`; a terminal wants the time instead."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _ForJournal() if _is_journal(sys.stderr) else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler])


def _is_journal(stream: TextIO) -> bool:
    """By device and inode, as systemd gives them: a shell that a service started inherits the variable alone."""
    try:
        this = os.fstat(stream.fileno())
    except (OSError, ValueError):  # a stream that is no file
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{this.st_dev}:{this.st_ino}"


_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _ForJournal(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).replace("\n", "\n ")  # a trace stays one entry's continuation
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{text}"
