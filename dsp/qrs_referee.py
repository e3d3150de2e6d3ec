"""Decides about one candidate at a time, whether it is a beat of this wearer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FARTHEST = 4.0
"""Evidence counts as no stranger than this many standard deviations of what was learned from."""


class Weighing:
    """Evidence in, log-odds out: a few layers, trained by `training.qrs.referee` and `training.beats`."""

    def __init__(self, arrays: Mapping[str, Array], name: str) -> None:
        self._mean, self._spread = arrays[f"{name}_mean"], arrays[f"{name}_spread"]
        layers = sum(key.startswith(f"{name}_weight") for key in arrays)
        self._layers = [(arrays[f"{name}_weight{layer}"], arrays[f"{name}_bias{layer}"]) for layer in range(layers)]

    def __call__(self, evidence: Sequence[float]) -> float:
        values = np.minimum(np.maximum((np.array(evidence) - self._mean) / self._spread, -FARTHEST), FARTHEST)
        for weight, bias in self._layers[:-1]:
            values = np.maximum(values @ weight + bias, 0.0)
        weight, bias = self._layers[-1]
        return float((values @ weight + bias)[0])


class Referee:
    """Log-odds that there is a beat at this R peak of the clean ECG: on early evidence, and on all of it."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._early, self._late = Weighing(arrays, "early"), Weighing(arrays, "late")

    def early(self, r_peak: int, evidence: Sequence[float]) -> float:  # noqa: ARG002 - for those who watch
        return self._early(evidence)

    def late(self, r_peak: int, evidence: Sequence[float]) -> float:  # noqa: ARG002
        return self._late(evidence)
