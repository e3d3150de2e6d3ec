"""What `rhythmd record` leaves on disk, and how to get at it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from daemon.config import Config
from daemon.store import state_directory
from rhythmd.records.cutting import Strip, around
from rhythmd.records.hour import hours
from rhythmd.records.keeping import Kept, read_kept, read_record

__all__ = ["Kept", "Strip", "find_records", "png", "records_folder", "strip"]


SERVICE_FOLDER = Path("/var/lib/rhythmd-recorder")
"""Of the installed rhythmd-recorder.service."""


def records_folder(config: Config | None = None) -> Path:
    """Where a recorder with this configuration writes."""
    return Path((config or Config()).records.directory.replace("{state}", str(state_directory())))


def find_records(config: Config | None = None) -> Path:
    """Like `records_folder`, for who looks for strips: the installed service's come before one's own."""
    if config is None and os.access(SERVICE_FOLDER / "strips", os.R_OK):
        return SERVICE_FOLDER
    return records_folder(config)


def strip(alert_id: str, folder: Path | None = None) -> Strip | None:
    """The strip of an alert: the one on disk or, while that waits for its last seconds, what there is so far.

    None where the recorder has not heard of the alert, or has no signal of it.
    """
    root = folder or find_records()
    kept = read_kept(root / "strips", alert_id)
    if kept is None:
        return None
    if kept.signal == "awaited":
        so_far = around(kept.opened, kept.closed, hours(root / "hours", signal=True))
        return so_far and replace(so_far, awaited=True)
    return read_record(root / "strips" / kept.name, kept)


def png(alert_id: str, folder: Path | None = None) -> bytes | None:
    """The strip on ECG paper, 25 mm/s and 10 mm/mV; None where there is none. Needs matplotlib."""
    from rhythmd.records.paper import as_png

    found = strip(alert_id, folder)
    return as_png(found) if found else None
