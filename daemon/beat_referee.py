"""What speaks for a beat having begun in the ventricles: thirty numbers, and what a small network makes of them. Pure.

The network that sees the window is one witness. It knows people in general and is wrong about some beats of some of
them again and again; how like the beat's complex is to those of which it was sure in this wearer, how the beat comes,
and how noisy the line is, tells which. Learned by `python -m training.beats` from people whom the network had not seen;
for another `engine.model` it should be learned anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from math import log, log1p
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daemon.likeness import Shapes
from dsp.qrs_referee import Weighing

LEAST, MOST = 1e-4, 1 - 1e-4
"""The network is taken to be no surer than this."""

RATES = (0, 1, 2, 11, 15, 16)
"""Of `dsp.intervals.features`: the newest three intervals and the recent ones over the usual one, and their changes."""

NOT_ALIKE = -1.0
"""The likeness to what is not remembered."""

SHIPPED = Path(__file__).with_name("beat_referee.npz")


def evidence(
    beat: Mapping[str, float], rhythm: Mapping[str, float], rr: NDArray[np.float32], shapes: Shapes
) -> list[float]:
    """Of the newest of `shapes`: the network's probabilities, by their labels, and its intervals (RR_FEATURES,)."""
    normal, premature, ventricular = (_log(beat[label]) for label in ("normal", "supraventricular", "ventricular"))
    fibrillates, waves, races, noise = (
        _log(rhythm[label])
        for label in ("atrial_fibrillation", "ventricular_fibrillation", "ventricular_tachycardia", "noise")
    )
    said = [ventricular - max(normal, premature), premature - normal, noise, waves, races, fibrillates]
    seen = [shapes.rarity(1), shapes.sharpness(1), shapes.relative_size]
    likenesses: list[float] = []
    for letter in "NSV":
        known = shapes.likenesses(letter)
        best = [known[place] if place < len(known) else NOT_ALIKE for place in (0, 1, 3)]
        likenesses += [*best, log1p(len(known)), log(1.001 - max(best[0], -0.5))]
    return [*said, *seen, *(float(rr[column]) for column in RATES), *likenesses]


def _log(probability: float) -> float:
    return log(min(max(probability, LEAST), MOST))


@cache
def shipped() -> Weighing:
    """Evidence to log-odds that the beat is ventricular."""
    with np.load(SHIPPED) as file:
        arrays: dict[str, Any] = dict(file)
    return Weighing(arrays, "beat")
