"""Each condition is raised exactly when its definition says. Beats and time-outs made by hand, no network."""

from __future__ import annotations

import numpy as np
import pytest

from daemon import config as cfg
from dsp.signal import RATE_HZ, WINDOW_SAMPLES
from tests.story import DECIDED_S, WANDER_MV, Story, window_of


def test_ten_minutes_of_sinus_rhythm_raise_nothing():
    assert Story().beats("N" * 750).kinds == set()


# Asystole and pause


def test_asystole_is_raised_by_the_first_time_out_with_4_s_without_a_beat_and_ends_with_the_next_beat():
    story = Story().beats("N" * 10)  # the last R peak is at 8 s; time-outs come 2.1, 3.1, 4.1 s after it
    assert story.silence(3.4).alerts("asystole") == []
    assert story.silence(1.0).alerts("asystole") == [(8.0, 12.1, None)]
    assert story.silence(6.0).alerts("asystole") == [(8.0, 12.1, None)]
    assert story.beats("N", 12.0).alerts("asystole") == [(8.0, 12.1, 20.0)]


def test_asystole_from_the_first_sample_on_is_seen():
    assert Story().silence(4.5).alerts("asystole") == [(0.0, 4.5, None)]


def test_an_asystole_that_a_beat_ends_before_a_time_out_could_tell_is_raised_all_the_same():
    """4.05 s: at 3.1 s it was too early, at 4.1 s the beat was there."""
    story = Story().beats("N" * 10).silence(3.0).beats("N", 4.05)
    assert story.alerts("asystole") == [(8.0, pytest.approx(12.65, abs=0.01), pytest.approx(12.05, abs=0.01))]
    assert story.alerts("pause") == []


def test_an_interval_of_exactly_4_s_is_an_asystole_and_no_pause():
    assert Story().beats("N" * 10).silence(3.0).beats("N", 4.0).kinds == {"asystole"}
    shorter = Story().beats("N" * 10).silence(1.5).beats("N", 3.996).kinds
    assert "pause" in shorter
    assert "asystole" not in shorter


def test_a_line_busier_than_any_silent_heart_is_no_asystole():
    """Swings larger than the beats, or candidates that the detector refused: beats are there, or noise."""
    swinging = 3.0 * np.sin(np.arange(WINDOW_SAMPLES) / 60.0)
    assert Story().beats("N" * 10).silence(9.0, ecg=swinging).kinds == set()
    assert Story().beats("N" * 10).silence(9.0, refused=6).kinds == set()
    assert Story().beats("N" * 10).silence(9.0, refused=5).kinds == {"asystole"}


def test_p_waves_that_no_ventricle_answers_are_no_beats():
    p_waves = WANDER_MV + 0.1 * window_of("V")
    story = Story().beats("N" * 40)
    for _ in range(8):
        story.beats("N", 0.8, ecg=p_waves)
    ((onset, raised, end),) = story.alerts("asystole")
    assert (onset, end) == (32.0, None)
    assert 4.0 <= raised - onset < 5.0
    assert [end for _, _, end in story.beats("N").alerts("asystole")] == [pytest.approx(39.2)]


def test_beats_that_only_become_smaller_are_beats():
    story = Story().beats("N" * 40)
    for _ in range(20):
        story.beats("N", 0.8, ecg=0.15 * window_of("N"))
    assert story.kinds == set()


def test_missing_samples_are_no_asystole_until_4_s_of_what_was_there_had_no_beat():
    assert Story().beats("N" * 10).silence(7.0, missing=0.5).kinds == set()
    assert Story().beats("N" * 10).silence(10.5, missing=0.5).kinds == {"asystole"}
    assert Story().beats("N" * 10).silence(60.0, missing=0.95).kinds == set()


def test_an_asystole_that_stands_goes_on_standing_through_missing_samples():
    story = Story().beats("N" * 10).silence(4.5).silence(3.0, missing=0.5).silence(3.0)
    assert story.alerts("asystole") == [(8.0, 12.1, None)]


@pytest.mark.parametrize("probability", [i / 20 for i in range(21)])
def test_without_beats_either_asystole_or_fibrillation_is_raised_whatever_the_network_says(probability):
    story = Story().beats("N" * 10).silence(9.0, ventricular_fibrillation=probability)
    assert story.kinds == {"ventricular_fibrillation" if probability >= 0.6 else "asystole"}


def test_an_asystole_that_turns_out_to_be_fibrillation_gives_way_to_it():
    story = Story().beats("N" * 10).silence(4.5).silence(9.0, ventricular_fibrillation=1.0)
    ((_, raised, _),) = story.alerts("ventricular_fibrillation")
    assert story.alerts("asystole") == [(8.0, 12.1, raised)]


def test_a_pause_is_recorded_by_the_beat_that_ends_it():
    assert Story().beats("N" * 10).silence(1.5).beats("N", 3.0).alerts("pause") == [(8.0, 11.6, 11.0)]
    assert Story().beats("N" * 10).silence(1.5).beats("N", 2.996).alerts("pause") == []


def test_an_interval_over_missing_samples_is_no_pause():
    assert Story().beats("N" * 10).beats("N", 3.5, unknown_rr=True).kinds == set()


# Ventricular beats


def test_tachycardia_is_raised_at_the_fifth_ventricular_beat_over_100_per_minute():
    story = Story().beats("N" * 10).beats("VVVV", 0.55)
    assert story.alerts("ventricular_tachycardia") == []
    story.beats("V", 0.55)
    assert story.alerts("ventricular_tachycardia") == [pytest.approx((8.55, 11.35, None), abs=0.02)]


@pytest.mark.parametrize(("rate_bpm", "raised"), [(95, False), (100, False), (102, True), (180, True)])
def test_five_ventricular_beats_are_a_tachycardia_only_when_faster_than_100(rate_bpm, raised):
    story = Story().beats("N" * 10).beats("V" * 20, 60 / rate_bpm)
    assert ("ventricular_tachycardia" in story.kinds) is raised
    assert "ventricular_run" in story.kinds


WIDE, NARROW = window_of("V"), window_of("N")


@pytest.mark.parametrize(
    ("shapes", "probabilities", "raised"),
    [
        ("VVVVV", [0.9, 0.9, 0.4, 0.25, 0.3], True),  # called N or S by the network in the end, but they look the same
        ("VVVVV", [0.7, 0.7, 0.05, 0.7, 0.7], True),  # one in real doubt
        ("VVVVV", [0.1, 0.1, 0.1, 0.1, 0.1], True),  # all: but no beat before looked so
        ("VVVNN", [0.9, 0.9, 0.9, 0.05, 0.05], False),  # a run of three and the beats after it
        ("NNVVV", [0.05, 0.05, 0.9, 0.9, 0.9], False),  # and before it
        ("NNNNN", [0.4, 0.4, 0.4, 0.4, 0.4], False),  # narrow, and as every beat before: quick, and no more
    ],
)
def test_a_quick_regular_run_of_beats_alike_that_were_rare_before_is_a_tachycardia(shapes, probabilities, raised):
    story = Story().beats("N" * 30, 0.6)
    for shape, probability in zip(shapes, probabilities, strict=True):
        letter = "V" if probability > 0.5 else "S"
        story.beats(letter, 0.45, ventricular=probability, ecg=WIDE if shape == "V" else NARROW)
    story.beats("N" * 5)
    assert ("ventricular_tachycardia" in story.kinds) is raised
    if raised:
        ((onset, raised, _),) = story.alerts("ventricular_tachycardia")
        assert 18.0 <= onset <= 18.45 + 0.01  # one beat more or less
        assert raised <= 18.0 + 5 * 0.45 + DECIDED_S


def test_beats_that_are_always_wide_may_be_quick():
    always = Story()
    for rr_s in [0.8] * 40 + [0.45] * 10:
        always.beats("N", rr_s, ventricular=0.4, ecg=WIDE)
    assert always.kinds == set()


def test_a_beat_of_the_run_that_the_detector_refused_hides_nothing():
    story = Story().beats("N" * 30)
    for rr_s in (0.45, 0.45, 0.9, 0.45, 0.45):
        story.beats("S", rr_s, ventricular=0.4, ecg=WIDE)
    assert "ventricular_tachycardia" in story.kinds


def test_a_run_in_doubt_is_none_when_the_network_sees_noise():
    clear, noisy = (
        Story().beats("N" * 30).beats("VVSVV", 0.45, ventricular=0.5, ecg=WIDE, noise=noise).kinds
        for noise in (0.0, 0.99)
    )
    assert "ventricular_tachycardia" in clear - noisy


def test_couplets_with_a_beat_between_are_no_run_however_fast():
    assert "ventricular_tachycardia" not in Story().beats("VVN" * 20, [0.35, 0.35, 0.8] * 20, ventricular=0.6).kinds


def test_a_probability_of_1_asks_for_beats_that_are_all_called_ventricular():
    strict = cfg.Alerts(ventricular_tachycardia=cfg.Tachycardia(probability=1.0))
    story = Story(strict).beats("N" * 10).beats("VVSVV", 0.45, ventricular=0.9)
    assert "ventricular_tachycardia" not in story.kinds
    assert "ventricular_tachycardia" in story.beats("VVV", 0.45).kinds


def test_a_slow_run_that_becomes_fast_becomes_a_tachycardia():
    story = Story().beats("N" * 10).beats("V" * 6, 0.8).beats("V" * 4, 0.4)
    ((onset, raised, _),) = story.alerts("ventricular_tachycardia")
    assert (onset, raised) == (8.8, pytest.approx(8.0 + 4.8 + 3 * 0.4 + DECIDED_S))  # with two it is at 100


def test_tachycardia_goes_on_over_two_other_beats_and_ends_at_its_last_beat_with_three():
    story = Story().beats("N" * 10).beats("V" * 10, 0.4).beats("NN").beats("V" * 3, 0.4).beats("NN")
    assert [end for _, _, end in story.alerts("ventricular_tachycardia")] == [None]
    last_v = story.r_peak / RATE_HZ - 1.6
    story.beats("N")
    assert [end for _, _, end in story.alerts("ventricular_tachycardia")] == [pytest.approx(last_v)]


@pytest.mark.parametrize(("ventricular", "ends"), [(0.6, False), (0.4, True)])
def test_a_beat_that_the_network_finds_ventricular_is_one_of_a_tachycardia_though_the_judge_calls_it_another(
    ventricular, ends
):
    story = Story().beats("N" * 10).beats("VVVVVV", 0.4).beats("NNNN", 0.4, ventricular=ventricular)
    ((*_, end),) = story.alerts("ventricular_tachycardia")
    assert (end is not None) is ends


def test_tachycardia_ends_when_no_beat_comes_for_3_s():
    story = Story().beats("N" * 10).beats("V" * 10, 0.4).silence(1.5)
    assert [end for _, _, end in story.alerts("ventricular_tachycardia")] == [None]
    assert [end for _, _, end in story.silence(1.5).alerts("ventricular_tachycardia")] == [12.0]


@pytest.mark.parametrize("beats", [3, 4])
def test_three_or_four_ventricular_beats_are_one_run_from_the_first_to_the_last(beats):
    story = Story().beats("N" * 10).beats("V" * beats, 0.5).beats("N" * 5)
    assert story.alerts("ventricular_run") == [(8.5, 9.5 + DECIDED_S, 8.0 + beats * 0.5)]
    assert story.kinds == {"ventricular_run"}


def test_a_run_gives_way_to_the_tachycardia_that_it_becomes_and_does_not_come_back():
    story = Story().beats("N" * 10).beats("V" * 12, 0.4).beats("N").beats("V" * 4, 0.4).beats("N" * 5)
    assert len(story.alerts("ventricular_tachycardia")) == 1
    ((_, _, end),) = story.alerts("ventricular_run")
    assert end == story.alerts("ventricular_tachycardia")[0][1]


def test_a_run_ends_when_no_beat_follows():
    story = Story().beats("N" * 10).beats("VVV", 0.5).silence(3.0)
    assert story.alerts("ventricular_run") == [(8.5, 10.1, 9.5)]


@pytest.mark.parametrize(
    ("letters", "couplets"), [("V", 0), ("VV", 1), ("VVV", 0), ("VVVV", 0), ("VNVNV", 0), ("VVNVV", 2)]
)
def test_a_couplet_is_exactly_two_ventricular_beats(letters, couplets):
    story = Story().beats("N" * 10).beats(letters, 0.5).beats("N" * 5)
    assert len(story.alerts("ventricular_couplet")) == couplets


def test_a_couplet_is_recorded_by_the_beat_after_it():
    story = Story().beats("N" * 10).beats("VV", 0.5).beats("N")
    assert story.alerts("ventricular_couplet") == [(8.5, 10.4, 9.0)]


def test_frequent_pvcs_begin_with_ten_in_a_minute_and_end_with_five():
    story = Story().beats("NNNNV" * 9)
    assert story.alerts("frequent_pvc") == []
    story.beats("NNNNV")  # one every 4 s, the last at 40 s
    assert story.alerts("frequent_pvc") == [(4.0, 40.6, None)]  # from the first of the ten
    story.beats("N" * 49)  # to 79.2 s: those from 20 s on are within the minute, six
    assert [end for _, _, end in story.alerts("frequent_pvc")] == [None]
    assert [end for _, _, end in story.beats("N" * 2).alerts("frequent_pvc")] == [pytest.approx(80.6)]


def test_ten_ventricular_beats_in_more_than_a_minute_are_not_frequent():
    assert "frequent_pvc" in Story().beats("NNNNNNV" * 15, 60 / 64).kinds  # the ten take 59 s and are told 0.6 s later
    assert "frequent_pvc" not in Story().beats("NNNNNNV" * 15, 60 / 63).kinds


# Supraventricular beats


def test_three_supraventricular_beats_are_a_run_and_two_are_none():
    assert Story().beats("N" * 10).beats("SS", 0.5).beats("N" * 5).kinds == set()
    story = Story().beats("N" * 10).beats("SSS", 0.5).beats("N" * 5)
    assert story.alerts("supraventricular_run") == [(8.5, 10.1, 9.5)]
    assert story.kinds == {"supraventricular_run"}


# Rates


@pytest.mark.parametrize(
    ("rate_bpm", "kind"),
    [(30, "extreme_bradycardia"), (39, "extreme_bradycardia"), (41, None), (139, None), (142, "extreme_tachycardia")],
)
def test_extreme_rates_are_below_40_and_above_140(rate_bpm, kind):
    assert Story().beats("N" * 30, 60 / rate_bpm).kinds == ({kind} if kind else set())


def test_a_rate_at_the_limit_is_not_beyond_it():
    assert Story().beats("N" * 30, 1.5).kinds == set()


def test_an_extreme_rate_goes_on_while_the_rate_is_not_known():
    story = Story().beats("N" * 10, 1.6).beats("N" * 5, unknown_rr=True)
    assert [end for _, _, end in story.alerts("extreme_bradycardia")] == [None]
    assert [end is None for _, _, end in story.beats("N" * 2).alerts("extreme_bradycardia")] == [False]


@pytest.mark.parametrize(("kind", "rr_s", "every"), [("extreme_bradycardia", 1.6, 2), ("extreme_tachycardia", 0.37, 7)])
def test_an_extreme_rate_is_told_though_some_intervals_are_not_known_and_ends(kind, rr_s, every):
    """Losses of a quarter of a second, every few beats, leave an interval out each time."""
    story = Story()
    for _ in range(8):
        story.beats("N" * (every - 1), rr_s).beats("N", rr_s, unknown_rr=True)
    assert [end for _, _, end in story.alerts(kind)] == [None]
    for _ in range(8):
        story.beats("N" * (every - 1)).beats("N", unknown_rr=True)
    assert [end is None for _, _, end in story.alerts(kind)] == [False]


def test_beats_of_long_ago_say_nothing_of_the_rate():
    story = Story().beats("N" * 11, 0.37).silence(60.0, missing=1.0)
    story.r_peak = story.at
    assert "extreme_tachycardia" not in story.beats("N", unknown_rr=True).beats("N" * 2, 0.37).kinds


@pytest.mark.parametrize(("kind", "beats", "rr_s"), [("extreme_bradycardia", 4, 1.6), ("extreme_tachycardia", 13, 0.4)])
def test_extreme_rates_need_their_number_of_beats(kind, beats, rr_s):
    story = Story().beats("N" * (beats - 1), rr_s)
    assert story.kinds == set()
    story.beats("N", rr_s)
    assert story.alerts(kind) == [(rr_s, pytest.approx(beats * rr_s + DECIDED_S), None)]  # from the first of them


def test_an_extreme_rate_ends_only_when_it_is_back_by_a_twentieth():
    story = Story().beats("N" * 10, 1.6).beats("N" * 20, 60 / 41)
    assert [end for _, _, end in story.alerts("extreme_bradycardia")] == [None]
    story.beats("N" * 20, 60 / 43)
    assert [end is None for _, _, end in story.alerts("extreme_bradycardia")] == [False]


def test_the_long_interval_of_an_asystole_is_no_bradycardia():
    story = Story().beats("N" * 20).silence(9.0).beats("N" * 20, [9.6] + [0.8] * 19)
    assert story.kinds == {"asystole"}


@pytest.mark.parametrize("pause_s", [3.0, 3.9])
def test_one_long_pause_in_a_normal_rhythm_is_no_bradycardia(pause_s):
    story = Story().beats("N" * 20).silence(1.5).beats("N" * 20, [pause_s] + [0.8] * 19)
    assert story.kinds == {"pause"}


def test_a_bradycardia_with_a_longer_interval_in_it_is_one():
    assert "extreme_bradycardia" in Story().beats("N" * 10).beats("N" * 4, [1.4, 2.0, 1.4, 1.4]).kinds


def test_a_bradycardia_after_an_asystole_is_raised():
    story = Story().beats("N" * 20).silence(9.0).beats("N" * 6, [9.6] + [1.7] * 5)
    assert story.kinds == {"asystole", "extreme_bradycardia"}


def test_every_number_of_beats_that_the_configuration_allows_can_be_reached():
    limits = cfg.Alerts(extreme_tachycardia=cfg.ExtremeTachycardia(beats=30))
    assert Story(limits).beats("N" * 30, 0.4).kinds == {"extreme_tachycardia"}
