"""What a plan was found to be worth against its reference, and from when on it may judge a heart."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

LARGEST_KL = 0.05
"""Nats, mean over the windows, of the plan's probabilities from the reference's. The goal is 0.01."""

LARGEST_F1_CHANGE = 0.8
"""Points of F1 by which a class may become worse. The goal is 0.3."""

FEWEST_OF_CLASS = 50
"""Windows of a class below which its F1 is reported and decides nothing: with 50, one window is about a point."""


class Agreement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One head of the plan against the same head of the reference, over all windows."""

    kl_mean: float
    kl_worst: float
    agreement: float  # share of the windows that both give the same class
    windows: dict[str, int]  # whose true class is known, by label
    f1: dict[str, tuple[float, float]]  # by label, in per cent: the reference's, the plan's


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`<plan>.verdict.json`. The daemon loads no plan without a passing one for exactly that file."""

    plan_sha256: str
    model_sha256: str
    source: str  # where the windows came from
    windows: int
    heads: dict[str, Agreement]
    reference: str  # "onnxruntime 1.23.2, FP32"
    made: Annotated[datetime, msgspec.Meta(tz=True)]

    @property
    def faults(self) -> list[str]:
        """What speaks against the plan, for people; nothing when it passes."""
        found = []
        for name, head in self.heads.items():
            if head.kl_mean > LARGEST_KL:
                found.append(f"{name}: the KL divergence is {head.kl_mean:.4f}, more than {LARGEST_KL}")
            for label, (before, after) in head.f1.items():
                if head.windows[label] >= FEWEST_OF_CLASS and before - after > LARGEST_F1_CHANGE:
                    found.append(f"{name}: F1 of {label} falls from {before:.2f} to {after:.2f} %")
        return found

    @property
    def unchecked(self) -> list[str]:
        """The classes of which there were too few windows to decide anything."""
        return [
            f"{name} {label}"
            for name, head in self.heads.items()
            for label, count in head.windows.items()
            if count < FEWEST_OF_CLASS
        ]
