"""A room: one thread, its queue, and what becomes of both when its work breaks."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from queue import Empty, Queue
from time import monotonic, sleep

import pytest

from daemon.room import STOP, Room


def started(work, outbox=None, inbox=None, closed=lambda: None):
    """A running room that does `work`, its inbox, and the event that it sets when it is broken."""

    @contextmanager
    def opens():
        yield work
        closed()

    inbox, broken = inbox or Queue(100), threading.Event()
    room = Room("test", opens, inbox, outbox, broken.set)
    room.start()
    return room, inbox, broken


def ended(room: Room) -> bool:
    room.join(timeout=5.0)
    return not room.is_alive()


def drained(queue: Queue) -> list:
    items = []
    while True:
        try:
            items.append(queue.get_nowait())
        except Empty:
            return items


def test_results_go_on_in_order_and_stop_follows_as_the_last():
    outbox = Queue()
    room, inbox, broken = started(lambda items: [each for item in items for each in (item, -item)], outbox)
    for number in range(1, 51):
        inbox.put(number)
    inbox.put(STOP)
    assert ended(room)
    assert drained(outbox) == [each for number in range(1, 51) for each in (number, -number)] + [STOP]
    assert (room.error, broken.is_set()) == (None, False)


def test_what_waits_is_taken_together():
    inbox, taken = Queue(), []
    for number in range(5):
        inbox.put(number)
    inbox.put(STOP)
    room, _, _ = started(lambda items: taken.append(items) or [], inbox=inbox)
    assert ended(room)
    assert [items for items in taken if items] == [[0, 1, 2, 3, 4]]


def test_what_came_before_stop_is_still_worked_on():
    outbox = Queue()
    room, inbox, _ = started(lambda items: items, outbox)
    inbox.put(1)
    inbox.put(STOP)
    assert ended(room)
    assert drained(outbox) == [1, STOP]


def test_a_room_opens_works_and_closes_in_its_own_thread():
    threads = []
    note = lambda: threads.append(threading.current_thread())  # noqa: E731

    @contextmanager
    def opens():
        note()
        yield lambda items: (items and note()) or []
        note()

    inbox = Queue()
    room = Room("test", opens, inbox, None, lambda: None)
    room.start()
    assert room.ready.wait(5.0)
    inbox.put(1)
    inbox.put(STOP)
    assert ended(room)
    assert threads == [room] * 3


def test_a_room_waits_when_the_next_one_is_full_and_loses_nothing():
    outbox = Queue(2)
    room, inbox, _ = started(lambda items: items, outbox)
    for number in range(10):
        inbox.put(number)
    inbox.put(STOP)
    sleep(0.1)
    assert room.is_alive()
    assert [outbox.get(timeout=5.0) for _ in range(11)] == [*range(10), STOP]
    assert ended(room)


def test_a_room_to_which_nothing_comes_gets_a_turn_all_the_same():
    turns = threading.Semaphore(0)
    room, inbox, _ = started(lambda items: turns.release() or [])
    assert turns.acquire(timeout=5.0)
    assert turns.acquire(timeout=5.0)
    inbox.put(STOP)
    assert ended(room)


def test_a_room_that_is_hurried_leaves_what_waits_counts_it_and_blocks_nobody():
    outbox, working, go_on = Queue(1), threading.Event(), threading.Event()

    def work(items):
        for item in items:
            working.set()
            go_on.wait(5.0)
            yield item

    room, inbox, _ = started(work, outbox, Queue(2))
    inbox.put(0)
    assert working.wait(5.0)
    room.hurry()
    go_on.set()
    for number in range(20):
        inbox.put(number, timeout=5.0)
    inbox.put(STOP, timeout=5.0)
    assert [outbox.get(timeout=5.0) for _ in range(2)] == [0, STOP]
    assert ended(room)
    assert (room.left, room.error) == (21, None)


def failing(items):
    yield items[0]
    raise ZeroDivisionError


def test_an_exception_in_the_work_is_kept_told_of_and_passed_on_as_stop():
    outbox = Queue()
    room, inbox, broken = started(failing, outbox)
    inbox.put(1)
    assert broken.wait(5.0)
    inbox.put(STOP)
    assert ended(room)
    assert isinstance(room.error, ZeroDivisionError)
    assert drained(outbox) == [1, STOP]


def test_a_broken_room_does_not_block_the_one_before_it():
    room, inbox, broken = started(failing, inbox=Queue(2))
    inbox.put(0)
    assert broken.wait(5.0)
    for number in range(20):
        inbox.put(number, timeout=5.0)
    inbox.put(STOP, timeout=5.0)
    assert ended(room)


def test_a_room_that_cannot_open_says_so_and_does_not_block_either():
    @contextmanager
    def opens():
        raise FileNotFoundError
        yield

    inbox, outbox, broken = Queue(2), Queue(), threading.Event()
    room = Room("test", opens, inbox, outbox, broken.set)
    room.start()
    assert broken.wait(5.0)
    for number in range(20):
        inbox.put(number, timeout=5.0)
    inbox.put(STOP, timeout=5.0)
    assert ended(room)
    assert not room.ready.is_set()
    assert isinstance(room.error, FileNotFoundError)
    assert drained(outbox) == [STOP]


def test_an_exception_while_closing_is_kept_too():
    def closed():
        raise BrokenPipeError

    outbox = Queue()
    room, inbox, broken = started(lambda items: items, outbox, closed=closed)
    inbox.put(STOP)
    assert ended(room)
    assert (type(room.error), broken.is_set(), drained(outbox)) == (BrokenPipeError, True, [STOP])


@pytest.mark.parametrize("slow_s", [0.2])
def test_a_room_is_busy_while_it_works_and_only_then(slow_s):
    working, go_on = threading.Event(), threading.Event()

    def work(items):
        working.set()
        go_on.wait(5.0)
        return []

    room, inbox, _ = started(work)
    assert room.ready.wait(5.0)
    assert room.busy_since_s is None
    inbox.put(1)
    assert working.wait(5.0)
    sleep(slow_s)
    assert monotonic() - room.busy_since_s >= slow_s
    go_on.set()
    inbox.put(STOP)
    assert ended(room)
    assert room.busy_since_s is None
