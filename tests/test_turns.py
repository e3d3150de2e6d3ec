"""An inbox that many feed: whoever floods waits behind his own."""

from __future__ import annotations

import threading
from queue import Empty, Full

import pytest

from daemon.room import STOP
from daemon.turns import SHARE, Of, Turns


def turn(turns: Turns) -> list:
    items = [turns.get()]
    while True:
        try:
            items.append(turns.get_nowait())
        except Empty:
            return items


def test_what_waits_is_taken_one_of_each_in_turn_and_each_ones_own_stay_in_order():
    turns = Turns(2, 100)
    for place in (0, 1):
        for number in range(3):
            turns.inboxes[place].put(number)
    taken = turn(turns)
    assert [one.item for one in taken if one.place == 0] == [one.item for one in taken if one.place == 1] == [0, 1, 2]
    assert [one.place for one in taken] == [0, 1] * 3


def test_a_flood_of_one_lets_the_others_wait_for_no_more_than_its_share():
    turns = Turns(3, 1000)
    for number in range(1000):
        turns.inboxes[1].put(number)
    turns.inboxes[2].put("an alarm")
    first = turn(turns)
    assert len(first) == SHARE + 1
    assert first.index(Of(2, "an alarm")) <= 2
    assert len([*first, *(one for _ in range(1000 // SHARE) for one in turn(turns))]) == 1001


def test_one_that_is_full_waits_and_the_others_do_not():
    turns = Turns(2, 2)
    waiting = threading.Thread(target=lambda: [turns.inboxes[0].put(number) for number in range(3)])
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    with pytest.raises(Full):
        turns.inboxes[0].queue.put_nowait(9)
    turns.inboxes[1].put("at once")
    assert Of(1, "at once") in turn(turns)
    waiting.join(5.0)
    assert not waiting.is_alive()


def test_each_begins_a_turn_once_in_a_while():
    turns = Turns(3, 100)
    begun = []
    for _ in range(6):
        for inbox in turns.inboxes:
            inbox.put(0)
        begun.append(turn(turns)[0].place)
    assert begun == [0, 1, 2, 0, 1, 2]


def test_stop_comes_when_all_have_sent_theirs_and_is_the_last():
    turns = Turns(2, 100)
    turns.inboxes[0].put(1)
    turns.inboxes[0].put(STOP)
    turns.inboxes[1].put(2)
    assert turn(turns) == [Of(0, 1), Of(1, 2)]
    turns.inboxes[1].put(3)
    turns.inboxes[1].put(STOP)
    assert turn(turns) == [Of(1, 3), STOP]


def test_who_waits_for_a_turn_is_woken_by_whoever_puts_first():
    turns, taken = Turns(2, 100), []
    waiting = threading.Thread(target=lambda: taken.append(turns.get()))
    waiting.start()
    turns.inboxes[1].put("here")
    waiting.join(5.0)
    assert taken == [Of(1, "here")]
