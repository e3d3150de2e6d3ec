"""What the network reads: 1000 samples, the R peak at 850, and a window every 1.5 s when no beat comes."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsp.chain import Chain
from dsp.filters import DELAY_SAMPLES
from dsp.qrs import LATEST_SAMPLES
from dsp.signal import R_INDEX, RATE_HZ, WINDOW_SAMPLES, Beat, Block, Fitness, Window
from dsp.windows import AGAIN_SAMPLES, CLIP, TIME_OUT_SAMPLES, WindowCutter, normalise
from rhythmd.recording import shipped

MINUTE_MV = shipped().ecg_mv[: 60 * RATE_HZ]


def windows(ecg_mv: np.ndarray, start: int = 0, **marks: np.ndarray) -> list[Window]:
    _, events = Chain(RATE_HZ)(Block.of(start, ecg_mv, **marks))
    return [event for event in events if isinstance(event, Window)]


def cut(clean: Block, *beats: Beat) -> list[Window]:
    return list(WindowCutter()(clean, list(beats)))


def ramp(seconds: int, start: int = 0) -> Block:
    """A signal that says of each sample where it was."""
    return Block.of(start, np.arange(start, start + seconds * RATE_HZ) / 1e3 + 1.0)


def places(window: Window) -> np.ndarray:
    """Of the samples of a window cut from a ramp, relative to the R peak's."""
    ecg = window.ecg.ravel().astype(float)
    step = ecg[-1] - ecg[-2]
    return np.rint((ecg - ecg[R_INDEX]) / step)


def test_every_window_is_what_the_network_reads():
    for window in windows(MINUTE_MV):
        assert window.ecg.shape == (1, 1, 1, WINDOW_SAMPLES) == (1, 1, 1, 1000)
        assert window.ecg.dtype == np.float32


def test_the_r_peak_of_a_real_beat_is_at_850():
    beats = [window.ecg.ravel() for window in windows(MINUTE_MV) if window.beat and not window.missing]
    assert len(beats) > 55
    nearby = slice(R_INDEX - 50, R_INDEX + 50)
    off = [int(np.argmax(np.abs(ecg[nearby]))) - 50 for ecg in beats]
    assert max(map(abs, off)) <= 3
    assert R_INDEX == 850


def test_a_beats_window_is_complete_150_samples_after_it():
    clean = ramp(20)
    (window,) = (each for each in cut(clean, Beat(2500, 2570, None)) if each.beat)
    assert window.at == 2500 + DELAY_SAMPLES + 149
    np.testing.assert_array_equal(places(window), np.arange(-850, 150))


def test_a_beat_decided_late_has_its_window_when_it_is_decided():
    (window,) = (each for each in cut(ramp(20), Beat(2500, 4000, None)) if each.beat)
    assert window.at == 4000
    np.testing.assert_array_equal(places(window), np.arange(-850, 150))


@pytest.mark.parametrize("block_samples", [1, 250, 4000])
def test_the_oldest_beat_that_a_search_back_finds_still_has_its_window(block_samples):
    cutter, found = WindowCutter(), []
    whole = ramp(24)
    decided = 2000 + LATEST_SAMPLES
    for first in range(0, len(whole.ecg_mv), block_samples):
        part = slice(first, first + block_samples)
        beats = [Beat(2000, decided, None)] if decided in range(first, first + block_samples) else []
        found += cutter(Block(first, whole.ecg_mv[part], whole.marks[part]), beats)
    (window,) = (each for each in found if each.beat)
    np.testing.assert_array_equal(places(window), np.arange(-850, 150))


def test_without_a_beat_the_last_four_seconds_come_after_a_second_and_a_half_and_then_every_1_13_s():
    quiet = cut(ramp(20, start=700))
    assert [window.at for window in quiet] == list(range(700 + 374, 700 + 20 * RATE_HZ, AGAIN_SAMPLES))
    assert all(window.beat is None for window in quiet)
    ecg = quiet[-1].ecg.ravel()
    assert ecg[-1] / ecg[0] == pytest.approx((quiet[-1].at + 1000) / (quiet[-1].at - 999 + 1000), rel=1e-5)


def test_a_beat_puts_the_time_out_off():
    beats = [Beat(at, at + 70, None) for at in range(500, 4500, 300)]
    found = cut(ramp(20), *beats)
    assert [window.at for window in found[:2]] == [374, 500 + 151]
    assert [window.beat for window in found[1:-1]] == beats
    last_at = beats[-1].r_peak + 151
    assert [window.at for window in found[-1:]] == [last_at + TIME_OUT_SAMPLES]


def test_no_window_without_a_beat_is_cut_while_one_is_found_and_waits_for_its_future():
    """Or a pause of 3.8 s would be told as 4.37 s without a beat."""
    before, after = Beat(500, 586, None), Beat(500 + 950, 500 + 950 + 86, 3.8)
    ats = [window.at for window in cut(ramp(7), before, after) if not window.beat and window.at > 651]
    assert ats == [651 + TIME_OUT_SAMPLES, 651 + TIME_OUT_SAMPLES + AGAIN_SAMPLES]  # and not 500 + 1090, at 4.37 s


@settings(max_examples=50, deadline=None)
@given(
    gaps=st.lists(st.tuples(st.integers(50, 900), st.integers(50, LATEST_SAMPLES)), max_size=12),
    start=st.sampled_from([0, 12_345]),
)
def test_windows_come_in_order_and_a_second_and_a_half_apart_or_as_long_as_a_beat_that_is_known_takes(gaps, start):
    beats, r_peak, decided = [], start + 100, 0
    for gap, late in gaps:
        r_peak, decided = r_peak + gap, max(decided, r_peak + gap + late)
        beats.append(Beat(r_peak, decided, None))
    found = cut(ramp(60, start), *beats)
    ats = [window.at for window in found]
    assert ats == sorted(ats)
    assert all(
        after - before <= TIME_OUT_SAMPLES + 151 for before, after in pairwise([start - 1, *ats, start + 60 * RATE_HZ])
    )
    assert [window.beat for window in found if window.beat] == beats


def test_what_is_missing_is_zero_and_counted():
    ecg_mv = MINUTE_MV.copy()
    ecg_mv[5000:5100] = np.nan
    touched = [window for window in windows(ecg_mv) if window.missing]
    whole = [window for window in touched if 5100 + 160 < window.at < 5000 + 840 and window.beat]
    assert whole
    for window in whole:
        first = 5000 - (window.beat.r_peak + DELAY_SAMPLES - R_INDEX)
        ecg = window.ecg.ravel()
        assert not ecg[first : first + 100].any()
        assert np.all(ecg[:first] != 0)
        assert window.missing == pytest.approx(0.1)


def test_before_the_first_sample_everything_is_missing():
    first = windows(MINUTE_MV, start=99_000)[0]
    assert first.at == 99_000 + 374
    assert first.missing == pytest.approx(0.625)
    assert not first.ecg.ravel()[:625].any()


def test_a_window_is_divided_by_its_own_rms():
    ecg = normalise(MINUTE_MV[:1000] - np.mean(MINUTE_MV[:1000]), np.zeros(1000, bool))
    assert np.sqrt(np.mean(ecg**2)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("gain", [1 / 8, 1, 8])
def test_gain_does_not_matter_and_missing_samples_have_no_share_in_it(gain):
    missing = np.arange(1000) < 300
    want = normalise(np.sin(np.arange(1000.0)), missing)
    got = normalise(np.where(missing, 999.0, gain * np.sin(np.arange(1000.0))), missing)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_amplifier_noise_is_not_blown_up_and_an_artefact_is_clipped():
    hiss = normalise(np.full(1000, 0.001), np.zeros(1000, bool))
    np.testing.assert_allclose(hiss, 0.1)
    spike = normalise(np.where(np.arange(1000) == 5, -900.0, 0.01), np.zeros(1000, bool))
    assert spike.min() == -CLIP


@pytest.mark.parametrize("missing", [False, True])
def test_nothing_gives_zeros(missing):
    assert not normalise(np.zeros(1000), np.full(1000, missing)).any()


def test_each_window_says_how_fit_the_signal_was_when_it_was_cut():
    off = np.zeros(len(MINUTE_MV), bool)
    off[5000:7500] = True
    for window in windows(MINUTE_MV, lead_off=off):
        assert window.fitness is (Fitness.LEAD_OFF if 5499 <= window.at < 7999 else Fitness.GOOD)


def test_a_change_of_fitness_holds_for_its_own_sample():
    off = np.arange(2000) >= 1000
    by_at = {window.at: window.fitness for window in windows(np.zeros(2000), lead_off=off)}
    assert (by_at[1220], by_at[1502]) == (Fitness.FLAT, Fitness.LEAD_OFF)  # changes at 1499


def test_an_hour_leaves_no_more_behind_than_a_minute():
    cutter = WindowCutter()
    sizes = set()
    for minute in range(10):
        list(cutter(ramp(60, minute * 60 * RATE_HZ), []))
        sizes.add((len(cutter._clean_mv), len(cutter._missing), len(cutter._waiting)))
    assert sizes == {(WINDOW_SAMPLES + LATEST_SAMPLES + 60 * RATE_HZ,) * 2 + (0,)}
