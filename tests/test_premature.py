"""The network that follows the beats: what it is shown, what it remembers, and of whom."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.premature import LABELS, LIKELIER, Premature
from dsp.beat_picture import POINT_SAMPLES, POINTS, R_POINT, picture
from dsp.chain import Chain
from dsp.intervals import FEATURES
from dsp.signal import R_INDEX, RATE_HZ, WINDOW_SAMPLES, Block, Window
from dsp.windows import CLIP
from engines.model import SHIPPED, load
from rhythmd.patient import make

SEEDS = range(3)
RUNNING = ", ".join(f"sinus 15 @{bpm}" for bpm in (*range(70, 150, 8), *range(142, 80, -8)))
"""Somebody who starts to run, and stops again. From 155/min on the P waves of this patient lie under T waves."""


def windows_of(script: str, seed: int = 1) -> tuple[list[Window], list[str]]:
    """Windows of the beats of a simulated patient, and what each beat is."""
    simulated = make(script, seed)
    chain = Chain(float(RATE_HZ))
    _, events = chain(Block.of(0, simulated.recording.counts / simulated.recording.counts_per_mv))
    windows = [each for each in (*events, *chain.finish()) if isinstance(each, Window) and each.beat]
    true = np.array([beat.sample for beat in simulated.beats])
    return windows, [simulated.beats[int(np.abs(true - each.beat.r_peak).argmin())].label for each in windows]


def said(premature: Premature, windows: list[Window]) -> list[list[float]]:
    return [premature(each)[0].tolist() for each in windows]


def supraventricular(windows: list[Window]) -> list[bool]:
    return [early > LIKELIER * normal for normal, early, _ in said(Premature(), windows)]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_shipped_network_finds_premature_atrial_beats_and_nothing_in_other_rhythms(seed):
    windows, truth = windows_of("sinus 30, pac 90", seed)
    called = supraventricular(windows)
    of_s = [call for call, label in zip(called, truth, strict=True) if label == "S"]
    assert len(of_s) >= 10
    assert sum(of_s) >= 0.9 * len(of_s)
    assert sum(called) - sum(of_s) <= 2
    for rhythm in ("sinus 90", RUNNING, "sinus 20, pause 60", "af 90"):
        called = supraventricular(windows_of(rhythm, seed)[0])
        assert sum(called) <= 0.02 * len(called), rhythm


def test_two_who_share_the_network_are_remembered_apart_and_one_who_is_put_away_is_taken_up_again():
    one, other = windows_of("sinus 30, pac 30", 1)[0], windows_of("sinus 20, svt 30", 2)[0]
    alone = [said(Premature(), windows) for windows in (one, other)]
    assert alone[0] != said(Premature(), one[:20]) + said(Premature(), one[20:])
    first, second = Premature(), Premature()
    together = [said(first, [a]) + said(second, [b]) for a, b in zip(one[:30], other[:30], strict=True)]
    assert together == [list(pair) for pair in zip(*(each[:30] for each in alone), strict=True)]
    first = pickle.loads(pickle.dumps(first))
    assert said(first, one[30:]) == alone[0][30:]


def test_gain_does_not_matter():
    windows, _ = windows_of("sinus 20, pac 30")
    larger = [replace(each, scale_mv=8 * each.scale_mv) for each in windows]
    assert said(Premature(), larger) == said(Premature(), windows)


class Watching:
    """A network that keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[np.ndarray] = []
        self.states: dict[str, np.ndarray] = {}

    def infer(self, shown, rr):
        assert rr.shape == (1, FEATURES)
        self.shown.append(shown)
        return (np.array([[1.0, 0.0, 0.0]]),)

    def forget(self):
        """It has no memory."""


def test_one_artefact_changes_no_other_beat_and_a_smaller_p_wave_is_seen_as_smaller():
    """All are drawn by the same measure, which is what is usual, and not each by its own."""
    windows, _ = windows_of("sinus 60")
    network = Watching()
    premature = Premature(lambda: network)
    jolted = [
        replace(each, scale_mv=40 * each.scale_mv) if number == 30 else each for number, each in enumerate(windows)
    ]
    for each in jolted:
        premature(each)
    calm = Watching()
    undisturbed = Premature(lambda: calm)
    for each in windows:
        undisturbed(each)
    for number, (shown, wanted) in enumerate(zip(network.shown, calm.shown, strict=True)):
        if number == 30:
            assert np.abs(shown).max() > 10 * np.abs(wanted).max() or np.abs(shown).max() == CLIP
        else:
            np.testing.assert_allclose(shown, wanted, rtol=0.1, atol=1e-3)


def test_what_is_no_number_spoils_nothing_that_comes_after():
    windows, _ = windows_of("sinus 40")
    spoiled = replace(windows[10], ecg=np.full_like(windows[10].ecg, np.nan))
    told = said(Premature(), [*windows[:10], spoiled, *windows[11:]])
    np.testing.assert_allclose(told[-10:], said(Premature(), windows)[-10:], atol=0.05)


@given(r_peak_mv=st.floats(0.1, 5.0), usual_mv=st.floats(0.05, 2.0))
def test_the_r_peak_stands_where_it_is_looked_for(r_peak_mv, usual_mv):
    ecg_mv = np.zeros(WINDOW_SAMPLES)
    ecg_mv[R_INDEX] = r_peak_mv
    ecg_mv[R_INDEX + POINT_SAMPLES * (POINTS - R_POINT - 1)] = usual_mv
    drawn = picture(ecg_mv, usual_mv)
    assert drawn.shape == (1, POINTS)
    assert np.flatnonzero(drawn).tolist() == [R_POINT, POINTS - 1]
    assert drawn[0, R_POINT] == pytest.approx(min(r_peak_mv / usual_mv, CLIP))
    assert drawn[0, -1] == pytest.approx(1.0)


def test_the_shipped_network_is_what_its_manifest_says():
    model = load(SHIPPED / "sveb1.onnx")
    assert [each.shape for each in model.manifest.inputs] == [(1, POINTS), (1, FEATURES)]
    assert model.manifest.heads[0].labels == LABELS
    assert model.onnx.stat().st_size < 4e6
