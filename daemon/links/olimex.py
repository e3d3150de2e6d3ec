"""Olimex EKG-EMG shield: packet P2 of the ModularEEG, 17 bytes, six 10-bit channels, no checksum.

What is fixed in it are 64 of its 136 bits: two bytes of sync, the version, and the unused upper bits of samples and
switches. The shield's gain is set by a trimmer: COUNTS_PER_MV is what it has as delivered, `patch.counts_per_mv` what
its calibration signal says.
"""

from __future__ import annotations

import struct

from daemon.links.frame import Frame
from daemon.links.numbered import NumberedDecoder

SYNC = b"\xa5\x5a\x02"
CHANNELS = 6
SEQUENCE_MODULUS = 256
COUNTS_PER_MV = 2848 * 1024 / 5000  # gain 10 * 80 * 3.56, 10 bits over 5 V
ZERO = 512
FULL_SCALE = 511
SWITCHES = 0x0F  # all open

_PACKET = struct.Struct(f">3sB{CHANNELS}HB")
FRAME_BYTES = _PACKET.size


def encode(frame: Frame) -> bytes:
    """The frame's one sample on the first channel, the others at mid-scale. It has no way to tell of a lead."""
    (count,) = frame.counts
    first = max(0, min(ZERO + FULL_SCALE, count + ZERO))
    return _PACKET.pack(SYNC, frame.sequence % SEQUENCE_MODULUS, first, *[ZERO] * (CHANNELS - 1), SWITCHES)


class Decoder(NumberedDecoder):
    FRAME_BYTES, MODULUS, WITNESS_BYTES, START = FRAME_BYTES, SEQUENCE_MODULUS, len(SYNC) + 1, SYNC[:1]

    def _number(self, at: int) -> int | None:
        return self._buffer[at + len(SYNC)] if self._buffer.startswith(SYNC, at) else None

    def _holds(self) -> bool:
        return max(self._buffer[4:16:2]) <= 0x03 and self._buffer[16] <= SWITCHES

    def _read(self, number: int) -> Frame:
        count = _PACKET.unpack_from(self._buffer)[1 + self._channel] - ZERO
        return Frame(number, (count,), saturated=count in {-ZERO, FULL_SCALE})
