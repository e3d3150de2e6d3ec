"""The cache of plans: which plan is this device's, whole or not at all, and what is said when there is none."""

import argparse
import hashlib
import json
import os
import resource
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest

from engines import build
from engines.backend import open_backend
from engines.build import Device, Facts, Sidecar, cached_plans, find_plan, read_plan, store_plan, to_half
from engines.errors import EngineError
from engines.model import SHIPPED, Head, Manifest, Model, Tensor
from rhythmd.commands import engine
from tests.test_backends import cached_plan, plan_cache, some_windows, tensorrt_or_skip, tiny, write_model  # noqa: F401 - fixtures too

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


def test_the_cache_is_systemds_then_xdgs_then_in_the_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/maria")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/rhythmd:/var/cache/other")
    assert build.cache_directory() == Path("/var/cache/rhythmd")
    monkeypatch.delenv("CACHE_DIRECTORY")
    assert build.cache_directory() == Path("/xdg/rhythmd")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert build.cache_directory() == Path("/home/maria/.cache/rhythmd")


@pytest.mark.parametrize(
    "changed",
    [
        {"model_sha256": "cd" * 32},
        {"device": msgspec.structs.replace(ORIN, gpu="NVIDIA H200")},
        {"device": msgspec.structs.replace(ORIN, compute_capability="9.0")},
        {"device": msgspec.structs.replace(ORIN, tensorrt="10.3.1")},
        {"precision": "fp16"},
        {"workspace_bytes": 1 << 20},
    ],
    ids=" ".join,
)
def test_whatever_shapes_a_plan_changes_its_key(changed):
    facts = sidecar().facts
    assert msgspec.structs.replace(facts, **changed).key != facts.key
    assert Facts(facts.model_sha256, facts.device, facts.precision).key == facts.key


def test_a_stored_plan_is_found_and_read_back(cache):
    stored = store_plan(PLAN, sidecar())
    found = find_plan(MODEL, ORIN)
    assert found == stored
    assert read_plan(found, MODEL) == PLAN
    assert {path.name for path in cache.iterdir()} == {stored.path.name, f"{stored.path.name}.json"}


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
    store_plan(PLAN, sidecar(precision="fp16", built=NOON + timedelta(hours=1)))
    store_plan(PLAN, sidecar(precision="fp32", built=NOON))
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
    assert build.remedy(shipped) == "run `rhythmd engine build`"
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/rhythmd")
    assert build.remedy(shipped) == "run `sudo env CACHE_DIRECTORY=/var/cache/rhythmd rhythmd engine build`"


@pytest.mark.parametrize("damage", [lambda plan: plan[:-1], lambda plan: b"", lambda plan: b"\0" + plan[1:]])
def test_a_damaged_plan_is_refused_before_tensorrt_sees_it(cache, damage):
    stored = store_plan(PLAN, sidecar())
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
    ecg = build.describe(True, "FLOAT", (1, 1, 1, 8))
    beat = build.describe(False, "FLOAT", (1, 1))
    build.check_tensors({"beat": beat, "ecg": ecg}, MODEL, "here")  # in any order
    for found in (
        {"ecg": ecg},
        {"ecg": ecg, "beat": build.describe(False, "HALF", (1, 1))},
        {"ecg": beat, "beat": ecg},
    ):
        with pytest.raises(EngineError, match=r"here has the tensors .*ecg9.onnx says"):
            build.check_tensors(found, MODEL, "here")


def test_in_half_precision_the_network_reads_and_answers_as_before(tiny, tmp_path):  # noqa: F811
    half = write_model(tmp_path / "half", to_half(tiny))
    inside = onnx.load(half.onnx)
    assert {tensor.data_type for tensor in inside.graph.initializer} == {onnx.TensorProto.FLOAT16}
    with open_backend("onnxruntime", tiny) as single, open_backend("onnxruntime", half) as halved:
        for window in some_windows(20):
            for head, wanted in zip(halved.infer(window), single.infer(window), strict=True):
                np.testing.assert_allclose(head, wanted, atol=2e-2)


def test_weights_that_half_precision_cannot_hold_are_refused(tiny, tmp_path):  # noqa: F811
    network = onnx.load(tiny.onnx)
    weight = next(tensor for tensor in network.graph.initializer if tensor.name == "block")
    weight.CopyFrom(onnx.numpy_helper.from_array(1e6 * onnx.numpy_helper.to_array(weight), weight.name))
    with pytest.raises(EngineError, match=r"block has values that FP16 cannot hold; use --precision fp32"):
        to_half(write_model(tmp_path / "huge", network.SerializeToString()))


def test_without_a_gpu_one_line_says_what_is_missing(tiny):  # noqa: F811
    try:
        build.here()
    except EngineError as error:
        said = str(error)
    else:
        pytest.skip("this machine has a GPU and TensorRT")
    assert "\n" not in said
    assert any(remedy in said for remedy in ("python3-libnvinfer", "rhythmd[jetson]", "NVIDIA's driver"))
    with pytest.raises(EngineError) as opened, open_backend("tensorrt", tiny):
        pass
    assert str(opened.value) == said


def rhythmd_engine(*words):
    parser = argparse.ArgumentParser()
    engine.add_arguments(parser)
    return engine.run(parser.parse_args(words))


def test_info_shows_engines_device_and_plans_on_any_machine(capsys):
    assert rhythmd_engine("info") == 0
    assert ": none" in capsys.readouterr().out
    plan = store_plan(PLAN, sidecar())
    assert rhythmd_engine("info") == 0
    said = capsys.readouterr().out
    assert f"onnxruntime: {onnxruntime.__version__}\ntensorrt: " in said
    assert f"{plan.path.name} built 2026-01-01 12:00 UTC on {ORIN}: not for this device" in said


def test_info_as_json_is_one_object(capsys):
    plan = store_plan(PLAN, sidecar())
    assert rhythmd_engine("info", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["backends"]["onnxruntime"] == {"version": onnxruntime.__version__, "missing": None}
    assert (found["device"] is None) == (found["device_missing"] is not None)
    assert [(each["path"], each["sidecar"]["facts"]["precision"]) for each in found["plans"]] == [
        (str(plan.path), "fp32")
    ]


def test_building_a_model_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(EngineError, match=r"nothing\.onnx is missing"):
        rhythmd_engine("build", "--model", str(tmp_path / "nothing.onnx"))


@pytest.mark.gpu
def test_build_leaves_a_plan_that_the_backend_takes(tiny, capsys):  # noqa: F811
    tensorrt_or_skip()
    assert rhythmd_engine("build", "--model", str(tiny.onnx), "--precision", "fp16") == 0
    assert f"{find_plan(tiny, build.here()).path}: " in capsys.readouterr().out
    with open_backend("tensorrt", tiny) as backend:
        assert len(backend.infer(some_windows(1)[0])) == 2


@pytest.mark.gpu
def test_a_plan_that_tensorrt_refuses_is_an_error_with_its_reason_and_the_command(tiny, cache, plan_cache, monkeypatch):  # noqa: F811
    tensorrt_or_skip()
    plan_cache("fp32")
    plan = cached_plan(tiny, "fp32")
    whole = read_plan(plan, tiny)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    for broken in (b"not a plan" * 1000, bytes([whole[0] ^ 255]) + whole[1:]):
        store_plan(broken, msgspec.structs.replace(plan.sidecar, plan_sha256=hashlib.sha256(broken).hexdigest()))
        with pytest.raises(EngineError, match=r"cannot load it: .{10,}; run `rhythmd engine build"):
            open_backend("tensorrt", tiny).__enter__()
