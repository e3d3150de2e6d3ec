"""Strips on their way out: as the recorder of the same machine keeps them (`rhythmd record`)."""

from __future__ import annotations

import logging
from pathlib import Path

from rhythmd.bridge.outbox import Wanted
from rhythmd.bridge.payloads import StripPayload, encode
from rhythmd.bridge.topics import STRIPS, Post
from rhythmd.strips import strip_is_whole

log = logging.getLogger(__name__)

COUNTS_PER_MV = 1000
MISSING = -32768


def whole_strip(folder: Path, wanted: Wanted, topic: str, device: str) -> Post | None:
    """None while the recorder is still at it."""
    if not strip_is_whole(folder, wanted.alert):
        return None
    import numpy as np

    from rhythmd.records import strip

    found = strip(wanted.alert, folder)
    if found is None:
        return None
    counts = np.nan_to_num(np.round(COUNTS_PER_MV * found.ecg_mv), nan=MISSING).astype(int)
    payload = StripPayload(
        message_id=f"{wanted.alert}:strip",
        device=device,
        daemon=wanted.daemon,
        patch=wanted.patch,
        alert=wanted.alert,
        kind=wanted.kind,
        begins=found.begins,
        rate_hz=found.rate_hz,
        counts_per_mv=COUNTS_PER_MV,
        missing=MISSING,
        counts=tuple(counts.tolist()),
    )
    return Post(payload.message_id, STRIPS, topic, encode(payload))
