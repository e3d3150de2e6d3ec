"""Our own patch format: fixed size, numbered, with a CRC. docs/protocol.md is its specification."""

from __future__ import annotations

import struct
from binascii import crc_hqx

from daemon.links.frame import Frame

SYNC = b"\xa5\x5a"
VERSION = 1
SAMPLES = 10
SEQUENCE_MODULUS = 1 << 16
COUNTS_PER_MV = 400.0  # 2.5 uV per count: +-82 mV in 16 bits

LEAD_OFF, SATURATED, BATTERY_LOW = 1, 2, 4

_BODY = struct.Struct(f"<2sBBH{SAMPLES}h")  # sync, version, flags, sequence, counts
_CRC = struct.Struct("<H")
FRAME_BYTES = _BODY.size + _CRC.size


def _crc(body: bytes | bytearray) -> int:
    """CRC-16/IBM-3740 (CCITT polynomial, initial value FFFF) over all that stands before it."""
    return crc_hqx(body, 0xFFFF)


def encode(frame: Frame) -> bytes:
    flags = LEAD_OFF * frame.lead_off | SATURATED * frame.saturated | BATTERY_LOW * frame.battery_low
    body = _BODY.pack(SYNC, VERSION, flags, frame.sequence % SEQUENCE_MODULUS, *frame.counts)
    return body + _CRC.pack(_crc(body))


class Decoder:
    """Finds frames in a stream of bytes. A false sync costs one byte, never a frame."""

    def __init__(self, channel: int = 1) -> None:
        assert channel == 1
        self._buffer = bytearray()
        self.skipped_bytes = 0
        self.damaged_frames = 0

    def feed(self, data: bytes) -> list[Frame]:
        self._buffer += data
        frames: list[Frame] = []
        while (at := self._buffer.find(SYNC)) >= 0:
            self._skip(at)
            if len(self._buffer) < FRAME_BYTES:
                return frames
            body = self._buffer[: _BODY.size]
            (crc,) = _CRC.unpack_from(self._buffer, _BODY.size)
            _, version, flags, sequence, *counts = _BODY.unpack(body)
            if crc != _crc(body) or version != VERSION:
                self.damaged_frames += 1
                self._skip(1)  # it may have been a false sync: look again one byte on
                continue
            del self._buffer[:FRAME_BYTES]
            frames.append(
                Frame(
                    sequence,
                    tuple(counts),
                    lead_off=bool(flags & LEAD_OFF),
                    saturated=bool(flags & SATURATED),
                    battery_low=bool(flags & BATTERY_LOW),
                )
            )
        self._skip(len(self._buffer) - self._buffer.endswith(SYNC[:1]))  # keep what may be half a sync
        return frames

    def _skip(self, count: int) -> None:
        self.skipped_bytes += count
        del self._buffer[:count]
