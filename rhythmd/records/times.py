"""FROM:TO, as people write it."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone


def times(what: str) -> tuple[datetime, datetime] | None:
    """FROM:TO. Times have colons too: it is parted where both halves are times."""
    for at, letter in enumerate(what):
        if letter == ":" and (begin := _time(what[:at])) and (end := _time(what[at + 1 :])):
            return begin, end
    return None


def _time(text: str) -> datetime | None:
    for form in ("%Y%m%dT%H%M%S", "%Y%m%dT%H%M"):
        with suppress(ValueError):
            return datetime.strptime(text.removesuffix("Z"), form).replace(tzinfo=timezone.utc)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
