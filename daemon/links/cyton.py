"""OpenBCI Cyton: 33 bytes, eight 24-bit channels, no checksum. From the firmware's published format.

With no checksum a frame is believed when its first byte, its last byte (32 later) and its number fit. After a loss,
damage or garbage its successor must bear it out: the first byte and the number that come next. So damage costs one
frame, and a payload that looks like frames (an idle channel may read C0 A0 for ever) does not hold the decoder, unless
it counts up too. The price: a lone frame between two losses goes with them.
"""

from __future__ import annotations

from daemon.links.frame import Frame

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


class Decoder:
    """Finds frames in a stream of bytes, and keeps the samples of one channel."""

    def __init__(self, channel: int = 1) -> None:
        self._buffer = bytearray()
        self._at = 2 + 3 * (channel - 1)
        self._expected: int | None = None  # the next frame's number; None: what is before the buffer is no frame
        self.skipped_bytes = 0
        self.damaged_frames = 0

    def feed(self, data: bytes) -> list[Frame]:
        self._buffer += data
        frames: list[Frame] = []
        while len(self._buffer) >= FRAME_BYTES:
            if not (self._buffer[0] == START and self._buffer[FRAME_BYTES - 1] in STOPS):
                self._lose()
            elif self._buffer[1] == self._expected:
                frames.append(self._take())
            elif len(self._buffer) < FRAME_BYTES + 2:
                break  # the successor's beginning will tell
            elif self._buffer[FRAME_BYTES : FRAME_BYTES + 2] == bytes([START, _after(self._buffer[1])]):
                frames.append(self._take())
            else:
                self._lose()
        return frames

    def _take(self) -> Frame:
        count = int.from_bytes(self._buffer[self._at : self._at + 3], "big", signed=True)
        frame = Frame(self._buffer[1], (count,), saturated=count in _RAILS)
        del self._buffer[:FRAME_BYTES]
        self._expected = _after(frame.sequence)
        return frame

    def _lose(self) -> None:
        """What is here is no frame: go on to the next byte that could begin one."""
        self.damaged_frames += self._expected is not None
        self._expected = None
        start = self._buffer.find(START, 1)
        self._skip(start if start > 0 else len(self._buffer))

    def _skip(self, count: int) -> None:
        self.skipped_bytes += count
        del self._buffer[:count]


def _after(number: int) -> int:
    return (number + 1) % SEQUENCE_MODULUS
