"""FP16 and INT8 that stand in the graph: what is rewritten, what it costs in accuracy, and what is refused."""

import msgspec
import numpy as np
import onnx
import pytest

from engines import int8
from engines.backend import open_backend
from engines.errors import EngineError
from engines.examples import UNKNOWN, Example, answers
from engines.half import to_half
from engines.int8 import as_model, cached_path, calibrate, find_scales, keep_scales, threshold, to_int8
from engines.model import SHIPPED, load
from engines.verify import compare
from tests.test_backends import (  # noqa: F401 - fixtures too
    remembering,
    some_beats,
    some_windows,
    tiny,
    write_model,
    write_tiny_model,
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("CACHE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "rhythmd"


def of_every_class(count, model, inputs=None):
    """Windows with labels that go round: the tiny network is untrained, any label is as good as another."""
    inputs = inputs or [(window,) for window in some_windows(count)]
    return [
        Example(each, tuple(index % len(head.labels) for head in model.manifest.heads), begins=index % 50 == 0)
        for index, each in enumerate(inputs)
    ]


def tensors_of(network, kind):
    return [node for node in network.graph.node if node.op_type == kind]


# FP16


def test_in_half_precision_the_network_reads_and_answers_as_before(tiny, tmp_path):  # noqa: F811
    half = write_model(tmp_path / "half", to_half(tiny))
    inside = onnx.load(half.onnx)
    assert {tensor.data_type for tensor in inside.graph.initializer} == {onnx.TensorProto.FLOAT16}
    with open_backend("onnxruntime", tiny) as single, open_backend("onnxruntime", half) as halved:
        for window in some_windows(20):
            for head, wanted in zip(halved.infer(window), single.infer(window), strict=True):
                np.testing.assert_allclose(head, wanted, atol=2e-2)


def test_states_stay_float32_when_the_network_computes_in_half(remembering, tmp_path):  # noqa: F811
    half = as_model(remembering, to_half(remembering), tmp_path / "half.onnx")
    with open_backend("onnxruntime", remembering) as single, open_backend("onnxruntime", half) as halved:
        for beat in some_beats(20):
            for head, wanted in zip(halved.infer(*beat), single.infer(*beat), strict=True):
                np.testing.assert_allclose(head, wanted, atol=2e-2)
        assert {name: state.dtype for name, state in halved.states.items()} == dict.fromkeys(
            ("past", "rr_before"), np.float32
        )


def test_weights_that_half_precision_cannot_hold_are_refused(tiny, tmp_path):  # noqa: F811
    network = onnx.load(tiny.onnx)
    weight = next(tensor for tensor in network.graph.initializer if tensor.name == "block")
    weight.CopyFrom(onnx.numpy_helper.from_array(1e6 * onnx.numpy_helper.to_array(weight), weight.name))
    with pytest.raises(EngineError, match=r"block has values that FP16 cannot hold; use --precision fp32"):
        to_half(write_model(tmp_path / "huge", network.SerializeToString()))


# INT8


def test_only_convolutions_with_enough_channels_are_quantised_each_by_its_own_scales(tiny):  # noqa: F811
    network = onnx.load_model_from_string(to_int8(tiny, calibrate(tiny, of_every_class(200, tiny), "here")))
    assert [each.input[0] for each in tensors_of(network, "QuantizeLinear")] == ["b", "block"]
    stem, block = tensors_of(network, "Conv")
    assert list(stem.input) == ["ecg", "stem"]
    assert list(block.input) == ["b/Dequantize", "block/Dequantize"]
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in network.graph.initializer}
    assert (constants["b/scale"].shape, constants["block/scale"].shape) == ((), (32,))
    np.testing.assert_allclose(constants["block/scale"], np.abs(constants["block"]).max(axis=(1, 2, 3)) / 127)
    for name in ("b/zero", "block/zero"):
        assert (constants[name].dtype, constants[name].any()) == (np.int8, False)
    along = [attribute.i for node in tensors_of(network, "QuantizeLinear") for attribute in node.attribute]
    assert along == [0]  # the kernel's output channels; an activation has one scale


def test_a_quantised_kernel_has_its_shape_told_for_tensorrt_86_takes_it_for_1_x_1(tiny):  # noqa: F811
    network = onnx.load_model_from_string(to_int8(tiny, calibrate(tiny, of_every_class(200, tiny), "here")))
    constants = {tensor.name for tensor in network.graph.initializer}
    quantised = [node for node in network.graph.node if node.op_type == "Conv" and node.input[1] not in constants]
    assert [onnx.helper.get_node_attr_value(node, "kernel_shape") for node in quantised] == [[1, 5]]


def test_in_int8_the_network_answers_nearly_as_before(tiny, tmp_path):  # noqa: F811
    examples = of_every_class(300, tiny)
    quantised = as_model(tiny, to_int8(tiny, calibrate(tiny, examples, "here")), tmp_path / "int8.onnx")
    with open_backend("onnxruntime", tiny) as single, open_backend("onnxruntime", quantised) as coarse:
        expected, found = (answers(backend, examples, 2) for backend in (single, coarse))
    for head in compare(tiny.manifest, expected, found, examples).values():
        assert 1e-12 < head.kl_mean < 0.001  # the lower end: that anything was quantised at all
        assert head.agreement > 0.98


def test_calibration_feeds_the_states_that_the_network_would_have_by_then(remembering, tmp_path):  # noqa: F811
    beats = some_beats(8)
    examples = of_every_class(8, remembering, beats)
    with open_backend("onnxruntime", remembering) as backend:
        expected = []
        for beat in beats:
            expected.append(backend.states)
            backend.infer(*beat)
    found = list(int8.feeds(remembering, examples, [0, 3, 7]))
    for feed, states in zip(found, (expected[0], expected[3], expected[7]), strict=True):
        assert set(feed) == {"ecg", "rr", "past", "rr_before"}
        for name, value in states.items():
            np.testing.assert_array_equal(feed[name], value)


@pytest.mark.parametrize(("present", "missing"), [([0, 1], "beat ventricular (0)"), ([0, 1, 1, 2], "supra")])
def test_a_class_that_calibration_lacks_is_named(tiny, present, missing):  # noqa: F811
    examples = [
        Example((window,), (present[index % len(present)], index % 2), begins=index == 0)
        for index, window in enumerate(some_windows(90 if len(present) == 2 else 31 * 4))
    ]
    if missing == "supra":
        examples = [each for each in examples if each.labels[0] != 1] + examples[1:2]
        missing = "beat supraventricular (1)"
    with pytest.raises(EngineError, match="needs 32 windows of every class, and there are too few of") as refusal:
        calibrate(tiny, examples, "these records")
    assert missing in str(refusal.value)
    assert "these records" in str(refusal.value)


def test_windows_with_nan_are_refused_by_their_number(tiny):  # noqa: F811
    examples = of_every_class(100, tiny)
    spoiled = examples[40].inputs[0].copy()
    spoiled[0, 0, 0, 5] = np.nan
    examples[40] = Example((spoiled,), examples[40].labels, begins=False)
    with pytest.raises(EngineError, match="window 40: ecg has values that are no numbers"):
        calibrate(tiny, examples, "here")


def test_windows_of_another_shape_are_refused(tiny):  # noqa: F811
    examples = [Example((np.zeros((1, 1, 1, 999), np.float32),), (UNKNOWN, UNKNOWN), begins=True)]
    with pytest.raises(EngineError, match=r"ecg is float32 \(1, 1, 1, 999\), the model reads"):
        calibrate(tiny, examples, "here")


def test_no_windows_at_all_are_refused(tiny):  # noqa: F811
    with pytest.raises(EngineError, match="here: no windows"):
        calibrate(tiny, [], "here")


def test_the_threshold_leaves_out_a_lonely_outlier_and_nothing_of_a_full_range():
    rng = np.random.default_rng(3)
    values = np.abs(rng.normal(0, 1, 200_000))
    lonely = np.histogram(np.concatenate([values, [40.0]]), int8.BINS, (0, 40))[0]
    assert 3 < 40 * threshold(lonely) < 10
    full = np.histogram(rng.uniform(0, 1, 200_000), int8.BINS, (0, 1))[0]
    assert threshold(full) > 0.95


def test_the_spike_of_zeros_that_a_relu_leaves_does_not_pull_the_threshold_down():
    values = np.maximum(np.random.default_rng(4).normal(0, 1, 200_000), 0)
    spiked = np.histogram(values, int8.BINS, (0, values.max()))[0]
    assert threshold(spiked) > 0.5


def test_scales_are_found_in_the_cache_first_then_beside_the_model(tmp_path):
    model = write_tiny_model(tmp_path / "model")
    with pytest.raises(EngineError, match=r"has no INT8 scales; .*--precision int8 --data DIR`"):
        find_scales(model)
    scales = calibrate(model, of_every_class(200, model), "here")
    keep_scales(scales, int8.shipped_path(model))
    assert find_scales(model) == scales
    newer = msgspec.structs.replace(scales, source="elsewhere")
    keep_scales(newer, cached_path(model))
    assert find_scales(model) == newer


def test_scales_of_another_model_are_not_taken(tmp_path):
    model = write_tiny_model(tmp_path / "model")
    scales = calibrate(model, of_every_class(200, model), "here")
    keep_scales(msgspec.structs.replace(scales, model_sha256="cd" * 32), int8.shipped_path(model))
    with pytest.raises(EngineError, match="has no INT8 scales"):
        find_scales(model)
    int8.shipped_path(model).write_text("{")
    with pytest.raises(EngineError, match=r"tiny\.int8\.json: .*--precision int8 --data DIR`"):
        find_scales(model)


def test_scales_that_lack_an_activation_are_refused(tiny):  # noqa: F811
    scales = calibrate(tiny, of_every_class(200, tiny), "here")
    with pytest.raises(EngineError, match="have none for b"):
        to_int8(tiny, msgspec.structs.replace(scales, activations={}))


def test_the_shipped_model_has_scales_and_int8_costs_it_next_to_nothing(tmp_path):
    """On the recording that is always there; the classes it lacks are verified on records, docs/engine.md."""
    from rhythmd import labelled

    model = load(SHIPPED / "ecg1.onnx")
    quantised = as_model(model, to_int8(model, find_scales(model)), tmp_path / "int8.onnx")
    examples = labelled.shipped(model)[:400]
    with open_backend("onnxruntime", model) as single, open_backend("onnxruntime", quantised) as coarse:
        expected, found = (answers(backend, examples, 2) for backend in (single, coarse))
    for head in compare(model.manifest, expected, found, examples).values():
        assert head.kl_mean < 0.01
        assert head.agreement > 0.99
