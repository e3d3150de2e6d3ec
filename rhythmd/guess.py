"""Which wire format a port speaks: told from a few seconds of its bytes, at each speed that a link has."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import log
from time import monotonic
from typing import Any

from daemon.links import LINKS
from daemon.patch import Patch
from daemon.port import open_port

LISTEN_S = 2.5
"""At each speed. Formats without start commands have sent some 300 frames by then."""

AT_ONCE_S = 0.02
"""After the first byte: what has come by then was sent before anybody listened for how often it is."""

LEAST_FRAMES = 20
LEAST_SHARE = 0.7
"""Of the bytes, that must be frames: a line that begins in mid-frame, or drops some, has more; a wrong format none."""

BAUDS = (115200, 57600, 921600, 9600)
USUAL_RATES_HZ = (100.0, 125.0, 128.0, 200.0, 250.0, 256.0, 360.0, 500.0, 512.0, 1000.0)
CLOSE = 0.04
"""A measured rate within this of a usual one is taken for it: in so short a time it cannot be measured better."""

_SIGNATURES = {"healthypi4": re.compile(rb"\x50\x78.\x00\x0b", re.DOTALL)}
"""What tells a board from others with a frame of the same length: here a blood pressure of 80 over 120 for ever."""


@dataclass(frozen=True, slots=True)
class Guess:
    """What a port seems to speak."""

    link: str
    baud: int
    samples_hz: float  # as measured

    @property
    def rate_hz(self) -> float | None:
        """The rate that it must have been set to; None where it is none that any board has."""
        return next(
            (rate_hz for rate_hz in (LINKS[self.link].rate_hz, *USUAL_RATES_HZ) if self.is_close_to(rate_hz)), None
        )

    def is_close_to(self, rate_hz: float) -> bool:
        return abs(log(self.samples_hz / rate_hz)) < CLOSE

    def lines(self, port: str) -> list[str]:
        """What to write into the configuration."""
        link = LINKS[self.link]
        lines = ["[patch]", f'port = "{port}"', f'link = "{self.link}"']
        if self.rate_hz not in {None, link.rate_hz}:
            lines.append(f"rate_hz = {self.rate_hz}")
        if self.baud != link.baud and "://" not in port:
            lines.append(f"baud = {self.baud}")
        return lines


@dataclass(frozen=True, slots=True)
class Overheard:
    """What listening to a port came to."""

    guess: Guess | None
    bytes_came: int


def guess(data: bytes, for_s: float, baud: int) -> Guess | None:
    """The link whose frames these bytes are, if they are any's."""
    found = []
    for name, link in LINKS.items():
        decoder = link.decoder(1)
        frames = len(decoder.feed(data))
        share = 1 - decoder.skipped_bytes / max(1, len(data))
        if frames < LEAST_FRAMES or share < LEAST_SHARE:
            continue
        samples_hz = frames * link.samples_per_frame / for_s
        signature = _SIGNATURES.get(name)
        told = 1 if signature is None else 2 * bool(signature.search(data))
        found.append((told, -abs(log(samples_hz / link.rate_hz)), Guess(name, baud, samples_hz)))
    return max(found, key=lambda each: each[:2])[2] if found else None


def overhear(patch: Patch, telling: Callable[[str], object] = lambda _what: None) -> Overheard:
    """Listens to the patch's port: as configured, then at other speeds; to one that is silent with each start command.

    OSError when it cannot be opened. `telling` hears what is tried.
    """
    telling(f"listening to {patch.port} at {patch.wire.baud} baud")
    data, for_s = _heard(patch)
    if found := guess(data, for_s, patch.wire.baud):
        return Overheard(found, len(data))
    for another in _others(patch, silent=not data):
        what = "with the start command of " + another.link if not data else f"at {another.wire.baud} baud"
        telling(f"listening to {patch.port} {what}")
        more, for_s = _heard(another)
        if found := guess(more, for_s, another.wire.baud):
            return Overheard(found, len(more))
    return Overheard(None, len(data))


def _others(patch: Patch, *, silent: bool) -> list[Patch]:
    if silent:
        told = [name for name, link in LINKS.items() if link.start_commands and name != patch.link]
        return [Patch(port=patch.port, link=name) for name in told]
    if "://" in patch.port:
        return []
    return [Patch(port=patch.port, link=patch.link, given_baud=baud) for baud in BAUDS if baud != patch.wire.baud]


def _heard(patch: Patch) -> tuple[bytes, float]:
    """What comes, and how long so much takes to come: of a first batch nobody knows."""
    data, unmeasured = bytearray(), 0
    with open_port(patch) as port:
        first_s = begun_s = last_s = now_s = monotonic()
        while now_s - first_s < LISTEN_S:
            came = _read(port)
            now_s = monotonic()
            if came:
                first_s, last_s = first_s if data else now_s, now_s
                data += came
                if now_s - first_s < AT_ONCE_S:
                    begun_s, unmeasured = now_s, len(data)
    measured = len(data) - unmeasured
    return bytes(data), (last_s - begun_s) * len(data) / measured if measured else now_s - first_s


def _read(port: Any) -> bytes:
    return bytes(port.read(max(1, min(port.in_waiting, 4096))))
