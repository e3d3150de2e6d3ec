"""What every wire format is decoded to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a patch, its integrity held as far as its format can tell."""

    sequence: int  # counts frames, modulo the link's sequence_modulus
    counts: tuple[int, ...]  # ADC counts of one lead, oldest first
    lead_off: bool = False
    saturated: bool = False
    battery_low: bool = False


class Decoder(Protocol):
    """Turns bytes, cut anywhere, into frames. Knows no port, thread or clock, and never raises."""

    skipped_bytes: int  # that belonged to no frame
    damaged_frames: int  # recognised as frames and refused

    def feed(self, data: bytes) -> list[Frame]: ...
