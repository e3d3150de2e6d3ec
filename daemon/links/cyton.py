"""OpenBCI Cyton: 33 bytes, eight 24-bit channels, no checksum. From the firmware's published format.

With no checksum a frame is believed when its first byte, its last byte (32 later) and its number all fit. A number that
does not follow is either a loss or damage; the next frame tells which, so such a frame waits for it.
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
        count = _RAILS[0]
    count = max(_RAILS[2], min(_RAILS[0], count))
    head = bytes([START, frame.sequence % SEQUENCE_MODULUS])
    return head + count.to_bytes(3, "big", signed=True) + bytes(3 * (CHANNELS - 1) + 6) + bytes([STOPS[0]])


class Decoder:
    """Finds frames in a stream of bytes, and keeps the samples of one channel."""

    def __init__(self, channel: int = 1) -> None:
        self._buffer = bytearray()
        self._at = 2 + 3 * (channel - 1)
        self._last: int | None = None  # the number of the last frame given out
        self._doubtful: Frame | None = None  # its number does not follow _last
        self._aligned = False  # the byte before the buffer ended a frame
        self.skipped_bytes = 0
        self.damaged_frames = 0

    def feed(self, data: bytes) -> list[Frame]:
        self._buffer += data
        frames: list[Frame] = []
        while len(self._buffer) >= FRAME_BYTES:
            if not self._is_frame():
                self.damaged_frames += self._aligned
                self._aligned = False
                self._skip_to_start()
            elif not self._aligned and len(self._buffer) == FRAME_BYTES:
                return frames  # A0 and C0 occur in data: after garbage, wait to see another frame begin
            elif not self._aligned and self._buffer[FRAME_BYTES] != START:
                self._skip_to_start()
            else:
                self._aligned = True
                frames += self._in_order(self._take())
        return frames

    def _is_frame(self) -> bool:
        return self._buffer[0] == START and self._buffer[FRAME_BYTES - 1] in STOPS

    def _skip_to_start(self) -> None:
        at = self._buffer.find(START, 1)
        count = at if at > 0 else len(self._buffer)
        self.skipped_bytes += count
        del self._buffer[:count]

    def _take(self) -> Frame:
        count = int.from_bytes(self._buffer[self._at : self._at + 3], "big", signed=True)
        frame = Frame(self._buffer[1], (count,), saturated=count in _RAILS)
        del self._buffer[:FRAME_BYTES]
        return frame

    def _in_order(self, frame: Frame) -> list[Frame]:
        """The frames that `frame` settles: itself if its number follows, and the doubtful one if it is borne out."""
        doubtful, self._doubtful = self._doubtful, None
        if doubtful is not None and frame.sequence == _after(doubtful.sequence):
            ready = [doubtful, frame]  # two in a row agree: frames were lost before them
        elif self._last is None or frame.sequence == _after(self._last, 2 if doubtful else 1):
            self.damaged_frames += doubtful is not None
            ready = [frame]  # the doubtful one only had its number damaged
        else:
            self.damaged_frames += doubtful is not None
            self._doubtful = frame
            return []
        self._last = frame.sequence
        return ready


def _after(sequence: int, steps: int = 1) -> int:
    return (sequence + steps) % SEQUENCE_MODULUS
