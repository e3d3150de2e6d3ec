"""The RR intervals as numbers: the same ones by ones as in bulk, and about the person rather than the rate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from dsp.intervals import FEATURES, LAGS, REMEMBERED, Intervals, features, log_rr
from dsp.signal import RATE_HZ, Beat, Block
from dsp.windows import RR_FEATURES, WindowCutter

KNOWN = st.one_of(st.none(), st.floats(0.05, 20.0))


def after(*intervals_s):
    told = Intervals()
    for rr_s in intervals_s:
        told.add(rr_s)
    return told.features()


@settings(max_examples=60, deadline=None)
@given(st.lists(KNOWN, min_size=1, max_size=100))
def test_the_daemon_and_the_training_get_the_same_numbers_bit_for_bit(intervals_s):
    told, one_by_one = Intervals(), []
    for rr_s in intervals_s:
        told.add(rr_s)
        one_by_one.append(told.features())
    history = np.array([np.nan] * (REMEMBERED - 1) + [np.nan if rr_s is None else rr_s for rr_s in intervals_s])
    in_bulk = features(sliding_window_view(log_rr(history), REMEMBERED))
    np.testing.assert_array_equal(np.array(one_by_one), in_bulk)
    assert np.isfinite(in_bulk).all()
    assert np.abs(in_bulk).max() <= 2.0


def test_nothing_known_is_all_zero_but_for_how_steady_it_is():
    assert after().shape == (FEATURES,)
    assert not after().any()
    assert not after(None, None).any()


def test_a_premature_beat_and_its_pause_stand_out_from_what_is_usual():
    early = after(*[0.8] * 20, 0.5)
    assert early[0] == pytest.approx(np.log(0.5 / 0.8))
    late = after(*[0.8] * 20, 0.5, 1.1)
    assert late[:2] == pytest.approx(np.log([1.1 / 0.8, 0.5 / 0.8]))
    assert late[LAGS + 1] == pytest.approx(0.0)  # the usual one is 0.8 s, as it is with most people


def test_a_quick_heart_differs_from_a_slow_one_in_one_number_only():
    slow = np.array([0.8, 0.82, 0.79, 0.5, 1.1, 0.8] * 12)
    differs = np.flatnonzero(~np.isclose(after(*slow), after(*slow * 0.7), atol=1e-6))
    assert differs.tolist() == [LAGS + 1]


def test_an_irregular_rhythm_is_told_from_a_steady_one_and_from_bigeminy():
    rng = np.random.default_rng(1)
    irregular = after(*rng.uniform(0.5, 1.0, 64))
    steady = after(*rng.normal(0.8, 0.01, 64))
    assert irregular[LAGS + 4] > 0.5
    assert steady[LAGS + 4] < 0.0
    assert irregular[LAGS + 6] > 0.2
    assert steady[LAGS + 6 : LAGS + 8].tolist() == [0.0, 0.0]


def test_what_lies_further_back_than_is_remembered_is_forgotten():
    rng = np.random.default_rng(2)
    newest = rng.uniform(0.5, 1.0, REMEMBERED)
    np.testing.assert_array_equal(after(*rng.uniform(0.3, 2.0, 50), *newest), after(*newest))


def test_each_window_has_the_intervals_up_to_its_own_beat_and_says_whether_it_has_one():
    beats = [Beat(1000, 1070, None), Beat(1200, 1270, 0.8), Beat(1325, 1395, 0.5)]
    clean = Block.of(0, np.sin(np.arange(12 * RATE_HZ) / 9.0))
    windows = list(WindowCutter()(clean, beats))
    of_beats = [window.rr for window in windows if window.beat]
    np.testing.assert_array_equal(
        np.concatenate(of_beats), [[*after(None), 1], [*after(None, 0.8), 1], [*after(None, 0.8, 0.5), 1]]
    )
    assert all(window.rr.shape == (1, RR_FEATURES) and window.rr.dtype == np.float32 for window in windows)
    assert not windows[0].rr.any()  # before any beat
    np.testing.assert_array_equal(windows[-1].rr, [[*after(None, 0.8, 0.5), 0]])
