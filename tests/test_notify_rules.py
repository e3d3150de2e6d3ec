"""Who is told what, and when: the decisions alone, with time handed in."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from time import sleep

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.config import ConfigError
from daemon.database import connect
from daemon.messages import Alert, Answered, Status
from rhythmd.following import Heard
from rhythmd.notify import app, pace
from rhythmd.notify.app import Teller, untold_of
from rhythmd.notify.calls import MOST_CASES, Calls
from rhythmd.notify.config import DAEMON_LOST, DEFAULT_FILE, Contact, Rule, Settings, check
from rhythmd.notify.outbox import SCHEMA, TRY_DISK_S, Outbox, open_outbox
from rhythmd.notify.pace import Waiting, fresh, in_hours, obsolete, ready, too_many
from rhythmd.notify.rules import URGENCY, Case, Notice, rule_for
from rhythmd.notify.sending import Target, targets_of
from rhythmd.notify.words import MOST_LINES, letter
from rhythmd.settings import Source
from rhythmd.subscriber import Mark, Received
from tests.house import ALERT, BEGAN

ROOT = Path(__file__).parents[1]
MINUTE = 60.0
THREE = Rule(name="r", contacts=("anna", "ward", "chief"), escalate_min=5.0, repeat_min=2.0)


def alert(id_: str = "a", **fields) -> Alert:
    common = {"seq": 1, "patch": "p", "sample": 0, "utc": BEGAN, "kind": "asystole", "state": "open"}
    return Alert(id=id_, **{**ALERT, "latching": True, **common, **fields})


def closed(of: Alert) -> Alert:
    return msgspec.structs.replace(of, state="closed", end_sample=9, ended_by="ended")


def answer(id_: str | None = "a", **fields) -> Answered:
    common = {"seq": 1, "patch": "p", "sample": 0, "utc": BEGAN, "how": "acknowledged", "by": "nurse"}
    return Answered(id=id_, **{**common, **fields})


def calls_of(*rules: Rule, lost_s: float = 0.0) -> Calls:
    return Calls(rules or (THREE,), lost_s=lost_s)


def seen(notices: list[Notice]) -> list[tuple[str, str]]:
    return [(notice.what, notice.contact) for notice in notices]


def test_contacts_are_told_one_after_the_other_and_those_told_hear_it_again():
    calls = calls_of()
    calls.heard("d", alert(), 0.0, age_s=0.0)
    told = {minute: seen(calls.due(minute * MINUTE)) for minute in range(13)}
    assert {minute: what for minute, what in told.items() if what} == {
        0: [("opened", "anna")],
        2: [("repeated", "anna")],
        4: [("repeated", "anna")],
        5: [("escalated", "ward")],
        6: [("repeated", "anna"), ("repeated", "ward")],
        8: [("repeated", "anna"), ("repeated", "ward")],
        10: [("repeated", "anna"), ("repeated", "ward"), ("escalated", "chief")],
        12: [("repeated", "anna"), ("repeated", "ward"), ("repeated", "chief")],
    }


def test_without_escalation_all_are_told_at_once_and_without_repeats_once():
    calls = calls_of(Rule(name="r", contacts=("anna", "ward"), escalate_min=0.0, repeat_min=0.0))
    calls.heard("d", alert(), 0.0, age_s=0.0)
    assert seen(calls.due(0.0)) == [("opened", "anna"), ("opened", "ward")]
    assert [calls.due(minute * MINUTE) for minute in range(1, 60)] == [[]] * 59


def test_an_answer_stops_repeats_and_escalation_and_those_who_were_told_hear_who_it_was():
    calls = calls_of()
    calls.heard("d", alert(), 0.0, age_s=0.0)
    calls.due(0.0)
    assert seen(calls.heard("d", answer(), MINUTE, age_s=0.0)) == [("answered", "anna")]
    assert [calls.due(minute * MINUTE) for minute in range(1, 60)] == [[]] * 59
    assert seen(calls.heard("d", closed(alert()), 60 * MINUTE, age_s=0.0)) == [("ended", "anna")]
    calls.forget(90 * MINUTE, linger_s=0.0)
    assert calls.cases == {}


def test_a_lethal_alarm_calls_after_it_has_ended_and_one_that_does_not_latch_does_not():
    for latching, calling in ((True, [("repeated", "anna")]), (False, [])):
        calls, one = calls_of(), alert(latching=latching)
        calls.heard("d", one, 0.0, age_s=0.0)
        calls.due(0.0)
        assert seen(calls.heard("d", closed(one), MINUTE, age_s=0.0)) == [("ended", "anna")]
        assert seen(calls.due(3 * MINUTE)) == calling


def test_while_alarms_are_silenced_nobody_is_told_but_of_a_new_lethal_one():
    calls = calls_of()
    calls.heard("d", alert("before"), 0.0, age_s=0.0)
    calls.due(0.0)
    calls.heard("d", answer(None, how="silenced", for_s=600.0), MINUTE, age_s=0.0)
    calls.heard("d", alert("lethal"), 2 * MINUTE, age_s=0.0)
    calls.heard("d", alert("less", latching=False), 2 * MINUTE, age_s=0.0)
    calls.heard("other", alert("elsewhere"), 2 * MINUTE, age_s=0.0)
    told = [(notice.case.alert.id, notice.what) for minute in range(2, 11) for notice in calls.due(minute * MINUTE)]
    assert {id_ for id_, _ in told} == {"lethal", "elsewhere"}
    assert {notice.case.alert.id for notice in calls.due(11 * MINUTE)} >= {"before", "less"}


def test_a_silence_is_of_one_patch_and_so_is_what_its_status_tells():
    calls = calls_of(Rule(name="r", contacts=("anna",), repeat_min=1.0))
    for bed in ("bed-1", "bed-2"):
        calls.heard("d", alert(bed, patch=bed), 0.0, age_s=0.0)
        calls.heard("d", closed(alert(bed, patch=bed)), 0.0, age_s=0.0)
    calls.heard("d", answer(None, how="silenced", for_s=600.0, patch="bed-1"), 0.0, age_s=0.0)
    for second in range(1, 50):
        for bed in ("bed-1", "bed-2"):
            calls.heard("d", status(patch=bed, calling=(bed,) if bed == "bed-2" else ()), float(second), age_s=0.0)
    assert [notice.case.alert.id for notice in calls.due(60.0)] == ["bed-2"]


def test_a_silence_that_was_heard_late_ends_no_later():
    calls = calls_of()
    calls.heard("d", answer(None, how="silenced", for_s=120.0), 1000.0, age_s=100.0)
    calls.heard("d", alert(latching=False), 1000.0, age_s=0.0)
    assert calls.due(1019.0) == []
    assert seen(calls.due(1020.0)) == [("opened", "anna")]


def test_the_first_rule_that_fits_decides_and_what_none_fits_is_told_nobody():
    rules = (
        Rule(name="ward", contacts=("ward",), daemons=("bed-3",)),
        Rule(name="rhythm", contacts=("anna",), kinds=("atrial_fibrillation",)),
        Rule(name="urgent", contacts=("chief",), priorities=("high",)),
        Rule(name="events", contacts=("anna",), actions=("record",)),
    )
    found = {
        (daemon, kind, priority, action): getattr(rule_for(rules, daemon, kind, priority, action), "name", None)
        for daemon, kind, priority, action in (
            ("bed-3", "noise", "low", "alarm"),
            ("bed-4", "atrial_fibrillation", "medium", "alarm"),
            ("bed-4", "asystole", "high", "alarm"),
            ("bed-4", "pause", "medium", "record"),
            ("bed-4", "noise", "low", "alarm"),
        )
    }
    assert list(found.values()) == ["ward", "rhythm", "urgent", "events", None]
    calls = calls_of(*rules)
    calls.heard("bed-4", alert(kind="noise", priority="low"), 0.0, age_s=0.0)
    assert calls.due(0.0) == []


def test_high_priority_that_no_rule_fits_is_warned_of():
    here, there = Source(name="here"), Source(name="there")
    rule = Rule(name="r", contacts=("anna",), kinds=("asystole",), daemons=("here",))
    assert "asystole" not in untold_of(Settings(daemon=(here,), rule=(rule,)))
    assert "ventricular_fibrillation" in untold_of(Settings(daemon=(here,), rule=(rule,)))
    assert "asystole" in untold_of(Settings(daemon=(here, there), rule=(rule,)))
    assert untold_of(Settings(daemon=(here, there), rule=(rule, Rule(name="s", contacts=("anna",))))) == []


def test_an_event_is_told_once_to_the_first_contact():
    calls = calls_of(Rule(name="r", contacts=("anna", "ward"), actions=("record",)))
    one = alert(action="record", latching=False)
    calls.heard("d", one, 0.0, age_s=0.0)
    assert seen(calls.due(0.0)) == [("opened", "anna")]
    assert [calls.due(minute * MINUTE) for minute in range(1, 60)] == [[]] * 59
    assert seen(calls.heard("d", closed(one), 60 * MINUTE, age_s=0.0)) == [("ended", "anna")]


def test_what_was_first_heard_long_after_is_counted_and_not_told():
    calls = calls_of()
    calls.heard("d", alert(), 0.0, age_s=25 * 3600.0)
    assert (calls.due(0.0), calls.too_old) == ([], 1)


def test_the_time_of_a_patch_that_is_away_stands_still_though_another_of_its_daemon_goes_on(tmp_path):
    """BEGAN is years ago: the last sample of `away`, of which a technical alert may tell long after."""
    now = datetime.now(timezone.utc)
    told = [
        *(status(patch="away", utc=BEGAN), status(patch="worn", utc=now)),
        *(alert(patch="away", kind="engine_failing"), alert("b", patch="worn", utc=BEGAN)),
    ]
    followed = Settings(daemon=(Source("d"),), rule=(Rule(name="r", contacts=("anna",)),))
    with open_outbox(tmp_path) as outbox:
        Teller(followed, {}, outbox, print).turn([Heard("d", Received("", message), None) for message in told])
        assert [case.alert.id for case in outbox.cases()] == ["a"]


def test_what_seems_too_old_waits_for_its_patchs_status_and_not_for_one_that_is_not_here(tmp_path, monkeypatch):
    """As after a start: the desk tells of alerts before any status comes."""
    monkeypatch.setattr(app, "STATUS_WITHIN_S", 0.2)
    followed = Settings(daemon=(Source("d"),), rule=(Rule(name="r", contacts=("anna",)),))
    with open_outbox(tmp_path) as outbox:
        teller = Teller(followed, {}, outbox, print)

        def hears(message: Alert | Status, serial: int) -> None:
            teller.turn([Heard("d", Received("", message), Mark("L", serial))])

        hears(alert("young", patch="away"), 1)
        hears(alert("after", patch="worn", utc=datetime.now(timezone.utc)), 2)
        assert (outbox.cases(), outbox.marks()) == ([], {})  # a kill now would lose nothing
        hears(status(patch="away", utc=BEGAN), 2)
        assert [case.alert.id for case in outbox.cases()] == ["young", "after"]
        assert outbox.marks() == {"d": Mark("L", 2)}
        hears(alert("old", patch="taken away"), 3)
        assert outbox.counts() == {}
        sleep(0.3)
        teller.turn([])
        assert (outbox.counts(), outbox.marks()) == ({"too old when heard": 1}, {"d": Mark("L", 3)})


def test_a_daemon_whose_alerts_wait_to_be_dated_is_not_taken_for_lost(tmp_path):
    followed = Settings(daemon=(Source("d"),), rule=(Rule(name="r", contacts=("anna",)),), daemon_lost_s=0.3)
    with open_outbox(tmp_path) as outbox:
        teller = Teller(followed, {}, outbox, print)
        for _ in range(4):
            teller.turn([Heard("d", Received("", alert()), None)])
            assert outbox.cases() == []
            sleep(0.15)


def test_of_an_alarm_that_nobody_answers_nobody_hears_for_ever():
    calls = calls_of()
    calls.heard("d", alert(), 0.0, age_s=0.0)
    last = max(minute for minute in range(0, 2000, 2) if calls.due(minute * MINUTE))
    assert last == THREE.give_up_h * 60


def test_a_daemon_that_is_not_heard_is_told_of_once_and_again_when_it_is_back():
    calls = calls_of(Rule(name="r", contacts=("anna",), repeat_min=0.0), lost_s=60.0)
    calls.follow("d", 0.0)
    assert calls.due(60.0) == []
    (notice,) = calls.due(61.0)
    assert (notice.what, notice.case.alert.kind) == ("opened", DAEMON_LOST)
    assert [calls.due(s) for s in (62.0, 500.0)] == [[], []]
    assert seen(calls.heard("d", status(), 600.0, age_s=0.0)) == [("ended", "anna")]
    assert calls.due(601.0) == []


STATUS = {
    "seq": 1, "patch": "p", "sample": 0, "port": "open", "silent": False, "quality": "good", "battery_low": False,
    "rhythm": "N", "heart_rate_bpm": None, "open_alerts": (), "engine": "", "model": "", "link": {}, "uptime_s": 0.0,
    "latency": dict.fromkeys(
        ("engine_p50_ms", "engine_p99_ms", "read_to_sent_p50_ms", "read_to_sent_p99_ms"), None
    ),
}  # fmt: skip


def test_what_a_daemon_has_forgotten_is_not_called_for_any_longer():
    """One that was started anew: nobody could acknowledge it there."""
    calls = calls_of(Rule(name="r", contacts=("anna",), repeat_min=1.0))
    calls.heard("d", alert("closed"), 0.0, age_s=0.0)
    calls.heard("d", closed(alert("closed")), 0.0, age_s=0.0)
    calls.heard("d", alert("stands"), 0.0, age_s=0.0)
    calls.due(0.0)
    for second in range(1, 50):
        calls.heard("d", status(calling=("closed", "stands") if second < 20 else ()), float(second), age_s=0.0)
    assert [notice.case.alert.id for notice in calls.due(60.0)] == ["stands"]


def test_a_silence_is_no_forgetting():
    calls = calls_of(Rule(name="r", contacts=("anna",), repeat_min=1.0))
    calls.heard("d", alert("a"), 0.0, age_s=0.0)
    calls.heard("d", closed(alert("a")), 0.0, age_s=0.0)
    calls.due(0.0)
    calls.heard("d", answer(None, how="silenced", for_s=300.0), 1.0, age_s=0.0)
    for second in range(1, 400):
        calls.heard("d", status(calling=() if second < 301 else ("a",)), float(second), age_s=0.0)
    assert seen(calls.due(400.0)) == [("repeated", "anna")]


def test_a_restart_of_the_daemon_ends_a_silence_here_too():
    """No message says so, but its statuses name what calls; those on their way as alarms were silenced say nothing."""
    calls = calls_of(Rule(name="r", contacts=("anna",), repeat_min=1.0))
    calls.heard("d", alert("a"), 0.0, age_s=0.0)
    calls.heard("d", closed(alert("a")), 0.0, age_s=0.0)
    calls.due(0.0)
    calls.heard("d", answer(None, how="silenced", for_s=600.0), 1.0, age_s=0.0)
    for second in range(1, 120):
        calls.heard("d", status(calling=("a",) if second < 3 or second > 100 else ()), float(second), age_s=0.0)
        told = calls.due(float(second))
        assert seen(told) == ([("repeated", "anna")] if second == 112 else [])


def status(**fields) -> Status:
    return msgspec.convert({**STATUS, "utc": BEGAN, **fields}, Status)


def test_cases_that_nobody_answers_are_bounded():
    calls = calls_of()
    for number in range(MOST_CASES + 20):
        calls.heard("d", alert(f"{number}"), float(number), age_s=0.0)
        calls.heard("d", closed(alert(f"{number}")), float(number), age_s=0.0)
    calls.heard("d", alert("stands"), 0.0, age_s=0.0)
    calls.forget(0.0, linger_s=60.0)
    assert len(calls.cases) == MOST_CASES + 1
    assert "d/19" not in calls.cases
    assert {"d/20", "d/stands"} <= calls.cases.keys()


# Properties, over whatever may happen.

IDS = ("a", "b", "c")
HAPPENINGS = st.lists(
    st.tuples(
        st.sampled_from(("open", "close", "acknowledge", "silence", "nothing")),
        st.sampled_from(IDS),
        st.booleans(),
        st.sampled_from((1.0, 30.0, 61.0, 119.0, 400.0)),
    ),
    max_size=30,
)


def happen(calls: Calls, what: str, id_: str, now_s: float, *, latching: bool) -> list[Notice]:
    one = alert(id_, latching=latching)
    message = {
        "open": one,
        "close": closed(one),
        "acknowledge": answer(id_),
        "silence": answer(None, how="silenced", for_s=120.0),
    }.get(what)
    heard = calls.heard("d", message, now_s, age_s=0.0) if message else []
    return heard + calls.due(now_s)


@settings(deadline=None)
@given(HAPPENINGS, st.data())
def test_a_restart_at_any_moment_changes_nothing(happenings, data):
    rebirth = data.draw(st.integers(0, len(happenings)))
    lived, reborn, now_s = calls_of(), calls_of(), 0.0
    for number, (what, id_, latching, wait_s) in enumerate(happenings):
        if number == rebirth:
            cases = msgspec.json.decode(msgspec.json.encode(list(reborn.cases.values())), type=list[Case])
            reborn = Calls((THREE,), lost_s=0.0, cases=cases, silent=reborn.silent_until_s)
        assert happen(lived, what, id_, now_s, latching=latching) == happen(reborn, what, id_, now_s, latching=latching)
        now_s += wait_s


@settings(deadline=None)
@given(HAPPENINGS)
def test_whatever_happens_nobody_is_called_of_what_is_answered_too_often_or_out_of_turn(happenings):
    calls, now_s = calls_of(), 0.0
    told: dict[str, list[tuple[float, Notice]]] = {id_: [] for id_ in IDS}
    answered: set[str] = set()
    for what, id_, latching, wait_s in happenings:
        notices = happen(calls, what, id_, now_s, latching=latching)
        if what == "acknowledge" and f"d/{id_}" in calls.cases:
            answered.add(id_)
        for notice in notices:
            if notice.what in ("opened", "escalated", "repeated"):
                assert notice.case.alert.id not in answered
                told[notice.case.alert.id].append((now_s, notice))
        now_s += wait_s
    for of_one in told.values():
        first = [(at_s, notice.contact) for at_s, notice in of_one if notice.what != "repeated"]
        assert tuple(contact for _, contact in first) == THREE.contacts[: len(first)]
        assert all(after[0] - before[0] >= 5 * MINUTE for before, after in pairwise(first))
        again = sorted({at_s for at_s, notice in of_one if notice.what == "repeated"})
        assert all(after - before >= 2 * MINUTE for before, after in pairwise(again))
        assert len({(notice.key, notice.contact) for _, notice in of_one}) == len(of_one)


# What waits for a contact.


def notice(id_: str = "a", priority: str = "high", what: str = "opened", **fields) -> Notice:
    one = alert(id_, priority=priority, **fields)
    case = Case(daemon="d", rule="r", opened=one, alert=one, began_s=0.0, next_told_s=0.0, next_repeat_s=0.0, told=1)
    return Notice(key=f"{case.key} {what}", contact="anna", what=what, case=case, expires_s=3600.0)


def waiting(*notices: Notice) -> list[Waiting]:
    return [Waiting(one, "anna-1") for one in notices]


NIGHT, DAY = 60 * 2, 60 * 12
ANNA = Contact(name="anna", quiet="22:00-07:00")


def test_quiet_hours_hold_back_low_priority_alone_and_let_it_go_together_in_the_morning():
    low, high = notice("low", "low"), notice("high", "high")
    at = fresh(ANNA, 0.0)
    assert ready(waiting(low), ANNA, at, 0.0, NIGHT) == []
    assert ready(waiting(low, high), ANNA, at, 0.0, NIGHT) == waiting(high)
    more = notice("more", "low")
    assert ready(waiting(low, more), ANNA, at, 0.0, DAY) == waiting(low, more)


def test_hours_may_go_over_midnight_and_high_priority_can_never_be_kept_quiet():
    for hours, inside in {"22:00-02:00": [0, 1, 22, 23], "12:00-14:00": [12, 13]}.items():
        assert [hour for hour in range(24) if in_hours(60 * hour, hours)] == inside
    assert not in_hours(0, "")
    with pytest.raises(msgspec.ValidationError, match="quiet_priorities"):
        msgspec.convert({"name": "anna", "quiet_priorities": ["high"]}, Contact)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 60), st.sampled_from(URGENCY)), min_size=20, max_size=200))
def test_no_contact_gets_more_than_its_limit(offers):
    pace_, now_s, sent = fresh(ANNA, 0.0), 0.0, []
    for wait_s, priority in offers:
        now_s += wait_s
        if ready(waiting(notice(priority=priority)), ANNA, pace_, now_s, DAY):
            pace_ = pace_.sent(now_s, ANNA)
            sent.append((now_s, priority))
    for number, (from_s, _) in enumerate(sent):
        for count, (to_s, _) in enumerate(sent[number:], 1):
            assert count <= ANNA.most_at_once + (to_s - from_s) / 3600 * ANNA.most_per_hour + 1e-6


def test_high_priority_has_the_last_third_of_the_limit():
    at, got = fresh(ANNA, 0.0), []
    for priority in ["low"] * 20 + ["high"] * 20:
        if ready(waiting(notice(priority=priority)), ANNA, at, 0.0, DAY):
            at = at.sent(0.0, ANNA)
            got.append(priority)
    assert got == ["low"] * 6 + ["high"] * 4


def test_what_must_wait_for_the_limit_goes_as_one_message_when_there_is_room():
    spent = pace.Pace(0.0, 0.0)
    both = waiting(notice("a"), notice("b"))
    assert ready(both, ANNA, spent, 100.0, DAY) == []
    assert ready(both, ANNA, spent, 120.0, DAY) == both


def test_failures_are_tried_again_later_and_later_and_high_priority_within_a_minute():
    times = {"low": [], "high": []}
    for priority, tried in times.items():
        at, now_s = fresh(ANNA, 0.0), 0.0
        while len(tried) < 9:
            if ready(waiting(notice(priority=priority)), ANNA, at, now_s, DAY):
                tried.append(now_s)
                at = at.failed(now_s, ANNA)
            now_s += 1.0
    assert [after - before for before, after in pairwise(times["low"])] == [
        5, 10, 20, 40, 80, 160, 300, 300,
    ]  # fmt: skip
    assert [after - before for before, after in pairwise(times["high"])] == [
        5, 10, 20, 40, 60, 60, 60, 60,
    ]  # fmt: skip
    assert at.failed(0.0, ANNA).tokens == ANNA.most_at_once


def test_repeats_that_still_wait_when_somebody_answers_are_not_sent():
    first, again = waiting(notice("a"), notice("a", what="repeated"))
    calls = calls_of()
    calls.heard("d", alert("a"), 0.0, age_s=0.0)
    assert obsolete([first, again], calls.cases) == []
    calls.heard("d", answer("a"), 1.0, age_s=0.0)
    assert obsolete([first, again], calls.cases) == [again]


def test_when_too_many_wait_the_oldest_of_the_least_urgent_go():
    many = waiting(notice("1", "high"), notice("2", "low"), notice("3", "medium"), notice("4", "low"))
    assert [one.notice.case.alert.id for one in too_many(many, 2)] == ["2", "4"]


def test_what_is_given_up_because_too_many_wait_is_not_sent_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(app, "MOST_WAITING", 2)
    followed = Settings(daemon=(Source("d"),), rule=(Rule(name="r", contacts=("anna",)),))
    targets, begun = {"anna-1": Target("anna-1", Contact(name="anna"), None, "json")}, []
    with open_outbox(tmp_path) as outbox:
        teller = Teller(followed, targets, outbox, lambda *what: begun.append(what))
        teller.turn([Heard("d", Received("", alert(id_, utc=datetime.now(timezone.utc))), None) for id_ in "abc"])
        ((_, rows, _),) = begun
        assert [row.notice.case.alert.id for row in rows] == ["b", "c"]
        assert outbox.counts() == {"crowded": 1}


def test_what_another_version_stored_and_this_one_cannot_read_is_left_out_and_counted():
    one = notice("a")
    with closing(connect(":memory:", SCHEMA)) as db:
        outbox = Outbox(db)
        outbox.keep({}, {one.case.key: one.case}, {}, waiting(one), 0.0)
        db.execute("insert into kept values ('x', '{}')")
        db.execute("insert into waiting (key, target, body) values ('x', 'y', 'nonsense')")
        assert (outbox.cases(), [row.notice for row in outbox.waiting()], outbox.unread) == ([one.case], [one], 2)


class Absent(sqlite3.Connection):
    """A disk that is not there for a while."""

    away = False

    def _try(self) -> None:
        if self.away:
            raise sqlite3.OperationalError("disk I/O error")

    def backup(self, target, **how):
        self._try()
        super().backup(target, **how)

    def execute(self, *what):
        self._try()
        return super().execute(*what)

    def executemany(self, *what):
        self._try()
        return super().executemany(*what)


def test_what_waited_on_a_disk_that_could_not_be_read_for_a_while_is_sent_when_it_can(tmp_path):
    before, meanwhile = notice("before"), notice("meanwhile")
    connect(tmp_path / "notify.db", SCHEMA).close()
    with closing(sqlite3.connect(tmp_path / "notify.db", factory=Absent)) as db:
        outbox = Outbox(db)
        outbox.keep({"d": Mark("L", 5), "e": Mark("M", 6)}, {}, {}, waiting(before), 0.0)
        db.away = True
        outbox.keep({"d": Mark("L", 7)}, {}, {}, waiting(meanwhile), 1.0)
        db.away = False
        outbox.count("sent", 1, 1.0 + TRY_DISK_S)
    with open_outbox(tmp_path) as outbox:
        assert {row.notice.case.alert.id for row in outbox.waiting()} == {"before", "meanwhile"}
        assert outbox.marks() == {"d": Mark("L", 7), "e": Mark("M", 6)}


# What it says.


def test_a_letter_tells_of_each_alert_once_and_as_it_is_now():
    opened = notice("a", evidence={"rate_bpm": 173.4})
    over = msgspec.structs.replace(opened.case, alert=closed(opened.case.alert), answered_by="nurse")
    ended = msgspec.structs.replace(opened, what="answered", case=over)
    written = letter([opened, ended], discreet=False)
    assert written.title == "d: Asystole (high)"
    assert written.over
    assert written.body.count("Asystole at d (patch p)") == 1
    for part in ("rate bpm 173.4", "It has ended", "Acknowledged by nurse", "[a]"):
        assert part in written.body


def test_a_letter_of_many_names_the_most_urgent_and_stays_short():
    many = [notice(f"{number}", "low") for number in range(30)] + [notice("high", "high")]
    written = letter(many, discreet=False)
    assert (written.priority, written.over) == ("high", False)
    assert written.title == "31 messages, the most urgent of high priority"
    assert len(written.body.splitlines()) == MOST_LINES + 1
    assert "And 11 more" in written.body


def test_a_discreet_letter_names_neither_kind_nor_numbers():
    written = letter([notice("a", evidence={"rate_bpm": 173.4})], discreet=True)
    assert "systole" not in written.title + written.body
    assert "173" not in written.body
    assert "rhythmd ack a" in written.body


# The file.


def test_the_manual_is_a_good_file_once_an_address_is_in_it(tmp_path):
    text = DEFAULT_FILE.read_text()
    settings = msgspec.toml.decode(text.replace("urls = []", 'urls = ["json://127.0.0.1:1/"]'), type=Settings)
    check(settings, "here")
    defaults = msgspec.toml.decode(text, type=Settings)
    with pytest.raises(ConfigError, match=r"here: contact anna: urls: give at least one"):
        check(defaults, "here")
    assert defaults.daemon == Settings().daemon
    plain = Contact(name="anna", quiet="22:00-07:00")
    assert defaults.contact == (plain,)
    assert defaults.daemon_lost_s == Settings().daemon_lost_s


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what apprise's services import
def test_the_example_of_the_page_is_a_good_file():
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "notify.md").read_text(), re.DOTALL)
    settings_ = msgspec.toml.decode(example, type=Settings)
    check(settings_, "docs/notify.md")
    assert [rule.contacts for rule in settings_.rule] == [("anna", "neighbour"), ("anna",)]
    pytest.importorskip("apprise", reason="apprise is not installed: pip install 'rhythmd[notify]'")
    found = targets_of(settings_.contact).values()
    assert [(target.contact.name, target.kind) for target in found] == [
        ("anna", "ntfy"),
        ("anna", "E-Mail"),
        ("neighbour", "ClickSend"),
    ]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"rule": ()}, r"\[\[rule\]\]: there is none"),
        ({"contact": ()}, r"\[\[contact\]\]: there is none"),
        ({"rule": (Rule(name="r", contacts=("ben",)),)}, "rule r: contacts: ben is not one of anna"),
        ({"rule": (Rule(name="r", contacts=("anna",), kinds=("noize",)),)}, "rule r: kinds: noize is not one of"),
        ({"rule": (THREE, THREE)}, "rule.name: r is there twice"),
    ],
)
def test_a_file_that_could_tell_nobody_is_refused(change, complaint):
    whole = {"contact": (Contact(name="anna", urls=("json://x",)),), "rule": (Rule(name="r", contacts=("anna",)),)}
    with pytest.raises(ConfigError, match=complaint):
        check(Settings(**{**whole, **change}), "here")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_address_without_a_service_is_refused_and_not_shown():
    """Who leaves out `tgram://` has written the token alone."""
    pytest.importorskip("apprise", reason="apprise is not installed: pip install 'rhythmd[notify]'")
    with pytest.raises(ConfigError, match=r"contact anna: urls: .* number 1") as refused:
        targets_of([Contact(name="anna", urls=("geheim-4711/12345",))])
    assert "geheim" not in str(refused.value)
