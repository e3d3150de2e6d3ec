"""Which rhythm holds, whether or not anyone is alerted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.episodes import Episode, Episodes
from daemon.kinds import KINDS
from daemon.moment import Finding
from rhythmd.analysis import rhythm_changes

AF, VT = "atrial_fibrillation", "ventricular_tachycardia"


def test_an_episode_begins_with_its_finding_and_ends_where_the_finding_says():
    episodes = Episodes()
    assert episodes.note(AF, Finding(100), at=500) == [Episode(AF, 100)]
    assert episodes.note(AF, Finding(100), at=600) == []
    assert episodes.rhythm == "AFIB"
    assert episodes.note(AF, Finding(100, end=550), at=700) == [Episode(AF, 100, 550)]
    assert episodes.rhythm == "N"


def test_an_episode_whose_finding_is_gone_ends_now():
    episodes = Episodes()
    episodes.note(AF, Finding(100), at=500)
    assert episodes.note(AF, None, at=700) == [Episode(AF, 100, 700)]


def test_what_is_too_short_for_an_alert_names_the_rhythm_all_the_same():
    episodes = Episodes()
    episodes.note(AF, Finding(100, brief=True), at=500)
    assert episodes.rhythm == "AFIB"


def test_the_gravest_episode_names_the_rhythm():
    episodes = Episodes()
    episodes.note(AF, Finding(0), at=0)
    episodes.note(VT, Finding(0), at=0)
    assert episodes.rhythm == "VT"


def test_a_condition_that_names_no_rhythm_is_no_episode():
    assert Episodes().note("frequent_pvc", Finding(0), at=0) == []


def test_the_rhythm_changes_where_episodes_begin_and_end_and_the_gravest_covers_the_others():
    assert rhythm_changes([]) == [(0, "N")]
    assert rhythm_changes([Episode(AF, -20)]) == [(0, "AFIB")]
    changes = rhythm_changes([Episode(AF, 100, 900), Episode(VT, 300, 400), Episode("noise", 500, 600)])
    assert changes == [(0, "N"), (100, "AFIB"), (300, "VT"), (400, "AFIB"), (900, "N")]


FINDINGS = st.one_of(
    st.none(),
    st.builds(Finding, onset=st.integers(0, 50)),
    st.builds(Finding, onset=st.integers(0, 50), end=st.integers(0, 100)),
)


@given(st.lists(st.tuples(st.sampled_from(list(KINDS)), FINDINGS)))
def test_whatever_is_found_episodes_of_a_kind_begin_and_end_by_turns(found):
    episodes = Episodes()
    told = [each for at, (kind, finding) in enumerate(found) for each in episodes.note(kind, finding, at)]
    for kind in KINDS:
        ends = [each.end for each in told if each.kind == kind]
        assert [end is None for end in ends] == [True, False] * (len(ends) // 2) + [True] * (len(ends) % 2)
