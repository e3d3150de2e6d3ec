"""The strips that `rhythmd record` keeps on disk, as the page draws them: of alarms from before this server began."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import rhythmd.records
from daemon.messages import BeatClass
from rhythmd.monitor.shown import ShownBeat, Strip
from rhythmd.records.form import MISSING

BEATS: dict[str, BeatClass] = {"N": "N", "S": "S", "V": "V", "Q": "Q"}


def kept_strip(alert_id: str, folder: Path | None) -> Strip | None:
    """None where no recorder kept one, or where this user may not read it."""
    found = None
    with suppress(OSError):
        found = rhythmd.records.strip(alert_id, folder)
    if found is None or found.alert is None:
        return None
    rate_hz = round(found.rate_hz)
    begins_s = found.about.first_sample / found.about.patch_rate_hz
    patch = found.alert.patch
    return Strip(
        id=alert_id,
        at_s=begins_s,
        rate_hz=rate_hz,
        counts_per_mv=round(found.about.counts_per_mv),
        counts=tuple(None if count == MISSING else count for count in found.counts.tolist()),
        beats=tuple(
            ShownBeat(
                patch=patch,
                at_s=begins_s + mark.sample / rate_hz,
                beat=BEATS[mark.symbol],
                rr_s=None,
                heart_rate_bpm=None,
            )
            for mark in found.marks
            if mark.symbol in BEATS
        ),
        complete=not found.awaited,  # one of which a part was lost will never be more
    )
