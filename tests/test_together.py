"""Many windows in one call give the bits that one at a time gives, or are not asked so."""

from __future__ import annotations

import platform
import shutil
from itertools import pairwise

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from daemon.config import Alerts
from daemon.premature import LABELS, Premature
from daemon.premature import shipped as shipped_follower
from dsp.intervals import FEATURES
from engines.backend import open_backend
from engines.model import SHIPPED, load
from rhythmd import ahead, analysis, together
from rhythmd.labelled import shipped as labelled
from rhythmd.recording import shipped
from rhythmd.together import FORGET, MOST, BeatsTogether, Bulk, WindowsTogether
from training import batch, export
from training.layout import Layout
from training.sveb import batch as sveb_batch

MODEL, FOLLOWER = load(SHIPPED / "ecg1.onnx"), load(SHIPPED / "sveb1.onnx")


@pytest.fixture(scope="module")
def engine():
    with open_backend("onnxruntime", MODEL) as opened:
        yield opened


@pytest.fixture(scope="module")
def windows():
    """Of the shipped recording, every eleventh one taken for a window without a beat, of which none is followed."""
    inputs = [(*example.inputs, np.array([0.1 + 0.001 * at])) for at, example in enumerate(labelled(MODEL)[: 3 * MOST])]
    for _, rr, scale_mv in inputs[::11]:
        rr[:, -1] = scale_mv[:] = 0
    return inputs


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(together, "WORTH", 1)


def singly(engine, asked):
    told, premature = [], Premature()
    for each in asked:
        if each:
            ecg, rr, scale_mv = each
            beat = (premature.see(ecg, float(scale_mv[0])), rr[:, :FEATURES]) if scale_mv[0] else None
            followed = premature.ask(*beat) if beat else np.zeros((1, len(LABELS)))
            told.append((*engine.infer(ecg, rr), followed))
        else:
            engine.forget()
            premature = Premature()
            told.append(FORGET)
    return told


def assert_same(found, wanted):
    assert [len(each) for each in found] == [len(each) for each in wanted]
    for one, other in zip(found, wanted, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert mine.shape == theirs.shape
            np.testing.assert_array_equal(mine, theirs)


# Where it does not agree it is not used: that is no fault, and on x86_64 it would mean that nothing of this is tested.
@pytest.mark.skipif(platform.machine() != "x86_64", reason="on another processor sums may come in another order")
@pytest.mark.parametrize("kind", [WindowsTogether, BeatsTogether])
def test_it_is_used_here(engine, kind):
    model, network = (MODEL, engine) if kind is WindowsTogether else (FOLLOWER, shipped_follower())
    before = network.states
    assert kind(model).agrees(network)
    assert network.states is before, "to try it leaves no trace"


def test_the_shipped_file_for_many_beats_has_the_weights_of_the_one_for_one():
    paths = FOLLOWER.onnx, FOLLOWER.onnx.with_suffix(".batch.onnx")
    one, many = ({each.name: numpy_helper.to_array(each) for each in onnx.load(p).graph.initializer} for p in paths)
    built = sveb_batch.build(onnx.load(paths[0])).graph
    assert [each.name for each in built.node] == [each.name for each in onnx.load(paths[1]).graph.node]
    assert {name for name in one if "by_distance" not in name} <= set(many)
    for each in built.initializer:
        np.testing.assert_array_equal(many[each.name], numpy_helper.to_array(each))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_however_the_windows_are_cut_and_wherever_sessions_begin(engine, windows, data):
    begins = data.draw(st.sets(st.integers(0, len(windows)), max_size=4), "sessions begin")
    asked = [each for at, window in enumerate(windows) for each in ([FORGET, window] if at in begins else [window])]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(asked)), max_size=5), "cuts") | {0, len(asked)})
    engine.forget()
    wanted = singly(engine, asked)
    remembered = engine.states
    engine.forget()
    bulk = Bulk(engine, MODEL)
    found = [answer for first, end in pairwise(cuts) for answer in bulk.answers(asked[first:end])]
    assert_same(found, wanted)
    for name, state in remembered.items():
        np.testing.assert_array_equal(engine.states[name], state)


def test_a_whole_recording_gives_the_same_bits(engine):
    heads, alerts = MODEL.manifest.heads, Alerts()
    recording = shipped()
    engine.forget()
    wanted = analysis.analyze(recording, engine, heads, alerts)
    assert ahead.analyze(recording, Bulk(engine, MODEL), heads, alerts) == wanted


def test_one_that_says_otherwise_is_not_used(tmp_path, engine, windows, caplog):
    for suffix in (".onnx", ".json"):
        shutil.copy(SHIPPED / f"ecg1{suffix}", tmp_path)
    other = export.random_weights(Layout((32, 128), (15, 5), (4, 8), seen=192, hidden=256, recalled=32), seed=1)
    batch.write(other, tmp_path / "ecg1.onnx")
    model = load(tmp_path / "ecg1.onnx")
    engine.forget()
    wanted = singly(engine, windows)
    engine.forget()
    assert_same(Bulk(engine, model).answers(windows), wanted)
    assert "many windows at once give other bits here" in caplog.text
    caplog.clear()
    (tmp_path / "ecg1.batch.onnx").unlink()
    engine.forget()
    assert_same(Bulk(engine, model).answers(windows), wanted)
    assert not caplog.text, "not every model has one"


def test_both_files_hold_the_same_weights():
    one, many = (
        {each.name: numpy_helper.to_array(each) for each in onnx.load(SHIPPED / name).graph.initializer}
        for name in ("ecg1.onnx", "ecg1.batch.onnx")
    )
    weights = {name for name, value in one.items() if value.size > 50}
    assert weights - many.keys() <= {"stay", "move - stay"}, "which move the memory on"
    for name in weights & many.keys():
        np.testing.assert_array_equal(one[name], many[name])
