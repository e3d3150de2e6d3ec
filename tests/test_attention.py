"""Which alarms call for someone: who answers, who is silent, and what breaks through."""

from __future__ import annotations

from daemon.attention import MOST_CALLS, Attention
from daemon.messages import Alert
from tests.house import ALERT, BEGAN


def alert(id_: str, *, latching: bool = False, state: str = "open", action: str = "alarm") -> Alert:
    fields = {**ALERT, "latching": latching, "action": action, "state": state, "id": id_, "kind": "asystole"}
    return Alert(seq=1, patch="p", sample=0, utc=BEGAN, **fields)


def test_a_new_lethal_alarm_breaks_through_a_silence_and_one_that_is_less_does_not():
    attention = Attention()
    attention.alert(alert("before", latching=True), now_s=0.0)
    attention.silence(now_s=10.0, for_s=120.0)
    assert attention.calling(11.0) == ()
    attention.alert(alert("less"), now_s=20.0)
    attention.alert(alert("lethal", latching=True), now_s=30.0)
    assert attention.calling(31.0) == ("lethal",)
    attention.alert(alert("lethal", latching=True, state="closed"), now_s=40.0)
    assert attention.calling(41.0) == ("lethal",)  # it latches, and still breaks through
    assert attention.calling(131.0) == ("before", "less", "lethal")


def test_a_second_silence_silences_what_broke_through_the_first_and_0_ends_it():
    attention = Attention()
    attention.silence(now_s=0.0, for_s=120.0)
    attention.alert(alert("lethal", latching=True), now_s=10.0)
    attention.silence(now_s=20.0, for_s=60.0)
    assert attention.calling(21.0) == ()
    attention.silence(now_s=22.0, for_s=0.0)
    assert attention.calling(22.0) == ("lethal",)


def test_an_alarm_that_was_acknowledged_calls_no_more_and_one_that_does_not_stand_cannot_be():
    attention = Attention()
    attention.alert(alert("a", latching=True), now_s=0.0)
    assert attention.acknowledge("a")
    assert attention.calling(1.0) == ()
    attention.alert(alert("a", latching=True, state="closed"), now_s=2.0)
    assert attention.calling(3.0) == ()
    assert not attention.acknowledge("a")
    assert not attention.acknowledge("never raised")


def test_what_is_for_the_report_alone_calls_nobody():
    attention = Attention()
    attention.alert(alert("event", action="record"), now_s=0.0)
    assert attention.calling(1.0) == ()


def test_alarms_that_nobody_ever_acknowledges_are_bounded_and_those_that_stand_stay():
    attention = Attention()
    attention.alert(alert("stands", latching=True), now_s=0.0)
    for number in range(MOST_CALLS + 50):
        attention.alert(alert(f"a-{number}", latching=True), now_s=1.0)
        attention.alert(alert(f"a-{number}", latching=True, state="closed"), now_s=1.0)
    calling = attention.calling(2.0)
    assert len(calling) == MOST_CALLS + 1
    assert calling[0] == "stands"
    assert calling[-1] == f"a-{MOST_CALLS + 49}"
