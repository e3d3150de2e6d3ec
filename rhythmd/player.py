"""Turns a recording into the frames of a patch, in order, each with its time and what becomes of it. No I/O here."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from daemon.links import LINKS, Frame, Link
from dsp.gaps import Bridge
from dsp.resample import Resampler
from dsp.signal import RATE_HZ, Block
from rhythmd.recording import RecordError, Recording

_BLOCK_SAMPLES = 4096
_HUM_HZ, _HUM_MV, _HISS_MV = 50.0, 0.4, 0.1  # what an electrode that hangs in the air picks up


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of patch time, which begins with the first frame and never stands still."""

    at_s: float
    for_s: float

    def meets(self, start_s: float, end_s: float) -> bool:
        return self.at_s < end_s and start_s < self.at_s + self.for_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong between the heart and the port."""

    drop: float = 0.0  # probability that a frame is lost on its way
    corrupt: float = 0.0  # probability that one of its bits is damaged
    lead_off: tuple[Span, ...] = ()
    unplug: tuple[Span, ...] = ()


class Fate(Enum):
    """What becomes of a frame. Only the first two reach the wire."""

    SENT = "sent"
    DAMAGED = "damaged"
    DROPPED = "dropped"
    MISSING = "without samples"  # the recording has none here
    UNPLUGGED = "unplugged"


@dataclass(frozen=True, slots=True)
class Turn:
    """One frame's turn to be sent."""

    due_s: float  # patch time at which its last sample is there
    sequence: int  # counted without end; the wire carries it modulo the link's
    fate: Fate
    wire: bytes  # empty unless the frame is sent


def excerpt(recording: Recording, start_s: float = 0.0, duration_s: float | None = None) -> Recording:
    """A piece of a recording, sample for sample."""
    first = round(start_s * recording.rate_hz)
    last = None if duration_s is None else first + round(duration_s * recording.rate_hz)
    counts = recording.counts[first:last]
    if not len(counts):
        length_s = len(recording.counts) / recording.rate_hz
        raise RecordError(f"{recording.name}: nothing to play from {start_s:g} s; it lasts {length_s:.1f} s")
    return replace(recording, counts=counts)


def on_the_wire(recording: Recording, link_name: str) -> Recording:
    """The recording as the patch sends it: at the link's rate, in its counts, clipped to its range.

    A recording that has the link's rate and scale already comes back with the same counts.
    """
    link = LINKS[link_name]
    counts, gain = recording.counts, recording.counts_per_mv
    if recording.rate_hz != link.rate_hz:
        counts, gain = _resampled_mv(recording, link.rate_hz), 1.0
    if gain != link.counts_per_mv:
        counts = np.rint(counts / gain * link.counts_per_mv)
    full_scale = link.full_scale_counts
    counts = np.clip(counts, -full_scale - 1, full_scale)
    return replace(recording, rate_hz=link.rate_hz, counts=counts, counts_per_mv=link.counts_per_mv)


def _resampled_mv(recording: Recording, to_hz: float) -> NDArray[np.float64]:
    if to_hz != RATE_HZ:
        return _resampled_at_once_mv(recording, to_hz)
    bridge, resampler = Bridge(), Resampler(recording.rate_hz)
    ecg_mv = recording.ecg_mv
    pieces = []
    for start in range(0, len(ecg_mv), _BLOCK_SAMPLES):
        block = resampler(bridge(Block.of(start, ecg_mv[start : start + _BLOCK_SAMPLES])))
        pieces.append(np.where(block.missing, np.nan, block.ecg_mv))
    return np.concatenate(pieces)


def _resampled_at_once_mv(recording: Recording, to_hz: float) -> NDArray[np.float64]:
    """To a rate that the daemon never makes; there is no hurry here, so the filter is a long one."""
    whole = Bridge()(Block.of(0, recording.ecg_mv))
    ratio = (Fraction(to_hz) / Fraction(recording.rate_hz)).limit_denominator(1000)
    ecg_mv: NDArray[np.float64] = resample_poly(whole.ecg_mv, ratio.numerator, ratio.denominator, padtype="line")
    nearest = np.rint(np.arange(len(ecg_mv)) / float(ratio)).astype(int)
    return np.where(whole.missing[np.minimum(nearest, len(whole.missing) - 1)], np.nan, ecg_mv)


class Player:
    """A patch that wears a recording: the same frames, faults and bytes whenever its turns are asked for.

    A last frame that the recording does not fill is not sent.
    """

    def __init__(
        self, recording: Recording, link_name: str, faults: Faults | None = None, *, seed: int = 0, loop: bool = False
    ) -> None:
        self.link: Link = LINKS[link_name]
        self.faults = faults or Faults()
        self._seed, self._loop = seed, loop
        self._full_scale = self.link.full_scale_counts
        size = self.link.samples_per_frame
        counts = on_the_wire(recording, link_name).counts
        self._frames = counts[: len(counts) // size * size].reshape(-1, size)  # (frame, sample)
        if not len(self._frames):
            raise RecordError(f"{recording.name}: too short to fill one frame of {size} samples")
        self.duration_s = self._frames.size / self.link.rate_hz

    def turns(self) -> Iterator[Turn]:
        """Every frame in order, the lost ones too: a loss uses its number, which is how a reader sees it."""
        # One generator a fault, so that one fault more leaves the others where they were.
        drop, corrupt, air = (np.random.default_rng([self._seed, fault]) for fault in range(3))
        frame_s = self.link.samples_per_frame / self.link.rate_hz
        for sequence in itertools.count() if self._loop else range(len(self._frames)):
            start_s, due_s = sequence * frame_s, (sequence + 1) * frame_s
            dropped, damaged = drop.random() < self.faults.drop, corrupt.random() < self.faults.corrupt
            bit = int(corrupt.integers(8 * self.link.frame_bytes))
            lead_off = any(span.meets(start_s, due_s) for span in self.faults.lead_off)
            counts = self._frames[sequence % len(self._frames)]
            if lead_off:
                counts = self._air(start_s, air)
            wire = b""
            if any(span.meets(start_s, due_s) for span in self.faults.unplug):
                fate = Fate.UNPLUGGED
            elif np.isnan(counts).any():
                fate = Fate.MISSING
            elif dropped:
                fate = Fate.DROPPED
            else:
                fate = Fate.DAMAGED if damaged else Fate.SENT
                wire = self._encode(sequence, counts, lead_off=lead_off)
            if fate is Fate.DAMAGED:
                wire = with_bit_flipped(wire, bit)
            yield Turn(due_s, sequence, fate, wire)

    def _encode(self, sequence: int, counts: NDArray[np.float64], *, lead_off: bool) -> bytes:
        whole = tuple(map(int, counts.tolist()))
        saturated = max(whole) >= self._full_scale or min(whole) <= -self._full_scale - 1
        modulus = self.link.sequence_modulus
        return self.link.encode(Frame(sequence % modulus, whole, lead_off=lead_off, saturated=saturated))

    def _air(self, start_s: float, rng: np.random.Generator) -> NDArray[np.float64]:
        size = self.link.samples_per_frame
        at_s = start_s + np.arange(size) / self.link.rate_hz
        ecg_mv = _HUM_MV * np.sin(2 * np.pi * _HUM_HZ * at_s) + _HISS_MV * rng.standard_normal(size)
        return np.rint(ecg_mv * self.link.counts_per_mv)


def with_bit_flipped(wire: bytes, bit: int) -> bytes:
    bit %= 8 * len(wire)  # a line may be shorter than most
    return wire[: bit // 8] + bytes([wire[bit // 8] ^ 1 << bit % 8]) + wire[bit // 8 + 1 :]
