"""The dsp room's work: what readings become, and what it takes silence for."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from daemon.links import LINKS, Frame
from daemon.listening import Heard, Listener, Skipped
from daemon.patch import Patch
from daemon.port import SILENT_READ_S, Reading
from dsp.signal import Block

PATCH = Patch(port="x", silence_limit_s=2.0)


def reading(data: bytes = b"", *, dropped: int = 0) -> Reading:
    return Reading(data, connected=True, connections=1, dropped_bytes=dropped, read_s=0.0)


def wire(first: int, count: int, link: str = "rhythmd") -> bytes:
    size = LINKS[link].samples_per_frame
    return b"".join(LINKS[link].encode(Frame(first + number, (number % 50,) * size)) for number in range(count))


def heard(listener: Listener, *readings: Reading) -> Heard:
    *_, last = [item for item in listener(list(readings)) if isinstance(item, Heard)]
    return last


def test_silence_counts_until_a_frame_comes():
    listener = Listener(PATCH)
    assert not heard(listener, reading(wire(0, 5))).silent
    quiet = [reading()] * round(2.0 / SILENT_READ_S)
    assert not heard(listener, *quiet[1:]).silent
    assert heard(listener, quiet[0]).silent
    assert not heard(listener, reading(wire(5, 1))).silent


def test_a_patch_that_is_away_is_not_silent():
    """It has its own alarm; when it is plugged in again its silence begins anew."""
    listener = Listener(PATCH)
    heard(listener, reading(wire(0, 5)))
    away = Reading(b"", connected=False, connections=1, dropped_bytes=0, read_s=0.0)
    assert not heard(listener, *[away] * 40).silent
    assert not heard(listener, reading()).silent
    assert heard(listener, *[reading()] * 8).silent


@pytest.mark.parametrize(
    ("trickle", "times"),
    [
        pytest.param(b"\x55", 300, id="a floating line, a byte each 0.2 s"),
        pytest.param(b"\x55" * 10, 100, id="100 bytes a second"),
        pytest.param(2 * wire(9, 1), 100, id="a patch that repeats its last frame"),
    ],
)
def test_what_comes_and_brings_no_sample_is_silence(trickle, times):
    listener = Listener(PATCH)
    assert not heard(listener, *[reading(wire(2 * number, 2)) for number in range(5)]).silent
    for _ in range(times):
        last = heard(listener, reading(trickle))
    assert last.silent
    assert not heard(listener, reading(wire(10, 5))).silent


def test_frames_of_another_sensor_are_silence():
    listener = Listener(Patch(port="x", link="healthypi5-batch", silence_limit_s=2.0))
    assert not heard(listener, reading(wire(0, 5, "healthypi5-batch"))).silent
    pleth = struct.pack("<2sHB", b"\x0a\xfa", 19, 4) + bytes(19) + b"\x00\x0b"
    for _ in range(100):
        last = heard(listener, reading(8 * pleth))
    assert last.silent


def test_garbage_is_silence_too():
    """At the wrong baud rate bytes come all the time, and never a frame."""
    listener = Listener(PATCH)
    heard(listener, reading(wire(0, 5)))
    garbage = np.random.default_rng(1).integers(0, 255, 700, np.uint8).tobytes()  # a second's worth
    assert not heard(listener, reading(garbage)).silent
    assert heard(listener, reading(garbage), reading(garbage)).silent


@pytest.mark.parametrize("how", ["garbage", "dropped"])
def test_a_cyton_that_lost_two_seconds_is_placed_two_seconds_later(how):
    """Its number has wrapped twice: only the bytes that were lost tell."""
    listener = Listener(Patch(port="x", link="cyton"))
    heard(listener, reading(wire(0, 100, "cyton")))
    lost = 500 * LINKS["cyton"].frame_bytes
    later = wire(600, 100, "cyton")
    after = [reading(b"\0" * lost), reading(later)] if how == "garbage" else [reading(later, dropped=lost)]
    assert heard(listener, *after).counts.lost_samples == 500


def test_frames_that_come_together_become_one_contiguous_block():
    listener = Listener(PATCH)
    blocks = [
        item for item in listener([reading(wire(0, 3)[:50]), reading(wire(0, 3)[50:])]) if isinstance(item, Block)
    ]
    assert [(block.start, len(block.ecg_mv)) for block in blocks] == [(0, 30)]


def test_a_long_loss_begins_a_new_session_and_says_so():
    listener = Listener(PATCH)
    list(listener([reading(wire(0, 10))]))
    items = list(listener([reading(wire(1000, 10))]))
    (skipped,) = [item for item in items if isinstance(item, Skipped)]
    assert (skipped.gone, skipped.to) == (100, 10_000)
    assert items.index(skipped) < next(place for place, item in enumerate(items) if isinstance(item, Block))


def test_that_a_patch_is_back_is_said_before_the_loss_that_came_with_it():
    """Else the loss would be taken for part of the absence, and not be told."""
    listener = Listener(PATCH)
    away = Reading(b"", connected=False, connections=0, dropped_bytes=0, read_s=0.0)
    items = list(listener([away, reading(wire(0, 10) + wire(1000, 10)), away]))
    told = [item for item in items if isinstance(item, (Skipped, Heard))]
    assert [item.connected if isinstance(item, Heard) else "skipped" for item in told] == [
        "skipped", True, "skipped", True, False,
    ]  # fmt: skip


def test_a_patch_that_restarts_is_counted():
    listener = Listener(PATCH)
    assert heard(listener, reading(wire(5000, 10))).counts.restarts == 0
    assert heard(listener, reading(wire(0, 10))).counts.restarts == 1


def test_what_the_patch_says_of_its_battery_is_passed_on():
    listener = Listener(PATCH)
    low = LINKS["rhythmd"].encode(Frame(0, (0,) * 10, battery_low=True))
    assert heard(listener, reading(low)).battery_low
    assert not heard(listener, reading(wire(1, 1))).battery_low
