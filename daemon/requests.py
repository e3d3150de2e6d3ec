"""What a subscriber may ask at a daemon's desk, and what it is answered. Needs msgspec alone."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

LARGEST_REQUEST = 4096
"""Bytes."""

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Prefix = Annotated[str, Meta(max_length=64)]


class Since(Struct, frozen=True, forbid_unknown_fields=True, tag_field="ask", tag="since"):
    """What came after `serial` in topics that begin with one of `topics`? Answered in pages; ask again for more."""

    serial: Annotated[int, Meta(ge=0, le=2**62)]
    topics: Annotated[tuple[Prefix, ...], Meta(min_length=1, max_length=64)]
    ledger: str | None = None  # the one that `serial` is of; when it is another by now, the answer begins at its start


class Acknowledge(Struct, frozen=True, forbid_unknown_fields=True, tag_field="ask", tag="acknowledge"):
    """Somebody has seen this alarm."""

    id: Annotated[str, Meta(min_length=1, max_length=128)]
    by: Name


class Silence(Struct, frozen=True, forbid_unknown_fields=True, tag_field="ask", tag="silence"):
    """Nobody needs to hear the alarms that call now; a new lethal one breaks through."""

    for_s: Annotated[float, Meta(ge=0, le=600)]
    by: Name
    patch: str | None = None  # whose; None: of all patches of the daemon


Request = Since | Acknowledge | Silence


class Answer(Struct, frozen=True, kw_only=True):
    """The first frame of every answer; to `Since` the entries follow, two frames each: topic and message."""

    ledger: str
    upto: int = 0  # of `Since`: nothing up to here is missing from what was sent
    more: bool = False
    error: str | None = None


def desk_of(address: str) -> str:
    """Where the desk of a publisher's address is: one port higher, or beside the socket's file."""
    if address.startswith("ipc://"):
        return f"{address}.desk"
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + 1}"
