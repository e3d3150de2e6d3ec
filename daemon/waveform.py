"""The cleaned signal on its way out, in messages of 0.1 s, made only while someone wants it."""

from __future__ import annotations

import numpy as np

from daemon.messages import Wave
from daemon.publish import Publisher
from daemon.reporting import TimeLine
from dsp.signal import RATE_HZ, Block

SAMPLES = 25  # a message: 0.1 s, however few come at a time
COUNTS_PER_MV = 1000
MISSING = -(2**15)


class Waveform:
    """Gathers blocks until they are worth a message."""

    def __init__(self, patch: str, line: TimeLine, publisher: Publisher) -> None:
        self._patch = patch
        self._line = line
        self._publisher = publisher
        self._blocks: list[Block] = []  # contiguous, not sent yet

    def note(self, clean: Block) -> None:
        if not self._publisher.wanted("wave"):
            self._blocks.clear()
            return
        if self._blocks and self._blocks[-1].end != clean.start:
            self._send()
        if len(clean.ecg_mv):
            self._blocks.append(clean)
        if self._blocks and clean.end - self._blocks[0].start >= SAMPLES:
            self._send()

    def _send(self) -> None:
        sample = self._line.rates.source_index(self._blocks[0].start)
        ecg_mv = np.concatenate([block.ecg_mv for block in self._blocks])
        counts = np.clip(np.rint(ecg_mv * COUNTS_PER_MV), MISSING + 1, -MISSING - 1)
        counts[np.concatenate([block.missing for block in self._blocks])] = MISSING
        self._blocks.clear()
        wave = Wave(
            seq=self._publisher.next_seq("wave"),
            patch=self._patch,
            sample=sample,
            utc=self._line.utc(sample),
            rate_hz=RATE_HZ,
            samples=len(counts),
            counts_per_mv=COUNTS_PER_MV,
            missing=MISSING,
        )
        self._publisher.send("wave", wave, counts.astype("<i2").tobytes())
