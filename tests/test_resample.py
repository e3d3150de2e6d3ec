"""Any rate to 250 Hz: the same signal at the same time, each value as soon as its last input is there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp.resample import Rates, Resampler
from dsp.signal import LEAD_OFF, RATE_HZ, SATURATED, Block

RATES_HZ = [128, 257, 300, 360, 500, 1000]
rates_hz = st.sampled_from([250, *RATES_HZ])


def wave_mv(at_s: np.ndarray) -> np.ndarray:
    """All of the monitoring band that matters to a rhythm, on an electrode offset."""
    return 20 + sum(np.sin(2 * np.pi * hz * at_s + hz) for hz in (0.7, 5, 17, 39))


def resampled(rate_hz: float, start: int, ecg_mv: np.ndarray) -> Block:
    return Resampler(rate_hz)(Block.of(start, ecg_mv))


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("start", [0, 1, 35, 100_003])
def test_output_k_is_the_signal_at_time_k_over_250(rate_hz, start):
    at_s = np.arange(start, start + 4 * rate_hz) / rate_hz
    out = resampled(rate_hz, start, wave_mv(at_s))
    at_250_s = np.arange(out.start, out.end) / RATE_HZ
    assert 0 <= at_250_s[0] - at_s[0] < 1 / RATE_HZ
    settled = slice(50, None)  # before, the filter still sees the time before the first sample
    assert np.max(np.abs(out.ecg_mv - wave_mv(at_250_s))[settled]) < (0.08 if rate_hz < RATE_HZ else 0.02)


@pytest.mark.parametrize(("rate_hz", "at_most_ms"), [(128, 20), (257, 8), (300, 8), (360, 8), (500, 8), (1000, 8)])
def test_no_sample_waits_longer_than_this(rate_hz, at_most_ms):
    rates = Rates.of(rate_hz)
    waits_ms = [1000 * (rates.newest_input(at) / rate_hz - at / RATE_HZ) for at in range(500)]
    assert max(waits_ms) == pytest.approx(at_most_ms, abs=1000 / rate_hz)
    assert max(waits_ms) < at_most_ms + 1e-9


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("hz", [1, 10, 25, 40])
def test_the_monitoring_band_keeps_its_size(rate_hz, hz):
    out = resampled(rate_hz, 0, np.sin(2 * np.pi * hz * np.arange(4 * rate_hz) / rate_hz)).ecg_mv[125:875]
    there = np.exp(-2j * np.pi * hz * np.arange(750) / RATE_HZ)  # whole periods: images are elsewhere
    assert 2 * abs(np.mean(out * there)) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("start", [0, 7])
def test_an_electrode_offset_comes_through_without_a_tone_or_a_beginning(rate_hz, start):
    out = resampled(rate_hz, start, np.full(3 * rate_hz, 300.0))
    np.testing.assert_allclose(out.ecg_mv, 300.0, atol=1e-9)


def test_at_250_hz_nothing_is_touched():
    block = Block.of(17, wave_mv(np.arange(99.0)))
    assert Resampler(250)(block) is block


@pytest.mark.parametrize("rate_hz", [500, 1000])
def test_what_folds_into_the_monitoring_band_is_gone(rate_hz):
    fold_hz = RATE_HZ - 20  # at 250 Hz it would look like 20 Hz
    out = resampled(rate_hz, 0, np.sin(2 * np.pi * fold_hz * np.arange(4 * rate_hz) / rate_hz))
    assert np.max(np.abs(out.ecg_mv[50:])) < 10 ** (-40 / 20)


@settings(max_examples=60, deadline=None)
@given(rate_hz=rates_hz, start=st.integers(0, 2000), count=st.integers(150, 700), data=st.data())
def test_newest_input_is_the_last_that_an_output_needs(rate_hz, start, count, data):
    """Proven from both sides: that input changes the output, the one after it does not."""
    ecg_mv = np.random.default_rng(count).normal(size=count)
    out = resampled(rate_hz, start, ecg_mv)
    at = data.draw(st.integers(out.start, out.end - 1))
    newest = Rates.of(rate_hz).newest_input(at)

    def changed_by(index: int) -> bool:
        touched = ecg_mv.copy()
        touched[index - start :][:1] += 1e9  # the outermost weights are tiny
        return resampled(rate_hz, start, touched).ecg_mv[at - out.start] != out.ecg_mv[at - out.start]

    assert changed_by(newest)
    assert not changed_by(newest + 1)


@settings(max_examples=100, deadline=None)
@given(rate_hz=rates_hz, start=st.integers(0, 2000), count=st.integers(100, 700))
def test_every_output_comes_with_its_newest_input(rate_hz, start, count):
    out = resampled(rate_hz, start, np.zeros(count))
    newest = Rates.of(rate_hz).newest_input
    assert newest(out.end - 1) < start + count <= newest(out.end)


@given(rate_hz=rates_hz, at=st.integers(0, 10**9))
def test_source_index_is_the_input_nearest_in_time(rate_hz, at):
    off = abs(Rates.of(rate_hz).source_index(at) * RATE_HZ - at * rate_hz)  # in units of 1 / (250 rate)
    assert 2 * off <= RATE_HZ


@settings(max_examples=60, deadline=None)
@given(rate_hz=rates_hz, start=st.integers(0, 2000), data=st.data())
def test_each_output_carries_the_marks_of_the_input_nearest_to_it(rate_hz, start, data):
    count = 500
    first, last = sorted(data.draw(st.tuples(st.integers(0, count), st.integers(0, count))))
    off = np.zeros(count, bool)
    off[first:last] = True
    out = Resampler(rate_hz)(Block.of(start, np.zeros(count), lead_off=off, saturated=~off))
    rates = Rates.of(rate_hz)
    nearest = np.array([rates.source_index(at) for at in range(out.start, out.end)]) - start
    np.testing.assert_array_equal(out.marks, np.where(off[nearest], LEAD_OFF, SATURATED))
