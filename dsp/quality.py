"""Is the signal fit to be judged? Decided for each second; a change counts when two seconds agree.

Two unfit seconds in a row agree that the signal is not good, even if each has its own cause: an electrode that swings
from rail to rail gives saturation and noise by turns, and must not pass for good.
"""

from __future__ import annotations

import numpy as np

from dsp.signal import LEAD_OFF, MISSING, RATE_HZ, SATURATED, Block, Fitness, Quality

FLAT_MV = 0.005
"""Peak to peak. Skin is never so quiet, not even in asystole: this is a disconnected or shorted input."""

MOTION_MV = 25.0
"""Peak to peak of the band-passed signal. QRS complexes reach 5.2 mV in all but 0.1 % of the seconds of mitdb DS1, but
the ventricular fibrillation in cudb swings by up to 20.0 mV and must not pass for motion."""

ROUGHNESS = 0.05
"""Median second difference over the peak-to-peak value, after the band-pass. The roughest second of ventricular
fibrillation or tachycardia in vfdb and cudb has 0.033, and it must never pass for noise; 99.9 % of the seconds of
mitdb DS1 have less than 0.025. So this finds gross muscle noise only; the network's noise head judges the rest."""

NOISE_MV = 0.2
"""Peak to peak. A line that is quieter is not noise, however rough: in asystole the amplifier's hiss is all there is,
and to call that noise would put the alarm off."""


JOLT_MV, BACK_S = 1.5, 6
"""A line that moves so far within a second may have driven the amplifier to its rail, from which it comes back in some
seconds and lets no beat through until then (mitdb 116, 208). That is no silent heart. Breathing is never so quick."""

BLOCKED_MV, IN_BAND = 0.25, 0.75
"""On that way back it moves by more than so much in a second, and the band-passed signal swings by less than that part
of it."""

EDGE = RATE_HZ // 10
"""Samples at the end of a second, whose mean is where the line then is."""


class QualityMeter:
    """Raw and band-passed signal in, changes of fitness out."""

    def __init__(self) -> None:
        self._start: int | None = None  # index of the first buffered sample
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # raw, clean, marks
        self._held = 0  # samples in them
        self._candidate = self._fitness = Fitness.GOOD
        self._line_mv: float | None = None  # at the end of the last second
        self._since_jolt = BACK_S

    def __call__(self, raw: Block, clean: Block) -> list[Quality]:
        if self._start is None:
            self._start = raw.start
        self._parts.append((raw.ecg_mv, clean.ecg_mv, clean.marks))
        self._held += len(clean.marks)
        seconds = self._held // RATE_HZ
        if not seconds:
            return []
        used = seconds * RATE_HZ
        raw_mv, clean_mv, marks = (np.concatenate(each) for each in zip(*self._parts, strict=True))
        raws_mv, cleans_mv, marked = (each[:used].reshape(seconds, RATE_HZ) for each in (raw_mv, clean_mv, marks))
        line_mv = raws_mv[:, -EDGE:].mean(axis=1)
        moved_mv = np.abs(np.diff(line_mv, prepend=line_mv[0] if self._line_mv is None else self._line_mv))
        self._line_mv = line_mv[-1]
        changes = []
        for second, found in enumerate(_fitness_of(raws_mv, cleans_mv, marked, moved_mv)):
            self._since_jolt = 0 if moved_mv[second] > JOLT_MV else self._since_jolt + 1
            fitness = Fitness.GOOD if found is Fitness.BLOCKED and self._since_jolt > BACK_S else found
            unfit_twice = self._fitness is Fitness.GOOD and Fitness.GOOD not in {fitness, self._candidate}
            if fitness is not self._fitness and (fitness is self._candidate or unfit_twice):
                self._fitness = fitness
                changes.append(Quality(fitness, self._start + (second + 1) * RATE_HZ - 1))
            self._candidate = fitness
        self._start += used
        self._parts = [(raw_mv[used:], clean_mv[used:], marks[used:])]
        self._held -= used
        return changes


def _fitness_of(raw_mv: np.ndarray, clean_mv: np.ndarray, marks: np.ndarray, moved_mv: np.ndarray) -> list[Fitness]:
    """The fitness of each second, as if after a jolt; arrays are (second, sample), but for `moved_mv` (second,)."""

    def mostly(mark: int) -> np.ndarray:
        share: np.ndarray = np.mean((marks & mark) != 0, axis=1)
        return share > 0.5

    extent_mv = np.ptp(clean_mv, axis=1)
    roughness = np.median(np.abs(np.diff(clean_mv, 2, axis=1)), axis=1)
    noisy = (extent_mv > MOTION_MV) | ((roughness > ROUGHNESS * extent_mv) & (extent_mv > NOISE_MV))
    flat = np.ptp(raw_mv, axis=1) < FLAT_MV
    blocked = (moved_mv > BLOCKED_MV) & (extent_mv < IN_BAND * moved_mv)
    causes = (  # the first that holds is the reason
        (Fitness.LOST, mostly(MISSING)),
        (Fitness.LEAD_OFF, mostly(LEAD_OFF)),
        (Fitness.SATURATED, mostly(SATURATED)),
        (Fitness.FLAT, flat),
        (Fitness.NOISY, noisy),
        (Fitness.BLOCKED, blocked),
    )
    fitness = [Fitness.GOOD] * len(marks)
    for cause, holds in reversed(causes):
        for second in np.flatnonzero(holds):
            fitness[second] = cause
    return fitness
