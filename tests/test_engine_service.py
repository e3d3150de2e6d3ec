"""The real daemon with an engine that cannot serve: up on the CPU at once, saying so, and judging every beat."""

from __future__ import annotations

import hashlib
import shutil

import msgspec
import pytest

from daemon.messages import Alert, Beat, Status
from engines import plans, shelf
from engines.model import SHIPPED, load
from rhythmd import patient, rehearsal
from rhythmd.player import Player
from tests.test_backends import cached_plan, tensorrt_or_skip


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture(scope="session")
def good(tmp_path_factory):
    """A folder with a verified plan of the shipped model."""
    tensorrt_or_skip()
    folder = tmp_path_factory.mktemp("good")
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("CACHE_DIRECTORY", raising=False)
        patched.setenv("XDG_CACHE_HOME", str(folder))
        cached_plan(load(SHIPPED / "ecg1.onnx"), "fp32")
    return folder


@pytest.fixture
def plan(good, tmp_path):
    """That plan, in the cache of the test."""
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    (only,) = plans.cached_plans()
    return only


def served(seconds=12):
    """What a daemon told to use TensorRT publishes of a healthy patient, and its log."""
    with rehearsal.daemon('engine.backend = "tensorrt"\n') as running:
        player = Player(patient.make(f"sinus {seconds}", seed=1).recording, "rhythmd")
        received = rehearsal.rehearse(running, player, speed=4.0)
        return [each.message for each in received], running.log.read_text()


def judged_by_the_cpu(messages):
    alerts = [each for each in messages if isinstance(each, Alert) and each.kind == "engine_failing"]
    statuses = [each for each in messages if isinstance(each, Status)]
    assert [each.state for each in alerts] == ["open", "closed"]
    assert alerts[1].ended_by == "interrupted"  # it failed until the daemon was stopped
    assert {each.engine for each in statuses} == {"onnxruntime"}
    assert sum(isinstance(each, Beat) and each.beat == "N" for each in messages) >= 8


def test_a_daemon_whose_gpu_engine_cannot_be_opened_judges_on_the_cpu_and_says_so():
    messages, log = served()
    judged_by_the_cpu(messages)
    assert "engine tensorrt failed" in log
    assert "going on with onnxruntime" in log


def foreign(plan, **device):
    facts = msgspec.structs.replace(
        plan.sidecar.facts, device=msgspec.structs.replace(plan.sidecar.facts.device, **device)
    )
    shelf.store_plan(plan.path.read_bytes(), msgspec.structs.replace(plan.sidecar, facts=facts))
    plan.path.with_name(f"{plan.path.name}.json").unlink()


def replaced(plan, content):
    """Other bytes under a sidecar and a verdict that vouch for them."""
    digest = hashlib.sha256(content).hexdigest()
    verdict = msgspec.structs.replace(plan.verdict, plan_sha256=digest)
    shelf.store_plan(content, msgspec.structs.replace(plan.sidecar, plan_sha256=digest))
    shelf.store_verdict(plan, verdict)


SPOILED = {  # what was done to a good plan -> what the log says of it
    "truncated": (lambda plan: plan.path.write_bytes(plan.path.read_bytes()[:-100]), "is damaged"),
    "a bit turned": (
        lambda plan: plan.path.write_bytes(bytes([plan.path.read_bytes()[0] ^ 1]) + plan.path.read_bytes()[1:]),
        "is damaged",
    ),
    "another GPU": (lambda plan: foreign(plan, gpu="Orin"), "was built on Orin"),
    "another TensorRT": (lambda plan: foreign(plan, tensorrt="9.9.9"), "TensorRT 9.9.9; this is"),
    "no plan at all, though its sidecar says so": (lambda plan: replaced(plan, b"no plan" * 999), "cannot load it"),
    "not verified": (lambda plan: plan.verdict_path.unlink(), "has not been verified"),
}


@pytest.mark.gpu
@pytest.mark.parametrize("how", SPOILED)
def test_a_spoiled_plan_is_told_with_its_reason_and_the_cpu_judges(plan, how):
    spoil, said = SPOILED[how]
    spoil(plan)
    messages, log = served()
    judged_by_the_cpu(messages)
    assert said in log
    assert "run `rhythmd engine" in log


@pytest.mark.gpu
def test_with_a_verified_plan_the_gpu_judges(plan):
    messages, _ = served()
    statuses = [each for each in messages if isinstance(each, Status)]
    assert {each.engine for each in statuses} == {"tensorrt"}
    assert not [each for each in messages if isinstance(each, Alert) and each.kind == "engine_failing"]
    assert sum(isinstance(each, Beat) and each.beat == "N" for each in messages) >= 8
