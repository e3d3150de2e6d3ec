"""Wire formats of patches, without I/O, and the table that `patch.link` chooses from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from daemon.links import cyton, rhythmd
from daemon.links.frame import Decoder, Frame

__all__ = ["LINKS", "Decoder", "Frame", "Link"]


@dataclass(frozen=True, slots=True)
class Link:
    """One wire format: how to read it, and what its numbers mean."""

    decoder: Callable[[int], Decoder]  # given the channel, 1 for the first
    encode: Callable[[Frame], bytes]
    channels: int
    frame_bytes: int
    samples_per_frame: int
    sequence_modulus: int
    rate_hz: float
    counts_per_mv: float
    full_scale_counts: int  # the greatest count that the wire holds; the least is one below its negative
    baud: int
    start_command: bytes = b""
    stop_command: bytes = b""


LINKS = {
    "rhythmd": Link(
        decoder=rhythmd.Decoder,
        encode=rhythmd.encode,
        channels=1,
        frame_bytes=rhythmd.FRAME_BYTES,
        samples_per_frame=rhythmd.SAMPLES,
        sequence_modulus=rhythmd.SEQUENCE_MODULUS,
        rate_hz=250.0,
        counts_per_mv=rhythmd.COUNTS_PER_MV,
        full_scale_counts=2**15 - 1,
        baud=115200,
    ),
    "cyton": Link(
        decoder=cyton.Decoder,
        encode=cyton.encode,
        channels=cyton.CHANNELS,
        frame_bytes=cyton.FRAME_BYTES,
        samples_per_frame=1,
        sequence_modulus=cyton.SEQUENCE_MODULUS,
        rate_hz=250.0,
        counts_per_mv=cyton.COUNTS_PER_MV,
        full_scale_counts=2**23 - 1,
        baud=115200,
        start_command=b"b",
        stop_command=b"s",
    ),
}
