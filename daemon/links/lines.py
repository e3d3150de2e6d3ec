"""Samples as lines of text: what the example for SparkFun's AD8232 board prints, `512`, or `!` while a lead is off.

No number and no checksum: a damaged digit is a wrong sample, and nothing tells of a line that never came but the time
that passed. A line ends with CR, LF or both, so that damage to one end costs its own line and no other.
"""

from __future__ import annotations

import re

from daemon.links.frame import Frame

COUNTS_PER_MV = 1100 * 1024 / 3300  # the board's gain is 1100; 10 bits over its 3.3 V
ZERO = 512
FULL_SCALE = 511
LONGEST = 4  # characters
FRAME_BYTES = 5  # of most lines, with CR and LF

_LINE = re.compile(rb"([^\r\n]*)([\r\n])")
_SAMPLE = re.compile(rb"!|[0-9]{1,4}")


def encode(frame: Frame) -> bytes:
    (count,) = frame.counts
    return b"!\r\n" if frame.lead_off else b"%d\r\n" % max(0, min(ZERO + FULL_SCALE, count + ZERO))


class Decoder:
    """Finds lines in a stream of bytes. The first one may have lost its beginning and is left out."""

    def __init__(self, channel: int = 1) -> None:
        assert channel == 1
        self._buffer = bytearray()
        self._whole = False  # whether the buffer begins where a line does
        self._after_cr = False  # of a line that was read: a LF belongs to it
        self.skipped_bytes = 0
        self.damaged_frames = 0

    def feed(self, data: bytes) -> list[Frame]:
        self._buffer += data
        frames: list[Frame] = []
        while match := _LINE.match(self._buffer):
            line, end, size = bytes(match[1]), bytes(match[2]), match.end()
            frame = _sample(line) if self._whole else None
            if frame:
                frames.append(frame)
                del self._buffer[:size]
            elif self._after_cr and not line and end == b"\n":
                del self._buffer[:size]
            else:
                self.damaged_frames += self._whole and bool(line)
                self._skip(size)
            self._whole, self._after_cr = True, frame is not None and end == b"\r"
        if len(self._buffer) > LONGEST:  # no line is so long: what follows is the rest of garbage
            self.damaged_frames += self._whole
            self._whole = self._after_cr = False
            self._skip(len(self._buffer))
        return frames

    def _skip(self, count: int) -> None:
        self.skipped_bytes += count
        del self._buffer[:count]


def _sample(line: bytes) -> Frame | None:
    """The sample of a line; None if it has none."""
    if not _SAMPLE.fullmatch(line):
        return None
    if line == b"!":
        return Frame(0, (0,), lead_off=True)
    count = int(line) - ZERO
    return Frame(0, (count,), saturated=count in {-ZERO, FULL_SCALE}) if count <= FULL_SCALE else None
