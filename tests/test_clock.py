"""The sample count is the clock: whatever is lost, each sample lands at its own index, and each loss is counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.clock import BRIDGED_S, PLAUSIBLE_S, Clock
from daemon.links import LINKS, UNNUMBERED, Frame
from daemon.port import SILENT_READ_S
from dsp.signal import LEAD_OFF, MISSING, SATURATED, Block

RATE_HZ = 250.0
NUMBERED = [name for name, link in LINKS.items() if link.sequence_modulus >= 256]
links = pytest.mark.parametrize("name", NUMBERED)
unnumbered = pytest.mark.parametrize(
    "name", [name for name, link in LINKS.items() if link.sequence_modulus == UNNUMBERED]
)


def clock(name: str) -> Clock:
    return Clock(LINKS[name], RATE_HZ)


def frame(name: str, number: int, **flags: bool) -> Frame:
    """The frame of this number, ever counting: its counts say at which sample of the patch they were taken."""
    link = LINKS[name]
    first = number * link.samples_per_frame
    return Frame(number % link.sequence_modulus, tuple(range(first, first + link.samples_per_frame)), **flags)


def silence_s(name: str, lost_frames: int) -> float:
    """What the reader's time-outs tell of a loss: whole ones only."""
    lost_s = lost_frames * LINKS[name].samples_per_frame / RATE_HZ
    return lost_s // SILENT_READ_S * SILENT_READ_S


def counts(name: str, block: Block) -> np.ndarray:
    return np.rint(block.ecg_mv * LINKS[name].counts_per_mv)


@links
@settings(max_examples=200, deadline=None)
@given(
    first=st.integers(0, 2**17),
    runs=st.lists(st.tuples(st.integers(1, 5), st.sampled_from([0, 1, 2, 30, 255, 256, 257, 600, 3000])), max_size=8),
    together=st.booleans(),
)
def test_sent_is_delivered_plus_lost_and_every_sample_is_in_its_place(name, first, runs, together):
    size = LINKS[name].samples_per_frame
    placed, number, lost, waited_s, blocks = clock(name), first, 0, 0.0, []
    for run, gap in runs:
        sent = [frame(name, number + n) for n in range(run)]
        for group in [sent] if together else [[each] for each in sent]:
            blocks += placed.place(group, waited_s)
            waited_s = 0.0
        number += run
        delivered_to = number
        number, waited_s = number + gap // size, silence_s(name, gap // size)
    if not runs:
        return
    lost = (delivered_to - first) * size - placed.samples
    assert placed.samples == size * sum(run for run, _ in runs)
    assert placed.lost_samples == lost
    assert placed.next == placed.samples + placed.lost_samples
    assert placed.restarts == 0
    for block in blocks:
        there = ~block.missing
        np.testing.assert_array_equal(
            (counts(name, block) - first * size)[there], np.arange(block.start, block.end)[there]
        )
    assert sum(np.count_nonzero(~block.missing) for block in blocks) == placed.samples


@links
@settings(max_examples=100, deadline=None)
@given(numbers=st.sets(st.integers(0, 90), min_size=1).map(sorted), data=st.data())
def test_how_the_frames_come_together_changes_nothing(name, numbers, data):
    sent = [frame(name, number) for number in numbers]
    cut = data.draw(st.integers(0, len(sent)))
    whole = clock(name).place(sent, 0.0)
    placed = clock(name)
    parts = placed.place(sent[:cut], 0.0) + placed.place(sent[cut:], 0.0)
    for of_blocks in (lambda block: np.arange(block.start, block.end), lambda b: b.ecg_mv, lambda b: b.marks):
        np.testing.assert_array_equal(*(np.concatenate([of_blocks(b) for b in blocks]) for blocks in (parts, whole)))


@links
def test_the_first_frame_is_at_zero_whatever_its_number(name):
    (block,) = clock(name).place([frame(name, 12_345)], 7.0)
    assert block.start == 0
    assert not block.missing.any()


@links
def test_counts_become_millivolts(name):
    link = LINKS[name]
    (block,) = clock(name).place([Frame(0, (round(-2 * link.counts_per_mv),) * link.samples_per_frame)], 0.0)
    np.testing.assert_allclose(block.ecg_mv, -2.0, atol=0.5 / link.counts_per_mv)


@links
def test_nothing_comes_of_nothing(name):
    assert clock(name).place([], 3.0) == []


@links
def test_lost_samples_say_missing_and_flags_become_marks(name):
    size = LINKS[name].samples_per_frame
    sent = [
        frame(name, 0),
        frame(name, 2, lead_off=True),
        frame(name, 3, saturated=True),
        frame(name, 4, lead_off=True, saturated=True),
    ]
    (block,) = clock(name).place(sent, 0.0)
    assert block.marks.tolist() == np.repeat([0, MISSING, LEAD_OFF, SATURATED, LEAD_OFF | SATURATED], size).tolist()


@links
def test_a_frame_that_comes_twice_counts_once(name):
    placed = clock(name)
    (block,) = placed.place([frame(name, n) for n in (0, 1, 1, 1, 2)], 0.0)
    assert (placed.samples, placed.lost_samples) == (3 * LINKS[name].samples_per_frame, 0)
    np.testing.assert_array_equal(counts(name, block), np.arange(placed.samples))


@links
@pytest.mark.parametrize("again", [2, 8])
def test_frames_that_a_gateway_sends_once_more_together_count_once(name, again):
    placed = clock(name)
    sent = [*range(300), *range(300 - again, 600)]
    (block,) = placed.place([frame(name, n) for n in sent], 0.0)
    assert (placed.lost_samples, placed.restarts) == (0, 0)
    np.testing.assert_array_equal(counts(name, block), np.arange(600 * LINKS[name].samples_per_frame))


@links
def test_a_number_that_comes_again_with_other_samples_is_no_frame_that_came_twice(name):
    """The first of a patch that restarted, or all numbers have passed meanwhile."""
    placed = clock(name)
    modulus, size = LINKS[name].sequence_modulus, LINKS[name].samples_per_frame
    placed.place([frame(name, n) for n in (7, 7 + modulus)], 0.0)
    assert placed.samples == 2 * size
    assert (placed.restarts, placed.lost_samples) in ((1, 0), (0, (modulus - 1) * size))


@links
def test_the_number_wraps_without_a_loss(name):
    placed = clock(name)
    last = LINKS[name].sequence_modulus - 1
    placed.place([frame(name, n) for n in (last - 1, last, last + 1, last + 2)], 0.0)
    assert (placed.lost_samples, placed.restarts) == (0, 0)


@pytest.mark.parametrize("lost", [255, 256, 257, 512, 1000, 10_000])
def test_a_short_counter_is_unwrapped_by_the_time_waited(lost):
    placed = clock("cyton")
    placed.place([frame("cyton", 7)], 0.0)
    placed.place([frame("cyton", 8 + lost)], silence_s("cyton", lost))
    assert placed.lost_samples == lost


@pytest.mark.parametrize("lost", range(1, 16))
def test_bitalinos_number_counts_up_to_15_lost_frames_exactly(lost):
    placed = clock("bitalino")
    (block,) = placed.place([frame("bitalino", 7), frame("bitalino", 8 + lost)], 0.0)
    assert placed.lost_samples == np.count_nonzero(block.missing) == lost


@pytest.mark.parametrize("lost", [16, 17, 100, 255, 1000, 4000])
def test_of_longer_losses_bitalinos_number_says_the_rest_by_16_and_time_the_sixteens(lost):
    """To within what the reader's time-outs leave open, and half of 16."""
    placed = clock("bitalino")
    placed.place([frame("bitalino", 7)], 0.0)
    placed.place([frame("bitalino", 8 + lost)], silence_s("bitalino", lost))
    assert placed.lost_samples % 16 == lost % 16
    assert abs(placed.lost_samples - lost) <= SILENT_READ_S * RATE_HZ + 8


@unnumbered
@given(waits=st.lists(st.integers(0, 40), min_size=1, max_size=20))
def test_without_numbers_every_frame_counts_and_time_alone_tells_of_losses(name, waits):
    size = LINKS[name].samples_per_frame
    placed = clock(name)
    placed.place([frame(name, 0)], 7.0)
    lost = 0
    for wait in waits:
        before = placed.next
        placed.place([frame(name, 0), frame(name, 0)], wait * SILENT_READ_S)
        lost += placed.next - before - 2 * size
        assert abs(placed.next - before - 2 * size - wait * SILENT_READ_S * RATE_HZ) <= size / 2
    assert (placed.lost_samples, placed.restarts) == (lost, 0)
    assert placed.samples == size * (1 + 2 * len(waits))


@unnumbered
def test_without_numbers_too_a_long_silence_is_a_jump_and_a_short_one_missing_samples(name):
    size = LINKS[name].samples_per_frame
    for waited_s, jumps in ((1.75, False), (2.25, True)):
        placed = clock(name)
        placed.place([frame(name, 0)], 0.0)
        (block,) = placed.place([frame(name, 0)], waited_s)
        lost = placed.lost_samples
        assert abs(lost - waited_s * RATE_HZ) <= size / 2
        assert block.start == (size + lost if jumps else size)
        assert np.count_nonzero(block.missing) == (0 if jumps else lost)


def test_a_restarted_patch_is_placed_by_the_time_waited():
    """Its number says nothing of how long it was away."""
    placed = clock("rhythmd")
    placed.place([frame("rhythmd", 5000)], 0.0)
    (block,) = placed.place([frame("rhythmd", 0)], 4.0)
    assert placed.restarts == 1
    assert placed.lost_samples == 4 * RATE_HZ
    assert np.count_nonzero(~block.missing) == 10
    assert not block.missing[-10:].any()


def test_a_restarted_patch_that_was_not_waited_for_goes_on_at_once():
    placed = clock("rhythmd")
    (block,) = placed.place([frame("rhythmd", 5000), frame("rhythmd", 0), frame("rhythmd", 1)], 0.0)
    assert (placed.restarts, placed.lost_samples, len(block.ecg_mv)) == (1, 0, 30)


@pytest.mark.parametrize("back", [1, 3, 1000])
def test_a_number_that_goes_back_is_a_restart_and_never_a_negative_loss(back):
    placed = clock("rhythmd")
    (block,) = placed.place([frame("rhythmd", 1000), frame("rhythmd", 1000 - back)], 0.0)
    assert (placed.restarts, placed.lost_samples, len(block.ecg_mv)) == (1, 0, 20)


@pytest.mark.parametrize(("away_s", "restarts"), [(PLAUSIBLE_S - 1, 0), (PLAUSIBLE_S + 1, 1)])
def test_the_number_is_believed_within_a_minute_of_the_time_waited(away_s, restarts):
    placed = clock("rhythmd")
    placed.place([frame("rhythmd", 0), frame("rhythmd", 1 + round(away_s * 25))], 0.0)
    assert placed.restarts == restarts


@links
def test_ten_seconds_are_bridged_and_more_is_a_jump(name):
    size = LINKS[name].samples_per_frame
    longest = int(BRIDGED_S * RATE_HZ) // size
    for lost, starts in ((longest, [size]), (longest + 1, [size + (longest + 1) * size])):
        placed = clock(name)
        placed.place([frame(name, 0)], 0.0)
        blocks = placed.place([frame(name, 1 + lost), frame(name, 2 + lost)], silence_s(name, lost))
        assert [block.start for block in blocks] == starts
        assert placed.lost_samples == lost * size
        assert placed.next == blocks[-1].end


def test_a_jump_in_the_middle_leaves_what_came_before_it_in_its_place():
    far = 1 + 40 * 25
    before, after = clock("rhythmd").place([frame("rhythmd", n) for n in (0, far, far + 2)], 0.0)
    assert (before.start, before.end) == (0, 10)
    assert (after.start, after.end) == (far * 10, far * 10 + 30)
    assert np.count_nonzero(after.missing) == 10


def test_a_patch_of_another_rate_counts_its_own_samples():
    placed = Clock(LINKS["cyton"], 500.0)
    placed.place([frame("cyton", 0)], 0.0)
    placed.place([frame("cyton", 1 + 1500)], 3.0)
    assert placed.lost_samples == 1500


def test_three_days_without_the_patch_cost_no_memory():
    placed = clock("rhythmd")
    placed.place([frame("rhythmd", 0)], 0.0)
    (block,) = placed.place([frame("rhythmd", 77)], 3 * 86400.0)
    assert len(block.ecg_mv) == 10
    assert abs(block.start / RATE_HZ - 3 * 86400) < PLAUSIBLE_S + 1
