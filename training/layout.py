"""The shape of the network, said once for PyTorch (`training.network`) and for ONNX (`training.graph`).

Few, wide convolutions in a row: at batch 1 a GPU takes 5 to 9 us for each, however wide. Those that keep rate and
width have a shortcut around them. What they see of a window is put together with the RR intervals and with what is
remembered of the beats before, which are compared with it. Everything is rank 4 with a height of 1 up to the
pooling, which every TensorRT back-end knows how to run fast.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import chain, count
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dsp.signal import R_INDEX, WINDOW_SAMPLES

BEATS = ("normal", "supraventricular", "ventricular")
RHYTHMS = ("atrial_fibrillation", "ventricular_fibrillation", "ventricular_tachycardia", "other", "noise")
HEADS = {"beat": BEATS, "rhythm": RHYTHMS}
"""Two heads and not one softmax: that one costs a third of the supraventricular beats."""

LEARNED = {"beat": BEATS, "rhythm": (*RHYTHMS[:3], "normal", *RHYTHMS[3:])}
"""What the heads learn: a normal rhythm is a class of its own until, at the end, it is added to the others."""

REMEMBERING = {"beat": set(BEATS), "rhythm": {"atrial_fibrillation", "normal", "other"}}
"""What is weighed with the beats before in mind. Whether ventricles race or fibrillate, and what is noise, is to be
seen without: such patients are few and soon known by heart, and an alarm must not hang on the hours before."""

INPUT, RR_INPUT = "ecg", "rr"
POINTS_OF_VIEW = 4
"""In which beats are compared, each by its own part of the likened numbers."""

NORM_EPSILON = 1e-5

Weights = Mapping[str, NDArray[np.float32]]


class Convolution(NamedTuple):
    """One of a layout's."""

    name: str
    inputs: int  # channels
    outputs: int
    taps: int
    stride: int
    groups: int
    over: int  # convolutions that the shortcut into its sum goes over; 0: it has none


@dataclass(frozen=True, slots=True)
class Layout:
    """Multiples of 32 fill the tensor cores' tiles."""

    channels: tuple[int, ...]  # of each convolution
    taps: tuple[int, ...]  # likewise; where there are paths, of the first convolution alone
    strides: tuple[int, ...]
    seen: int  # numbers into which a window and its intervals are put together
    hidden: int  # numbers from which both heads read, the first half of which knows no memory
    recalled: int = 0  # beats before with which a window is compared; 0: with none
    likened: int = 64  # numbers of a beat that are compared, and as many that are recalled with them
    over: tuple[int, ...] = ()  # of each; empty: 1 for each convolution that keeps rate and width
    groups: tuple[int, ...] = ()  # of each convolution's channels; empty: one
    paths: tuple[int, ...] = ()
    """Taps of the convolutions after the first, which stand there once for each of these, side by side, and are joined
    at their ends. So they hear beats at several scales at once, and a GPU has something to do at once."""

    def trunk(self) -> tuple[Convolution, list[list[Convolution]]]:
        """The first convolution, and those after it, path by path."""
        inputs, number = (1, *self.channels[:-1]), len(self.channels)
        keeps = tuple(
            int(stride == 1 and before == after)
            for before, after, stride in zip(inputs, self.channels, self.strides, strict=True)
        )
        over, groups = self.over or keeps, self.groups or (1,) * number

        def one(index: int, place: int, taps: int) -> Convolution:
            shape = (inputs[place], self.channels[place], taps, self.strides[place], groups[place], over[place])
            return Convolution(f"trunk.{index}", *shape)

        paths = [(taps,) * (number - 1) for taps in self.paths] or [self.taps[1:]]
        index = count(1)
        return one(0, 0, self.taps[0]), [
            [one(next(index), place, each) for place, each in enumerate(taps, start=1)] for taps in paths
        ]

    def convolutions(self) -> list[Convolution]:
        """All of them, in the order of their names."""
        first, paths = self.trunk()
        return [first, *chain.from_iterable(paths)]

    def columns_at_r(self) -> tuple[int, int]:
        """The two columns of the last map between which the R peak lies."""
        samples = math.prod(self.strides)
        column = R_INDEX // samples
        assert column + 1 < -(-WINDOW_SAMPLES // samples)
        return column, column + 1

    @property
    def pooled(self) -> int:
        """Mean and maximum over time, and the map at R."""
        return 4 * self.channels[-1] * max(1, len(self.paths))

    @property
    def known(self) -> int:
        """What was seen, and what the beats before brought to mind and how the window differs from it."""
        return self.seen + (2 * self.likened if self.recalled else 0)


def layout_of(weights: Weights) -> Layout:
    """The layout that these weights belong to. Older ones do not know all of its fields. Raises ValueError."""
    names = [field.name for field in fields(Layout) if f"layout.{field.name}" in weights]
    if unknown := sorted(
        {each for each in weights if each.startswith("layout.")} - {f"layout.{name}" for name in names}
    ):
        raise ValueError(f"{', '.join(unknown)}: made by the training at commit 3dd4aec; export it there")
    arrays = {name: weights[f"layout.{name}"].astype(int) for name in names}
    shape: dict[str, Any] = {name: tuple(each.tolist()) if each.ndim else int(each) for name, each in arrays.items()}
    return Layout(**shape)


def layout_arrays(layout: Layout) -> dict[str, NDArray[np.float32]]:
    """What `layout_of` reads, to be kept beside the weights."""
    return {f"layout.{field.name}": np.array(getattr(layout, field.name), np.float32) for field in fields(layout)}
