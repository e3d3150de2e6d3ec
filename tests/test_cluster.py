"""Records on a real Ray cluster of two nodes on this machine: the bytes of `--jobs`, whoever dies in between."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rhythmd.batch.cluster import share_of_gpu
from rhythmd.recording import shipped
from tests.conftest import write_record

ROOT = Path(__file__).parents[1]
ROOMS = ("daemon", "dsp", "ec57", "engines", "rhythmd")
SECONDS, RECORDS = 600, 8
STARTED: list[subprocess.Popen[str]] = []
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}


FAULTS = """
import os, sys
if any("default_worker" in word for word in sys.orig_argv):
    from engines.errors import EngineError
    from rhythmd.batch import worker
    do = worker.do
    def faulty(job, *args, **more):
        if job.record.endswith("poison"):
            os._exit(1)
        if job.record.endswith("breaks"):
            raise EngineError("the GPU has fallen off the bus")
        return do(job, *args, **more)
    worker.do = faulty
"""
"""What Python runs at its start on each node: two records that do harm."""


@pytest.fixture(scope="module")
def faults(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "sitecustomize.py").write_text(FAULTS)
    return folder


@pytest.fixture(scope="module")
def cluster(faults) -> Iterator[Any]:
    """One node; what a test adds it also removes."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'rhythmd[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={**NODE, "env_vars": {"PYTHONPATH": str(faults)}})
    yield started
    started.shutdown()


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """Eight records in two folders, and one that cannot be read among them."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "ward").mkdir()
    counts = np.tile(shipped().counts * 400 / shipped().counts_per_mv, 3)
    for place in range(RECORDS):
        first = place * SECONDS * 250
        write_record(folder / "ward" if place % 2 else folder, f"r{place}", counts[first : first + SECONDS * 250])
    (folder / "ward" / "bad.hea").write_text("bad 1 250\n")
    for path in folder.rglob("*.*"):
        os.utime(path, (1.7e9, 1.7e9))  # to the second: fsspec tells no nanoseconds
    return folder


@pytest.fixture(scope="module")
def expected(archive, tmp_path_factory) -> dict[str, bytes]:
    """What `--jobs` makes of it."""
    output = tmp_path_factory.mktemp("expected")
    assert start(archive, output, "--jobs", "1").wait() == 3
    assert len(list(output.rglob("*.rhy"))) == RECORDS
    return files_of(output)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.communicate()


def start(archive: Path, output: Path, *more: str, before: str = "", given: str = "") -> subprocess.Popen[str]:
    program = f"import sys\n{before}\nfrom rhythmd.cli import main\nsys.exit(main())"
    command = [sys.executable, "-c", program, "analyze", given or str(archive), "--output-dir", str(output), *more]
    elsewhere = archive.parent  # Ray's workers import first from where it is started: not our sources
    STARTED.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=elsewhere))
    return STARTED[-1]


def said_by(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=240)
    return process.returncode, said


def files_of(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def times_of(output: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in output.rglob("r*") if path.is_file()}


def caught_at_work(node: Any) -> bool:
    """Whether a worker of the node has a record, and is halted with it: Ray shows in its title what it does."""
    raylet = node.all_processes["raylet"][0].process.pid
    for pid in map(int, Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split()):
        with suppress(FileNotFoundError, ProcessLookupError):
            if has_a_record(pid):
                os.kill(pid, signal.SIGSTOP)
                if has_a_record(pid):
                    return True
                os.kill(pid, signal.SIGCONT)  # it was done just then
    return False


def has_a_record(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_text().startswith("ray::Worker.do")


def test_a_node_that_is_killed_costs_nothing_but_time(cluster, archive, expected, tmp_path):
    doomed = cluster.add_node(**NODE)
    process = start(archive, tmp_path, "--ray", cluster.address)
    while not caught_at_work(doomed):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    cluster.remove_node(doomed, allow_graceful=False)
    code, said = said_by(process)
    assert code == 3, said
    assert said.count("a worker was lost; ") == 1, said
    assert said.count("bad: has no signals, only a header") == 1
    assert files_of(tmp_path) == expected

    before = times_of(tmp_path)
    code, said = said_by(start(archive, tmp_path, "--ray", cluster.address))
    assert (code, f"{RECORDS} there already" in said) == (3, True), said
    assert times_of(tmp_path) == before
    assert files_of(tmp_path) == expected


def test_interrupted_it_goes_on_with_what_is_missing(cluster, archive, expected, tmp_path):
    process = start(archive, tmp_path, "--ray", cluster.address)
    while len(list(tmp_path.rglob("*.analysis.json"))) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    code, said = said_by(process)
    assert (code, said.splitlines()[-1]) == (130, "stopped; the same command goes on from here")
    before = times_of(tmp_path)
    done = len(list(tmp_path.rglob("*.analysis.json")))
    assert 2 <= done < RECORDS
    code, said = said_by(start(archive, tmp_path, "--ray", cluster.address))
    assert (code, f"{done} there already" in said) == (3, True), said
    assert times_of(tmp_path).items() >= before.items()
    assert files_of(tmp_path) == expected


def test_what_processes_made_a_cluster_leaves(cluster, archive, expected, tmp_path):
    for name, data in expected.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "r2.rhy").unlink()
    before = times_of(tmp_path)
    code, said = said_by(start(archive, tmp_path, "--ray", cluster.address))
    assert (code, f"{RECORDS - 1} there already" in said) == (3, True), said
    after = times_of(tmp_path)
    assert {name for name in after if after[name] != before.get(name)} == {
        f"r2{suffix}" for suffix in (".rhy", ".alerts.jsonl", ".analysis.json")
    }
    assert files_of(tmp_path) == expected


def test_records_at_a_url_give_the_same(cluster, archive, expected, tmp_path):
    code, said = said_by(start(archive, tmp_path, "--ray", cluster.address, given=f"file://{archive}"))
    assert code == 3, said
    made, wanted = files_of(tmp_path), dict(expected)
    assert json.loads(made.pop("failed.jsonl"))["record"] == f"file://{archive}/ward/bad"
    wanted.pop("failed.jsonl")
    assert made == wanted


def test_a_node_with_other_sources_is_left_out(cluster, archive, expected, tmp_path):
    other = tmp_path / "other"
    for room in ROOMS:
        shutil.copytree(ROOT / room, other / room, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "daemon" / "judge.py").open("a") as file:
        file.write("# judges otherwise\n")
    node = cluster.add_node(**NODE, env_vars={"PYTHONPATH": str(other)})
    try:
        code, said = said_by(start(archive, tmp_path / "out", "--ray", cluster.address))
    finally:
        cluster.remove_node(node)
    assert (code, said.count("has other sources or another model; install the same as here")) == (3, 1), said
    assert files_of(tmp_path / "out") == expected


def test_a_record_that_its_workers_die_of_is_named_and_the_others_are_done(cluster, archive, tmp_path):
    records = tmp_path / "records"
    records.write_text(f"{archive}/r0\n{archive}/poison\n{archive}/r2\n")
    code, said = said_by(start(archive, tmp_path, "--ray", cluster.address, given=str(records)))
    assert (code, said.count("a worker was lost"), said.count("poison: 3 workers were lost with it")) == (3, 2, 1), said
    assert [json.loads(line)["record"] for line in (tmp_path / "failed.jsonl").read_text().splitlines()] == [
        f"{archive}/poison"
    ]
    assert sorted(path.name for path in tmp_path.glob("*.rhy")) == ["r0.rhy", "r2.rhy"]


def test_a_node_whose_engine_breaks_is_left_out_and_where_none_is_left_it_ends(cluster, archive, tmp_path):
    code, said = said_by(start(archive, tmp_path, "--ray", cluster.address, given=str(archive / "breaks")))
    assert (code, said.count("\n")) == (2, 3), said
    assert "is left out: the GPU has fallen off the bus" in said
    assert "no node is left that could do it; once one is, the same command goes on" in said


def test_no_worker_of_a_node_that_is_left_out_gets_another_record(cluster, faults, archive, tmp_path):
    """Two nodes, one with two CPUs: the second engine there is open, and has fallen off the same bus."""
    records = tmp_path / "records"
    others = [archive / ("ward" if place % 2 else "") / f"r{place}" for place in range(RECORDS)]
    records.write_text("".join(f"{path}\n" for path in (*others[:4], archive / "breaks", *others[4:])))
    node = cluster.add_node(**NODE | {"num_cpus": 2}, env_vars={"PYTHONPATH": str(faults)})
    try:
        code, said = said_by(start(archive, tmp_path, "--ray", cluster.address, given=str(records)))
    finally:
        cluster.remove_node(node)
    assert (code, said.count("is left out"), said.count("breaks is done again")) == (2, 2, 2), said
    assert "3 workers were lost with it" not in said
    assert "no node is left that could do it" in said


@pytest.mark.parametrize(("cpus", "gpus"), [(6, 4), (1, 4), (8, 1), (3, 1), (7, 2), (96, 8), (4, 0.5)])
def test_a_gpu_is_shared_so_that_all_workers_find_room(cpus, gpus):
    share = share_of_gpu(cpus, gpus)
    assert share == round(share, 4) <= 1
    assert sum(int(min(1, gpus - whole) / share + 1e-9) for whole in range(ceil(gpus))) >= cpus


REFUSED = {
    "no Ray": ("sys.modules['ray'] = None", "local", "pip install 'rhythmd[ray]'"),
    "no cluster": ("", "127.0.0.1:1", "no cluster there (Connection refused); `ray start --head` starts one"),
    "no address": ("", "ray://head:10001", "give HOST:PORT of the cluster's head"),
    "another Ray": ("import ray; ray.__version__ = '2.0.0'", "", "this is Ray 2.0.0 on Python"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_cluster_that_cannot_be_had_is_one_line_with_a_remedy(cluster, archive, tmp_path, case):
    before, address, remedy = REFUSED[case]
    code, said = said_by(start(archive, tmp_path, "--ray", address or cluster.address, before=before))
    assert (code, said.count("\n")) == (2, 1), said
    assert remedy in said
