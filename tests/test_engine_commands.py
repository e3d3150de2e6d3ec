"""`rhythmd engine`: what it builds, verifies and measures, and the one line that says what is missing."""

import argparse
import json
import os
import resource
import subprocess
import sys
from functools import partial

import msgspec
import numpy as np
import onnxruntime
import pytest

from engines import plans
from engines.backend import open_backend
from engines.build import PRECISIONS, build_plan
from engines.energy import conditions, open_meter
from engines.errors import EngineError
from engines.int8 import cached_path, calibrate, find_scales, keep_scales
from engines.model import SHIPPED, load
from engines.plans import cached_plans, find_plan, plans_of, read_plan
from engines.shelf import store_plan, store_verdict
from engines.timing import Timing, measure, pytorch, random_inputs, timed
from rhythmd import labelled
from rhythmd.commands import engine
from rhythmd.engine import bench
from rhythmd.engine.bench import Report, draw, table
from tests.test_backends import (
    cached_plan,
    remembering,  # noqa: F401 - fixtures too
    some_examples,
    some_windows,
    tensorrt_or_skip,
    tiny,  # noqa: F401
    write_tiny_model,
)
from tests.test_engine_plans import MODEL, NOON, ORIN, PLAN, sidecar, verdict_on


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "rhythmd"


def rhythmd_engine(*words):
    parser = argparse.ArgumentParser()
    engine.add_arguments(parser)
    return engine.run(parser.parse_args([str(word) for word in words]))


def said_without_a_gpu():
    try:
        plans.here()
    except EngineError as error:
        return str(error)
    return pytest.skip("this machine has a GPU and TensorRT")


# Without a GPU


@pytest.mark.parametrize("action", ["build", "verify"])
def test_without_a_gpu_one_line_says_what_is_missing(tiny, action):  # noqa: F811
    said = said_without_a_gpu()
    assert "\n" not in said
    assert any(remedy in said for remedy in ("python3-libnvinfer", "rhythmd[jetson]", "NVIDIA's driver"))
    with pytest.raises(EngineError) as opened, open_backend("tensorrt", tiny):
        pass
    assert str(opened.value) == said
    with pytest.raises(EngineError) as refused:
        rhythmd_engine(action, "--model", tiny.onnx)
    assert str(refused.value) == said


def test_as_a_command_it_is_one_line_and_exit_code_2():
    said = said_without_a_gpu()
    done = subprocess.run(
        [sys.executable, "-m", "rhythmd", "engine", "build", "--precision", "auto"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"rhythmd: {said}\n")


def test_info_shows_engines_device_and_plans_on_any_machine(capsys):
    assert rhythmd_engine("info") == 0
    assert ": none" in capsys.readouterr().out
    plan = store_plan(PLAN, sidecar())
    assert rhythmd_engine("info") == 0
    said = capsys.readouterr().out
    assert f"onnxruntime: {onnxruntime.__version__}\ntensorrt: " in said
    assert f"{plan.path.name} built 2026-01-01 12:00 UTC on {ORIN}, not for this device; not verified" in said
    store_verdict(plan, verdict_on(plan))
    assert rhythmd_engine("info") == 0
    assert "not for this device; passed on 500 windows" in capsys.readouterr().out


def test_info_as_json_is_one_object(capsys):
    plan = store_plan(PLAN, sidecar())
    store_verdict(plan, verdict_on(plan))
    assert rhythmd_engine("info", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["backends"]["onnxruntime"] == {"version": onnxruntime.__version__, "missing": None}
    assert (found["device"] is None) == (found["device_missing"] is not None)
    (only,) = found["plans"]
    assert (only["path"], only["sidecar"]["facts"]["precision"]) == (str(plan.path), "fp32")
    assert only["verdict"]["heads"]["beat"]["kl_mean"] == 0.001


@pytest.mark.parametrize("action", ["build", "verify", "bench"])
def test_a_model_that_is_not_there_is_refused(tmp_path, action):
    with pytest.raises(EngineError, match=r"nothing\.onnx is missing"):
        rhythmd_engine(action, "--model", tmp_path / "nothing.onnx")


def test_bench_times_what_is_here_and_says_what_is_not(tiny, cache, capsys):  # noqa: F811
    said = said_without_a_gpu()
    words = ("--calls", 1000, "--pause-s", 0.001, "--torch-python", "/no/python/here")
    assert rhythmd_engine("bench", "--model", tiny.onnx, *words) == 0
    shown = capsys.readouterr().out
    assert said in shown
    assert "PyTorch eager FP32" in shown
    assert "/no/python/here" in shown
    (row,) = [line for line in shown.splitlines() if line.startswith("ONNX Runtime CPU FP32")]
    p50, p99, p999, cold, first, load_ms, size = (float(word) for word in row.split()[6:13])
    assert 0 < p50 <= p99 <= p999
    assert min(cold, first, load_ms) > 0
    assert size == pytest.approx(tiny.onnx.stat().st_size / 1e6, abs=0.01)
    output = cache / "bench.json"
    assert rhythmd_engine("bench", "--model", tiny.onnx, "--json", "--output", output, *words[:4]) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed) == json.loads(output.read_text())
    found = msgspec.json.decode(printed, type=Report)
    assert (found.model, found.calls, found.device, found.device_missing) == (tiny.id, 1000, None, said)
    assert [timing.name for timing in found.timings] == ["ONNX Runtime CPU FP32, 1 thread"]


def test_a_bench_that_is_cut_off_has_kept_what_it_had(tiny, tmp_path, monkeypatch, capsys):  # noqa: F811
    def cut_off(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "pytorch", cut_off)
    output = tmp_path / "bench.json"
    words = ("--calls", 100, "--pause-s", 0, "--torch-python", "python3", "--output", output)
    with pytest.raises(KeyboardInterrupt):
        rhythmd_engine("bench", "--model", tiny.onnx, *words)
    assert [each["name"] for each in json.loads(output.read_text())["timings"]][-1:] == [
        "ONNX Runtime CPU FP32, 1 thread"
    ]
    assert "ONNX Runtime CPU FP32, 1 thread" in capsys.readouterr().out


def report(*timings):
    return Report(
        model="net",
        parameters_mb=90.0,
        device=ORIN,
        device_missing=None,
        machine="aarch64",
        conditions={"power mode": "15W"},
        calls=10,
        pause_s=1.0,
        made=NOON,
        timings=list(timings),
    )


def test_the_table_names_the_conditions_and_leaves_a_dash_where_nothing_was_measured():
    fast = Timing(name="TensorRT FP16", p50_us=123.4, p99_us=130.0, energy_mj=0.123)
    lines = table(report(fast, Timing(name="PyTorch", missing="no torch")))
    assert str(ORIN) in lines[1]
    assert "power mode 15W" in lines[2]
    assert lines[-2].split() == ["TensorRT", "FP16", "123", "130", "-", "-", "-", "-", "-", "-", "0.12"]
    assert lines[-1].split(maxsplit=1) == ["PyTorch", "no torch"]


def test_the_picture_is_a_png(tmp_path):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    path = tmp_path / "table.png"
    draw(report(Timing(name="a", p50_us=10.0, p99_us=12.0), Timing(name="b", missing="not here")), figure, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_picture_without_matplotlib_is_refused_before_anything_is_timed(monkeypatch, tiny, tmp_path):  # noqa: F811
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(EngineError, match=r"--png needs matplotlib .*rhythmd\[bench\]"):
        rhythmd_engine("bench", "--model", tiny.onnx, "--png", tmp_path / "x.png")


def test_records_without_their_folder_are_refused(monkeypatch, tiny):  # noqa: F811
    monkeypatch.setattr(plans, "here", lambda: ORIN)
    with pytest.raises(EngineError, match="--records names records of --data DIR, which is not given"):
        rhythmd_engine("build", "--model", tiny.onnx, "--records", "100")


# Timing


def test_a_timing_opens_times_and_tells_what_memory_it_took(tiny):  # noqa: F811
    free = iter([5_000_000, 2_000_000])
    inputs = random_inputs(tiny.manifest)
    found = measure(
        "cpu",
        lambda: open_backend("onnxruntime", tiny),
        inputs,
        calls=500,
        pause_s=0.0,
        free_bytes=lambda: next(free),
        size_mb=1.5,
    )
    assert 0 < found.p50_us <= found.p99_us <= found.p999_us
    assert (found.gpu_mb, found.size_mb, found.missing) == (3.0, 1.5, None)
    assert found.load_ms > 0


def test_an_engine_that_fails_becomes_a_line_of_the_table():
    def fails():
        raise EngineError("no plan; run this")

    assert timed("x", fails) == Timing(name="x", missing="no plan; run this")


def test_random_inputs_are_what_the_model_reads(remembering):  # noqa: F811
    remembering.manifest.check(random_inputs(remembering.manifest))


def test_an_interpreter_without_pytorch_is_told_by_its_last_line(tiny):  # noqa: F811
    try:
        import torch  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("this Python has PyTorch")
    rows = pytorch(tiny, sys.executable, calls=10, pause_s=0.0, limit_s=5)
    assert [row.name for row in rows] == ["PyTorch eager FP32", "PyTorch eager FP32, folded", "PyTorch compiled FP32"]
    assert all("No module named 'torch'" in row.missing for row in rows)


@pytest.mark.parametrize("folded", [False, True], ids=["as trained", "folded"])
def test_pytorch_answers_as_the_network_does(folded):
    """The operators of the script that times PyTorch, on the shipped model and on random windows."""
    torch = pytest.importorskip("torch", reason="PyTorch is needed to compare with it only")
    from engines.torch_timing import Network

    model = load(SHIPPED / "ecg1.onnx")
    network = Network(str(model.onnx), torch.device("cpu"), folded=folded).eval()
    inputs = random_inputs(model.manifest)
    with open_backend("onnxruntime", model) as backend, torch.inference_mode():
        expected = backend.infer(*inputs)
        states = (np.zeros(each.shape, np.float32) for each in model.manifest.states)
        found = network(*map(torch.from_numpy, (*inputs, *states)))
    for answer, wanted in zip(found[: len(expected)], expected, strict=True):
        np.testing.assert_allclose(answer.numpy(), wanted, atol=1e-5)


def test_pytorch_is_timed_by_an_interpreter_of_its_own():
    pytest.importorskip("torch", reason="PyTorch is needed to compare with it only")
    model = load(SHIPPED / "ecg1.onnx")
    eager, *_ = pytorch(model, sys.executable, calls=20, pause_s=0.0, limit_s=1, device="cpu")
    assert eager.missing is None
    assert 0 < eager.p50_us <= eager.p99_us


def test_energy_is_read_from_a_jetsons_power_monitor(tmp_path):
    monitor = tmp_path / "1-0040" / "hwmon" / "hwmon3"
    monitor.mkdir(parents=True)
    for name, value in {"in1_label": "VDD_IN\n", "in1_input": "5000\n", "curr1_input": "2000\n"}.items():
        (monitor / name).write_text(value)
    with open_meter(tmp_path) as meter:
        if meter is None or meter[1] != "VDD_IN":
            pytest.skip("this machine's GPU has a meter of its own")
        joules, _ = meter
        stop = joules() + 0.5  # at 10 W in 50 ms
        while joules() < stop:
            pass


def test_a_machine_without_a_meter_says_none(tmp_path):
    with open_meter(tmp_path) as meter:
        assert meter is None or meter[1].startswith("GPU")
    assert isinstance(conditions(), dict)


# On the GPU

QUICK = plans.Options(level=0)
"""The kernels are not what is tested here."""


@pytest.fixture
def gpu_model(tmp_path):
    tensorrt_or_skip()
    return write_tiny_model(tmp_path / "model")


@pytest.fixture
def noise(monkeypatch):
    """In place of a heart: an untrained network answers either alike."""
    monkeypatch.setattr(labelled, "shipped", partial(some_examples, labelled=False))


@pytest.mark.gpu
def test_build_leaves_a_verified_plan_that_the_backend_takes(gpu_model, noise, capsys):
    assert rhythmd_engine("build", "--model", gpu_model.onnx, "--level", 0, "--precision", "fp16") == 0
    plan = find_plan(gpu_model, plans.here())
    said = capsys.readouterr().out
    assert "fp16: " in said
    assert f"{plan.path} serves; verified on 200 windows of {labelled.SHIPPED}" in said
    assert plan.verdict.faults == []
    with open_backend("tensorrt", gpu_model) as backend:
        assert len(backend.infer(some_windows(1)[0])) == 2


@pytest.mark.gpu
def test_auto_lets_the_fastest_that_passes_serve_and_leaves_the_others_in_the_cache(gpu_model, noise, cache, capsys):
    keep_scales(calibrate(gpu_model, some_examples(gpu_model), "noise"), cached_path(gpu_model))
    assert rhythmd_engine("build", "--model", gpu_model.onnx, "--level", 0, "--precision", "auto", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["precision"] for each in told["tried"]] == list(PRECISIONS)
    passing = {each["precision"]: each["p50_us"] for each in told["tried"] if each["passed"]}
    kept, *others = cached_plans()
    assert kept.sidecar.facts.precision == min(passing, key=passing.get)
    assert {each.sidecar.facts.precision for each in others} == set(PRECISIONS) - {kept.sidecar.facts.precision}
    assert all(each.verdict for each in others)
    assert find_plan(gpu_model, plans.here()) == kept
    assert told["plan"] == str(kept.path)


@pytest.mark.gpu
def test_int8_without_scales_names_the_command_and_auto_goes_on_without_it(gpu_model, noise, capsys):
    with pytest.raises(EngineError, match=r"has no INT8 scales; .*--precision int8 --data DIR"):
        rhythmd_engine("build", "--model", gpu_model.onnx, "--level", 0, "--precision", "int8")
    assert rhythmd_engine("build", "--model", gpu_model.onnx, "--level", 0, "--precision", "auto") == 0
    assert "int8: " in capsys.readouterr().out


@pytest.mark.gpu
def test_scales_are_found_on_records_when_there_are_none_or_they_are_asked_for(gpu_model, noise, monkeypatch):
    from rhythmd.engine.windows import Windows

    words = ("build", "--model", gpu_model.onnx, "--precision", "int8", "--level", 0)
    with pytest.raises(EngineError, match="--recalibrate needs --data DIR"):
        rhythmd_engine(*words, "--recalibrate")
    given = [(some_examples(gpu_model), "first records")]
    monkeypatch.setattr(Windows, "given", lambda _: given[0])
    monkeypatch.setattr(Windows, "any", lambda _: (some_examples(gpu_model, labelled=False), "noise"))
    assert rhythmd_engine(*words, "--data", "somewhere") == 0
    first = find_scales(gpu_model)
    assert first.source == "first records"
    given[0] = (some_examples(gpu_model, count=300), "other records")
    assert rhythmd_engine(*words, "--data", "somewhere") == 0
    assert find_scales(gpu_model) == first
    assert rhythmd_engine(*words, "--data", "somewhere", "--recalibrate") == 0
    assert find_scales(gpu_model).source == "other records"


@pytest.mark.gpu
def test_a_plan_that_strays_is_refused_and_the_one_before_goes_on_serving(gpu_model, noise, capsys, monkeypatch):
    assert rhythmd_engine("build", "--model", gpu_model.onnx, "--level", 0) == 0
    serving = find_plan(gpu_model, plans.here())
    far = msgspec.structs.replace(calibrate(gpu_model, some_examples(gpu_model), "noise"), activations={"b": 1e-6})
    keep_scales(far, cached_path(gpu_model))
    assert rhythmd_engine("build", "--model", gpu_model.onnx, "--level", 0, "--precision", "int8") == 1
    said = capsys.readouterr().out
    assert "KL divergence" in said
    assert "nothing passed" in said
    assert plans_of(gpu_model, plans.here())[0].sidecar.facts.precision == "int8"
    assert find_plan(gpu_model, plans.here()) == serving


@pytest.mark.gpu
def test_verify_tells_and_keeps_a_verdict(gpu_model, noise, capsys):
    plan = build_plan(gpu_model, "fp32", options=QUICK)
    assert plan.verdict is None
    assert rhythmd_engine("verify", "--model", gpu_model.onnx) == 0
    said = capsys.readouterr().out
    assert "beat: KL divergence mean" in said
    assert "F1" in said
    assert plan.verdict.faults == []
    assert rhythmd_engine("verify", "--model", gpu_model.onnx, "--json") == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True


@pytest.mark.gpu
def test_tensorrts_own_calibrator_builds_and_its_cache_is_used_again(gpu_model, noise, cache, monkeypatch, tmp_path):
    from engines import cuda
    from rhythmd.engine.windows import Windows

    if not hasattr(cuda.trt, "IInt8EntropyCalibrator2"):
        pytest.skip(f"TensorRT {cuda.trt.__version__} has none")
    words = ("build", "--model", gpu_model.onnx, "--precision", "int8", "--classic", "--level", 0)
    with pytest.raises(EngineError, match="no calibration cache"):
        rhythmd_engine(*words)
    monkeypatch.setattr(Windows, "given", lambda _: (some_examples(gpu_model), "noise"))
    assert rhythmd_engine(*words) == 0
    (kept,) = cache.glob("*.entropy2")
    assert b"EntropyCalibration2" in kept.read_bytes()
    monkeypatch.setattr(Windows, "given", lambda _: (None, ""))
    assert rhythmd_engine(*words) == 0
    assert find_plan(gpu_model, plans.here()).sidecar.facts.calibration == "classic"


@pytest.mark.gpu
def test_the_timings_of_one_build_make_the_next_fast_and_damaged_ones_are_left_alone(gpu_model, cache):
    first = build_plan(gpu_model, "fp32")
    (timings,) = cache.glob("*.timings")
    again = build_plan(gpu_model, "fp32")
    assert again.sidecar.took_s <= first.sidecar.took_s
    timings.write_bytes(b"x" * 1000)
    build_plan(gpu_model, "fp32")
    assert timings.read_bytes() != b"x" * 1000


@pytest.mark.gpu
def test_a_full_disk_while_a_plan_is_built_leaves_nothing_half_written(gpu_model, noise, cache):
    build_plan(gpu_model, "fp32", options=QUICK)
    before = {path.name: path.read_bytes() for path in cache.glob("*.plan*")}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(EngineError, match="File too large; make room there"):
            rhythmd_engine("build", "--model", gpu_model.onnx, "--level", 0, "--precision", "fp16")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in cache.glob("*.plan*")} == before
    assert list(cache.glob("*.tmp")) == []


@pytest.mark.gpu
def test_a_plan_that_tensorrt_refuses_is_an_error_with_its_reason_and_the_command(gpu_model):
    import hashlib

    plan = cached_plan(gpu_model, "fp32")
    whole, verdict = read_plan(plan, gpu_model), plan.verdict
    for broken in (b"not a plan" * 1000, bytes([whole[0] ^ 255]) + whole[1:]):
        digest = hashlib.sha256(broken).hexdigest()
        store_plan(broken, msgspec.structs.replace(plan.sidecar, plan_sha256=digest))
        store_verdict(plan, msgspec.structs.replace(verdict, plan_sha256=digest))
        with pytest.raises(EngineError, match=r"cannot load it: .{10,}; run `rhythmd engine build"):
            open_backend("tensorrt", gpu_model).__enter__()


@pytest.mark.gpu
def test_every_option_of_the_build_is_taken(gpu_model, noise):
    words = ("build", "--model", gpu_model.onnx, "--sparsity", "--workspace-mb", 64, "--level", 1, "--streams", 1)
    assert rhythmd_engine(*words) == 0
    options = find_plan(gpu_model, plans.here()).sidecar.facts.options
    assert (options.sparsity, options.workspace_bytes, options.level, options.streams) == (True, 64 << 20, 1, 1)


@pytest.mark.gpu
def test_bench_times_every_way_to_run_it_on_the_gpu(gpu_model, capsys):
    keep_scales(calibrate(gpu_model, some_examples(gpu_model), "noise"), cached_path(gpu_model))
    words = ("--calls", 500, "--pause-s", 0.01, "--json")
    assert rhythmd_engine("bench", "--model", gpu_model.onnx, *words) == 0
    found = msgspec.json.decode(capsys.readouterr().out, type=Report)
    names = [timing.name for timing in found.timings]
    assert names[0] == "TensorRT FP32, graph, spin"
    assert {"TensorRT INT8, graph, copies, spin", "TensorRT INT8, no graph, block"} <= set(names)
    assert [timing.missing for timing in found.timings] == [None] * len(names)
    assert cached_plans() == []  # what was built for the occasion is gone


BROKEN_GPU = """
import os, sys
from pathlib import Path
import numpy as np
from daemon.engine import open_engine
from engines.model import load
from cuda.bindings import driver, runtime
model = load(Path(sys.argv[1]))
window = np.ones(model.manifest.window_shape, np.float32)
with open_engine("tensorrt", model) as engine:
    first = engine.infer(window)
    # A kernel that traps: from now on every call of CUDA in this process fails, as after a fault of the GPU.
    trap = b".version 7.0\\n.target sm_50\\n.address_size 64\\n.visible .entry trap() { trap; }\\0"
    _, module = driver.cuModuleLoadData(trap)
    _, kernel = driver.cuModuleGetFunction(module, b"trap")
    driver.cuLaunchKernel(kernel, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0)
    print(runtime.cudaDeviceSynchronize(), file=sys.stderr)
    for _ in range(3):
        again = engine.infer(window)
    print(engine.name, engine.failing, max(float(abs(a - b).max()) for a, b in zip(first, again)) < 1e-2, flush=True)
    os._exit(0)  # what is left of the GPU's context would crash the interpreter's end
"""


@pytest.mark.gpu
def test_a_gpu_that_is_lost_under_the_daemons_engine_costs_no_window(gpu_model):
    cached_plan(gpu_model, "fp32")
    done = subprocess.run(
        [sys.executable, "-c", BROKEN_GPU, str(gpu_model.onnx)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ,
    )
    assert done.stdout == "onnxruntime True True\n", done.stderr
    assert "engine tensorrt failed" in done.stderr
    assert "restart rhythmd" in done.stderr


def test_a_plan_of_no_model_serves_no_other():
    store_plan(PLAN, sidecar())
    assert plans_of(MODEL, ORIN)
    other = msgspec.structs.replace(MODEL.manifest, sha256="cd" * 32)
    with pytest.raises(EngineError, match="no TensorRT plan"):
        plans_of(type(MODEL)(MODEL.onnx, other), ORIN)
