"""The patch, as the configuration has it: its port, what it sends there, and whether that can be."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct, field

from daemon.links import LINKS, Link

LEAST_RATE_HZ = 100.0
"""A sample every 10 ms: with fewer a QRS complex is two or three samples."""


class Patch(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The section `[patch]`. Where a number is 0 the link's own holds, which `wire` has."""

    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "patch0"
    port: str = ""
    link: str = "rhythmd"
    channel: Annotated[int, Meta(ge=1)] = 1
    given_rate_hz: Annotated[float, Meta(ge=0, le=1000)] = field(default=0.0, name="rate_hz")
    given_counts_per_mv: Annotated[float, Meta(ge=0, le=1e8)] = field(default=0.0, name="counts_per_mv")
    given_baud: Annotated[int, Meta(ge=0, le=4_000_000)] = field(default=0, name="baud")
    silence_limit_s: Annotated[float, Meta(ge=0.5, le=60)] = 2.0

    @property
    def wire(self) -> Link:
        """Its link, with what this patch does otherwise."""
        link = LINKS[self.link]
        return dataclasses.replace(
            link,
            rate_hz=self.given_rate_hz or link.rate_hz,
            counts_per_mv=self.given_counts_per_mv or link.counts_per_mv,
            baud=self.given_baud or link.baud,
        )

    @property
    def rate_hz(self) -> float:
        return self.wire.rate_hz

    def complaint(self) -> str | None:
        """What types alone cannot tell is wrong: the key first, then the remedy. None when all is well."""
        if self.link not in LINKS:
            return f"link: {self.link!r} is not one of {', '.join(sorted(LINKS))}"
        return self._of_the_link() or _of_the_port(self.port)

    def _of_the_link(self) -> str | None:
        """Whether the link can do what is asked of it."""
        link, wire = LINKS[self.link], self.wire
        needed_baud = 10 * wire.frame_bytes * wire.rate_hz / wire.samples_per_frame  # 8N1: ten bits a byte
        if self.channel > link.channels:
            return f"channel: {self.link} has channels 1 to {link.channels}"
        if 0 < self.given_rate_hz < LEAST_RATE_HZ:
            return f"rate_hz: expected {LEAST_RATE_HZ:g} to 1000, or 0 for what {self.link} usually sends"
        if link.rate_is_told and wire.rate_hz != link.rate_hz:
            return f"rate_hz: {self.link} is told to send {link.rate_hz:g} samples a second; leave the key out"
        if wire.baud < needed_baud and "://" not in self.port:
            return (
                f"baud: at {wire.baud} no patch can send {wire.rate_hz:g} samples a second as {self.link}, which takes "
                f"{needed_baud:.0f}; set a higher speed here and in the patch, or correct patch.rate_hz"
            )
        return None


def _of_the_port(port: str) -> str | None:
    """A port that is absent may be plugged in; one that can never be a port is a mistake."""
    scheme, _, rest = port.partition("://")
    if rest and scheme == "socket" and not re.fullmatch(r"[^:/]+:\d{1,5}(/.*)?", rest):
        return f"port: {port!r} is not socket://HOST:PORT"
    if not rest and port and (Path(port).is_dir() or Path(port).is_file()):
        return f"port: {port} is no serial port; `rhythmd doctor` lists those that are here"
    return None
