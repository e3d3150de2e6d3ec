"""Strips on their way out: as the recorder of the same machine keeps them (`rhythmd record`)."""

from __future__ import annotations

from pathlib import Path

from rhythmd.bridge.outbox import Wanted
from rhythmd.bridge.payloads import StripPayload, encode
from rhythmd.bridge.topics import STRIPS, Post
from rhythmd.records import strip
from rhythmd.records.form import MISSING


def post_of(folder: Path, wanted: Wanted, topic: str, device: str) -> Post | None:
    """The strip as it is published; None where it cannot be read."""
    found = strip(wanted.alert, folder)
    if found is None:
        return None
    payload = StripPayload(
        message_id=f"{wanted.alert}:strip",
        device=device,
        daemon=wanted.daemon,
        patch=wanted.patch,
        alert=wanted.alert,
        kind=wanted.kind,
        begins=found.begins,
        rate_hz=found.rate_hz,
        counts_per_mv=found.about.counts_per_mv,
        missing=MISSING,
        counts=tuple(found.counts.tolist()),
    )
    return Post(payload.message_id, STRIPS, topic, encode(payload))
