"""Bytes to frames, for every link: any cut, any garbage, any damaged bit; and what each format can promise."""

import time
from itertools import pairwise
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from daemon.links import LINKS, Frame, cyton, rhythmd

links = pytest.mark.parametrize("name", LINKS)
tried = settings(max_examples=200, deadline=None)
seeds = st.integers(0, 2**32).map(Random)

EXTREMES = {"rhythmd": [-(2**15), -1, 0, 2**15 - 1], "cyton": [-(2**23) + 2, -1, 0, 2**23 - 2]}  # between the rails
SIGNS = {"rhythmd": [b"\xa5\x5a", b"\xa5\x5a\1", b"\xa5"], "cyton": [b"\xa0", b"\xc0", b"\xa0\7", b"\xc6\xa0"]}


def frames(name: str, rng: Random, most: int = 8) -> list[Frame]:
    """Frames as a patch sends them, one number after the other."""
    link, (low, *_, high) = LINKS[name], EXTREMES[name]
    first = rng.choice([rng.randrange(link.sequence_modulus), link.sequence_modulus - 2])
    sent = []
    for n in range(rng.randint(1, most)):
        counts = [rng.choice([rng.randint(low, high), *EXTREMES[name]]) for _ in range(link.samples_per_frame)]
        flags = [name == "rhythmd" and rng.random() < 0.3 for _ in range(3)]
        sent.append(Frame((first + n) % link.sequence_modulus, tuple(counts), *flags))
    return sent


def garbage(name: str, rng: Random) -> bytes:
    """Anything, with the bytes that begin and end a frame more often than chance has them."""
    return b"".join(rng.choice([rng.randbytes(rng.randrange(30)), *SIGNS[name]]) for _ in range(rng.randrange(8)))


def wire_of(name: str, sent: list[Frame]) -> bytes:
    return b"".join(map(LINKS[name].encode, sent))


def quiet(name: str, before: Frame, steps: int = 1) -> Frame:
    """A frame of zeros that follows `before`."""
    link = LINKS[name]
    return Frame((before.sequence + steps) % link.sequence_modulus, (0,) * link.samples_per_frame)


def heard(name: str, *pieces: bytes) -> list[Frame]:
    decoder = LINKS[name].decoder(1)
    return [frame for piece in pieces for frame in decoder.feed(piece)]


def damaged(wire: bytes, bit: int) -> bytes:
    hit = bytearray(wire)
    hit[bit // 8] ^= 1 << bit % 8
    return bytes(hit)


@links
@tried
@given(rng=seeds)
def test_every_flag_and_count_comes_through(name, rng):
    sent = frames(name, rng)
    sent.append(quiet(name, sent[-1]))  # a Cyton's first frame needs a second one
    assert heard(name, wire_of(name, sent)) == sent


@links
def test_a_frame_has_the_length_that_the_table_says(name):
    link = LINKS[name]
    assert len(link.encode(Frame(0, (0,) * link.samples_per_frame))) == link.frame_bytes


@pytest.mark.parametrize("rail", [-(2**23), -(2**23) + 1, 2**23 - 1])
def test_cyton_at_the_rail_is_saturated(rail):
    assert all(frame.saturated for frame in heard("cyton", wire_of("cyton", [Frame(n, (rail,)) for n in range(3)])))


def test_cyton_shows_a_lead_off_or_too_great_a_count_at_the_rail():
    sent = [Frame(0, (5,), lead_off=True), Frame(1, (2**30,)), Frame(2, (-(2**30),)), Frame(3, (0,))]
    top, bottom = 2**23 - 1, -(2**23)
    assert [frame.counts for frame in heard("cyton", wire_of("cyton", sent))] == [(top,), (top,), (bottom,), (0,)]


@pytest.mark.parametrize("channel", range(1, cyton.CHANNELS + 1))
def test_cyton_gives_the_channel_that_was_asked_for(channel):
    payload = b"".join((100 * n).to_bytes(3, "big", signed=True) for n in range(1, 9))
    wire = b"".join(bytes([0xA0, n]) + payload + bytes(6) + bytes([0xC0 + n]) for n in range(7))  # every kind of end
    assert [frame.counts for frame in LINKS["cyton"].decoder(channel).feed(wire)] == [(100 * channel,)] * 7


@links
@tried
@given(rng=seeds)
def test_cutting_the_bytes_anywhere_changes_nothing(name, rng):
    wire = b"".join(garbage(name, rng) + wire_of(name, frames(name, rng, 4)) for _ in range(4))
    cuts = sorted(rng.choices(range(len(wire) + 1), k=rng.randrange(12)))
    whole = heard(name, wire)
    assert heard(name, *(wire[a:b] for a, b in pairwise([0, *cuts, len(wire)]))) == whole
    assert heard(name, *(wire[i : i + 1] for i in range(len(wire)))) == whole


@links
@tried
@given(rng=seeds)
def test_every_byte_is_part_of_a_frame_or_skipped_or_waiting(name, rng):
    decoder = LINKS[name].decoder(1)
    fed = given_out = 0
    for _ in range(6):
        piece = garbage(name, rng) + wire_of(name, frames(name, rng, 3))[rng.randrange(30) :]
        given_out += len(decoder.feed(piece))
        fed += len(piece)
        assert fed == given_out * LINKS[name].frame_bytes + decoder.skipped_bytes + len(decoder._buffer)


@tried
@given(rng=seeds)
def test_rhythmd_loses_no_whole_frame_to_garbage(rng):
    """Unless garbage holds a CRC by chance, as one false frame in 65536 does: such are left out here."""
    sent, wire, starts = frames("rhythmd", rng), b"", set()
    for frame in sent:
        wire += garbage("rhythmd", rng)
        starts.add(len(wire))
        wire += rhythmd.encode(frame)
    assume(not any(heard("rhythmd", wire[at : at + rhythmd.FRAME_BYTES]) for at in {*range(len(wire))} - starts))
    assert heard("rhythmd", wire, bytes(rhythmd.FRAME_BYTES)) == sent


@tried
@given(rng=seeds)
def test_cyton_loses_no_frame_that_its_successor_follows_to_garbage_without_a_start(rng):
    """Nor to losses. Without a checksum no more can be promised: an A0 in the garbage may begin a frame too."""
    sent, wire = [], b""
    for _ in range(5):
        group = frames("cyton", rng)
        group.append(quiet("cyton", group[-1]))
        sent += group
        wire += garbage("cyton", rng).replace(b"\xa0", b"") + wire_of("cyton", group)
    assert heard("cyton", wire) == sent


@tried
@given(rng=seeds)
def test_cyton_is_in_step_again_three_frames_after_any_garbage(rng):
    """Where the payload holds no A0, that is; with it, as soon as no false start counts up as frames do."""
    junk = garbage("cyton", rng)
    first = Frame(rng.randrange(256), (0,))
    sent = [quiet("cyton", first, steps) for steps in range(40)]
    got = heard("cyton", junk, wire_of("cyton", sent))
    assert got[-37:] == sent[-37:]


@pytest.mark.parametrize("place", range(3, 32))
def test_a_steady_payload_that_looks_like_a_frame_does_not_hold_cyton(place):
    """An idle channel may read C0 A0 for ever. Joined in mid-frame, the true frames are found all the same."""
    wires = [bytearray(cyton.encode(Frame(n, (0,)))) for n in range(20)]
    for wire in wires:
        wire[place - 1 : place + 1] = b"\xc0\xa0"
    got = heard("cyton", b"".join(wires)[place:])
    assert [frame.sequence for frame in got] == list(range(1, 20))


def test_garbage_with_the_right_number_is_no_frame_for_cyton():
    sent = [Frame(n, (n,)) for n in range(12)]
    fake = cyton.encode(Frame(6, (-1,)))
    decoder = LINKS["cyton"].decoder(1)
    assert decoder.feed(wire_of("cyton", sent[:6]) + b"\0" + fake + b"\0" + wire_of("cyton", sent[6:])) == sent
    assert decoder.damaged_frames == 1  # at which the step was lost; what looks like a start in garbage counts no more


@links
@settings(max_examples=1500, deadline=None)
@given(rng=seeds)
def test_one_damaged_bit_costs_at_most_its_own_frame(name, rng):
    """A Cyton's first two frames vouch for each other, so the damage comes after them."""
    sent = frames(name, rng, 10)
    sent = [quiet(name, sent[0], -2), quiet(name, sent[0], -1), *sent]
    hit, bit = rng.randrange(2, len(sent)), rng.randrange(8 * LINKS[name].frame_bytes)
    wires = [LINKS[name].encode(frame) for frame in sent]
    wires[hit] = damaged(wires[hit], bit)
    after = [quiet(name, sent[-1], steps) for steps in (1, 2)]
    got = heard(name, b"".join(wires) + wire_of(name, after))
    if name == "cyton" and got[hit].sequence == sent[hit].sequence:
        del got[hit]  # its payload may be wrong, which nothing shows; but it is in its place
    assert got == sent[:hit] + sent[hit + 1 :] + after


@links
def test_of_a_hundred_thousand_frames_with_damage_in_every_fourth_the_others_come(name):
    rng, link = Random(3), LINKS[name]
    sent = [Frame(n, (n % 100,) * link.samples_per_frame) for n in range(256)]
    wires = [link.encode(frame) for frame in sent]
    decoder = link.decoder(1)
    for _ in range(400):
        hit = [damaged(w, rng.randrange(8 * link.frame_bytes)) if n % 4 == 3 else w for n, w in enumerate(wires)]
        got = decoder.feed(b"".join(hit))
        assert [frame for frame in got if frame.sequence % 4 != 3] == [
            frame for n, frame in enumerate(sent) if n % 4 != 3
        ]


@pytest.mark.parametrize("bit", [0, 7, 8, 15, 32 * 8 + 3, 32 * 8 + 7])  # of the start, the number, the end
def test_cyton_refuses_a_frame_with_a_damaged_sign_and_counts_it(bit):
    sent = [Frame(n % 256, (n,)) for n in range(250, 262)]
    wires = [cyton.encode(frame) for frame in sent]
    wires[6] = damaged(wires[6], bit)
    decoder = LINKS["cyton"].decoder(1)
    assert decoder.feed(b"".join(wires)) == sent[:6] + sent[7:]
    assert (decoder.damaged_frames, decoder.skipped_bytes) == (1, cyton.FRAME_BYTES)


@pytest.mark.parametrize("bit", range(8 * rhythmd.FRAME_BYTES))
def test_rhythmd_refuses_a_frame_with_any_damaged_bit_and_counts_it(bit):
    sent = [Frame(n, (n,) * rhythmd.SAMPLES) for n in range(3)]
    wires = [rhythmd.encode(frame) for frame in sent]
    wires[1] = damaged(wires[1], bit)
    decoder = LINKS["rhythmd"].decoder(1)
    assert decoder.feed(b"".join(wires)) == [sent[0], sent[2]]
    assert decoder.damaged_frames == (bit >= 16)  # without its sync it is not even recognised
    assert decoder.skipped_bytes == rhythmd.FRAME_BYTES


@pytest.mark.parametrize("version", [0, 2, 255])
def test_rhythmd_refuses_another_version_though_its_crc_holds(version):
    body = bytearray(rhythmd.encode(Frame(1, (0,) * rhythmd.SAMPLES))[:-2])
    body[2] = version
    decoder = LINKS["rhythmd"].decoder(1)
    assert decoder.feed(bytes(body) + rhythmd._CRC.pack(rhythmd._crc(body))) == []
    assert decoder.damaged_frames == 1


@links
def test_a_megabyte_of_garbage_costs_little_memory_and_little_time(name):
    noise = bytes(range(256)) * 1000 + b"\xa5\x5a\xa0" * 85_000 + b"\xa0" * 250_000 + b"\xa5\x5a" * 120_000
    decoder = LINKS[name].decoder(1)
    began_s = time.process_time()
    for start in range(0, len(noise), 4096):
        decoder.feed(noise[start : start + 4096])
        assert len(decoder._buffer) < LINKS[name].frame_bytes + 2
    assert time.process_time() - began_s < 10  # a line at 115200 baud takes 90
