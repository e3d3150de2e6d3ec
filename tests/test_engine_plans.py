"""The cache of plans: which plan is this device's, whole or not at all, and what is said when there is none."""

import hashlib
import os
import resource
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

from engines import plans
from engines.errors import EngineError
from engines.model import SHIPPED, Head, Manifest, Model, Tensor
from engines.plans import (
    Device,
    Facts,
    Options,
    Sidecar,
    cached_plans,
    find_plan,
    plans_of,
    read_plan,
)
from engines.shelf import store_plan, store_verdict
from engines.verdict import Agreement, Verdict

ORIN = Device("Orin", "8.7", "10.3.0")
PLAN = b"as good as any plan" * 1000
MODEL = Model(
    Path("ecg9.onnx"), Manifest("ab" * 32, "2", 250, (Tensor("ecg", (1, 1, 1, 8)),), 4, "none", (Head("beat", ("n",)),))
)
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "rhythmd"


def sidecar(device=ORIN, *, precision="fp32", built=NOON, plan=PLAN, model=MODEL):
    facts = Facts(model.manifest.sha256, device, precision)
    return Sidecar(facts, model.id, hashlib.sha256(plan).hexdigest(), built, 1.0)


def verdict_on(plan, kl=0.001, before=99.0, after=98.9, windows=500):
    """What verification might have said of a plan."""
    head = Agreement(kl, 10 * kl, 0.999, {"n": windows}, {"n": (before, after)})
    return Verdict(plan.sidecar.plan_sha256, "ab" * 32, "here", 500, {"beat": head}, "reference", NOON)


def serve(plan=PLAN, side=None):
    """A plan in the cache that passed."""
    stored = store_plan(plan, side or sidecar())
    store_verdict(stored, verdict_on(stored))
    return stored


def test_the_cache_is_systemds_then_xdgs_then_in_the_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/maria")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/rhythmd:/var/cache/other")
    assert plans.cache_directory() == Path("/var/cache/rhythmd")
    monkeypatch.delenv("CACHE_DIRECTORY")
    assert plans.cache_directory() == Path("/xdg/rhythmd")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert plans.cache_directory() == Path("/home/maria/.cache/rhythmd")


@pytest.mark.parametrize(
    "changed",
    [
        {"model_sha256": "cd" * 32},
        {"device": msgspec.structs.replace(ORIN, gpu="NVIDIA H200")},
        {"device": msgspec.structs.replace(ORIN, compute_capability="9.0")},
        {"device": msgspec.structs.replace(ORIN, tensorrt="10.3.1")},
        {"precision": "fp16"},
        {"options": Options(workspace_bytes=1 << 20)},
        {"options": Options(level=5)},
        {"options": Options(streams=0)},
        {"options": Options(sparsity=True)},
        {"calibration": "entropy"},
    ],
    ids=" ".join,
)
def test_whatever_shapes_a_plan_changes_its_key(changed):
    facts = sidecar().facts
    assert msgspec.structs.replace(facts, **changed).key != facts.key
    assert Facts(facts.model_sha256, facts.device, facts.precision).key == facts.key


def test_a_stored_plan_is_found_and_read_back(cache):
    stored = serve()
    found = find_plan(MODEL, ORIN)
    assert found == stored
    assert read_plan(found, MODEL) == PLAN
    assert {path.name for path in cache.iterdir()} == {
        f"{stored.path.name}{suffix}" for suffix in ("", ".json", ".verdict.json")
    }


def test_the_service_may_read_what_an_administrator_with_a_strict_umask_built(cache):
    before = os.umask(0o077)
    try:
        stored = store_plan(PLAN, sidecar())
    finally:
        os.umask(before)
    assert {
        path.stat().st_mode & 0o777 for path in (stored.path, stored.path.with_name(f"{stored.path.name}.json"))
    } == {0o644}


def test_the_sidecar_says_in_words_what_the_plan_is(cache):
    stored = store_plan(PLAN, sidecar())
    text = stored.path.with_name(f"{stored.path.name}.json").read_text()
    for fact in (
        '"gpu": "Orin"',
        '"compute_capability": "8.7"',
        '"tensorrt": "10.3.0"',
        '"precision": "fp32"',
        "ab" * 32,
    ):
        assert fact in text


def test_of_two_plans_the_one_built_last_is_used(cache):
    serve(side=sidecar(precision="fp16", built=NOON + timedelta(hours=1)))
    serve(side=sidecar(precision="fp32", built=NOON))
    assert find_plan(MODEL, ORIN).sidecar.facts.precision == "fp16"


def test_no_plan_is_refused_with_the_command_that_builds_one(cache):
    other = msgspec.structs.replace(MODEL.manifest, sha256="cd" * 32)
    store_plan(PLAN, sidecar(model=Model(MODEL.onnx, other)))
    with pytest.raises(
        EngineError, match=r"no TensorRT plan of ecg9-2-abababab in .*; run `rhythmd engine build --model ecg9.onnx`"
    ):
        find_plan(MODEL, ORIN)


@pytest.mark.parametrize(
    ("device", "named"),
    [
        (Device("NVIDIA H200", "8.7", "10.3.0"), "this is NVIDIA H200"),
        (Device("Orin", "8.7", "10.16.2"), "this is Orin .* TensorRT 10.16.2"),
        (Device("Orin", "9.0", "10.3.0"), "this is Orin .*9.0"),
    ],
    ids=["another GPU", "another TensorRT", "another compute capability"],
)
def test_a_foreign_plan_is_refused_with_both_devices_and_the_command(cache, device, named):
    store_plan(PLAN, sidecar())
    with pytest.raises(
        EngineError, match=f"was built on Orin .* TensorRT 10.3.0; {named}.*; run `rhythmd engine build"
    ):
        find_plan(MODEL, device)


def test_the_shipped_model_needs_no_name_and_the_service_its_own_cache(monkeypatch):
    shipped = Model(SHIPPED / "ecg9.onnx", MODEL.manifest)
    assert plans.remedy(shipped) == "run `rhythmd engine build`"
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/rhythmd")
    assert plans.remedy(shipped) == "run `sudo env CACHE_DIRECTORY=/var/cache/rhythmd rhythmd engine build`"


@pytest.mark.parametrize("damage", [lambda plan: plan[:-1], lambda plan: b"", lambda plan: b"\0" + plan[1:]])
def test_a_damaged_plan_is_refused_before_tensorrt_sees_it(cache, damage):
    stored = serve()
    stored.path.write_bytes(damage(PLAN))
    with pytest.raises(EngineError, match=r"is damaged .*; run `rhythmd engine build"):
        read_plan(find_plan(MODEL, ORIN), MODEL)


def test_a_plan_without_a_readable_sidecar_does_not_exist(cache):
    stored = store_plan(PLAN, sidecar())
    beside = stored.path.with_name(f"{stored.path.name}.json")
    for text in ('{"facts"', '{"of_another": "rhythmd"}', ""):
        beside.write_text(text)
        assert cached_plans() == []
    beside.unlink()
    assert cached_plans() == []
    store_plan(PLAN, sidecar())
    assert len(cached_plans()) == 1


def test_a_full_disk_leaves_the_plan_that_was_there_and_nothing_half_written(cache):
    store_plan(PLAN, sidecar())
    before = {path.name: path.read_bytes() for path in cache.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(PLAN) // 2, hard))
        for precision in ("fp32", "fp16"):
            with pytest.raises(EngineError, match=r"File too large; make room there"):
                store_plan(PLAN, sidecar(precision=precision, built=NOON + timedelta(1)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == before


def test_a_cache_that_cannot_be_made_is_one_clear_error(cache):
    cache.write_text("a file where the folder should be")
    with pytest.raises(EngineError, match=r"\.plan: .*; make room there, or set XDG_CACHE_HOME"):
        store_plan(PLAN, sidecar())


def test_tensors_that_differ_from_the_manifest_are_named():
    ecg = plans.describe(True, "FLOAT", (1, 1, 1, 8))
    beat = plans.describe(False, "FLOAT", (1, 1))
    plans.check_tensors({"beat": beat, "ecg": ecg}, MODEL, "here")  # in any order
    for found in (
        {"ecg": ecg},
        {"ecg": ecg, "beat": plans.describe(False, "HALF", (1, 1))},
        {"ecg": beat, "beat": ecg},
    ):
        with pytest.raises(EngineError, match=r"here has the tensors .*ecg9.onnx says"):
            plans.check_tensors(found, MODEL, "here")


def test_a_plan_that_was_never_verified_serves_no_one(cache):
    stored = store_plan(PLAN, sidecar())
    with pytest.raises(
        EngineError, match=r"has not been verified; run `rhythmd engine verify --model ecg9.onnx`"
    ) as refusal:
        find_plan(MODEL, ORIN)
    assert str(stored.path) in str(refusal.value)


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ({"kl": 0.051}, "beat: the KL divergence is 0.0510, more than 0.05"),
        ({"before": 99.0, "after": 98.1}, "beat: F1 of n falls from 99.00 to 98.10 %"),
    ],
    ids=["too far", "worse at a class"],
)
def test_a_plan_that_did_not_pass_serves_no_one_and_the_error_says_why(cache, verdict, said):
    stored = store_plan(PLAN, sidecar())
    store_verdict(stored, verdict_on(stored, **verdict))
    with pytest.raises(
        EngineError, match=f"did not pass verification .{said}.*rhythmd engine build.*--precision auto`"
    ):
        find_plan(MODEL, ORIN)


def test_the_plan_before_goes_on_serving_when_the_one_built_last_did_not_pass(cache):
    good = serve(side=sidecar(precision="fp32"))
    failed = store_plan(PLAN, sidecar(precision="int8", built=NOON + timedelta(1)))
    store_verdict(failed, verdict_on(failed, kl=1.0))
    assert find_plan(MODEL, ORIN) == good
    assert [plan.sidecar.facts.precision for plan in plans_of(MODEL, ORIN)] == ["int8", "fp32"]


def test_a_verdict_counts_for_exactly_the_file_it_was_given_on(cache):
    stored = serve()
    replaced = store_plan(b"another" + PLAN, sidecar(plan=b"another" + PLAN))
    assert replaced.path == stored.path
    with pytest.raises(EngineError, match="has not been verified"):
        find_plan(MODEL, ORIN)


@pytest.mark.parametrize("text", ["", "{}", '{"passed": true}'])
def test_a_verdict_that_cannot_be_read_is_none(cache, text):
    serve().verdict_path.write_text(text)
    with pytest.raises(EngineError, match="has not been verified"):
        find_plan(MODEL, ORIN)


def test_a_class_with_few_windows_decides_nothing_and_is_named(cache):
    few = verdict_on(store_plan(PLAN, sidecar()), before=99.0, after=80.0, windows=49)
    assert (few.faults, few.unchecked) == ([], ["beat n"])
    enough = verdict_on(store_plan(PLAN, sidecar()), before=99.0, after=80.0, windows=50)
    assert (len(enough.faults), enough.unchecked) == (1, [])


def test_a_class_that_became_better_is_no_fault(cache):
    assert verdict_on(store_plan(PLAN, sidecar()), before=90.0, after=99.0).faults == []
