"""The book opens each alert once and closes it once; the table says how urgent each is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import config as cfg
from daemon.alerts import AlertBook
from daemon.kinds import KINDS, rhythm_of
from daemon.moment import Finding

KIND = "ventricular_tachycardia"


def test_an_alert_opens_with_the_first_finding_and_closes_when_there_is_none():
    book = AlertBook(cfg.Alerts(), "patch0")
    (opened,) = book.note(KIND, Finding(100, {"beats": 5}), at=700)
    assert (opened.id, opened.kind, opened.action) == ("patch0-1", KIND, "alarm")
    assert (opened.onset, opened.raised, opened.end, opened.ended_by) == (100, 700, None, None)
    assert book.note(KIND, Finding(100, {"beats": 6}), at=800) == []
    (closed,) = book.note(KIND, None, at=900)
    assert (closed.id, closed.end, closed.ended_by, closed.evidence) == ("patch0-1", 900, "ended", {"beats": 5})
    assert book.note(KIND, None, at=1000) == []
    assert book.open == ()


def test_an_alert_closes_where_the_condition_ended_when_that_is_known():
    book = AlertBook(cfg.Alerts(), "test")
    book.note(KIND, Finding(100), at=700)
    (closed,) = book.note(KIND, Finding(100, end=650), at=900)
    assert closed.end == 650


def test_what_has_come_and_gone_opens_and_closes_at_once():
    opened, closed = AlertBook(cfg.Alerts(), "test").note("pause", Finding(100, {"rr_s": 3.2}, end=900), at=1000)
    assert (opened.id, opened.end, closed.id, closed.end) == ("test-1", None, "test-1", 900)


def test_no_alert_ends_before_its_onset():
    book = AlertBook(cfg.Alerts(), "test")
    book.note("asystole", Finding(100), at=1100)
    (closed,) = book.note("asystole", Finding(100, end=90), at=1200)
    assert closed.end == 100


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("action", ["alarm", "record", "silent"])
def test_every_kind_does_what_the_configuration_says(kind, action):
    default = getattr(cfg.Alerts(), kind)
    limits = cfg.Alerts(**{kind: type(default)(action=action)})
    events = AlertBook(limits, "test").note(kind, Finding(0), at=0)
    assert [event.action for event in events] == ([] if action == "silent" else [action])


def test_by_default_every_kind_that_is_urgent_is_an_alarm_and_none_is_silent():
    actions = {kind: cfg.Alerts().action(kind) for kind in KINDS}
    assert {actions[kind] for kind, each in KINDS.items() if each.priority == "high"} == {"alarm"}
    assert {actions[kind] for kind, each in KINDS.items() if each.category == "technical"} == {"alarm"}
    assert "silent" not in actions.values()


def test_the_lethal_kinds_are_latching_and_of_high_priority_and_no_others():
    lethal = {
        "asystole", "ventricular_fibrillation", "ventricular_tachycardia", "extreme_bradycardia", "extreme_tachycardia",
    }  # fmt: skip
    assert {kind for kind, each in KINDS.items() if each.latching} == lethal
    assert {kind for kind, each in KINDS.items() if each.priority == "high"} == lethal


@pytest.mark.parametrize(
    ("open_kinds", "rhythm"),
    [
        (set(), "N"),
        ({"pause", "frequent_pvc"}, "N"),
        ({"atrial_fibrillation"}, "AFIB"),
        ({"atrial_fibrillation", "ventricular_run"}, "AFIB"),
        ({"ventricular_tachycardia", "ventricular_fibrillation"}, "VF"),
        ({"asystole", "lead_off"}, "ASYS"),
        ({"lead_off"}, "NOISE"),
        ({"supraventricular_run", "noise"}, "SVTA"),
    ],
)
def test_the_gravest_open_alert_names_the_rhythm(open_kinds, rhythm):
    assert rhythm_of(open_kinds) == rhythm


FINDINGS = st.one_of(
    st.none(),
    st.builds(Finding, onset=st.integers(0, 50)),
    st.builds(Finding, onset=st.integers(0, 50), end=st.integers(0, 100)),
)


@given(st.lists(st.tuples(st.sampled_from(list(KINDS)), FINDINGS)))
def test_whatever_is_found_every_alert_opens_once_and_closes_once(found):
    book = AlertBook(cfg.Alerts(), "test")
    events = [event for at, (kind, finding) in enumerate(found) for event in book.note(kind, finding, at)]
    unclosed = {event.id for event in events if event.end is None} - {e.id for e in events if e.end is not None}
    assert unclosed == {event.id for event in book.open}
    last_words = book.interrupt(len(found))
    assert {event.id for event in last_words} == unclosed
    assert {event.ended_by for event in last_words} <= {"interrupted"}
    assert book.open == ()
    for kind in KINDS:
        of_kind = [event for event in [*events, *last_words] if event.kind == kind]
        assert [event.end is None for event in of_kind] == [True, False] * (len(of_kind) // 2)
        assert [event.id for event in of_kind[::2]] == [event.id for event in of_kind[1::2]]
        assert len({event.id for event in of_kind}) == len(of_kind) // 2
