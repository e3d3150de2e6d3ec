"""The dsp room's work: readings in, windows out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from daemon.clock import Clock
from daemon.messages import LinkCounts
from daemon.patch import Patch
from daemon.port import GATHER_S, SILENT_READ_S, Reading
from dsp.chain import Chain
from dsp.signal import Block, Quality, Window

PIECE_BYTES = 16_384
"""Decoded and filtered at once, of a backlog: some 20 s of patch time. Its frames would fill memory otherwise."""


@dataclass(frozen=True, slots=True)
class Heard:
    """How the patch stands after a reading."""

    newest: int  # index of the sample that comes next, at the patch's rate
    connected: bool
    silent: bool
    battery_low: bool
    counts: LinkCounts
    read_s: float  # host time (monotonic) of the oldest reading since the last Heard
    newest_read_s: float  # and of the newest


@dataclass(frozen=True, slots=True)
class Skipped:
    """The time line jumped: nothing is known of the samples from `gone` to `to` (at 250 Hz)."""

    gone: int
    to: int
    read_s: float  # host time (monotonic) at which `to` came


class Listener:
    """Decodes, places and filters what the reader hands on. One patch."""

    def __init__(self, patch: Patch) -> None:
        self._link = link = patch.wire
        self._patch = patch
        self._decoder = link.decoder(patch.channel)
        self._clock = Clock(link, link.rate_hz)
        self._chain: Chain | None = None
        self._end = 0  # index one past the last sample that the chain has had
        self._judged_end = 0  # likewise at 250 Hz
        self._frames = 0
        self._waited_s = 0.0  # since the last frame
        self._silent_s = 0.0  # likewise, while the port was open: an absent patch is not silent
        self._undecoded_bytes = 0  # so far: skipped by the decoder, or dropped by the reader
        self._dropped_bytes = 0
        self._battery_low = False
        self._read_s = 0.0  # of the oldest reading of this turn

    def __call__(self, readings: list[Reading]) -> Iterator[Block | Quality | Window | Heard | Skipped]:
        if not readings:
            return
        self._dropped_bytes = readings[-1].dropped_bytes
        self._read_s = readings[0].read_s
        for data, connected in _joined(readings):
            if data:
                for item in self._hear(data):
                    yield item
                    if isinstance(item, Skipped):  # it is there: a loss that follows is none of its absence
                        yield replace(self._heard(readings[-1]), connected=True)
            else:
                self._wait(SILENT_READ_S, connected=connected)
            if not connected:
                yield from self._finish()
        yield self._heard(readings[-1])

    def _hear(self, data: bytes) -> Iterator[Block | Quality | Window | Skipped]:
        frames = self._decoder.feed(data)
        self._wait(self._undecoded_s(), connected=True)
        self._frames += len(frames)
        self._battery_low = frames[-1].battery_low if frames else self._battery_low
        blocks = self._clock.place(frames, self._waited_s)
        self._waited_s = 0.0 if frames else self._waited_s
        self._silent_s = 0.0 if blocks else self._silent_s + GATHER_S  # so long at least a reading waits for the next
        for block in blocks:
            if block.start != self._end:
                yield from self._finish()
            jumped = self._chain is None
            chain = self._chain = self._chain or Chain(self._link.rate_hz)
            clean, events = chain(block)
            if jumped:
                yield Skipped(self._judged_end, clean.start, self._read_s)
            self._end, self._judged_end = block.end, clean.end
            yield clean
            yield from events

    def _finish(self) -> list[Window]:
        """The session is over: the port hung up, or too much was lost to bridge."""
        chain, self._chain = self._chain, None
        return chain.finish() if chain else []

    def _wait(self, seconds: float, *, connected: bool) -> None:
        self._waited_s += seconds
        self._silent_s = self._silent_s + seconds if connected else 0.0

    def _undecoded_s(self) -> float:
        """How long the bytes took that became no frame since the last call: garbage is silence that costs bytes."""
        so_far = self._decoder.skipped_bytes + self._dropped_bytes
        new_bytes, self._undecoded_bytes = so_far - self._undecoded_bytes, so_far
        return new_bytes / self._link.frame_bytes * self._link.samples_per_frame / self._link.rate_hz

    def _heard(self, reading: Reading) -> Heard:
        return Heard(
            newest=self._clock.next,
            connected=reading.connected,
            silent=self._silent_s >= self._patch.silence_limit_s,
            battery_low=self._battery_low,
            counts=LinkCounts(
                frames=self._frames,
                samples=self._clock.samples,
                lost_samples=self._clock.lost_samples,
                damaged_frames=self._decoder.damaged_frames,
                skipped_bytes=self._decoder.skipped_bytes,
                dropped_bytes=self._dropped_bytes,
                connections=reading.connections,
                restarts=self._clock.restarts,
            ),
            read_s=self._read_s,
            newest_read_s=reading.read_s,
        )


def _joined(readings: list[Reading]) -> Iterator[tuple[bytes, bool]]:
    """(bytes, connected): readings that came together as one, silence kept in its place."""
    waiting = bytearray()
    for reading in readings:
        if reading.data:
            waiting += reading.data
        if len(waiting) >= PIECE_BYTES:
            yield bytes(waiting), True
            waiting.clear()
        if not reading.data:
            if waiting:
                yield bytes(waiting), True
                waiting.clear()
            yield b"", reading.connected
    if waiting:
        yield bytes(waiting), True
