"""BITalino in live mode: four 10-bit channels at 1000 Hz, 7 bytes, a 4-bit number and a 4-bit CRC.

A frame is a little-endian number of 56 bits; from the top the sequence number (4), the CRC (4), the digital ports (4),
A1, A2, A3, A4 (10 each) and padding (4). Number, CRC and padding are 12 bits to know a frame by: one of 4096 false ones
passes where one is due. So after a loss two more frames must follow that hold as well.
"""

from __future__ import annotations

from daemon.links.frame import Frame
from daemon.links.numbered import NumberedDecoder

CHANNELS = 4  # of six: with more than four the format gives the others 6 bits
FRAME_BYTES = 7
SEQUENCE_MODULUS = 16
RATE_HZ = 1000.0
COUNTS_PER_MV = 1100 * 1024 / 3300  # its ECG sensor: gain 1100, 10 bits over 3.3 V
ZERO = 512
FULL_SCALE = 511
START_COMMANDS = (b"\x00", b"\xc3", b"\x3d")  # stop, should it still send; 1000 Hz; go live with A1 to A4
STOP_COMMAND = b"\x00"

_LOWEST_BITS = (34, 24, 14, 4)  # of A1 to A4
_INPUTS_OPEN = 0b1100 << 44


def _remainder(crc: int, byte: int) -> int:
    for bit in range(7, -1, -1):
        crc = crc << 1 ^ (byte >> bit & 1)
        crc ^= 0x13 * (crc >> 4)  # x^4 + x + 1
    return crc


_STEPS = [bytes(_remainder(crc, byte) for byte in range(256)) for crc in range(16)]


def _crc(frame: bytes | bytearray) -> int:
    """Over the whole frame, its own four bits taken as zero."""
    crc = 0
    for byte in frame[:-1]:
        crc = _STEPS[crc][byte]
    return _STEPS[crc][frame[-1] & 0xF0]


def encode(frame: Frame) -> bytes:
    """The frame's one sample on A1, the others at mid-scale. It has no way to tell of a lead."""
    (count,) = frame.counts
    counts = [max(0, min(ZERO + FULL_SCALE, count + ZERO)), *[ZERO] * (CHANNELS - 1)]
    bits = sum(value << lowest for value, lowest in zip(counts, _LOWEST_BITS, strict=True))
    bits |= frame.sequence % SEQUENCE_MODULUS << 52 | _INPUTS_OPEN
    wire = bits.to_bytes(FRAME_BYTES, "little")
    return wire[:-1] + bytes([wire[-1] | _crc(wire)])


class Decoder(NumberedDecoder):
    FRAME_BYTES, MODULUS, WITNESS_BYTES = FRAME_BYTES, SEQUENCE_MODULUS, 2 * FRAME_BYTES

    def _number(self, at: int) -> int | None:
        frame = self._buffer[at : at + FRAME_BYTES]
        return None if frame[0] & 0x0F or _crc(frame) != frame[-1] & 0x0F else frame[-1] >> 4

    def _read(self, number: int) -> Frame:
        bits = int.from_bytes(self._buffer[:FRAME_BYTES], "little")
        count = (bits >> _LOWEST_BITS[self._channel - 1] & 0x3FF) - ZERO
        return Frame(number, (count,), saturated=count in {-ZERO, FULL_SCALE})
