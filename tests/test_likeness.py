"""How alike beats are, how rare, how large and how sharp: windows with one QRS complex each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import log

import numpy as np
import pytest

from daemon.likeness import UNKNOWN, Shapes
from dsp.signal import R_INDEX, RATE_HZ, WINDOW_SAMPLES
from tests.story import Story, window_of


def windows(seed: int, shapes: int) -> Iterator[np.ndarray]:
    """Windows with a QRS complex at R that jitters by 8 ms: of one shape, or of as many at random."""
    rng = np.random.default_rng(seed)
    drawn = [np.convolve(rng.standard_normal(120), np.hanning(9), "same") for _ in range(shapes)]
    while True:
        at = R_INDEX - 60 + int(rng.integers(-2, 3))
        ecg = 0.05 * rng.standard_normal(WINDOW_SAMPLES)
        ecg[at : at + 120] += drawn[int(rng.integers(shapes))]
        yield ecg


def seen(*windows: np.ndarray, rr_s: float = 0.8) -> Shapes:
    shapes = Shapes()
    for number, ecg_mv in enumerate(windows, 1):
        shapes.add(round(number * rr_s * RATE_HZ), ecg_mv)
    return shapes


def test_beats_of_one_shape_are_alike_and_what_noise_makes_is_not():
    assert seen(*islice(windows(7, 1), 8)).likeness(5) > 0.95
    assert seen(*islice(windows(7, 100), 8)).likeness(5) < 0.5
    assert seen(window_of("N")).likeness(5) == 1.0


def test_a_beat_is_rare_when_few_of_the_minute_before_looked_so():
    usual = [window_of("N")] * 40
    assert seen(*usual).rarity(1) < 0.1
    assert seen(*usual, window_of("V")).rarity(1) > 3.0
    mixed = [window_of("N"), window_of("N"), window_of("N"), window_of("V")] * 10
    assert seen(*mixed).rarity(1) == pytest.approx(log(4), abs=0.1)


def test_a_run_is_not_compared_with_itself_and_after_a_while_it_is_usual():
    run = [window_of("V")] * 200
    usual = [window_of("N")] * 40
    assert seen(*usual, *run[:8]).rarity(5) > 3.0  # 6.4 s
    assert seen(*usual, *run).rarity(5) < 0.1


def test_what_is_usual_is_unknown_before_ten_beats():
    assert seen(*[window_of("N")] * 10).rarity(5) == UNKNOWN
    assert seen(*[window_of("N")] * 9).usual_mv is None


@pytest.mark.parametrize("gain", [0.5, 1.0, 3.0])
def test_growth_is_the_logarithm_of_the_size_over_the_usual_one(gain):
    assert seen(*[window_of("N")] * 40, *[gain * window_of("N")] * 5).growth(5) == pytest.approx(log(gain), abs=0.01)


def test_a_wide_complex_is_less_sharp_whatever_its_size():
    assert seen(window_of("V")).sharpness(1) < seen(window_of("N")).sharpness(1) - 0.5
    assert seen(2.0 * window_of("N")).sharpness(1) == pytest.approx(seen(window_of("N")).sharpness(1))


@pytest.mark.parametrize(("shapes", "raised"), [(1, True), (100, False)])
def test_a_run_of_beats_that_are_not_alike_is_no_tachycardia_however_sure_the_network_is(shapes, raised):
    story = Story().beats("N" * 10)
    for ecg in islice(windows(7, shapes), 12):
        story.beats("V", 0.4, ecg=ecg)
    assert ("ventricular_tachycardia" in story.kinds) is raised
