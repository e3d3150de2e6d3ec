"""What the decisions remember of past beats."""

from __future__ import annotations

import pytest

from daemon.history import MEMORY_BEATS, History
from dsp.signal import RATE_HZ


def heard(letters: str, rr_s, history: History | None = None) -> History:
    """A beat for each letter, each that many seconds after the one before; None where it is not known."""
    history = history or History()
    intervals = rr_s if isinstance(rr_s, list) else [rr_s] * len(letters)
    for letter, interval_s in zip(letters, intervals, strict=True):
        r_peak = (history.last.r_peak if history.last else 0) + round((interval_s or 1.0) * RATE_HZ)
        history.add(r_peak, r_peak + 150, interval_s, letter, 1.0)
    return history


def test_a_run_holds_its_beats_and_a_beat_of_another_class_ends_it():
    history = heard("NNVVV", 0.5)
    assert (history.run.beat, history.run.r_peaks) == ("V", (375, 500, 625))
    heard("N", 0.5, history)
    assert (history.ended.beat, history.ended.r_peaks) == ("V", (375, 500, 625))
    assert heard("N", 0.5, history).ended is None


def test_a_run_does_not_go_on_over_an_unknown_interval():
    assert heard("VVVV", [0.5, 0.5, None, 0.5]).run.r_peaks == (500, 625)


def test_nothing_goes_on_over_a_signal_that_could_not_be_judged():
    history = heard("VV", 0.5)
    history.break_off()
    assert history.ended is None
    after = heard("V", 7.0, history)
    assert (after.last.rr_s, after.last.heart_rate_bpm, len(after.run.r_peaks)) == (None, None, 1)
    assert after.intervals(2, longest_s=10.0) is None
    assert heard("V", 0.5, history).last.rr_s == 0.5  # once


def test_the_rate_of_a_run_is_that_of_its_last_beats():
    assert heard("VVVVV", [1.0, 1.0, 1.0, 0.5, 0.5]).run.rate_bpm(3) == pytest.approx(120)


def test_the_intervals_of_some_beats_are_known_only_without_one_as_long_as_an_asystole():
    history = heard("NNNN", [None, 1.0, 0.5, 0.5])
    assert history.intervals(3, longest_s=4.0) == [0.5, 0.5]
    assert history.intervals(4, longest_s=4.0) == [0.5, 0.5, 1.0]
    assert history.intervals(5, longest_s=4.0) is None
    assert heard("NN", [4.0, 0.5], history).intervals(3, longest_s=4.0) is None
    assert history.intervals(2, longest_s=4.0) == [0.5]


def test_the_newest_beats_are_told_newest_first():
    history = heard("NVS", 0.5)
    assert [beat.beat for beat in history.newest(2)] == ["S", "V"]
    assert len(history.newest(9)) == 3


def test_beats_of_a_class_are_found_from_a_sample_on_newest_first():
    history = heard("VNVNV", 1.0)
    assert history.r_peaks("V", since=0) == [1250, 750, 250]
    assert history.r_peaks("V", since=750) == [1250, 750]
    assert history.r_peaks("V", since=751) == [1250]
    assert history.r_peaks("S", since=0) == []


def test_the_memory_is_bounded():
    history = heard("V" * (MEMORY_BEATS + 50), 0.3)
    assert len(history.r_peaks("V", since=0)) == len(history.run.r_peaks) == MEMORY_BEATS


@pytest.mark.parametrize(
    ("rr_s", "heart_rate_bpm"),
    [
        ([None], None),
        ([None, 0.5], 120),
        ([None, 0.5, 1.0], 80),
        ([None] + [0.5] * 10 + [1.0, 0.25], 120),  # of the 12 latest, less the longest and the shortest
        ([None] + [1.0] * 20 + [0.5] * 12, 120),  # what is older does not count
        ([None] + [0.5] * 12 + [1.0, 1.5, 1.5, 1.5], 60 / 1.375),  # the last three over 1.2 s: the 4 latest
        ([None, 0.5, 0.5, None], None),
    ],
)
def test_the_heart_rate_is_averaged_as_bedside_monitors_do(rr_s, heart_rate_bpm):
    found = heard("N" * len(rr_s), rr_s).last.heart_rate_bpm
    assert found == (None if heart_rate_bpm is None else pytest.approx(heart_rate_bpm))
