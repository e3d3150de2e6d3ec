"""The log of a command that runs for long."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

OURS = ("daemon", "rhythmd")


def log_to_stderr(level: str, *, ours_alone: bool = False) -> None:
    """To stderr. journald knows the time and reads the priority from `<N>`; a terminal wants the time instead.

    `ours_alone` leaves out what libraries say: of those that send, it has addresses with secrets in them.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _ForJournal() if _is_journal(sys.stderr) else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    if ours_alone:
        handler.addFilter(lambda record: record.name.split(".")[0] in OURS)
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
