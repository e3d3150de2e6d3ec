"""Each condition that the network sees in the rhythm is raised exactly when its definition says."""

from __future__ import annotations

from itertools import pairwise

import pytest

from daemon import config as cfg
from daemon.rhythm_rules import Noise
from dsp.signal import RATE_HZ
from tests.story import Story

IRREGULAR_S = [round(0.45 + 0.6 * ((number * number * 0.618) % 1.0), 3) for number in range(1, 400)]
"""Any two, and any three in a row, differ; 0.45 to 1.05 s."""


def fibrillating(story: Story, beats: int, probability: float = 0.99, letter: str = "N") -> Story:
    return story.beats(letter * beats, IRREGULAR_S[:beats], atrial_fibrillation=probability)


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


@pytest.mark.parametrize("fibrillation", [i / 10 for i in range(10)])
def test_waves_that_may_be_fibrillation_or_tachycardia_are_called_what_is_likelier(fibrillation):
    both = {"ventricular_fibrillation": fibrillation, "ventricular_tachycardia": round(0.9 - fibrillation, 1)}
    kind = "ventricular_fibrillation" if fibrillation > 0.4 else "ventricular_tachycardia"
    assert Story().beats("N" * 10).silence(12.0, **both).kinds == {kind}


def test_waves_of_tachycardia_go_on_until_they_are_over_and_an_asystole_gives_way_to_them():
    story = Story().beats("N" * 10).silence(4.5).silence(12.0, ventricular_tachycardia=0.9)
    ((_, raised, end),) = story.alerts("ventricular_tachycardia")
    assert (end, [ended for _, _, ended in story.alerts("asystole")]) == (None, [raised])
    last = story.at / RATE_HZ
    assert [end for _, _, end in story.silence(6.0).alerts("ventricular_tachycardia")] == [last]


def test_waves_of_tachycardia_over_slow_beats_are_none():
    slow, fast = (Story().beats("N" * 20, rr_s, ventricular_tachycardia=0.9).kinds for rr_s in (0.65, 0.5))
    assert slow == set()
    assert fast == {"ventricular_tachycardia"}


def test_a_fibrillation_that_becomes_clearly_a_tachycardia_is_called_so():
    story = Story().beats("N" * 10).silence(9.0, ventricular_fibrillation=0.9)
    story.silence(12.0, ventricular_tachycardia=0.6, ventricular_fibrillation=0.35)
    assert story.kinds == {"ventricular_fibrillation", "ventricular_tachycardia"}
    assert [end for _, _, end in story.alerts("ventricular_fibrillation")] == [None]  # likelier is not clearly
    story.silence(6.0, ventricular_tachycardia=0.8, ventricular_fibrillation=0.1)
    assert [end is None for _, _, end in story.alerts("ventricular_fibrillation")] == [False]


def test_supraventricular_runs_in_atrial_fibrillation_are_not_told():
    story = fibrillating(Story().beats("N" * 10), 60)
    assert story.kinds == {"atrial_fibrillation"}
    assert fibrillating(story, 10, letter="S").kinds == {"atrial_fibrillation"}


def spans(story: Story) -> list[tuple[float, float | None]]:
    """(onset, end) of every episode of AF, alerted or not, in seconds."""
    ends = {each.onset: each.end for each in story.changes if each.kind == "atrial_fibrillation"}
    return [(onset / RATE_HZ, end and end / RATE_HZ) for onset, end in ends.items()]


def test_atrial_fibrillation_begins_where_the_network_saw_it_first_and_is_raised_after_30_s():
    bold = cfg.Alerts(atrial_fibrillation=cfg.AtrialFibrillation(alarm_probability=0.97))
    story = fibrillating(Story(bold).beats("N" * 70), 60)
    ((onset, raised, end),) = story.alerts("atrial_fibrillation")
    assert (onset, end) == (pytest.approx(56.0 + IRREGULAR_S[0], abs=0.01), None)
    assert 30.0 <= raised - onset <= 31.7


def test_the_rhythm_is_called_fibrillation_as_soon_as_it_is_seen_and_not_only_when_an_alert_is_due():
    story = fibrillating(Story().beats("N" * 70), 34)
    assert story.kinds == set()
    assert story.rhythm == "AFIB"
    assert spans(story) == [(pytest.approx(56.0 + IRREGULAR_S[0], abs=0.01), None)]


def test_atrial_fibrillation_shorter_than_its_persistence_names_the_rhythm_and_alerts_no_one():
    story = fibrillating(Story().beats("N" * 70), 34)
    seconds = sum(IRREGULAR_S[:34])
    assert seconds < 30
    story.beats("N" * 60)
    assert story.kinds == set()
    assert [end - onset for onset, end in spans(story)] == [pytest.approx(seconds - IRREGULAR_S[0], abs=0.1)]


@pytest.mark.parametrize(("beats", "rhythm"), [(40, "N"), (60, "AFIB")])
def test_what_few_intervals_took_for_fibrillation_is_named_so_only_while_it_is_likely(beats, rhythm):
    story = fibrillating(Story(), beats)
    assert story.rhythm == "AFIB"
    story.beats("N" * 20, IRREGULAR_S[beats : beats + 20], atrial_fibrillation=0.1)  # in doubt: neither on nor off
    assert story.rhythm == rhythm


def test_atrial_fibrillation_ends_with_the_last_beat_that_the_network_took_for_it():
    story = fibrillating(Story().beats("N" * 70), 60)
    last = story.r_peak / RATE_HZ
    assert [end for _, _, end in story.beats("N" * 5).alerts("atrial_fibrillation")] == [None]
    assert [end for _, _, end in story.beats("N" * 25).alerts("atrial_fibrillation")] == [last]
    assert story.rhythm == "N"


def test_atrial_fibrillation_goes_on_through_a_silence():
    story = fibrillating(Story(), 60).silence(30.0, missing=1.0)
    story.r_peak += 600 * RATE_HZ
    story.beats("N", unknown_rr=True)
    assert [end for _, _, end in story.alerts("atrial_fibrillation")] == [None]


@pytest.mark.parametrize(("beats", "told"), [(60, True), (34, False)])
def test_atrial_fibrillation_that_is_over_after_a_long_silence_ended_before_it(beats, told):
    """And of one that had not lasted the silence is no part: nobody is called in sinus rhythm."""
    story = fibrillating(Story().beats("N" * 70), beats)
    last = story.r_peak / RATE_HZ
    story.r_peak += 600 * RATE_HZ
    story.beats("N", unknown_rr=True).beats("N" * 60)
    assert [end for _, _, end in story.alerts("atrial_fibrillation")] == ([last] if told else [])
    assert [end for _, end in spans(story)] == [last]


def test_a_network_in_doubt_is_carried_by_irregular_intervals():
    assert fibrillating(Story().beats("N" * 70), 100, probability=0.5).rhythm == "AFIB"
    assert fibrillating(Story().beats("N" * 70), 100, probability=0.05).rhythm == "N"


def test_half_a_minute_as_a_whole_has_a_say():
    def told(half_minute: float) -> Story:
        story = Story()
        story.half_minute = half_minute
        return fibrillating(story.beats("N" * 70), 100, probability=0.6)

    assert told(0.9).rhythm == "AFIB"
    flutters = told(0.02)
    assert (flutters.rhythm, flutters.kinds) == ("N", set())


def test_half_a_minute_is_looked_at_only_where_that_decides():
    calm = Story().beats("N" * 300, atrial_fibrillation=0.02)
    assert calm.asked == 0
    sure = fibrillating(Story().beats("N" * 70), 200)
    assert sure.kinds == {"atrial_fibrillation"}
    asked = sure.asked
    assert asked > 0
    fibrillating(sure, 200)
    assert sure.asked == asked
    assert fibrillating(Story().beats("N" * 70), 200, probability=0.2).asked > asked, "in doubt"


def test_the_rhythm_is_named_before_it_is_sure_enough_for_an_alert():
    doubtful = fibrillating(Story().beats("N" * 70), 100, probability=0.5)
    assert (doubtful.rhythm, doubtful.kinds) == ("AFIB", set())
    bold = cfg.Alerts(atrial_fibrillation=cfg.AtrialFibrillation(alarm_probability=0.97))
    assert fibrillating(Story(bold).beats("N" * 70), 100, probability=0.5).kinds == {"atrial_fibrillation"}
    assert doubtful.beats("N" * 60, IRREGULAR_S[100:160], atrial_fibrillation=0.99).kinds == {"atrial_fibrillation"}


def test_beats_that_are_ventricular_lend_no_irregularity():
    """Sinus rhythm with ventricular beats at random, the intervals around which are as irregular as in AF."""
    letters = "".join("V" if (number * number * 0.618) % 1.0 < 0.3 else "N" for number in range(1, 200))
    intervals = [{"NV": 0.5, "VN": 1.1, "VV": 0.45}.get(pair, 0.8) for pair in map("".join, pairwise("N" + letters))]
    assert "atrial_fibrillation" not in Story().beats(letters, intervals, atrial_fibrillation=0.6).kinds


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
    limits = cfg.Alerts(atrial_fibrillation=cfg.AtrialFibrillation(persistence_s=0.0, alarm_probability=0.97))
    assert fibrillating(Story(limits).beats("N" * 30), 34).kinds == {"atrial_fibrillation"}


def test_atrial_fibrillation_between_its_two_probabilities_neither_begins_nor_ends():
    doubtful = {"rr_s": IRREGULAR_S[:200], "atrial_fibrillation": 0.1}
    assert Story().beats("N" * 200, **doubtful).rhythm == "N"
    story = fibrillating(Story(), 100).beats("N" * 200, **doubtful)
    assert [end for _, _, end in story.alerts("atrial_fibrillation")] == [None]
    story.beats("N" * 60)
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
    story = fibrillating(Story(), 6)
    story.r_peak += 600 * RATE_HZ
    fibrillating(story.beats("N", unknown_rr=True), 6)
    assert story.rhythm == "N"
    fibrillating(story, 60)
    ((onset, _, _),) = story.alerts("atrial_fibrillation")
    assert onset > 600


def test_one_episode_does_not_begin_before_the_last_one_ended():
    story = fibrillating(Story().beats("N" * 70), 60).beats("N" * 30)
    (_, first_end), (second, _) = spans(fibrillating(story, 60))
    assert first_end < second
