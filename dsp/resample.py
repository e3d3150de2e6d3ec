"""Brings any input rate to 250 Hz, as a stream."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, pi

import numpy as np
from scipy.signal import firwin, kaiser_beta, upfirdn

from dsp.signal import RATE_HZ, Block

PASS_HZ, PASS_SHARE = 45.0, 0.32
"""To where it is flat, and to which part of the lower rate where that is less. All that comes after listens below 40 Hz
(`dsp.filters`), so the transition may be wide, and a wide one is short: each sample waits 8 ms, from 128 Hz 20 ms."""

LEAST_DB = 34.0
"""An error of 3 % at most, by which the gain is off below that, and by which what lies beyond comes through. Only from
128 Hz is it so much: there it is the QRS complex's image above 80 Hz, of which `dsp.filters` leaves a fifth or less."""

_KAISER_DB, _KAISER_SLOPE = 7.95, 4 * pi * 2.285
"""Of Kaiser's window, in dB: the one, the other for each Hz of the transition and each second of half its length."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How an input rate and 250 Hz relate: 250 / rate = up / down. `half` the filter, on their common grid."""

    up: int
    down: int
    half: int

    @classmethod
    def of(cls, rate_hz: float) -> Rates:
        ratio = Fraction(RATE_HZ) / Fraction(rate_hz).limit_denominator(1000)
        up, down = ratio.numerator, ratio.denominator
        if up == down:
            return cls(1, 1, 0)
        lower_hz = RATE_HZ * min(1.0, down / up)
        half_s = (LEAST_DB - _KAISER_DB) / (_KAISER_SLOPE * _transition_hz(lower_hz))
        # A multiple of `down`, so that outputs fall on the grid that upfirdn computes.
        return cls(up, down, ceil(half_s * RATE_HZ) * down)

    def source_index(self, at: int) -> int:
        """The index, at the input's rate, of the sample that is at index `at` of the 250 Hz output."""
        return (2 * at * self.down + self.up) // (2 * self.up)

    def newest_input(self, at: int) -> int:
        """The index of the newest input that output `at` needed."""
        return (at * self.down + self.half) // self.up


class Resampler:
    """Polyphase resampler: output k is the signal at time k / 250 s, given out as soon as its last input is there.

    That holds wherever the first block starts. Every output is the same sum of the same products in the same order,
    however the input is cut.
    """

    def __init__(self, rate_hz: float) -> None:
        self.rates = Rates.of(rate_hz)
        self.up, self.down, self.half = self.rates.up, self.rates.down, self.rates.half
        self._taps = _taps(self.rates) if self.half else None
        self._history: np.ndarray | None = None  # inputs that outputs yet to come need
        self._marks: np.ndarray = np.zeros(0, np.uint8)
        self._history_start = 0  # their index relative to the origin, a multiple of `down`
        self._origin_output = 0  # the origin's index in the output: where both grids meet, at the first input or before
        self._next_output = 0  # relative to that

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
            start=self._origin_output + self._next_output,
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
        steps, past_origin = divmod(block.start, self.down)
        self._origin_output = steps * self.up
        self._next_output = -(-past_origin * self.up // self.down)  # the first that is not before the first input
        before = (self.half // self.up // self.down + 1) * self.down
        self._history_start = -before
        self._history = np.full(before + past_origin, block.ecg_mv[0])  # as if the first value had always been there
        self._marks = np.full(before + past_origin, block.marks[0])


def _transition_hz(lower_hz: float) -> float:
    """From the end of the pass band to the beginning of what folds into it, at the lower of the two rates."""
    return lower_hz - 2 * min(PASS_HZ, PASS_SHARE * lower_hz)


def _taps(rates: Rates) -> np.ndarray:
    """The interpolating filter, each of its phases with a gain of exactly 1 for a constant.

    Without that the phases differ by a thousandth or so, and an electrode offset of 300 mV comes out as a tone of
    millivolts; from 257 Hz it lies at 7 Hz, among the QRS complexes.
    """
    lower_hz = RATE_HZ * min(1.0, rates.down / rates.up)
    half_s = rates.half / (RATE_HZ * rates.down)
    beta = kaiser_beta(_KAISER_DB + _KAISER_SLOPE * _transition_hz(lower_hz) * half_s)
    taps: np.ndarray = firwin(2 * rates.half + 1, 1 / max(rates.up, rates.down), window=("kaiser", beta))
    for phase in range(rates.up):
        taps[phase :: rates.up] /= taps[phase :: rates.up].sum()
    return taps
