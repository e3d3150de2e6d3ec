"""Which of the beats that the network takes for supraventricular ones are called so."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.premature import RUN_BEATS, Premature

SURE, HARDLY, NORMAL = 4.0, 0.3, -3.0


class Told:
    """Beats in their turn, and which of them are called premature: P, or N."""

    def __init__(self) -> None:
        self.premature, self.called = Premature(), ""

    def beats(self, intervals_s, log_odds=NORMAL, against=0.0) -> Told:
        for rr_s in intervals_s:
            self.called += "P" if self.premature(rr_s, log_odds, against) else "N"
        return self


def usual() -> Told:
    return Told().beats([0.8] * 20)


@pytest.mark.parametrize(("rr_s", "log_odds", "called"), [(0.65, HARDLY, "P"), (0.75, HARDLY, "N"), (0.75, 0.7, "P")])
def test_a_beat_that_does_not_come_early_must_be_the_likelier(rr_s, log_odds, called):
    assert usual().beats([rr_s], log_odds).called[-1] == called


@pytest.mark.parametrize(("before", "called"), [(1, "N"), (2, "P")])
def test_in_a_run_beats_need_not_come_early(before, called):
    assert usual().beats([0.6] * before, SURE).beats([0.75], HARDLY).called[-1] == called
    assert usual().beats([0.6] * before, SURE, inf).beats([0.75], HARDLY).called[-1] == "N", "none was called so"
    broken = usual().beats([0.6] * before, SURE).beats([0.8]).beats([0.75], HARDLY)
    assert broken.called[-1] == "N", "it was over"


def test_as_long_as_nobody_knows_what_is_usual_any_beat_may_come_early():
    assert Told().beats([None, 0.8, 0.8]).beats([0.8], HARDLY).called[-1] == "P"
    assert Told().beats([None, 0.8, 0.8, 0.8]).beats([0.8], HARDLY).called[-1] == "N"
    assert usual().beats([None], HARDLY).called[-1] == "P"


def test_what_the_rhythm_has_against_it_must_be_outweighed():
    assert usual().beats([0.6], SURE, SURE).called[-1] == "N"
    assert usual().beats([0.6], SURE, SURE - 0.1).called[-1] == "P"


@given(st.lists(st.floats(0.3, 0.9), max_size=40), st.floats(0.3, 0.9))
def test_a_run_is_irregular_after_eight_beats_at_the_earliest_and_a_regular_one_never(intervals_s, rr_s):
    assert "N" not in Told().beats(intervals_s, SURE).called[: RUN_BEATS - 1]
    breathing = [rr_s * (1.04 if beat % 5 < 2 else 0.97) for beat in range(40)]
    assert "N" not in Told().beats([2.0, *breathing], SURE).called


def test_a_run_that_fibrillates_is_none_from_its_eighth_beat_on_until_it_is_regular():
    told = usual().beats([0.4, 0.55] * 10, SURE).beats([0.4] * 10, SURE)
    assert told.called[20:40] == "P" * (RUN_BEATS - 1) + "N" * (20 - RUN_BEATS + 1)
    assert told.called[-1] == "P"


@pytest.mark.parametrize(
    ("rr_s", "log_odds", "called"), [(0.8, NORMAL, "N"), (None, SURE, "P")], ids=["another beat", "a hole"]
)
def test_a_run_begins_anew_after_another_beat_and_after_a_hole(rr_s, log_odds, called):
    told = usual()
    for _ in range(3):
        told.beats(([0.4, 0.55] * RUN_BEATS)[: RUN_BEATS - 1], SURE).beats([rr_s], log_odds)
    assert told.called[20:] == ("P" * (RUN_BEATS - 1) + called) * 3


def test_a_beat_that_the_network_takes_for_another_is_never_called_so():
    assert "P" not in usual().beats([0.4] * 20, 0.0).beats([0.4] * 20, -inf).called
