"""The engine in use: the one that was asked for, and the CPU when that one breaks."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter

import numpy as np

from engines.backend import BACKENDS, open_backend
from engines.errors import EngineError
from engines.model import Manifest, Model

log = logging.getLogger(__name__)

FALLBACK = "onnxruntime"
TIMED_WINDOWS = 120
"""About a minute of beats."""


class Engine:
    """Runs the model. An engine that cannot be opened or breaks loses no window: the same window is run on the CPU."""

    def __init__(self, name: str, model: Model, wait: str, stack: ExitStack) -> None:
        self.name = name
        self.failing = False
        self._model = model
        self._stack = stack
        self._told_of_nan = False
        self._seated: Seat | None = None  # whose memory the backend has; None: of whoever used it without a seat
        self.took_ms: deque[float] = deque(maxlen=TIMED_WINDOWS)
        try:
            self._backend = stack.enter_context(open_backend(name, model, wait))
        except EngineError as error:  # no plan, or not for this device: a wearer is better watched by the CPU than not
            self._fall_back(error)

    def infer(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        began = perf_counter()
        inputs = tuple(map(self._numbers, inputs))
        try:
            answers = self._run(inputs)
        except EngineError as error:
            self._fall_back(error)
            answers = self._run(inputs)
        self.took_ms.append(1e3 * (perf_counter() - began))
        return answers

    def forget(self) -> None:
        """Another session begins: the network remembers nothing of the last one."""
        try:
            self._backend.forget()
        except EngineError as error:
            self._fall_back(error)

    def seat(self, seat: Seat) -> None:
        """From here on it remembers what it knows of this patch, and nothing of the others."""
        if seat is self._seated:
            return
        left, self._seated = self._seated, seat
        try:
            if left:
                left.states = self._backend.states
            self._backend.states = seat.states
        except EngineError as error:  # what it knew of the one who left is lost with it
            self._fall_back(error)
            self._backend.states = seat.states

    def _fall_back(self, error: EngineError) -> None:
        if self.failing or self.name not in BACKENDS:
            raise error  # the fallback broke too: nothing is left
        forgotten = "; what the network remembered of this session is lost" if self._model.manifest.states else ""
        log.error("engine %s failed (%s); going on with %s%s", self.name, error, FALLBACK, forgotten, exc_info=error)
        self.failing, self.name = True, FALLBACK
        self._backend = self._stack.enter_context(open_backend(FALLBACK, self._model))

    def _numbers(self, given: np.ndarray) -> np.ndarray:
        """What is no number becomes 0, as a missing sample is. Should it happen, no heart goes unwatched for it."""
        if np.isfinite(given).all():
            return given
        if not self._told_of_nan:
            log.error("a window has values that are no numbers: a bug, please report it; they are taken as missing")
            self._told_of_nan = True
        numbers: np.ndarray = np.nan_to_num(given, nan=0.0, posinf=0.0, neginf=0.0)
        return numbers

    def _run(self, inputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        answers = self._backend.infer(*inputs)
        if not all(np.isfinite(answer).all() for answer in answers):
            raise EngineError(f"{self.name}: its answers are no numbers")  # to any threshold, NaN means all is well
        return answers


class Seat:
    """The engine as one patch has it. All share the network; each has what it remembers to itself."""

    def __init__(self, engine: Engine, manifest: Manifest) -> None:
        self._engine = engine
        self._begin = {each.input: np.zeros(each.shape, np.float32) for each in manifest.states}
        self.states = self._begin  # while another is seated

    def infer(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        self._engine.seat(self)
        return self._engine.infer(*inputs)

    def forget(self) -> None:
        self.states = self._begin
        self._engine.seat(self)
        self._engine.forget()


@contextmanager
def open_engine(name: str, model: Model, wait: str = "block") -> Iterator[Engine]:
    with ExitStack() as stack:
        engine = Engine(name, model, wait, stack)
        engine.infer(*(np.zeros(each.shape, np.float32) for each in model.manifest.inputs))  # the first is the slow one
        engine.forget()
        yield engine
