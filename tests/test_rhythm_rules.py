"""Each condition that the network sees in the rhythm is raised exactly when its definition says."""

from __future__ import annotations

import pytest

from daemon import config as cfg
from daemon.rhythm_rules import Noise
from dsp.signal import RATE_HZ
from tests.story import Story

IRREGULAR_S = [0.62, 0.95, 0.71, 0.55, 1.02, 0.8, 0.66, 0.9]


def fibrillating(story: Story, beats: int, probability: float = 0.9, letter: str = "N") -> Story:
    intervals = (IRREGULAR_S * beats)[:beats]
    return story.beats(letter * beats, intervals, atrial_fibrillation=probability)


def test_fibrillation_is_raised_when_it_has_lasted_and_its_onset_is_in_the_first_window_that_showed_it():
    story = Story().beats("N" * 10).silence(6.0, ventricular_fibrillation=0.9)
    ((onset, raised, end),) = story.alerts("ventricular_fibrillation")
    assert (onset, end) == (8.0 + 2.1 - 2.0, None)
    assert 3.0 <= raised - 8.0 <= 8.0


def test_one_window_of_fibrillation_raises_nothing():
    story = Story().beats("N" * 10).silence(1.5, ventricular_fibrillation=1.0).beats("N" * 5)
    assert story.alerts("ventricular_fibrillation") == []


def test_one_window_of_fibrillation_after_a_long_gap_raises_nothing():
    story = Story().beats("N" * 10).silence(1.5)
    story.at += 60 * RATE_HZ
    assert story.silence(1.5, missing=1.0, ventricular_fibrillation=1.0).kinds == set()


def test_fibrillation_ends_with_the_last_window_that_showed_it():
    story = Story().beats("N" * 10).silence(6.0, ventricular_fibrillation=0.9)
    last = story.at / RATE_HZ
    story.silence(6.0, missing=1.0)
    assert [end for _, _, end in story.alerts("ventricular_fibrillation")] == [last]


def test_fibrillation_between_its_two_probabilities_neither_begins_nor_ends():
    story = Story().beats("N" * 10).silence(12.0, ventricular_fibrillation=0.5)
    assert story.alerts("ventricular_fibrillation") == []
    story.silence(6.0, ventricular_fibrillation=0.9).silence(60.0, ventricular_fibrillation=0.4)
    assert [end for _, _, end in story.alerts("ventricular_fibrillation")] == [None]
    story.silence(6.0, ventricular_fibrillation=0.1)
    assert [end is None for _, _, end in story.alerts("ventricular_fibrillation")] == [False]


def test_fibrillation_at_the_very_start_has_no_onset_before_the_first_sample():
    ((onset, _, _),) = Story().silence(6.0, ventricular_fibrillation=0.9).alerts("ventricular_fibrillation")
    assert onset == 0.0


def test_supraventricular_runs_in_atrial_fibrillation_are_not_told():
    story = fibrillating(Story().beats("N" * 10), 60)
    assert story.kinds == {"atrial_fibrillation"}
    assert fibrillating(story, 10, letter="S").kinds == {"atrial_fibrillation"}


def test_atrial_fibrillation_begins_where_the_network_saw_it_first_and_is_raised_after_30_s():
    story = fibrillating(Story().beats("N" * 30), 60)
    ((onset, raised, end),) = story.alerts("atrial_fibrillation")
    assert (onset, end) == (pytest.approx(24.0 + IRREGULAR_S[0], abs=0.01), None)
    assert 30.0 <= raised - onset <= 31.1


def test_atrial_fibrillation_shorter_than_its_persistence_is_not_told():
    story = fibrillating(Story().beats("N" * 30), 30)  # 23 s
    assert story.beats("N" * 60).kinds == set()


def test_atrial_fibrillation_ends_with_the_last_beat_that_showed_it():
    story = fibrillating(Story().beats("N" * 30), 60)
    last = story.r_peak / RATE_HZ
    assert [end for _, _, end in story.beats("N" * 12).alerts("atrial_fibrillation")] == [None]
    assert [end for _, _, end in story.beats("N" * 12).alerts("atrial_fibrillation")] == [last]


def test_atrial_fibrillation_goes_on_through_a_silence():
    story = fibrillating(Story(), 60).silence(30.0, missing=1.0)
    story.r_peak += 600 * RATE_HZ
    story.beats("N", unknown_rr=True)
    assert [end for _, _, end in story.alerts("atrial_fibrillation")] == [None]


def noise(*told: tuple[float, float]) -> list[int]:
    """The seconds at which noise stands, of probabilities told once a second: (for so long, probability)."""
    rule = Noise(cfg.Noise())
    probabilities = [p for seconds, p in told for _ in range(int(seconds))]
    return [second for second, p in enumerate(probabilities) if rule(second * RATE_HZ, p)]


def test_noise_is_raised_when_it_has_lasted_10_s():
    assert noise((10, 1.0)) == []
    assert noise((20, 1.0)) == list(range(10, 20))


def test_noise_that_hovers_about_its_limit_is_told_once():
    hovering = [(1, p) for p in [0.7, 0.9, 0.75, 0.82] * 30]
    assert noise((20, 1.0), *hovering) == list(range(10, 140))


def test_noise_ends_at_half_its_probability():
    assert noise((20, 1.0), (60, 0.45))[-1] == 79
    assert 20 < noise((20, 1.0), (60, 0.1))[-1] < 30


def test_a_persistence_of_zero_tells_at_once():
    limits = cfg.Alerts(atrial_fibrillation=cfg.AtrialFibrillation(persistence_s=0.0))
    assert fibrillating(Story(limits).beats("N" * 30), 24).kinds == {"atrial_fibrillation"}


def test_atrial_fibrillation_between_its_two_probabilities_neither_begins_nor_ends():
    story = fibrillating(Story().beats("N" * 30), 100, probability=0.55)
    assert story.kinds == set()
    fibrillating(fibrillating(story, 60, probability=0.9), 200, probability=0.45)
    assert [end for _, _, end in story.alerts("atrial_fibrillation")] == [None]
    story.beats("N" * 30)
    assert [end is None for _, _, end in story.alerts("atrial_fibrillation")] == [False]


def test_regular_beats_are_no_atrial_fibrillation_however_sure_the_network_is():
    assert Story().beats("N" * 200, 0.8, atrial_fibrillation=1.0).kinds == set()


def test_ectopic_beats_do_not_make_a_rhythm_irregular():
    """Bigeminy and trigeminy vary most from interval to interval, and are no fibrillation."""
    for pattern in ("NV", "NNV", "NNNV"):
        intervals = [{"NV": 0.5, "VN": 1.1}.get(a + b, 0.8) for a, b in zip("V" + pattern, pattern, strict=False)]
        story = Story().beats(pattern * 60, intervals * 60, atrial_fibrillation=1.0)
        assert "atrial_fibrillation" not in story.kinds


def test_beats_before_a_long_silence_do_not_count_towards_atrial_fibrillation():
    story = fibrillating(Story(), 20)
    story.r_peak += 600 * RATE_HZ
    fibrillating(story.beats("N", unknown_rr=True), 10)
    assert not story.rules["atrial_fibrillation"].likely
    ((onset, _, _),) = fibrillating(story, 60).alerts("atrial_fibrillation")
    assert onset > 600
