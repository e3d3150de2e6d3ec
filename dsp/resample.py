"""Brings any input rate to 250 Hz, as a stream."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from scipy.signal import firwin, upfirdn

from dsp.signal import RATE_HZ, Block

ZERO_CROSSINGS = 10
"""Of the interpolating sinc on each side: 10 of them keep the delay at 40 ms for 360 Hz and 78 ms for 128 Hz."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How an input rate and 250 Hz relate: 250 / rate = up / down, and the filter's half length on their common grid."""

    up: int
    down: int
    half: int

    @classmethod
    def of(cls, rate_hz: float) -> Rates:
        ratio = Fraction(RATE_HZ) / Fraction(rate_hz).limit_denominator(1000)
        up, down = ratio.numerator, ratio.denominator
        if up == down:
            return cls(1, 1, 0)
        # A multiple of `down`, so that outputs fall on the grid that upfirdn computes.
        return cls(up, down, -(-ZERO_CROSSINGS * max(up, down) // down) * down)

    def source_index(self, at: int) -> int:
        """The index, at the input's rate, of the sample that is at index `at` of the 250 Hz output."""
        return (2 * at * self.down + self.up) // (2 * self.up)

    def newest_input(self, at: int) -> int:
        """The index of the newest input that output `at` needed."""
        return (at * self.down + self.half) // self.up


class Resampler:
    """Polyphase resampler: output k is the signal at time k / 250 s, given out as soon as its last input is there.

    Every output is the same sum of the same products in the same order, however the input is cut.
    """

    def __init__(self, rate_hz: float) -> None:
        self.rates = Rates.of(rate_hz)
        self.up, self.down, self.half = self.rates.up, self.rates.down, self.rates.half
        taps = firwin(2 * self.half + 1, 1 / max(self.up, self.down), window=("kaiser", 5.0)) if self.half else None
        self._taps = None if taps is None else self.up * taps
        self._history: np.ndarray | None = None  # inputs that outputs yet to come need
        self._marks: np.ndarray = np.zeros(0, np.uint8)
        self._history_start = 0  # their index relative to the first input ever, a multiple of `down`
        self._first_input = 0
        self._next_output = 0

    def __call__(self, block: Block) -> Block:
        if self._taps is None or not len(block.ecg_mv):
            return block
        if self._history is None:
            self._begin(block)
        assert self._history is not None
        history = np.concatenate([self._history, block.ecg_mv])
        marks = np.concatenate([self._marks, block.marks])
        end = self._history_start + len(history)
        # Output k reads inputs up to (k * down + half) // up.
        next_output = max(self._next_output, (end * self.up - self.half - 1) // self.down + 1)
        offset = (self.half - self._history_start * self.up) // self.down
        wanted = slice(self._next_output + offset, next_output + offset)
        outputs = np.arange(self._next_output, next_output)
        nearest = (2 * outputs * self.down + self.up) // (2 * self.up) - self._history_start
        resampled = replace(
            block,
            start=self._output_of_first_input() + self._next_output,
            ecg_mv=upfirdn(self._taps, history, self.up, self.down)[wanted],
            marks=marks[nearest],
        )
        self._next_output = next_output
        oldest = (next_output * self.down - self.half) // self.up  # that the next output reads
        keep_from = oldest // self.down * self.down
        drop = max(0, keep_from - self._history_start)
        self._history, self._marks = history[drop:], marks[drop:]
        self._history_start += drop
        return resampled

    def _begin(self, block: Block) -> None:
        before = -(-self.half // self.up // self.down + 1) * self.down
        self._first_input = block.start
        self._history_start = -before
        self._history = np.full(before, block.ecg_mv[0])  # as if the first value had always been there
        self._marks = np.full(before, block.marks[0])

    def _output_of_first_input(self) -> int:
        return -(-self._first_input * self.up // self.down)
