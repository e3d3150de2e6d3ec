"""The last minutes of one patch's cleaned signal, to fill a new page's sweep and to cut strips from. Pure."""

from __future__ import annotations

from array import array

from daemon.messages import Wave

KEPT_S = 120
BRIDGED_S = 10.0
"""A hole of so much is kept as missing samples; after a longer one, or a step back, a new tape begins."""

JITTER_S = 0.012
"""Blocks of a resampled patch begin up to a sample beside where the one before ended."""


class Tape:
    """Contiguous samples. Times are seconds on the patch's own time line."""

    def __init__(self, wave: Wave, at_s: float) -> None:
        self.rate_hz, self.counts_per_mv, self._missing = wave.rate_hz, wave.counts_per_mv, wave.missing
        self._begins_s = at_s
        self._counts = array("h")

    @property
    def ends_s(self) -> float:
        return self._begins_s + len(self._counts) / self.rate_hz

    def add(self, at_s: float, data: bytes) -> bool:
        """False when the block does not continue this tape."""
        hole_s = at_s - self.ends_s
        if not -JITTER_S <= hole_s <= BRIDGED_S:
            return False
        if hole_s > JITTER_S:
            self._counts.extend([self._missing] * round(hole_s * self.rate_hz))
        self._counts.frombytes(data)
        beyond = len(self._counts) - KEPT_S * self.rate_hz
        if beyond > 10 * self.rate_hz:  # in large pieces: each moves all that stays
            del self._counts[:beyond]
            self._begins_s += beyond / self.rate_hz
        return True

    def cut(self, from_s: float, to_s: float) -> tuple[float, tuple[int | None, ...]]:
        """When the piece begins, and its samples: those that are there; None is a lost one."""
        first = max(0, round((from_s - self._begins_s) * self.rate_hz))
        last = max(first, round((to_s - self._begins_s) * self.rate_hz))
        return self._begins_s + first / self.rate_hz, self.readable(self._counts[first:last])

    def readable(self, counts: array[int]) -> tuple[int | None, ...]:
        return tuple(None if count == self._missing else count for count in counts)
