"""The frame that ProtoCentral's boards send to its OpenView program: 0A FA, length, type, payload, 00 0B.

No number and no checksum: what is fixed are the seven bytes around a payload whose type and length the board's firmware
has. Nothing tells of a frame that never came but the time that passed; a damaged bit of the payload is a wrong sample.
Each board has its own payload, and firmware of one board several.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from daemon.links.frame import Frame

SYNC = b"\x0a\xfa"
TRAILER = b"\x00\x0b"
DATA, ECG, PPG = 2, 3, 4  # types
_HEADER = struct.Struct("<2sHB")
_AROUND = _HEADER.size + len(TRAILER)


@dataclass(frozen=True, slots=True)
class Board:
    """What one board's payload holds. A sample is what its converter gave, or what the firmware made of that."""

    payloads: dict[tuple[int, int], int | None]  # (type, length) -> where the ECG begins; None: it has none
    full_scale: int
    sample: str = "i"  # as `struct` has it, little-endian
    samples: int = 1
    channels: int = 1  # one after the other, each with all its samples
    constant: tuple[tuple[int, int], ...] = ()  # (place, value) in the first kind of payload
    lead_off_at: int | None = None  # the byte with the ADS1292R's five bits of lead-off
    flat_when_off: bool = False  # its firmware sends zeros while a lead is off
    on_wire: Callable[[int], int] = lambda count: count
    off_wire: Callable[[int], int] = lambda number: number

    @property
    def frame_bytes(self) -> int:
        (_, length), *_ = self.payloads
        return _AROUND + length

    def encode(self, frame: Frame) -> bytes:
        """A frame of the first kind, its samples on the first channel."""
        ((kind, length), at), *_ = self.payloads.items()
        payload = bytearray(length)
        for place, value in self.constant:
            payload[place] = value
        if frame.lead_off and self.lead_off_at is not None:
            payload[self.lead_off_at] |= _LEAD_OFF
        flat = frame.lead_off and self.flat_when_off
        counts = (max(-self.full_scale - 1, min(self.full_scale, 0 if flat else count)) for count in frame.counts)
        struct.pack_into(f"<{self.samples}{self.sample}", payload, at or 0, *map(self.on_wire, counts))
        return _HEADER.pack(SYNC, length, kind) + payload + TRAILER

    def decoder(self, channel: int) -> Decoder:
        return Decoder(self, channel)


class Decoder:
    """Finds frames in a stream of bytes. A false sync costs one byte, never a frame."""

    def __init__(self, board: Board, channel: int = 1) -> None:
        self._board = board
        self._counts = struct.Struct(f"<{board.samples}{board.sample}")
        self._past = _HEADER.size + (channel - 1) * self._counts.size
        self._buffer = bytearray()
        self.skipped_bytes = 0
        self.damaged_frames = 0

    def feed(self, data: bytes) -> list[Frame]:
        self._buffer += data
        frames: list[Frame] = []
        while (at := self._buffer.find(SYNC)) >= 0:
            self._skip(at)
            if len(self._buffer) < _HEADER.size:
                return frames
            _, length, kind = _HEADER.unpack_from(self._buffer)
            if (kind, length) not in self._board.payloads:
                self._skip(1)
                continue
            end = _HEADER.size + length
            if len(self._buffer) < end + len(TRAILER):
                return frames
            if not self._buffer.startswith(TRAILER, end):
                self.damaged_frames += 1
                self._skip(1)
                continue
            begins = self._board.payloads[kind, length]
            if begins is not None:
                frames.append(self._read(begins))
            del self._buffer[: end + len(TRAILER)]
        self._skip(len(self._buffer) - self._buffer.endswith(SYNC[:1]))  # keep what may be half a sync
        return frames

    def _read(self, begins: int) -> Frame:
        board = self._board
        counts = tuple(map(board.off_wire, self._counts.unpack_from(self._buffer, self._past + begins)))
        return Frame(
            sequence=0,
            counts=counts,
            lead_off=board.lead_off_at is not None and bool(self._buffer[_HEADER.size + board.lead_off_at] & _LEAD_OFF),
            saturated=max(counts) >= board.full_scale or min(counts) < -board.full_scale,
        )

    def _skip(self, count: int) -> None:
        self.skipped_bytes += count
        del self._buffer[:count]


_LEAD_OFF = 0x1F
_BITS_18, _BITS_24 = 2**17 - 1, 2**23 - 1

ADS1292R_PER_MV = (2**15 - 1) * 6 / 2.42e3  # gain 6, 2.42 V reference, the upper 16 of 24 bits: 12.3 uV per count
MAX3000X_PER_MV = 2**17 * 20 / 1e3  # gain 20, 1 V reference, 18 bits: 0.38 uV per count
ADS129X_PER_MV = _BITS_24 * 6 / 2.4e3  # gain 6, 2.4 V reference

ADS1292R = Board({(DATA, 9): 0, (DATA, 8): 0, (DATA, 20): 0}, 2**15 - 1, "h", flat_when_off=True)
HEALTHYPI4 = Board({(DATA, 20): 0}, 2**15 - 1, "h", constant=((17, 80), (18, 120)), lead_off_at=19)
HEALTHYPI5 = Board({(DATA, 22): 0}, _BITS_18)
HEALTHYPI5_BATCH = Board({(ECG, 50): 0, (PPG, 19): None}, _BITS_18, samples=8)
HEALTHYPI6 = Board({(DATA, 20): 0}, _BITS_24, channels=3)
MAX30003 = Board(
    {(DATA, 12): 0, (DATA, 17): 5},  # one version of the example sends its own header's space along
    _BITS_18,
    # Its library puts bits 17 to 2 of the sample into the upper half and bits 1 and 0 at the bottom.
    on_wire=lambda count: count >> 2 << 16 | count & 3,
    off_wire=lambda number: number >> 16 << 2 | number & 3,
)
