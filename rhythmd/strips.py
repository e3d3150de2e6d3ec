"""Where the recorder of a daemon on this machine keeps its strips (`rhythmd record`)."""

from __future__ import annotations

from pathlib import Path

from rhythmd.records import records_folder
from rhythmd.records.form import record_name
from rhythmd.settings import Source

INSTALLED = Path("/var/lib/rhythmd-recorder")


def folder_of(source: Source) -> Path:
    """As configured; else the installed recorder's, else one's own."""
    if source.records:
        return Path(source.records)
    return INSTALLED if INSTALLED.exists() else records_folder()


def strip_is_whole(folder: Path, alert_id: str) -> bool:
    """The recorder writes the header last."""
    return (folder / "strips" / f"{record_name(alert_id)}.hea").exists()
