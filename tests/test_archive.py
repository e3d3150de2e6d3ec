"""A recording's analysis, interrupted however often and wherever, gives the same bytes; what is there is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wfdb import rdann

from daemon.config import Alerts, Config, Engine, FrequentPvc
from engines.errors import EngineError
from rhythmd import analysis, archive, unfinished
from rhythmd.archive import Findings, Job, Watch, do
from rhythmd.batch import processes
from rhythmd.recording import RecordError, shipped
from tests.conftest import write_record
from tests.test_analysis import HEADS, with_losses

OUTPUTS = ("r.rhy", "r.alerts.jsonl", "r.analysis.json")
ALERTS = Config(alerts=Alerts(frequent_pvc=FrequentPvc(per_minute=2)))


@pytest.fixture(autouse=True)
def blocks_of_ten_seconds(monkeypatch):
    """So that ten minutes are many."""
    monkeypatch.setattr(analysis, "BLOCK_S", 10)


@pytest.fixture
def record(tmp_path) -> str:
    """Ten minutes with ectopy, losses that are bridged and losses that are not."""
    counts = shipped().counts[290 * 250 :][: 600 * 250].copy()
    losses = np.isnan(with_losses(5, seconds=300).counts)
    counts[: len(losses)][losses] = np.nan
    counts[400 * 250 : 404 * 250] = np.nan
    write_record(tmp_path, "r", counts * 400 / shipped().counts_per_mv)
    return str(tmp_path / "r")


def job(record: str, name: str, config: Config = ALERTS, **more) -> Job:
    directory = Path(record).parent / name
    directory.mkdir(exist_ok=True)
    return Job(record, None, directory, config, **more)


def results(asked: Job) -> dict[str, bytes]:
    return {name: (asked.directory / name).read_bytes() for name in OUTPUTS}


class After:
    """Stops after so many blocks."""

    def __init__(self, blocks: int) -> None:
        self.left = blocks

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.fixture
def whole(record) -> dict[str, bytes]:
    asked = job(record, "whole")
    assert do(asked) == "done"
    assert b"(" in results(asked)["r.rhy"]
    assert len(results(asked)["r.alerts.jsonl"].splitlines()) > 3
    return results(asked)


@pytest.mark.parametrize("every", [1, 7, 25])
def test_an_analysis_stopped_every_so_many_blocks_gives_the_same_bytes(record, whole, every):
    """Engine, detector, judge and what was found are put away and taken up."""
    asked, heard, outcomes = job(record, f"every{every}"), [], []
    while not outcomes or outcomes[-1] == "stopped":
        outcomes.append(do(asked, Watch(heard.append, After(every))))
    assert outcomes[-1] == "done"
    assert len(outcomes) == -(-60 // every)
    assert results(asked) == whole
    assert sorted(path.name for path in asked.directory.iterdir()) == sorted(OUTPUTS)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_what_was_put_away_and_spoiled_is_begun_anew(record, whole, part):
    """One bit of it: most of what is there are numbers, and any number is one."""
    asked = job(record, f"spoiled{part}")
    assert do(asked, Watch(stop=After(25))) == "stopped"
    (path,) = asked.directory.glob(".*.unfinished")
    content = bytearray(path.read_bytes())
    content[int(part * len(content))] ^= 4
    path.write_bytes(content)
    heard = []
    assert do(asked, Watch(heard.append)) == "done"
    assert heard[0] == 0, "from the beginning"
    assert results(asked) == whole


class Counting:
    """An engine that changes its mind every seven windows since it was last told to forget."""

    def __init__(self) -> None:
        self.forget()

    def infer(self, *_):
        self.states = {"windows": self.states["windows"] + 1}
        turns = int(self.states["windows"]) // 7
        likely = [np.linspace(0.9, 0.1, len(head.labels), dtype=np.float32) for head in HEADS]
        return tuple(np.roll(each, turns)[None] for each in likely)

    def forget(self) -> None:
        self.states = {"windows": np.zeros(())}


def test_what_the_engine_remembers_is_put_away_too(record, monkeypatch):
    monkeypatch.setattr(archive, "open_backend", lambda *_: nullcontext(Counting()))
    asked, whole = job(record, "cut"), job(record, "whole")
    assert do(whole) == "done"
    assert do(asked, Watch(stop=After(25))) == "stopped"
    assert do(asked) == "done"
    assert results(asked) == results(whole)
    letters = set(np.array(rdann(str(whole.directory / "r"), "rhy").symbol))
    assert {"N", "S"} <= letters


def test_what_was_put_away_is_not_begun_anew(record):
    asked, heard = job(record, "a"), []
    assert do(asked, Watch(stop=After(30))) == "stopped"
    assert do(asked, Watch(heard.append)) == "done"
    assert heard[0] == pytest.approx(300 / 3600)
    assert sum(heard) == pytest.approx(600 / 3600)
    assert len(heard) == 1 + 30


def test_power_may_fail_at_any_moment_for_it_is_put_away_now_and_then(record, whole, monkeypatch):
    monkeypatch.setattr(archive, "PUT_AWAY_S", 0.0)
    asked, hours = job(record, "a"), 0.0

    def heard(more: float) -> None:
        nonlocal hours
        hours += more
        if hours > 455 / 3600:  # after the block from 450 to 460 s
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do(asked, Watch(heard))
    again = []
    assert do(asked, Watch(again.append)) == "done"
    assert again[0] == pytest.approx(450 / 3600)
    assert results(asked) == whole


def test_with_another_configuration_it_begins_anew(record, whole):
    asked, heard = job(record, "a", Config()), []
    assert do(asked, Watch(stop=After(30))) == "stopped"
    assert do(job(record, "a"), Watch(heard.append)) == "done"
    assert heard[0] == 0
    assert results(asked) == whole


def spoil(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "half":
        path.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "no pickle":
        path.write_bytes(data.splitlines(keepends=True)[0] + b"not a pickle")
    elif how == "others may write":
        path.chmod(0o666)


@pytest.mark.parametrize("how", ["half", "empty", "no pickle", "others may write"])
def test_what_cannot_be_trusted_or_is_not_whole_is_not_taken_up(record, whole, how):
    asked, heard = job(record, "a"), []
    assert do(asked, Watch(stop=After(30))) == "stopped"
    (left,) = asked.directory.iterdir()
    assert left.stat().st_mode & 0o777 == 0o600
    spoil(left, how)
    assert do(asked, Watch(heard.append)) == "done"
    assert heard[0] == 0
    assert results(asked) == whole


def test_what_is_there_already_and_was_made_by_the_same_is_left(record, whole, monkeypatch):
    asked = job(record, "whole")
    monkeypatch.setattr(archive, "open_backend", None)
    assert do(asked) == "there already"
    with pytest.raises(TypeError):
        do(job(record, "whole", again=True))
    with pytest.raises(TypeError):
        do(job(record, "whole", Config()))
    (asked.directory / "r.rhy").unlink()
    with pytest.raises(TypeError):
        do(asked)


def test_results_half_written_by_another_configuration_are_not_taken_for_the_old_ones(record, whole, monkeypatch):
    def fails(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(archive, "write_alerts", fails)
        with pytest.raises(KeyboardInterrupt):
            do(job(record, "whole", Config()))
    assert do(job(record, "whole")) == "done"
    assert results(job(record, "whole")) == whole


def test_a_disk_that_is_full_is_told_of_the_record_that_it_took_nothing_of(record, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unfinished, "save", full)
    with pytest.raises(RecordError, match=r"r: cannot write to .*: No space left on device"):
        do(job(record, "a"), Watch(stop=After(30)))


def test_an_engine_that_keeps_its_memory_to_itself_is_not_put_away(record, tmp_path):
    class Closed:
        pass

    unfinished.save(tmp_path / "x", {}, None, Closed())
    assert not (tmp_path / "x").exists()


def test_a_beat_is_kept_in_nine_bytes():
    findings = Findings()
    assert findings.r_peaks.itemsize == 8
    findings.r_peaks.extend([250, 500])
    findings.letters += b"NV"
    assert list(findings.beats) == [(250, "N"), (500, "V")]


def cpu_s(process: int) -> float:
    """Of a process, so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def workers_of(process: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_the_command_stops_when_it_is_told_to_and_goes_on(tmp_path):
    """Two recordings in two processes; SIGTERM when both are in the middle of one."""
    counts = shipped().counts * 400 / shipped().counts_per_mv
    names = [str(tmp_path / name) for name in ("r", "s")]
    for name, each in (("r", counts), ("s", counts[::-1])):
        write_record(tmp_path, name, each)

    def analyze(folder: str, *, cut: bool = False) -> tuple[int, str]:
        command = [sys.executable, "-m", "rhythmd", "analyze", *names, "--output-dir", str(tmp_path / folder)]
        process = subprocess.Popen([*command, "--jobs", "2"], stderr=subprocess.PIPE, text=True)
        while cut and sum(cpu_s(each) > 0.7 for each in workers_of(process.pid)) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        if cut:
            process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=280)
        return process.returncode, said

    assert analyze("cut", cut=True) == (130, "stopped; the same command goes on from here\n")
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == [".r.unfinished", ".s.unfinished"]
    assert analyze("cut") == (0, "")
    assert analyze("whole") == (0, "")
    for name in ("r.rhy", "r.alerts.jsonl", "s.rhy", "s.alerts.jsonl"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert analyze("cut")[1].startswith("2 there already")
    assert not list((tmp_path / "cut").glob(".*"))
    facts = json.loads((tmp_path / "cut" / "r.analysis.json").read_text())
    assert facts["hours"] == pytest.approx(0.586, abs=0.01)


def test_a_worker_that_is_killed_is_told_of_in_one_line(tmp_path):
    names = [str(tmp_path / name) for name in ("r", "s")]
    for name in ("r", "s"):
        write_record(tmp_path, name, shipped().counts)
    command = [sys.executable, "-m", "rhythmd", "analyze", *names, "--output-dir", str(tmp_path / "out"), "--jobs", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (workers := workers_of(process.pid)):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(workers[0], signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said.count("\n")) == (2, 1), said
    assert "goes on, with a smaller --jobs" in said


def test_workers_end_with_the_process_that_was_killed(tmp_path):
    """As by a second Ctrl-C."""
    counts = shipped().counts * 400 / shipped().counts_per_mv
    for name in ("r", "s"):
        write_record(tmp_path, name, np.tile(counts, 4))
    command = [sys.executable, "-m", "rhythmd", "analyze", str(tmp_path), "--output-dir", str(tmp_path / "out")]
    process = subprocess.Popen([*command, "--jobs", "2"])
    while len(workers := workers_of(process.pid)) < 2 or min(map(cpu_s, workers)) < 0.5:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    until = time.monotonic() + 5
    while any(map(runs, workers)):
        assert time.monotonic() < until
        time.sleep(0.02)


def runs(process: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_stops_one_stops_all(tmp_path):
    """Here a bug, or an engine that breaks: nobody waits for the rest of the archive."""
    jobs = [Job("shipped", None, tmp_path / str(place), Config()) for place in range(24)]
    for job in jobs:
        job.directory.mkdir()
    jobs[1] = replace(jobs[1], config=Config(engine=Engine(model="nosuch")))
    shared = processes.Shared()
    with pytest.raises(EngineError, match="nosuch"):
        list(processes.all_done(jobs, 2, shared, lambda _hours: None))
    assert len(list(tmp_path.rglob("*.rhy"))) < 4
