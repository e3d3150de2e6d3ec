"""The last half minute, put together of windows and drawn as its network reads it; and what that network knows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.half_minute import AGAIN_SAMPLES, AGAIN_WHOLE_SAMPLES, LEAST_SAMPLES, HalfMinute, shipped
from dsp.chain import Chain
from dsp.filters import DELAY_SAMPLES
from dsp.half_minute import COLUMN, POINT_SAMPLES, POINTS, SAMPLES, picture
from dsp.signal import R_INDEX, RATE_HZ, WINDOW_SAMPLES, Block, Window
from engines.model import SHIPPED, load
from rhythmd import patient
from training.records import filtered
from training.retimed import LONGEST, SHORTEST, may_be_retimed, retimed

MINUTE = 60 * RATE_HZ


class Watching:
    """A network that keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[np.ndarray, np.ndarray]] = []

    def infer(self, *inputs):
        self.shown.append(inputs)
        return (np.array([[0.5, 0.5, 0.0, 0.0]]),)

    def forget(self):
        """It has no memory."""


def windows_of(ecg_mv: np.ndarray) -> list[Window]:
    """What the daemon cuts from a patch's signal at 250 Hz."""
    chain = Chain(float(RATE_HZ))
    _, events = chain(Block.of(0, ecg_mv))
    return [each for each in (*events, *chain.finish()) if isinstance(each, Window)]


def told(half_minute: HalfMinute, windows: list[Window], later: int = 0) -> None:
    for window in windows:
        beat = window.beat and SimpleNamespace(r_peak=window.beat.r_peak + later)
        ecg_mv = window.ecg.reshape(-1) * np.float64(window.scale_mv)
        half_minute.add(SimpleNamespace(at=window.at + later, beat=beat, missing=window.missing, ecg_mv=ecg_mv))


def simulated(script: str, seed: int = 1) -> np.ndarray:
    recording = patient.make(script, seed).recording
    return recording.counts / recording.counts_per_mv


def said(script: str, seed: int = 1) -> float:
    half_minute = HalfMinute(shipped)
    told(half_minute, windows_of(simulated(script, seed)))
    return half_minute.log_odds()


def test_windows_that_overlap_are_put_together_to_the_signal_they_were_cut_from():
    ecg_mv = simulated("sinus 40, bigeminy 20")
    windows = windows_of(ecg_mv)[:-3]
    network = Watching()
    half_minute = HalfMinute(lambda: network)
    told(half_minute, windows)
    half_minute.log_odds()
    end = windows[-1].beat.r_peak + DELAY_SAMPLES - R_INDEX + WINDOW_SAMPLES
    peaks = np.array([each.beat.r_peak + DELAY_SAMPLES for each in windows if each.beat]) - (end - SAMPLES)
    drawn, known = picture(filtered(ecg_mv, RATE_HZ).ecg_mv[end - SAMPLES : end], np.ones(SAMPLES, bool), peaks)
    ((shown, columns),) = network.shown
    np.testing.assert_allclose(shown[0, 0], drawn[0, 0], atol=1e-5)
    assert np.array_equal(shown[0, 1], drawn[0, 1])
    assert known.all()
    assert columns.all()


def test_what_was_lost_between_two_sessions_is_not_known():
    windows = windows_of(simulated("sinus 30"))
    network = Watching()
    half_minute = HalfMinute(lambda: network)
    told(half_minute, windows)
    told(half_minute, windows[:10], later=40 * RATE_HZ)
    half_minute.log_odds()
    ((shown, columns),) = network.shown
    lost_s = 40 - 30 + windows[0].missing * WINDOW_SAMPLES / RATE_HZ  # what a window shows before is the filter's
    unknown = np.flatnonzero(columns[0] == 0)
    assert (np.diff(unknown) == 1).all()
    assert len(unknown) * COLUMN * POINT_SAMPLES / RATE_HZ == pytest.approx(lost_s - WINDOW_SAMPLES / RATE_HZ, abs=4.5)
    assert not shown[0, :, unknown[0] * COLUMN : (unknown[-1] + 1) * COLUMN].any()


def test_the_network_is_asked_when_there_is_something_to_ask_and_then_seldom():
    network = Watching()
    half_minute = HalfMinute(lambda: network)
    asked_at = []
    for window in windows_of(simulated("sinus 120")):
        told(half_minute, [window])
        before = len(network.shown)
        if half_minute.log_odds() is None:
            assert window.at < LEAST_SAMPLES + 2 * RATE_HZ
        asked_at += [window.at] * (len(network.shown) - before)
    assert LEAST_SAMPLES <= asked_at[0] <= LEAST_SAMPLES + 2 * RATE_HZ
    gaps = np.diff(asked_at)
    early = np.array(asked_at[1:]) < SAMPLES
    assert AGAIN_SAMPLES <= gaps[early].min() <= gaps[early].max() < AGAIN_SAMPLES + 2 * RATE_HZ
    assert AGAIN_WHOLE_SAMPLES <= gaps[~early][1:].min() <= gaps[~early].max() < AGAIN_WHOLE_SAMPLES + 2 * RATE_HZ


@given(gain=st.floats(0.1, 10.0), offset=st.integers(0, SAMPLES - 400))
def test_neither_gain_nor_an_artefact_changes_the_rest_of_the_picture(gain, offset):
    rng = np.random.default_rng(1)
    ecg_mv, known, peaks = rng.normal(0, 0.2, SAMPLES), np.ones(SAMPLES, bool), np.arange(100, SAMPLES, 200)
    drawn, _ = picture(ecg_mv, known, peaks)
    np.testing.assert_allclose(picture(ecg_mv * gain, known, peaks)[0], drawn, rtol=1e-4, atol=1e-6)
    jolted = ecg_mv.copy()
    jolted[offset : offset + 400] += 30.0
    hit = slice(offset // POINT_SAMPLES, (offset + 400) // POINT_SAMPLES + 1)
    rest = np.delete(picture(jolted, known, peaks)[0], hit, axis=2)
    np.testing.assert_allclose(rest, np.delete(drawn, hit, axis=2), rtol=0.1, atol=1e-3)


def test_marks_stand_at_r_peaks_and_what_is_not_known_is_nothing():
    known = np.arange(SAMPLES) >= SAMPLES - 12 * RATE_HZ
    ecg_mv = np.random.default_rng(2).normal(0, 0.2, SAMPLES)
    drawn, columns = picture(ecg_mv, known, np.array([-2, 100, SAMPLES - 501, SAMPLES + 2]))
    assert np.flatnonzero(drawn[0, 1]).tolist() == [*range(POINTS - 252, POINTS - 249), POINTS - 1]
    first = POINTS - 12 * RATE_HZ // POINT_SAMPLES
    assert not drawn[0, :, :first].any()
    assert columns[0].tolist() == [float((place + 1) * COLUMN > first) for place in range(POINTS // COLUMN)]


def test_of_nothing_a_picture_is_empty():
    drawn, columns = picture(np.zeros(SAMPLES), np.zeros(SAMPLES, bool), np.zeros(0, np.int64))
    assert not drawn.any()
    assert not columns.any()


@pytest.mark.parametrize("seed", range(3))
def test_the_shipped_network_tells_fibrillation_from_rhythms_that_are_irregular_too(seed):
    assert said("af 40", seed) > 1.0
    for rhythm in ("sinus", "pac", "bigeminy", "couplet", "svt"):
        assert said(f"{rhythm} 40", seed) < -2.0


def test_the_shipped_network_is_what_its_manifest_says():
    model = load(SHIPPED / "rhythm1.onnx")
    assert [each.shape for each in model.manifest.inputs] == [(1, 2, POINTS), (1, POINTS // COLUMN)]
    assert model.manifest.heads[0].labels[0] == "atrial_fibrillation"
    assert model.onnx.stat().st_size < 4e6


# Recordings that are made to fibrillate, for its training


BEATS = st.lists(st.integers(150, 300), min_size=20, max_size=40).map(lambda gaps: 90 + np.cumsum(gaps))


@given(peaks=BEATS, seed=st.integers(0, 1000))
def test_a_retimed_recording_keeps_its_beats_as_they_were(peaks, seed):
    changed = retimed(peaks, 9.0, 0.6, np.random.default_rng(seed))
    steps = np.diff(changed.place)
    assert (steps >= 0).all()
    marked = changed.place[changed.marked & changed.known]
    off = np.abs(marked[:, None] - peaks).min(axis=1)
    assert off.max() <= 17, "3, but where the T wave is pressed together"
    assert np.median(off) <= 3
    since = changed.place[:-1, None] - peaks
    leads_up = ((since > -20) & (since + steps[:, None] <= 0)).any(axis=1)
    np.testing.assert_allclose(steps[leads_up & changed.known[:-1]], POINT_SAMPLES, atol=0.01, err_msg="stretched")
    follows = ((since >= 0) & (since < 20)).any(axis=1) & changed.known[:-1] & (changed.place[1:] < peaks[-1])
    assert (steps[follows] > POINT_SAMPLES - 0.01).all(), "what follows on it may be shorter, where beats come fast"
    before = np.array([peaks[peaks >= place][0] - place if place <= peaks[-1] else np.inf for place in changed.place])
    assert (before[changed.in_p >= 0] > 13).all(), "a QRS complex was taken for a P wave"


@given(peaks=BEATS, seed=st.integers(0, 1000))
def test_only_fibrillation_and_irregular_rhythms_have_other_intervals_and_both_have_them_alike(peaks, seed):
    changed = retimed(peaks, 9.0, 0.6, np.random.default_rng(seed))
    edges = np.flatnonzero(np.diff(np.concatenate([[0], (changed.marked & changed.known).astype(int), [0]])) == 1)
    intervals = np.diff(edges)[1:] * POINT_SAMPLES
    if changed.without_p and not changed.fibrillates:
        assert np.isin(np.round(intervals / 4), np.round(np.diff(peaks)[:, None] / 4 + [-1, 0, 1])).all()
    else:
        assert ((intervals >= SHORTEST - 4) & (intervals <= LONGEST + 4)).all()
    assert changed.fibrillates <= changed.without_p


def test_whose_own_rhythm_is_irregular_is_not_retimed():
    assert may_be_retimed(np.cumsum([200] * 20))
    assert not may_be_retimed(np.cumsum([200] * 8))
    assert not may_be_retimed(np.cumsum([120, 300] * 10))
    assert not may_be_retimed(np.cumsum([50] * 30))
