"""The strips of a daemon on this machine, as its recorder keeps them (`rhythmd record`)."""

from __future__ import annotations

from pathlib import Path

from rhythmd.records import find_records
from rhythmd.records.keeping import Signal, read_kept
from rhythmd.settings import Source


def folder_of(source: Source) -> Path:
    """As configured; else the installed recorder's, else one's own."""
    return Path(source.records) if source.records else find_records()


def is_recorded(folder: Path) -> bool:
    """Whether there is a recorder at all."""
    return (folder / "strips").exists()


def strip_of(folder: Path, alert_id: str) -> Signal:
    """What there is of this alert's strip: awaited, whole, a part (no more will come), or none."""
    kept = read_kept(folder / "strips", alert_id)
    return kept.signal if kept else "awaited"
