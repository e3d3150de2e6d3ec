"""OpenBCI Cyton: 33 bytes, eight 24-bit channels, no checksum. From the firmware's published format.

A frame is known by its first byte, its last (32 later) and its number alone; `numbered.py` says how far that goes.
"""

from __future__ import annotations

from daemon.links.frame import Frame
from daemon.links.numbered import NumberedDecoder

START = 0xA0
STOPS = range(0xC0, 0xC7)
CHANNELS = 8
FRAME_BYTES = 33
SEQUENCE_MODULUS = 256
COUNTS_PER_MV = (2**23 - 1) * 24 / 4.5e3  # gain 24, 4.5 V reference: 0.02235 uV per count
_RAILS = (2**23 - 1, -(2**23 - 1), -(2**23))


def encode(frame: Frame) -> bytes:
    """The frame's one sample on the first channel, the others at zero. Lead off shows as it does there: at the rail."""
    (count,) = frame.counts
    if frame.lead_off or frame.saturated:
        count = _RAILS[0] if frame.lead_off or count >= 0 else _RAILS[2]
    count = max(_RAILS[2], min(_RAILS[0], count))
    head = bytes([START, frame.sequence % SEQUENCE_MODULUS])
    return head + count.to_bytes(3, "big", signed=True) + bytes(3 * (CHANNELS - 1) + 6) + bytes([STOPS[0]])


class Decoder(NumberedDecoder):
    FRAME_BYTES, MODULUS, WITNESS_BYTES, START = FRAME_BYTES, SEQUENCE_MODULUS, 2, bytes([START])

    def _number(self, at: int) -> int | None:
        return self._buffer[at + 1] if self._buffer[at] == START else None

    def _holds(self) -> bool:
        return self._buffer[FRAME_BYTES - 1] in STOPS

    def _read(self, number: int) -> Frame:
        at = 2 + 3 * (self._channel - 1)
        count = int.from_bytes(self._buffer[at : at + 3], "big", signed=True)
        return Frame(number, (count,), saturated=count in _RAILS)
