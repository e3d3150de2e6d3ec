"""Many windows through a network in one call, where that gives the bits that one at a time gives: half the time.

Convolutions cost the same either way; what follows them reads its weights once for all and not once for each. Nothing
of a beat hangs on what was made of the beats before it, but in the recurrent layer of the network that follows beats,
which takes one after the other in either case; so they can be asked so too (`training/batch.py` and
`training/sveb/batch.py` write them). Which sums a library adds in which order is its own affair: `Together` is tried
beside the network that it stands for, and not used on a machine where one bit differs.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import numpy as np
import onnxruntime as ort

from daemon.premature import LABELS, Premature, shipped
from dsp.intervals import FEATURES
from engines.backend import Backend
from engines.model import SHIPPED, Model, load
from engines.onnxruntime_backend import OnnxRuntime

log = logging.getLogger(__name__)

Arrays = tuple[np.ndarray, ...]
States = dict[str, np.ndarray]
FORGET: Arrays = ()
"""Another session begins; and the answer to that."""

MOST = 32
"""Windows in one call: with more the maps of the convolutions leave the caches."""

FOLLOWED = "followed_by"
"""Among the states that are put away, who follows the beats."""

WORTH = 500
"""Windows, after which it is opened and tried: that takes as long as 400 of them."""


@dataclass(frozen=True, slots=True)
class Stacked:
    """Inputs or answers of one window after another. Hundreds of small arrays a minute took 7 % of an analysis."""

    arrays: Arrays  # of all windows, stacked
    forget: tuple[int, ...]  # at these places nothing was asked, but a session began

    @classmethod
    def of(cls, each: Sequence[Arrays]) -> Stacked:
        stacked = zip(*filter(None, each), strict=True)
        forget = tuple(place for place, arrays in enumerate(each) if not arrays)
        return cls(tuple(np.stack(parts) for parts in stacked), forget)

    def each(self) -> Iterator[Arrays]:
        windows = zip(*self.arrays, strict=True)
        for place in range(len(self.forget) + (len(self.arrays[0]) if self.arrays else 0)):
            yield FORGET if place in self.forget else next(windows)


class Together(ABC):
    """`<model>.batch.onnx` in ONNX Runtime."""

    def __init__(self, model: Model) -> None:
        """Raises OSError when the model has none."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        network = model.onnx.with_suffix(".batch.onnx").read_bytes()
        self._session = ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])
        self._inputs, self._states = model.manifest.inputs, model.manifest.states
        self._answers, self._heads = list(model.manifest.answers), len(model.manifest.heads)
        self._nothing = {each.input: np.zeros(each.shape, np.float32) for each in self._states}

    def __call__(self, states: States, asked: Sequence[Arrays]) -> tuple[list[Arrays], States]:
        """One answer for each, and what is remembered then."""
        stacked = map(np.concatenate, zip(*asked, strict=True))
        windows = {each.name: given for each, given in zip(self._inputs, stacked, strict=True)}
        answers = self._session.run(self._answers, windows | states | {"which": self._which(windows)})
        heads, remembered = answers[: self._heads], answers[self._heads :]
        told = [tuple(head[at : at + 1] for head in heads) for at in range(len(asked))]
        return told, {state.input: value for state, value in zip(self._states, remembered, strict=True)}

    @abstractmethod
    def _which(self, windows: dict[str, np.ndarray]) -> np.ndarray:
        """Of what each is compared with, the rows: those that are remembered, and after them the windows' own."""

    def all(self, states: States, asked: Sequence[Arrays]) -> tuple[list[Arrays], States]:
        """Likewise, in calls of `MOST` at most. No states: nothing is remembered."""
        told: list[Arrays] = []
        states = states or self._nothing
        for first in range(0, len(asked), MOST):
            answers, states = self(states, asked[first : first + MOST])
            told += answers
        return told, states

    def agrees(self, engine: OnnxRuntime) -> bool:
        """Whether it says what the engine says, bit for bit, of windows like none that either has seen."""
        rng = np.random.default_rng(0)
        asked = [
            tuple(rng.normal(0, 1, each.shape).astype(np.float32) for each in self._inputs) for _ in range(MOST + 8)
        ]
        for _, rr in asked:
            rr[:, -1] = rng.random() < 0.9
        kept = engine.states
        engine.forget()
        found, states = self.all({}, asked)
        singly = [engine.infer(*each) for each in asked]
        pairs = [*zip(chain(*found, states.values()), chain(*singly, engine.states.values()), strict=True)]
        engine.states = kept
        return all(np.array_equal(one, other) for one, other in pairs)


class WindowsTogether(Together):
    """The network of the beats."""

    def _which(self, windows: dict[str, np.ndarray]) -> np.ndarray:
        """Of each window's table, the newest beat first and an empty one last, and of the table after them all."""
        (state,), (*_, rr) = self._states, windows.values()
        empty = state.shape[2] - 1
        last, tables = list(range(empty)), []
        for row, beat in enumerate((rr[:, -1] > 0).tolist(), start=empty + 1):
            tables.append([*last, empty])
            if beat:
                last = [row, *last[:-1]]
        return np.array([*tables, [*last, empty]])


class BeatsTogether(Together):
    """The one that follows them."""

    def _which(self, windows: dict[str, np.ndarray]) -> np.ndarray:
        """Of each beat, those before it, oldest first, and its own."""
        (before,) = next(state.shape for state in self._states if len(state.shape) == 1)
        beats = len(next(iter(windows.values())))
        return np.arange(beats)[:, None] + np.arange(before + 1)


class Bulk:
    """The network of the beats and the one that follows them, asked for whole blocks."""

    def __init__(self, engine: Backend, model: Model) -> None:
        self._engine = engine
        self._premature = Premature()
        self._model = model
        self._asked = 0
        self._windows_together: Together | None = None
        self._beats_together: Together | None = None

    def forget(self) -> None:
        self._engine.forget()
        self._premature = Premature()

    @property
    def states(self) -> dict[str, Any] | None:
        """What both remember; None if the engine keeps that to itself."""
        states: States | None = getattr(self._engine, "states", None)
        return None if states is None else states | {FOLLOWED: self._premature}

    @states.setter
    def states(self, states: dict[str, Any]) -> None:
        self._premature = states[FOLLOWED]
        rest = {name: state for name, state in states.items() if name != FOLLOWED}
        self._engine.states = rest  # type: ignore[attr-defined]  # it has some, or none would have been put away

    def answers(self, asked: Sequence[Arrays]) -> list[Arrays]:
        """One for each: the engine's heads, and what the other says of the beat. Raises EngineError if one broke.

        A window is asked as ECG, intervals and the scale in mV, which is 0 where the beat is not followed.
        """
        told: list[Arrays] = []
        for is_window, run in groupby(asked, key=bool):
            same = list(run)
            if not is_window:
                self.forget()
                told += same
                continue
            self._try_together(len(same))
            heads = self._windows([(ecg, rr) for ecg, rr, _ in same])
            told += [(*answer, beat) for answer, beat in zip(heads, self._beats(same), strict=True)]
        return told

    def _windows(self, asked: list[Arrays]) -> list[Arrays]:
        if self._windows_together is None:
            return [self._engine.infer(*each) for each in asked]
        told, self._engine.states = self._windows_together.all(self._engine.states, asked)  # type: ignore[attr-defined]  # it has
        return told

    def _beats(self, asked: list[Arrays]) -> list[np.ndarray]:
        """Of each window; zeros where its beat is not followed."""
        premature = self._premature
        beats = [
            (premature.see(ecg, float(scale_mv[0])), rr[:, :FEATURES]) for ecg, rr, scale_mv in asked if scale_mv[0]
        ]
        if self._beats_together is None:
            told = [premature.ask(*each) for each in beats]
        else:
            answers, premature.states = self._beats_together.all(premature.states, beats)
            told = [answer for (answer,) in answers]
        each = iter(told)
        return [next(each) if scale_mv[0] else np.zeros((1, len(LABELS)), np.float32) for _, _, scale_mv in asked]

    def _try_together(self, more: int) -> None:
        if self._asked < WORTH <= self._asked + more:
            self._windows_together = _tried(WindowsTogether, self._model, self._engine)
            self._beats_together = _tried(BeatsTogether, load(SHIPPED / "sveb1.onnx"), shipped())
        self._asked += more


def _tried(kind: type[Together], model: Model, engine: Backend) -> Together | None:
    if not isinstance(engine, OnnxRuntime):
        return None
    try:
        together = kind(model)
    except OSError:
        return None  # not every model has one
    if together.agrees(engine):
        return together
    log.warning("%s: many windows at once give other bits here; one at a time it is", model.id)
    return None
