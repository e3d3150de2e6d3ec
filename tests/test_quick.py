"""The detector's network for a minute at once gives the bits that it gives step by step, or is not asked so."""

from __future__ import annotations

import pickle

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from dsp.qrs_network import SHIPPED, STEP_SAMPLES, Network, load
from dsp.qrs_scale import Scale
from rhythmd import quick
from rhythmd.quick import WORTH_STEPS, Quick, agrees, in_bulk
from rhythmd.recording import shipped
from training.qrs.in_bulk import build

ECG = Scale()(shipped().ecg_mv[: 120 * 250])
ONE_CALL = STEP_SAMPLES * WORTH_STEPS


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(SHIPPED) as file:
        return {name: file[name] for name in file.files}


def session_of(model) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def test_the_shipped_file_is_what_the_command_writes(arrays):
    assert in_bulk(SHIPPED).read_bytes() == build(arrays).SerializeToString()


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 3 * ONE_CALL), max_size=6), pickled=st.integers(0, 5))
def test_it_says_the_same_bits_however_the_stream_is_cut(cuts, pickled):
    network, told = Quick(), []
    pieces = np.split(ECG, np.minimum(np.cumsum(cuts, dtype=int), len(ECG)))
    for number, piece in enumerate(pieces):
        if number == pickled:
            network = pickle.loads(pickle.dumps(network))
        told.append(network(piece))
    np.testing.assert_array_equal(np.concatenate(told), Network(load())(ECG))


def test_one_weight_that_is_off_by_one_is_noticed(arrays):
    if quick._tried() is None:
        pytest.skip("this machine's sums of 8 bits are not exact")
    assert agrees(session_of(build(arrays)))
    for name in ("block0.weight", "block6.weight", "head.weight"):
        model = build(arrays)
        constant = next(each for each in model.graph.initializer if each.name == name)
        weight = numpy_helper.to_array(constant).copy()
        weight[-1, 0] += 1
        constant.CopyFrom(numpy_helper.from_array(weight, name))
        assert not agrees(session_of(model))


@pytest.mark.parametrize("operator", ["MatMulIntegerToFloat", "NoSuchOperator"])
def test_where_it_is_wrong_or_cannot_be_had_the_slower_way_is_taken(operator, arrays, monkeypatch, tmp_path, caplog):
    caplog.set_level("INFO")
    arrays["block3_weight"][5] = 0
    wrong = tmp_path / "qrs2.npz"
    model = build(arrays)
    for node in model.graph.node:
        node.op_type = node.op_type.replace("MatMulIntegerToFloat", operator)
    in_bulk(wrong).write_bytes(model.SerializeToString())
    monkeypatch.setattr(quick, "in_bulk", lambda _: in_bulk(wrong))
    quick._tried.cache_clear()
    try:
        np.testing.assert_array_equal(Quick()(ECG), Network(load())(ECG))
        assert "slower way" in caplog.text
    finally:
        quick._tried.cache_clear()
