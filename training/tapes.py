"""What chain and network said of a recording, kept, so that decisions can be tried again in no time.

A tape holds for one model and one signal chain. What it does not hold are the decisions: beats, rules, alerts.
Tapes lie in `build/tapes`, in a folder for each chain and model: 0.7 GB for all records that alarms are tuned on.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

import dsp
from daemon import premature
from daemon.alerts import AlertEvent
from daemon.app import find_model
from daemon.config import Alerts, Config
from daemon.episodes import Episode
from daemon.history import JudgedBeat
from daemon.judge import Judge
from daemon.moment import Rule
from daemon.premature import Follower, Premature
from dsp.signal import Window
from engines.backend import Backend, open_backend
from engines.model import SHIPPED, Head
from rhythmd import analysis
from rhythmd.analysis import Analysis, Source, collected, judged
from rhythmd.recording import read
from training.splits import ROOT

Call = tuple[str, tuple[Any, ...], dict[str, Any]]  # of a method of the judge
Answers = tuple[np.ndarray, ...]

_KEPT = np.float16
"""Of the windows: fine enough for how alike two beats are, and half as large."""


def tape_of(record: Path) -> Tape:
    """Of a WFDB record; kept, so that the next time costs nothing. Keeping is the work of one process a record."""
    model = find_model(Config().engine.model)
    kept = ROOT / "build" / "tapes" / f"{model.id}-{_chain()}" / f"{record.parent.name}-{record.name}.pickle"
    if kept.exists():
        tape: Tape = pickle.loads(kept.read_bytes())
        return tape
    with open_backend("onnxruntime", model) as backend:
        tape = Tape(read(str(record)), backend, model.manifest.heads)
    kept.parent.mkdir(parents=True, exist_ok=True)
    unfinished = kept.with_suffix(".part")
    unfinished.write_bytes(pickle.dumps(tape))
    unfinished.replace(kept)
    return tape


def _chain() -> str:
    """Names what stands before the judge: another one would have asked other things."""
    files = sorted(path for path in Path(dsp.__path__[0]).rglob("*") if path.suffix in {".py", ".npz"})
    files += [Path(analysis.__file__), Path(premature.__file__), SHIPPED / "sveb1.onnx"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:8]


class Tape:
    """One recording's."""

    def __init__(self, recording: Source, engine: Backend, heads: tuple[Head, ...]) -> None:
        self._name, self._heads = recording.name, heads
        self._calls: list[Call] = []
        self._answers: list[Answers] = []
        self._followed: list[np.ndarray] = []
        recorder = _Recorder(engine, self._answers)
        judge = Judge(recorder, heads, Alerts(), origin=recording.name, follower=self._follower)
        for _ in judged(recording, cast("Judge", _Listener(judge, self._calls))):
            pass

    def judged_by(self, alerts: Alerts, rules: Mapping[str, Rule] | None = None) -> Analysis:
        """What would have been said with these thresholds, or by these rules."""
        followed = iter(self._followed)
        player = _Player(self._answers)
        judge = Judge(
            player, self._heads, alerts, origin=self._name, rules=rules, follower=lambda: lambda _: next(followed)
        )
        return collected(self._said(judge))

    def _follower(self) -> Follower:
        """Of a session; what it says is kept."""
        beats = Premature()

        def follow(window: Window) -> np.ndarray:
            self._followed.append(beats(window))
            return self._followed[-1]

        return follow

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
