"""The engine in use: one that breaks loses no window, and is told of."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import pytest

from daemon.engine import FALLBACK, Seat, open_engine
from daemon.messages import Latency
from engines.backend import BACKENDS
from engines.errors import EngineError
from engines.model import Head, Manifest, Model, State, Tensor

MODEL = Model(
    Path("none.onnx"),
    Manifest(
        "", "1", 250, (Tensor("ecg", (1, 1, 1, 4)),), 2, "rms", (Head("beat", ("a", "b")), Head("rhythm", ("c",)))
    ),
)


class Scripted:
    """A backend that answers its name's number, until it has answered so often; then it does as `fails` says."""

    def __init__(self, answer: float, answers: int, fails=None) -> None:
        self.answer, self.answers, self.fails = answer, answers, fails
        self.windows = []
        self.closed = False
        self.forgot = 0

    def forget(self):
        self.forgot += 1
        if self.answers < 0 and self.fails is None:
            raise EngineError("the GPU has fallen off the bus")

    def infer(self, windows):
        self.windows.append(windows)
        self.answers -= 1
        if self.answers < 0 and self.fails is None:
            raise EngineError("the GPU has fallen off the bus")
        answer = self.fails if self.answers < 0 else self.answer
        return np.array([[0.0, self.answer]]), np.array([[answer]])


@pytest.fixture
def backends(monkeypatch):
    """Puts scripted backends into the table, under these names."""

    def install(**scripted: Scripted) -> None:
        for name, backend in scripted.items():
            module = ModuleType(f"scripted_{name}")

            @contextmanager
            def open_it(model, wait, backend=backend):
                yield backend
                backend.closed = True

            module.open_engine = open_it
            monkeypatch.setitem(sys.modules, module.__name__, module)
            monkeypatch.setitem(BACKENDS, name, module.__name__)

    return install


def window(number: float) -> np.ndarray:
    return np.full((1, 1, 1, 4), number, np.float32)


def answered(engine, number: float) -> float:
    return float(engine.infer(window(number))[1][0, 0])


@pytest.mark.parametrize("fails", [None, float("nan"), float("inf")])
def test_the_window_on_which_an_engine_breaks_is_answered_by_the_cpu(backends, fails):
    first, second = Scripted(1.0, answers=3, fails=fails), Scripted(2.0, answers=99)
    backends(tensorrt=first, **{FALLBACK: second})
    with open_engine("tensorrt", MODEL) as engine:
        assert (engine.name, engine.failing) == ("tensorrt", False)
        assert [answered(engine, number) for number in (1, 2, 3, 4)] == [1.0, 1.0, 2.0, 2.0]
        assert (engine.name, engine.failing) == (FALLBACK, True)
    assert [float(each[0, 0, 0, 0]) for each in second.windows] == [3, 4]
    assert first.closed
    assert second.closed


@pytest.mark.parametrize("fails", [None, float("nan")])
def test_when_the_fallback_breaks_too_the_error_ends_the_daemon(backends, fails):
    backends(tensorrt=Scripted(1.0, answers=1), **{FALLBACK: Scripted(2.0, answers=1, fails=fails)})
    with open_engine("tensorrt", MODEL) as engine:
        assert answered(engine, 1) == 2.0
        with pytest.raises(EngineError):
            engine.infer(window(2))


REMEMBERS = replace(MODEL, manifest=msgspec.structs.replace(MODEL.manifest, states=(State("h", "h_next", (1, 8)),)))


@pytest.mark.parametrize(("model", "told"), [(MODEL, False), (REMEMBERS, True)], ids=["no states", "states"])
def test_the_log_says_when_a_fallback_begins_without_the_networks_memory(backends, caplog, model, told):
    backends(tensorrt=Scripted(1.0, answers=1), **{FALLBACK: Scripted(2.0, answers=99)})
    with open_engine("tensorrt", model) as engine:
        answered(engine, 1)
    assert ("remembered of this session is lost" in caplog.text) == told


def test_a_session_begins_with_nothing_remembered_not_even_the_first_run(backends):
    backend = Scripted(1.0, answers=99)
    backends(tensorrt=backend)
    with open_engine("tensorrt", REMEMBERS) as engine:
        assert (len(backend.windows), backend.forgot) == (1, 1)
        engine.forget()
        assert backend.forgot == 2


class Counting:
    """A backend whose answer is how often it has been asked since it forgot: nothing but memory."""

    def __init__(self, asked_s: int = 10**9) -> None:
        self.states = {"h": np.zeros((1, 8), np.float32)}
        self._left = asked_s

    def forget(self):
        self.states = {"h": np.zeros((1, 8), np.float32)}

    def infer(self, windows):
        self._left -= 1
        if self._left < 0:
            raise EngineError("the GPU has fallen off the bus")
        self.states = {"h": self.states["h"] + 1}
        count = float(self.states["h"][0, 0])
        return np.array([[0.0, count]]), np.array([[count]])


def test_who_shares_an_engine_has_what_it_remembers_to_himself(backends):
    backends(tensorrt=Counting())
    with open_engine("tensorrt", REMEMBERS) as engine:
        one, other = Seat(engine, REMEMBERS.manifest), Seat(engine, REMEMBERS.manifest)
        assert [answered(one, 0), answered(one, 0), answered(other, 0), answered(one, 0)] == [1, 2, 1, 3]
        other.forget()
        assert [answered(other, 0), answered(one, 0), answered(other, 0)] == [1, 4, 2]


def test_when_a_shared_engine_breaks_only_he_who_was_seated_loses_his_memory(backends):
    backends(tensorrt=Counting(5), **{FALLBACK: Counting()})
    with open_engine("tensorrt", REMEMBERS) as engine:  # the first run is one
        one, other = Seat(engine, REMEMBERS.manifest), Seat(engine, REMEMBERS.manifest)
        assert [answered(one, 0), answered(one, 0), answered(other, 0), answered(other, 0)] == [1, 2, 1, 2]
        assert [answered(other, 0), answered(one, 0)] == [1, 3]
        assert engine.failing


def test_an_engine_that_cannot_even_forget_is_replaced(backends):
    broken, fallback = Scripted(1.0, answers=1), Scripted(2.0, answers=99)
    backends(tensorrt=broken, **{FALLBACK: fallback})
    with open_engine("tensorrt", REMEMBERS) as engine:
        broken.answers = -1
        engine.forget()
        assert (engine.name, engine.failing) == (FALLBACK, True)
        assert answered(engine, 1) == 2.0


def test_an_engine_that_breaks_in_its_first_run_is_replaced_before_the_first_beat(backends):
    backends(tensorrt=Scripted(1.0, answers=0), **{FALLBACK: Scripted(2.0, answers=99)})
    with open_engine("tensorrt", MODEL) as engine:
        assert engine.failing


@pytest.fixture
def unopenable(monkeypatch):
    """An engine that has no plan, as TensorRT on a new machine."""
    module = ModuleType("unopenable")

    @contextmanager
    def open_it(model, wait):
        raise EngineError("no TensorRT plan; run `rhythmd engine build`")
        yield

    module.open_engine = open_it
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(BACKENDS, "tensorrt", module.__name__)


def test_an_engine_that_cannot_be_opened_is_replaced_and_the_remedy_logged(unopenable, backends, caplog):
    backends(**{FALLBACK: Scripted(2.0, answers=99)})
    with open_engine("tensorrt", MODEL) as engine:
        assert (engine.name, engine.failing) == (FALLBACK, True)
        assert answered(engine, 1) == 2.0
    assert "run `rhythmd engine build`" in caplog.text


def test_when_nothing_can_be_opened_the_daemon_does_not_start(unopenable, monkeypatch):
    monkeypatch.setitem(BACKENDS, FALLBACK, BACKENDS["tensorrt"])
    for name in ("tensorrt", FALLBACK):
        with pytest.raises(EngineError, match="no TensorRT plan"), open_engine(name, MODEL):
            pass


def test_an_engine_that_no_one_knows_is_refused():
    with pytest.raises(EngineError, match="'gpu' is not one of"), open_engine("gpu", MODEL):
        pass


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_taken_as_missing_and_told_once(backends, caplog, wrong):
    backend = Scripted(1.0, answers=99)
    backends(tensorrt=backend)
    spoiled = window(3)
    spoiled[..., 2] = wrong
    with open_engine("tensorrt", MODEL) as engine:
        for _ in range(5):
            engine.infer(spoiled)
        assert not engine.failing
    assert backend.windows[-1].tolist() == [[[[3.0, 3.0, 0.0, 3.0]]]]
    assert caplog.text.count("are no numbers") == 1
    assert not np.isfinite(spoiled[..., 2])  # the caller's own is as it was


def test_a_bug_in_a_backend_is_not_taken_for_a_broken_engine(backends):
    class Buggy(Scripted):
        def infer(self, windows):
            raise TypeError

    backends(tensorrt=Buggy(1.0, answers=0))
    with pytest.raises(TypeError), open_engine("tensorrt", MODEL):
        pass


def test_latency_is_of_the_windows_that_were_run(backends):
    backends(tensorrt=Scripted(1.0, answers=99))
    with open_engine("tensorrt", MODEL) as engine:
        engine.infer(window(2))
        latency = Latency.of(engine_ms=engine.took_ms, read_to_sent_ms=[])
    assert 0.0 < latency.engine_p50_ms <= latency.engine_p99_ms < 1000.0
    assert latency.read_to_sent_p50_ms is None
