"""Places frames on the patch's own time line: the sample count is the clock. Knows no host time."""

from __future__ import annotations

from collections import deque

import numpy as np

from daemon.links import Frame, Link
from dsp.signal import LEAD_OFF, MISSING, SATURATED, Block

PLAUSIBLE_S = 60.0
"""A sequence number that is off by more than this from the time waited tells of a restarted patch, not of a loss."""

BRIDGED_S = 2.0
"""Longer losses are not filled with missing samples: the time line jumps, and a new session begins. It is the silence
after which `signal_lost` is raised by default, so that one loss is not told twice, as silence and as lost samples."""


class Clock:
    """Unwraps sequence numbers and turns losses into missing samples."""

    def __init__(self, link: Link, rate_hz: float) -> None:
        self._link = link
        self._rate_hz = rate_hz
        self._due: int | None = None  # the number of the next frame
        self._recent: deque[Frame] = deque(maxlen=link.remembered_frames)
        self.next = 0  # index of the sample that comes next
        self.samples = 0  # received
        self.lost_samples = 0
        self.restarts = 0

    def place(self, frames: list[Frame], waited_s: float) -> list[Block]:
        """Blocks for `frames`, each contiguous with the one before unless it starts later.

        `waited_s`: how long nothing had come before the first of them, by the reader's own time-outs. It tells how
        often a short sequence number has wrapped.
        """
        blocks: list[Block] = []
        counts: list[int] = []
        marks: list[int] = []
        start = self.next
        for frame in frames:
            lost = self._lost_before(frame, waited_s)
            waited_s = 0.0
            if lost is None:
                continue
            if lost > BRIDGED_S * self._rate_hz:
                blocks += self._block(start, counts, marks)
                counts, marks, start = [], [], self.next + lost
            else:
                counts += [0] * lost
                marks += [MISSING] * lost
            counts += frame.counts
            marks += [LEAD_OFF * frame.lead_off | SATURATED * frame.saturated] * len(frame.counts)
            self.lost_samples += lost
            self.samples += len(frame.counts)
            self.next += lost + len(frame.counts)
        return [*blocks, *self._block(start, counts, marks)]

    def _lost_before(self, frame: Frame, waited_s: float) -> int | None:
        """Samples lost between the last frame and this one; None for one that has come before."""
        if frame.sequence != self._due and frame in self._recent:
            return None
        modulus, size = self._link.sequence_modulus, self._link.samples_per_frame
        due, self._due = self._due, (frame.sequence + 1) % modulus
        self._recent.append(frame)
        if due is None:
            return 0
        expected = 1 + waited_s * self._rate_hz / size
        steps = 1 + (frame.sequence - due) % modulus
        steps += modulus * max(0, round((expected - steps) / modulus))
        if abs(steps - expected) * size > PLAUSIBLE_S * self._rate_hz:
            self.restarts += 1
            steps = round(expected)
        return (steps - 1) * size

    def _block(self, start: int, counts: list[int], marks: list[int]) -> list[Block]:
        if not counts:
            return []
        return [Block(start, np.array(counts, float) / self._link.counts_per_mv, np.array(marks, np.uint8))]
