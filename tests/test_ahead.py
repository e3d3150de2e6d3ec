"""The network in a process of its own: the same bytes, interrupted or not, and one line when it dies."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

from daemon.app import find_model
from daemon.config import Engine
from daemon.judge import can_be_judged
from daemon.premature import Premature
from dsp.chain import Chain
from dsp.signal import Block, Fitness, Window
from engines.backend import open_backend
from engines.errors import EngineError
from rhythmd import ahead, archive, together
from rhythmd.analysis import BLOCK_S, Skipped
from rhythmd.archive import Job, Watch, do
from rhythmd.recording import shipped
from tests.test_archive import After, blocks_of_ten_seconds, record, results, whole  # noqa: F401 - fixtures
from tests.test_archive import job as job_of

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def ten_minutes_are_long(monkeypatch):
    monkeypatch.setattr(archive, "LONG_S", 0.0)


@pytest.fixture
def opened(monkeypatch) -> list[int]:
    """The processes of networks that were opened."""
    pids: list[int] = []
    popen = ahead.subprocess.Popen

    def noted(*args, **more):
        process = popen(*args, **more)
        pids.append(process.pid)
        return process

    monkeypatch.setattr(ahead.subprocess, "Popen", noted)
    return pids


def job(record: str, name: str) -> Job:  # noqa: F811 - pytest's way with fixtures
    return replace(job_of(record, name), ahead=True)


def test_it_gives_the_same_bytes(record, whole, opened):  # noqa: F811
    asked = job(record, "ahead")
    assert do(asked) == "done"
    assert results(asked) == whole
    assert len(opened) == 1
    assert not Path(f"/proc/{opened[0]}").exists()


def test_it_is_put_away_and_taken_up_with_a_process_and_without(record, whole, opened):  # noqa: F811
    asked = job(record, "turns")
    for turn in range(4):
        assert do(replace(asked, ahead=turn % 2 == 0), Watch(stop=After(13))) == "stopped"
    assert do(asked) == "done"
    assert results(asked) == whole
    assert len(opened) == 3


def test_a_short_recording_needs_none(record, whole, opened, monkeypatch):  # noqa: F811
    monkeypatch.setattr(archive, "LONG_S", 601.0)
    asked = job(record, "short")
    assert do(asked) == "done"
    assert results(asked) == whole
    assert opened == []


def test_that_it_was_killed_is_told(record, opened):  # noqa: F811
    def kill(hours: float) -> None:
        if hours and opened:
            os.kill(opened[0], signal.SIGKILL)

    with pytest.raises(ahead.ConfigError, match="the network's process was killed"):
        do(job(record, "killed"), Watch(kill))


def test_an_engine_that_cannot_be_opened_is_told_as_without(record):  # noqa: F811
    with pytest.raises(EngineError, match="tensorrt"), ahead.opened(Engine(backend="tensorrt")):
        pass


@pytest.mark.parametrize("order", ["", "f", "ff", "w", "fw", "wf", "wffw"])
def test_what_is_stacked_comes_out_as_it_was(order):
    """Windows, and sessions that begin."""
    asked = [
        (np.full((1, 3), place), np.full((1, 5), -place)) if each == "w" else () for place, each in enumerate(order)
    ]
    found = list(pickle.loads(pickle.dumps(together.Stacked.of(asked))).each())
    assert [len(each) for each in found] == [len(each) for each in asked]
    for arrays, wanted in zip(found, asked, strict=True):
        for one, other in zip(arrays, wanted, strict=True):
            np.testing.assert_array_equal(one, other)


def test_answers_to_as_much_as_is_asked_ahead_fit_into_a_socket():
    """Or both would write and neither read. 200 ms is the shortest interval, so that a block has so many."""
    windows = (ahead.AHEAD_BLOCKS + 1) * BLOCK_S * 5
    answers = [tuple(np.zeros((1, labels), np.float32) for labels in (3, 5, 3))] * windows
    assert len(pickle.dumps(together.Stacked.of(answers))) < 100_000


def test_why_a_network_ended_is_told_also_when_it_no_longer_listens():
    ours, theirs = Pipe()
    for said in ("open", together.Stacked.of([()]), EngineError("the GPU has fallen off the bus")):
        theirs.send(said)
    theirs.close()
    other = ahead.Ahead(ours)
    with pytest.raises(EngineError, match="fallen off the bus"):
        other.ask([Skipped(0, 0)])


def test_it_imports_nothing_from_the_folder_that_one_is_in(tmp_path, monkeypatch):
    for name in ("numpy", "rhythmd"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from among the records')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each] + [str(ROOT)])
    with ahead.opened(Engine()) as other:
        assert other.states is not None


def test_its_process_does_not_wait_for_what_only_the_detector_needs():
    command = "import sys, rhythmd.network; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], cwd=ROOT).returncode == 0


def test_each_answer_and_what_it_remembers_are_those_of_the_network_asked_in_time():
    """Answers ahead by some windows, sessions that begin anew, states put back."""
    model = find_model("ecg1")
    _, events = Chain(250.0)(Block.of(0, shipped().ecg_mv[: 120 * 250]))
    windows = [event for event in events if isinstance(event, Window)]
    noisy = [replace(each, fitness=Fitness.NOISY) for each in windows[70:75]]
    heard = [*windows[:60], Skipped(0, 0), *windows[60:70], *noisy, *windows[75:]]
    with open_backend("onnxruntime", model) as engine, ahead.opened(Engine()) as other:
        premature = Premature()
        for _ in range(2):
            for first in range(0, len(heard), 7):
                other.ask(heard[first : first + 7])
            for each in heard:
                if isinstance(each, Skipped):
                    engine.forget()
                    other.forget()
                    premature = Premature()
                    continue
                expected = engine.infer(each.ecg, each.rr)
                assert all(map(np.array_equal, other.infer(each.ecg, each.rr), expected))
                if each.beat and can_be_judged(each):
                    np.testing.assert_array_equal(other.follow(each), premature(each))
            states = other.states
            assert states is not None
            followed = states.pop(together.FOLLOWED)
            assert states.keys() == engine.states.keys()
            assert all(np.array_equal(states[name], engine.states[name]) for name in states)
            engine.states = {name: state * 0.5 for name, state in states.items()}
            other.states = engine.states | {together.FOLLOWED: followed}
