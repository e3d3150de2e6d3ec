"""One suite, every engine: each answers the same windows alike, and refuses what it should by an EngineError."""

import gc
import hashlib
import importlib
import logging
from contextlib import contextmanager
from dataclasses import replace

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from daemon.engine import Seat
from daemon.engine import open_engine as open_daemons_engine
from engines.backend import BACKENDS, open_backend
from engines.build import PRECISIONS, build_plan
from engines.errors import EngineError
from engines.examples import UNKNOWN, Example
from engines.int8 import calibrate
from engines.model import SHIPPED, Head, Manifest, State, Tensor, load
from engines.plans import Options, find_plan, here
from engines.verify import verify
from rhythmd import labelled

SAMPLES = 1000
WINDOW = (Tensor("ecg", (1, 1, 1, SAMPLES)),)
HEADS = (Head("beat", ("normal", "supraventricular", "ventricular")), Head("rhythm", ("other", "atrial_fibrillation")))


def write_tiny_model(folder):
    """An untrained network that keeps the contract: 12 kB of convolutions, a shortcut and two heads."""
    rng = np.random.default_rng(0)
    weights = {
        "stem": rng.normal(0, 0.5, (32, 1, 1, 9)),
        "block": rng.normal(0, 0.1, (32, 32, 1, 5)),
        "beat_weight": rng.normal(0, 1, (32, 3)),
        "rhythm_weight": rng.normal(0, 1, (32, 2)),
    }
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Conv", ["ecg", "stem"], ["a"], strides=[1, 4], pads=[0, 4, 0, 4]),
            node("Relu", ["a"], ["b"]),
            node("Conv", ["b", "block"], ["c"], pads=[0, 2, 0, 2]),
            node("Add", ["b", "c"], ["d"]),
            node("Relu", ["d"], ["e"]),
            node("GlobalAveragePool", ["e"], ["f"]),
            node("Flatten", ["f"], ["g"]),
            node("Gemm", ["g", "beat_weight"], ["beat_logits"]),
            node("Gemm", ["g", "rhythm_weight"], ["rhythm_logits"]),
            node("Softmax", ["beat_logits"], ["beat"], axis=-1),
            node("Softmax", ["rhythm_logits"], ["rhythm"], axis=-1),
        ],
        "tiny",
        [helper.make_tensor_value_info("ecg", TensorProto.FLOAT, (1, 1, 1, SAMPLES))],
        [helper.make_tensor_value_info(head.name, TensorProto.FLOAT, (1, len(head.labels))) for head in HEADS],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(network)
    return write_model(folder, network.SerializeToString())


def write_remembering_model(folder):
    """A network with two inputs and two states: a fading sum of its features, and RR intervals of the call before."""
    rng = np.random.default_rng(5)
    weights = {
        "stem": rng.normal(0, 0.3, (32, 1, 1, 9)),
        "beat_weight": rng.normal(0, 0.3, (40, 3)),
        "rhythm_weight": rng.normal(0, 0.3, (40, 2)),
        "half": np.array(0.5),
    }
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Conv", ["ecg", "stem"], ["a"], strides=[1, 4], pads=[0, 4, 0, 4]),
            node("Relu", ["a"], ["b"]),
            node("GlobalAveragePool", ["b"], ["c"]),
            node("Flatten", ["c"], ["d"]),
            node("Mul", ["past", "half"], ["faded"]),
            node("Add", ["d", "faded"], ["past_next"]),
            node("Mul", ["rr", "half"], ["rr_next"]),
            node("Sub", ["rr", "rr_before"], ["change"]),
            node("Concat", ["past_next", "change"], ["e"], axis=1),
            node("Gemm", ["e", "beat_weight"], ["beat_logits"]),
            node("Gemm", ["e", "rhythm_weight"], ["rhythm_logits"]),
            node("Softmax", ["beat_logits"], ["beat"], axis=-1),
            node("Softmax", ["rhythm_logits"], ["rhythm"], axis=-1),
        ],
        "remembering",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in {"ecg": (1, 1, 1, SAMPLES), "rr": (1, 8), "past": (1, 32), "rr_before": (1, 8)}.items()
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in {"beat": (1, 3), "rhythm": (1, 2), "past_next": (1, 32), "rr_next": (1, 8)}.items()
        ],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(network)
    states = (State("past", "past_next", (1, 32)), State("rr_before", "rr_next", (1, 8)))
    return write_model(folder, network.SerializeToString(), inputs=(*WINDOW, Tensor("rr", (1, 8))), states=states)


def write_model(folder, onnx_file, **promises):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.onnx").write_bytes(onnx_file)
    sha256 = hashlib.sha256(onnx_file).hexdigest()
    manifest = Manifest(sha256, "0", 250, WINDOW, 700, "robust", HEADS)
    manifest = msgspec.structs.replace(manifest, **promises)
    (folder / "tiny.json").write_bytes(msgspec.json.encode(manifest))
    return load(folder / "tiny.onnx")


def tensorrt_or_skip():
    try:
        importlib.import_module("engines.tensorrt_backend")
        importlib.import_module("engines.cuda").open_gpu()
    except EngineError as error:
        pytest.skip(str(error))


def cached_plan(model, precision):
    """Building is slow even without looking for the fastest kernels: once a session. Verified, as the user's is."""
    try:
        return find_plan(model, here())
    except EngineError:
        examples = some_examples(model)
        shipped = model.onnx.parent == SHIPPED
        scales = calibrate(model, examples, "noise") if precision == "int8" and not shipped else None
        plan = build_plan(model, precision, options=Options(level=0), scales=scales)
        verify(plan, model, some_examples(model, labelled=False), "noise")
        return plan


def some_examples(model, count=200, *, labelled=True):
    """Noise, with labels that go round: to untrained networks any label is as good as another, and F1 is chance."""
    rng = np.random.default_rng(7)
    return [
        Example(
            noise(model.manifest, rng),
            tuple(index % len(head.labels) if labelled else UNKNOWN for head in model.manifest.heads),
            begins=index % 20 == 0,
        )
        for index in range(count)
    ]


def noise(manifest, rng):
    """One of each input. The last interval feature says whether there is a beat: what remembers beats takes 1 or 0."""
    ecg, *others = (rng.normal(0, 1, each.shape).astype(np.float32) for each in manifest.inputs)
    for other in others:
        other[..., -1] = other[..., -1] > 0
    return ecg, *others


def some_windows(count):
    return np.random.default_rng(1).normal(0, 1, (count, 1, 1, 1, SAMPLES)).astype(np.float32)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def remembering(tmp_path_factory):
    return write_remembering_model(tmp_path_factory.mktemp("remembering"))


@pytest.fixture
def plan_cache(tmp_path_factory, monkeypatch):
    """Makes a folder of the session, one for each precision, the cache."""

    def use(precision):
        monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / f"plans-{precision}"))

    return use


@pytest.fixture(
    params=["onnxruntime", *(pytest.param(f"tensorrt {kind}", marks=pytest.mark.gpu) for kind in PRECISIONS)]
)
def engine(request, plan_cache):
    """Opens a model on one engine, as the daemon does; TensorRT builds its plan first, as the user does."""
    name, precision, *_ = *request.param.split(), "fp32"
    plan_cache(precision)
    if name == "tensorrt":
        tensorrt_or_skip()

    @contextmanager
    def opened(model, *, prepared_from=None):
        if name == "tensorrt":
            if precision == "int8" and model.onnx.parent.name.startswith("remembering"):
                pytest.skip("its one convolution has a single input channel: there is nothing to quantise")
            cached_plan(prepared_from or model, precision)
        with open_backend(name, model) as backend:
            yield backend

    opened.tolerance = {
        "fp32": 5e-3 if name == "tensorrt" else 1e-3,  # TF32 has the 10 bits of FP16
        "fp16": 2e-2,
        "int8": 1e-1,
    }[precision]
    return opened


def test_every_engine_of_the_table_is_tested_here():
    assert set(BACKENDS) == {"onnxruntime", "tensorrt"}


def test_an_unknown_engine_is_refused_with_the_names_that_are_known(tiny):
    with pytest.raises(EngineError, match=r"'tensorflow' is not one of onnxruntime, tensorrt"):
        open_backend("tensorflow", tiny)


def test_each_head_is_float32_of_its_shape_and_sums_to_1(engine, tiny):
    with engine(tiny) as backend:
        heads = backend.infer(some_windows(1)[0])
    assert [(head.shape, head.dtype) for head in heads] == [((1, 3), np.float32), ((1, 2), np.float32)]
    for head in heads:
        # TensorRT 8.6 may compute even a softmax that is told to be FP32 in FP16
        assert head.sum() == pytest.approx(1, abs=1e-5 if engine.tolerance < 1e-2 else 1e-3)
        assert (head >= 0).all()


def test_heads_come_in_the_order_of_the_manifest(engine, tiny):
    swapped = replace(tiny, manifest=msgspec.structs.replace(tiny.manifest, heads=HEADS[::-1]))
    with engine(tiny) as backend:
        beat, rhythm = backend.infer(some_windows(1)[0])
    with engine(swapped) as backend:
        first, second = backend.infer(some_windows(1)[0])
    np.testing.assert_allclose(first, rhythm, atol=engine.tolerance)
    np.testing.assert_allclose(second, beat, atol=engine.tolerance)


def test_the_caller_may_keep_what_it_got(engine, tiny):
    first_window, second_window = some_windows(2)
    with engine(tiny) as backend:
        kept = backend.infer(first_window)
        copies = [head.copy() for head in kept]
        backend.infer(10 * second_window)
    for head, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(head, copy)


def test_the_same_window_gives_the_same_answer_bit_for_bit(engine, tiny):
    one, other = some_windows(2)
    with engine(tiny) as backend:
        before = backend.infer(one)
        backend.infer(other)
        after = backend.infer(one)
    for head, again in zip(before, after, strict=True):
        np.testing.assert_array_equal(head, again)


def test_every_engine_answers_as_onnx_runtime_does(engine, tiny):
    with open_backend("onnxruntime", tiny) as reference, engine(tiny) as backend:
        answers = []
        for window in some_windows(50):
            expected = reference.infer(window)
            for head, wanted in zip(backend.infer(window), expected, strict=True):
                np.testing.assert_allclose(head, wanted, atol=engine.tolerance)
            answers.append(expected[0])
    assert np.ptp(answers, axis=0).max() > 0.05  # or a backend that ignores its input would pass


def test_the_shipped_model_answers_as_on_onnx_runtime(engine):
    """On real windows in their order: what it remembers is as far from noise as what it reads."""
    model = load(SHIPPED / "ecg1.onnx")
    with open_backend("onnxruntime", model) as reference, engine(model) as backend:
        for example in labelled.shipped(model)[:60]:
            for head, wanted in zip(backend.infer(*example.inputs), reference.infer(*example.inputs), strict=True):
                np.testing.assert_allclose(head, wanted, atol=engine.tolerance)


def some_beats(count):
    rng = np.random.default_rng(6)
    return [(window, rng.normal(0, 1, (1, 8)).astype(np.float32)) for window in some_windows(count)]


def test_states_go_from_one_call_to_the_next(engine, remembering):
    """Computed here anew with numpy's own arithmetic on the weights, so that no engine is its own witness."""
    weights = {each.name: numpy_helper.to_array(each) for each in onnx.load(remembering.onnx).graph.initializer}
    past, before = np.zeros(32), np.zeros(8)
    with engine(remembering) as backend:
        for window, rr in some_beats(6):
            padded = np.pad(window[0, 0, 0].astype(float), 4)
            taps = np.lib.stride_tricks.sliding_window_view(padded, 9)[::4]
            past = np.maximum(taps @ weights["stem"][:, 0, 0].T.astype(float), 0).mean(0) + 0.5 * past
            features = np.concatenate([past, rr[0] - before])
            before = 0.5 * rr[0]
            for head, answer in zip(("beat", "rhythm"), backend.infer(window, rr), strict=True):
                raised = np.exp(features @ weights[f"{head}_weight"])
                np.testing.assert_allclose(answer[0], raised / raised.sum(), atol=engine.tolerance)


def test_an_engine_that_forgets_answers_as_if_newly_opened(engine, remembering):
    beats = some_beats(4)
    with engine(remembering) as backend:
        first = [backend.infer(*beat) for beat in beats]
        going_on = [backend.infer(*beat) for beat in beats]
        backend.forget()
        again = [backend.infer(*beat) for beat in beats]
    for once, twice in zip(first, again, strict=True):
        for head, same in zip(once, twice, strict=True):
            np.testing.assert_array_equal(head, same)
    assert max(np.abs(head - later).max() for head, later in zip(first[0], going_on[0], strict=True)) > 0.01


def test_two_engines_of_one_model_remember_each_its_own(engine, remembering):
    mine, others = some_beats(4)[:2], some_beats(4)[2:]
    with engine(remembering) as alone:
        expected = [alone.infer(*beat) for beat in mine]
    with engine(remembering) as one, engine(remembering) as other:
        found = []
        for beat, disturbing in zip(mine, others, strict=True):
            found.append(one.infer(*beat))
            other.infer(*disturbing)
    for heads, wanted in zip(found, expected, strict=True):
        for head, same in zip(heads, wanted, strict=True):
            np.testing.assert_array_equal(head, same)


def test_one_engine_that_patches_take_turns_at_remembers_of_each_its_own(engine, remembering):
    mine, others = some_beats(6)[:3], some_beats(6)[3:]
    with engine(remembering) as backend:
        expected = [backend.infer(*beat) for beat in mine]
        backend.forget()
        begin = backend.states
        found, theirs = [], begin
        for beat, disturbing in zip(mine, others, strict=True):
            found.append(backend.infer(*beat))
            kept, backend.states = backend.states, theirs
            backend.infer(*disturbing)
            theirs, backend.states = backend.states, kept
    assert all(not state.any() for state in begin.values())
    for heads, wanted in zip(found, expected, strict=True):
        for head, same in zip(heads, wanted, strict=True):
            np.testing.assert_array_equal(head, same)


@pytest.mark.parametrize(
    "inputs",
    [(np.zeros((1, 1, 1, SAMPLES), np.float32),), (np.zeros((1, 8), np.float32), np.zeros((1, 1, 1, SAMPLES)))],
    ids=["one too few", "in another order"],
)
def test_inputs_that_are_not_the_manifests_are_refused_and_change_no_state(engine, remembering, inputs):
    beat = some_beats(1)[0]
    with engine(remembering) as backend:
        with pytest.raises(EngineError, match="the model reads"):
            backend.infer(*inputs)
        refused = backend.infer(*beat)
        backend.forget()
        for head, same in zip(refused, backend.infer(*beat), strict=True):
            np.testing.assert_array_equal(head, same)


@pytest.mark.parametrize(
    "promises",
    [
        {"inputs": ()},
        {"heads": ()},
        {"inputs": (*WINDOW, *WINDOW)},
        {"states": (State("past", "beat", (1, 8)),)},
        {"inputs": (Tensor("ecg", (0, 1, 1, SAMPLES)),)},
        {"inputs": (Tensor("ecg", (-1, 1, 1, -SAMPLES)),)},
        {"states": (State("past", "past_next", ()),)},
    ],
    ids=str,
)
def test_a_manifest_that_no_engine_could_keep_is_refused(tiny, tmp_path, promises):
    with pytest.raises(EngineError, match="export it again"):
        write_model(tmp_path / "odd", tiny.onnx.read_bytes(), **promises)


def test_windows_of_nan_inf_zero_and_huge_values_do_not_raise(engine, tiny):
    good = some_windows(1)[0]
    with engine(tiny) as backend:
        before = backend.infer(good)
        for value in (np.nan, np.inf, 0, 1e30):
            backend.infer(np.full_like(good, value))
        after = backend.infer(good)
    for head, again in zip(before, after, strict=True):
        np.testing.assert_array_equal(head, again)


@pytest.mark.parametrize(
    "windows",
    [
        np.zeros((1, 1, 1, SAMPLES - 1), np.float32),
        np.zeros((2, 1, 1, SAMPLES), np.float32),
        np.zeros(SAMPLES, np.float32),
        np.zeros((1, 1, 1, SAMPLES), np.float64),
    ],
    ids=["a sample short", "two windows", "no batch", "float64"],
)
def test_windows_of_another_shape_or_type_are_refused(engine, tiny, windows):
    with engine(tiny) as backend:
        with pytest.raises(EngineError):
            backend.infer(windows)
        backend.infer(some_windows(1)[0])  # and do no harm


@pytest.mark.parametrize(
    "wrong",
    [
        {"inputs": (Tensor("window", (1, 1, 1, SAMPLES)),)},
        {"inputs": (Tensor("ecg", (1, 1, 1, SAMPLES + 1)),)},
        {"inputs": (Tensor("ecg", (2, 1, 1, SAMPLES)),)},
        {"inputs": (*WINDOW, Tensor("rr", (1, 8)))},
        {"states": (State("past", "past_next", (1, 8)),)},
        {"heads": HEADS[:1]},
        {"heads": (*HEADS, Head("noise", ("no", "yes")))},
        {"heads": (HEADS[0], Head("rhythms", HEADS[1].labels))},
        {"heads": (HEADS[0], Head("rhythm", ("one", "two", "three")))},
    ],
    ids=" ".join,
)
def test_a_manifest_that_does_not_fit_the_network_is_refused(engine, tiny, wrong):
    promises_else = replace(tiny, manifest=msgspec.structs.replace(tiny.manifest, **wrong))
    with pytest.raises(EngineError, match=r"has the tensors .* manifest"), engine(promises_else, prepared_from=tiny):
        pass


def test_a_truncated_model_file_is_refused_in_one_line(engine, tiny, tmp_path):
    truncated = write_model(tmp_path / "cut", tiny.onnx.read_bytes()[:-2000])
    with pytest.raises(EngineError, match=r"tiny\.onnx") as refusal, engine(truncated):
        pass
    assert "\n" not in str(refusal.value)


def test_a_model_file_that_is_not_the_manifests_is_refused_before_any_engine_sees_it(tiny, tmp_path):
    copy = write_model(tmp_path / "altered", tiny.onnx.read_bytes())
    altered = bytearray(copy.onnx.read_bytes())
    altered[500] ^= 1
    copy.onnx.write_bytes(altered)
    with pytest.raises(EngineError, match="is not the file its manifest describes"):
        load(copy.onnx)


@pytest.mark.gpu
class TestOnTheGpu:
    @pytest.fixture(autouse=True)
    def _plan(self, plan_cache, tiny):
        tensorrt_or_skip()
        plan_cache("fp32")
        cached_plan(tiny, "fp32")

    def test_the_graph_answers_as_plain_calls_do(self, tiny):
        from engines.tensorrt_backend import open_engine

        with open_engine(tiny, graph=True) as replayed, open_engine(tiny, graph=False) as enqueued:
            for window in some_windows(5):
                for head, wanted in zip(replayed.infer(window), enqueued.infer(window), strict=True):
                    np.testing.assert_array_equal(head, wanted)

    def test_a_graph_that_cannot_be_captured_is_replaced_by_plain_calls_and_logged_once(
        self, tiny, caplog, monkeypatch
    ):
        from engines import cuda, tensorrt_backend

        def refuses(stream, enqueue):
            def enqueue_and_wait():
                enqueue()
                cuda.wait(stream)  # what no graph may do: CUDA itself refuses

            return really_capture(stream, enqueue_and_wait)

        really_capture = cuda.capture
        monkeypatch.setattr(cuda, "capture", refuses)
        with caplog.at_level(logging.WARNING), tensorrt_backend.open_engine(tiny) as backend:
            for window in some_windows(3):
                for head in backend.infer(window):
                    assert head.sum() == pytest.approx(1, abs=1e-5)
        assert [record.message for record in caplog.records if "no CUDA graph" in record.message] == [
            caplog.messages[0]
        ]

    def test_closing_frees_all_gpu_memory_even_when_the_caller_keeps_the_engine(self, tiny):
        from cuda.bindings import runtime

        kept, free = [], []
        for _ in range(20):
            with open_backend("tensorrt", tiny) as backend:
                backend.infer(some_windows(1)[0])
            kept.append(backend)
            gc.collect()
            free.append(runtime.cudaMemGetInfo()[1])
        assert free[-1] >= free[4]  # CUDA keeps some pools after the first times, and no more after that

    def test_a_closed_engine_refuses(self, tiny):
        with open_backend("tensorrt", tiny) as backend:
            pass
        with pytest.raises(EngineError, match="closed"):
            backend.infer(some_windows(1)[0])

    def test_patches_that_share_the_daemons_engine_remember_each_its_own(self, remembering):
        cached_plan(remembering, "fp32")
        mine, others = some_beats(8)[:4], some_beats(8)[4:]
        with open_daemons_engine("tensorrt", remembering) as alone:
            expected = [alone.infer(*beat) for beat in mine]
        with open_daemons_engine("tensorrt", remembering) as shared:
            one, other = (Seat(shared, remembering.manifest) for _ in range(2))
            found = []
            for beat, disturbing in zip(mine, others, strict=True):
                found.append(one.infer(*beat))
                other.infer(*disturbing)
            one.forget()
            found.append(one.infer(*mine[0]))
            assert shared.name == "tensorrt"
        for heads, wanted in zip(found, [*expected, expected[0]], strict=True):
            for head, same in zip(heads, wanted, strict=True):
                np.testing.assert_array_equal(head, same)

    def test_an_error_of_cuda_names_the_call_and_the_remedy(self):
        from engines import cuda

        with pytest.raises(EngineError, match=r"cudaMalloc: cudaErrorMemoryAllocation .*free GPU memory"):
            cuda.call(cuda.cudart.cudaMalloc, 1 << 50)
