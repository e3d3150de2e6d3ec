"""Wire formats of patches, without I/O, and the table that `patch.link` chooses from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from daemon.links import bitalino, cyton, lines, olimex, openview, rhythmd
from daemon.links.frame import Decoder, Frame

__all__ = ["LINKS", "UNNUMBERED", "Decoder", "Frame", "Link"]

UNNUMBERED = 1
"""The modulus of a format without numbers: every frame is number 0, and only time tells how many were lost."""


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
    tells_lead_off: bool = False  # otherwise a rail or a flat line does
    rate_is_told: bool = False  # by the start commands: no other rate can be configured
    start_commands: tuple[bytes, ...] = ()
    stop_command: bytes = b""

    @property
    def remembered_frames(self) -> int:
        """How many are known again when a gateway sends them once more.

        None where all numbers pass in a moment (BITalino: 16 ms): there one that comes again tells of a loss.
        """
        return min(32, self.sequence_modulus // 32)


def _openview(board: openview.Board, rate_hz: float, counts_per_mv: float, baud: int) -> Link:
    return Link(
        decoder=board.decoder,
        encode=board.encode,
        channels=board.channels,
        frame_bytes=board.frame_bytes,
        samples_per_frame=board.samples,
        sequence_modulus=UNNUMBERED,
        rate_hz=rate_hz,
        counts_per_mv=counts_per_mv,
        full_scale_counts=board.full_scale,
        baud=baud,
        tells_lead_off=board.lead_off_at is not None,
    )


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
        tells_lead_off=True,
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
        start_commands=(b"b",),
        stop_command=b"s",
    ),
    "ads1292r": _openview(openview.ADS1292R, 125.0, openview.ADS1292R_PER_MV, 57600),
    "healthypi4": _openview(openview.HEALTHYPI4, 125.0, openview.ADS1292R_PER_MV, 115200),
    "healthypi5": _openview(openview.HEALTHYPI5, 128.0, openview.MAX3000X_PER_MV, 115200),
    "healthypi5-batch": _openview(openview.HEALTHYPI5_BATCH, 128.0, openview.MAX3000X_PER_MV, 115200),
    "healthypi6": _openview(openview.HEALTHYPI6, 500.0, openview.ADS129X_PER_MV, 921600),
    "max30003": _openview(openview.MAX30003, 128.0, openview.MAX3000X_PER_MV, 57600),
    "olimex": Link(
        decoder=olimex.Decoder,
        encode=olimex.encode,
        channels=olimex.CHANNELS,
        frame_bytes=olimex.FRAME_BYTES,
        samples_per_frame=1,
        sequence_modulus=olimex.SEQUENCE_MODULUS,
        rate_hz=256.0,
        counts_per_mv=olimex.COUNTS_PER_MV,
        full_scale_counts=olimex.FULL_SCALE,
        baud=57600,
    ),
    "bitalino": Link(
        decoder=bitalino.Decoder,
        encode=bitalino.encode,
        channels=bitalino.CHANNELS,
        frame_bytes=bitalino.FRAME_BYTES,
        samples_per_frame=1,
        sequence_modulus=bitalino.SEQUENCE_MODULUS,
        rate_hz=bitalino.RATE_HZ,
        counts_per_mv=bitalino.COUNTS_PER_MV,
        full_scale_counts=bitalino.FULL_SCALE,
        baud=115200,
        rate_is_told=True,
        start_commands=bitalino.START_COMMANDS,
        stop_command=bitalino.STOP_COMMAND,
    ),
    "ad8232": Link(
        decoder=lines.Decoder,
        encode=lines.encode,
        channels=1,
        frame_bytes=lines.FRAME_BYTES,
        samples_per_frame=1,
        sequence_modulus=UNNUMBERED,
        rate_hz=250.0,
        counts_per_mv=lines.COUNTS_PER_MV,
        full_scale_counts=lines.FULL_SCALE,
        baud=115200,
        tells_lead_off=True,
    ),
}
