"""What formats have in common that number their frames but hold them together by little or no checksum.

A frame is believed when what is fixed in it is right and its number is the next one. After a loss, damage or garbage
those that follow must bear it out, by counting on. So damage costs one frame; and a payload that looks like frames (an
idle channel may read the bytes of a frame's ends for ever) does not hold the decoder, unless it counts up too. The
price: a lone frame between two losses goes with them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from daemon.links.frame import Frame


class NumberedDecoder(ABC):
    """Finds the frames of one such format, and keeps the samples of one channel."""

    FRAME_BYTES: ClassVar[int]
    MODULUS: ClassVar[int]
    WITNESS_BYTES: ClassVar[int]  # of what follows a frame, that bear it out
    START: ClassVar[bytes] = b""  # that a frame begins with, if it begins with anything

    def __init__(self, channel: int = 1) -> None:
        self._buffer = bytearray()
        self._channel = channel
        self._expected: int | None = None  # the next frame's number; None: what is before the buffer is no frame
        self.skipped_bytes = 0
        self.damaged_frames = 0

    @abstractmethod
    def _number(self, at: int) -> int | None:
        """Of the frame that begins at this byte; None where none can begin. WITNESS_BYTES from there may be all."""

    def _holds(self) -> bool:
        """Whether what is fixed in the frame that begins here is right, beyond what `_number` looks at."""
        return True

    @abstractmethod
    def _read(self, number: int) -> Frame: ...

    def feed(self, data: bytes) -> list[Frame]:
        self._buffer += data
        frames: list[Frame] = []
        while len(self._buffer) >= self.FRAME_BYTES:
            number = self._number(0) if self._holds() else None
            if number is None:
                self._lose()
            elif number != self._expected and len(self._buffer) < self.FRAME_BYTES + self.WITNESS_BYTES:
                break  # what follows will tell
            elif number == self._expected or self._borne_out(number):
                frames.append(self._read(number))
                del self._buffer[: self.FRAME_BYTES]
                self._expected = (number + 1) % self.MODULUS
            else:
                self._lose()
        return frames

    def _borne_out(self, number: int) -> bool:
        """Whether each frame that begins within the next WITNESS_BYTES has the number that it must have."""
        starts = range(self.FRAME_BYTES, self.FRAME_BYTES + self.WITNESS_BYTES, self.FRAME_BYTES)
        return all(self._number(at) == (number + n) % self.MODULUS for n, at in enumerate(starts, 1))

    def _lose(self) -> None:
        """What is here is no frame: go on to the next byte that could begin one."""
        self.damaged_frames += self._expected is not None
        self._expected = None
        start = self._buffer.find(self.START, 1)
        self._skip(start if start > 0 else len(self._buffer))

    def _skip(self, count: int) -> None:
        self.skipped_bytes += count
        del self._buffer[:count]
