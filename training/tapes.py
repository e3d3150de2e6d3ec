"""What chain and network said of a recording, kept, so that decisions can be tried again in no time.

A tape holds for one model and one signal chain. What it does not hold are the decisions: beats, rules, alerts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np

from daemon.alerts import AlertEvent
from daemon.config import Alerts
from daemon.episodes import Episode
from daemon.history import JudgedBeat
from daemon.judge import Judge
from dsp.signal import Window
from engines.backend import Backend
from engines.model import Head
from rhythmd.analysis import Analysis, Source, collected, judged

Call = tuple[str, tuple[Any, ...], dict[str, Any]]  # of a method of the judge
Answers = tuple[np.ndarray, ...]

_KEPT = np.float16
"""Of the windows: fine enough for how alike two beats are, and half as large."""


class Tape:
    """One recording's."""

    def __init__(self, recording: Source, engine: Backend, heads: tuple[Head, ...]) -> None:
        self._name, self._heads = recording.name, heads
        self._calls: list[Call] = []
        self._answers: list[Answers] = []
        judge = Judge(_Recorder(engine, self._answers), heads, Alerts(), origin=recording.name)
        for _ in judged(recording, cast("Judge", _Listener(judge, self._calls))):
            pass

    def judged_by(self, alerts: Alerts) -> Analysis:
        """What would have been said with these thresholds."""
        judge = Judge(_Player(self._answers), self._heads, alerts, origin=self._name)
        return collected(self._said(judge))

    def _said(self, judge: Judge) -> Iterator[JudgedBeat | AlertEvent | Episode]:
        for name, args, kwargs in self._calls:
            yield from getattr(judge, name)(*args, **kwargs)


class _Recorder:
    """An engine whose answers are kept."""

    def __init__(self, engine: Backend, answers: list[Answers]) -> None:
        self._engine, self._answers = engine, answers

    def infer(self, *inputs: np.ndarray) -> Answers:
        self._answers.append(tuple(each.copy() for each in self._engine.infer(*inputs)))
        return self._answers[-1]

    def forget(self) -> None:
        self._engine.forget()


class _Player:
    """An engine that says again what was kept."""

    def __init__(self, answers: list[Answers]) -> None:
        self._answers = iter(answers)

    def infer(self, *_: np.ndarray) -> Answers:
        return next(self._answers)

    def forget(self) -> None:
        """What was said then has its memory in it."""


class _Listener:
    """Stands before a judge and notes what is asked of it."""

    def __init__(self, judge: Judge, calls: list[Call]) -> None:
        self._judge, self._calls = judge, calls

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            kept = [replace(each, ecg=each.ecg.astype(_KEPT)) if isinstance(each, Window) else each for each in args]
            self._calls.append((name, tuple(kept), kwargs))
            return getattr(self._judge, name)(*args, **kwargs)

        return call
