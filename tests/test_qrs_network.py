"""What the detector is made of: the scale, the network's arithmetic, the memory of a wearer's beats."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp.qrs_memory import EVERY, LENGTH, REACH_AFTER, REACH_BEFORE, SHAPES, SHIFT, Memory
from dsp.qrs_network import ACTIVATION_LEVELS, EXACT, SECOND_STRIDE, STEM_STRIDE, STEP_SAMPLES, Network, load
from dsp.qrs_scale import FIRST_SAMPLES, RANGE, RESOLUTION, Scale
from dsp.signal import RATE_HZ
from rhythmd.recording import shipped

SHIPPED_MV = shipped().ecg_mv[: 60 * RATE_HZ]


def convolved(rows: np.ndarray, layer, stride: int = 1) -> np.ndarray:
    """The same sum in float64, tap by tap, with nothing before the first row."""
    inputs, taps = rows.shape[1], len(layer.weight) // rows.shape[1]
    padded = np.concatenate([np.zeros(((taps - 1) * layer.dilation - (stride - 1), inputs)), rows])
    steps = len(rows) // stride
    total = np.tile(layer.bias.astype(float), (steps, 1))
    for tap in range(taps):
        first = tap * layer.dilation
        part = padded[first : first + stride * steps : stride]
        total += part @ layer.weight[tap * inputs : (tap + 1) * inputs].astype(float)
    return total


def whole(stream: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(stream), 0, ACTIVATION_LEVELS)


def test_the_network_is_the_convolutions_that_it_says():
    weights, ecg = load(), Scale()(SHIPPED_MV)
    fine = whole(convolved(ecg[:, None].astype(float), weights.stem, STEM_STRIDE))
    stream = convolved(fine, weights.second, SECOND_STRIDE)
    for block in weights.blocks:
        stream = stream + convolved(whole(stream), block)
    want = convolved(whole(stream), weights.head)
    got = Network(weights)(ecg)
    assert got.shape == (len(ecg) // STEP_SAMPLES, len(weights.delays))
    # A value next to a half may be rounded the other way, here or there; the grids keep the slips small.
    assert np.median(np.abs(got - want)) < 1e-3
    np.testing.assert_allclose(got, want, atol=0.2)


def test_every_sum_of_the_shipped_network_is_exact_in_float32():
    weights = load()
    for layer in (weights.second, *weights.blocks, weights.head):
        grid = np.abs(layer.weight[layer.weight != 0]).min() * 2.0**-8
        assert np.all(layer.weight / grid == np.rint(layer.weight / grid))
        units = np.stack([column / np.exp2(np.floor(np.log2(np.abs(column).max() / 64))) for column in layer.weight.T])
        assert np.all(units == np.rint(units))
        assert ACTIVATION_LEVELS * np.abs(units).sum(axis=1).max() <= EXACT


def test_weights_whose_sums_could_be_inexact_are_refused(tmp_path):
    with np.load(load.__wrapped__.__globals__["SHIPPED"]) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["block0_weight"] = np.full((48, 48, 20), 127, np.int8)
    np.savez(tmp_path / "wide.npz", **arrays)
    with pytest.raises(ValueError, match=r"wide.npz: sums of block0 are not exact"):
        load(tmp_path / "wide.npz")


@settings(max_examples=30, deadline=None)
@given(power=st.integers(-3, 6), sign=st.sampled_from([-1, 1]))
def test_the_scale_takes_out_the_gain_to_the_last_bit(power, sign):
    np.testing.assert_array_equal(Scale()(sign * 2.0**power * SHIPPED_MV), sign * Scale()(SHIPPED_MV))


def test_the_scale_waits_for_two_seconds_and_stays_in_range():
    scale = Scale()
    assert len(scale(SHIPPED_MV[: FIRST_SAMPLES - 1])) == 0
    assert len(scale(SHIPPED_MV[FIRST_SAMPLES - 1 : FIRST_SAMPLES])) == FIRST_SAMPLES
    huge = scale(np.array([1e6, -1e6]))
    assert np.all(np.abs(huge) <= RANGE)
    assert np.all(huge / RESOLUTION == np.rint(huge / RESOLUTION))


def test_one_artefact_leaves_the_scale_as_it_was():
    struck_mv = SHIPPED_MV.copy()
    struck_mv[5000:5060] += 50.0
    later = slice(5400, 7000)
    np.testing.assert_allclose(Scale()(struck_mv)[later], Scale()(SHIPPED_MV)[later], atol=0.35)


def around(shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(REACH_BEFORE + 1 + REACH_AFTER)


def test_a_beat_like_those_remembered_is_known_whatever_its_size():
    memory = Memory()
    assert memory.likeness(around(0)) == ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    for shape in range(4):
        memory.remember(around(shape))
    for alike in memory.likeness(2.0 * around(2)):  # its shape, and its slope
        assert alike.best == pytest.approx(1.0)
        assert alike.gain == pytest.approx(np.log(2))
    assert all(alike.best < 0.6 for alike in memory.likeness(around(9)))


@pytest.mark.parametrize("shift", [-3, 0, 3])
def test_likeness_is_what_numpy_says_of_shapes_and_of_slopes(shift):
    memory = Memory()
    for shape in range(5):
        memory.remember(around(shape))
    moved = np.roll(around(1), shift) + np.random.default_rng(8).standard_normal(len(around(1)))
    stretches = np.lib.stride_tricks.sliding_window_view(moved, LENGTH)

    def alike(look):
        """Of each that is remembered, ascending."""
        kept = [look(around(shape)[SHIFT:-SHIFT]) for shape in range(5)]
        return sorted(max(np.corrcoef(one, look(ecg_mv))[0, 1] for ecg_mv in stretches) for one in kept)

    for found, look in zip(memory.likeness(moved), (lambda ecg_mv: ecg_mv, np.diff), strict=True):
        assert found.best == pytest.approx(alike(look)[-1])
        assert found.several == pytest.approx(np.mean(alike(look)[-4:]))


def test_slow_noise_hides_a_slope_less_than_a_shape():
    memory = Memory()
    memory.remember(around(0))
    shape, slope = memory.likeness(around(0) + 4.0 * np.sin(np.linspace(0, 4, len(around(0)))))
    assert slope.best > 0.98
    assert shape.best < 0.8


def test_shapes_are_remembered_for_minutes_and_then_forgotten():
    memory = Memory()
    memory.remember(around(0))
    for _ in range(EVERY - 1 + EVERY * (SHAPES - EVERY)):
        memory.remember(around(1))
    assert all(alike.best == pytest.approx(1.0) for alike in memory.likeness(around(0)))
    for _ in range(EVERY):
        memory.remember(around(1))
    assert all(alike.best < 0.6 for alike in memory.likeness(around(0)))


def test_an_interval_is_held_against_the_usual_one():
    memory = Memory()
    assert memory.timing(1.0) == (0.0, 1.0)
    for rr_s in (0.8, 0.8, 5.0, 0.8, 0.4):
        memory.interval(rr_s)
    timing = memory.timing(1.6)
    assert timing.ratio == pytest.approx(np.log(2))
    assert timing.spread == 0
