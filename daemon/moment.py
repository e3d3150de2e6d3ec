"""What the rules are asked, and what they answer. Times are sample indices at 250 Hz."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from daemon.history import History, JudgedBeat
from daemon.likeness import Shapes

Evidence = dict[str, float | int | str]


@dataclass(frozen=True, slots=True)
class Moment:
    """One judged window, and all that is known with it."""

    at: int
    beat: JudgedBeat | None  # None: a time-out window
    quiet_since: int  # the last R peak, or the sample from which the signal can be judged if that came later
    rhythm: Mapping[str, float]  # probabilities of the network's rhythm head
    missing: float  # fraction of the window
    history: History
    standing: AbstractSet[str]  # kinds that hold now, of those judged before this one
    shapes: Shapes  # of the beats, this one the last
    ecg_mv: NDArray[np.float64]  # (sample,) the window; with the beat, if there is one, at dsp.signal.R_INDEX
    refused: int = 0  # candidates of the last 4 s that the detector took for no beats: how busy a line without beats is
    size_mv: float = field(init=False)  # of the window, peak to peak

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_mv", float(self.ecg_mv.max() - self.ecg_mv.min()))  # once for all who ask


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition holds; with `end`, it held until there, and this is the first that is known of its end."""

    onset: int
    evidence: Evidence = field(default_factory=dict)
    end: int | None = None
    brief: bool = False  # it names the rhythm, but has not lasted long enough to alert anyone


Rule = Callable[[Moment], Finding | None]
