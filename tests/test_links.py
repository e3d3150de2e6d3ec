"""Bytes to frames, for every link: any cut, any garbage, any damaged bit; and what each format can promise."""

import time
from itertools import pairwise
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from daemon.links import LINKS, Frame, bitalino, cyton, olimex, rhythmd

links = pytest.mark.parametrize("name", LINKS)
openview_links = pytest.mark.parametrize("name", ["ads1292r", "healthypi4", "healthypi5", "healthypi6", "max30003"])
tried = settings(max_examples=200, deadline=None)
seeds = st.integers(0, 2**32).map(Random)

SIGNS = {  # what begins and ends frames
    "rhythmd": [b"\xa5\x5a", b"\xa5\x5a\1", b"\xa5"],
    "cyton": [b"\xa0", b"\xc0", b"\xa0\7", b"\xc6\xa0"],
    "olimex": [b"\xa5\x5a\2", b"\xa5\x5a", b"\xa5", b"\xa5\x5a\2\7"],
    "bitalino": [b"\0", b"\x3d", b"\xf0"],
    "ad8232": [b"\r\n", b"\n", b"!", b"512", b"51234", b"-3\r"],
}
for each in LINKS.keys() - SIGNS:  # the OpenView frame, with the header that the board's has
    header = LINKS[each].encode(Frame(0, (0,) * LINKS[each].samples_per_frame))[:5]
    SIGNS[each] = [header, header[:2], header[:1], b"\x00\x0b"]
UNCHECKED = [name for name in LINKS if name not in {"rhythmd", "bitalino"}]
"""A damaged bit of the payload is a wrong sample, which nothing shows."""

LOOKS_AHEAD = {"bitalino": 2}
"""How many frames must follow one that does not follow the last, for it to be believed; one for others with numbers."""


def extremes(name: str) -> list[int]:
    """The least and the greatest count that are no rail, and what is in the middle."""
    most = LINKS[name].full_scale_counts - 1
    return [-most, -1, 0, most]


def flags(name: str, rng: Random) -> dict[str, bool]:
    if name == "rhythmd":
        return {flag: rng.random() < 0.3 for flag in ("lead_off", "saturated", "battery_low")}
    return {"lead_off": LINKS[name].tells_lead_off and rng.random() < 0.3}


def frames(name: str, rng: Random, most: int = 8) -> list[Frame]:
    """Frames as a patch sends them, one number after the other."""
    link, (low, *_, high) = LINKS[name], extremes(name)
    first = rng.choice([rng.randrange(link.sequence_modulus), link.sequence_modulus - 2])
    sent = []
    for n in range(rng.randint(1, most)):
        counts = [rng.choice([rng.randint(low, high), *extremes(name)]) for _ in range(link.samples_per_frame)]
        said = flags(name, rng)
        if name == "ad8232" and said["lead_off"]:
            counts = [0]  # the mark stands in the sample's place
        sent.append(Frame((first + n) % link.sequence_modulus, tuple(counts), **said))
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


def in_step(name: str):
    """A decoder that is where a frame begins: one that reads lines leaves out the first."""
    decoder = LINKS[name].decoder(1)
    if name == "ad8232":
        decoder.feed(b"\n")
        decoder.skipped_bytes = 0
    return decoder


def heard(name: str, *pieces: bytes) -> list[Frame]:
    decoder = in_step(name)
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
    for _ in range(LOOKS_AHEAD.get(name, 1)):
        sent.append(quiet(name, sent[-1]))  # a Cyton's first frame needs a second one
    assert heard(name, wire_of(name, sent)) == sent


@links
def test_a_frame_has_the_length_that_the_table_says(name):
    link = LINKS[name]
    assert len(link.encode(Frame(0, (0,) * link.samples_per_frame))) == link.frame_bytes


@links
def test_a_patch_at_its_links_rate_gets_all_its_bytes_through_the_port(name):
    link = LINKS[name]
    assert 10 * link.frame_bytes * link.rate_hz / link.samples_per_frame <= link.baud


@pytest.mark.parametrize("name", [name for name in LINKS if name != "rhythmd"])  # which says it in a flag
def test_a_count_at_the_rail_or_beyond_is_saturated_and_one_below_is_not(name):
    link = LINKS[name]
    most, size = link.full_scale_counts, link.samples_per_frame
    counts = [0, most, -most - 1, most - 1, most + 500, 0, 0]
    sent = [Frame(n % link.sequence_modulus, (count,) * size) for n, count in enumerate(counts)]
    got = heard(name, wire_of(name, sent))
    assert [frame.saturated for frame in got] == [False, True, True, False, True, False, False]


@links
def test_a_channel_that_a_link_has_is_read(name):
    link = LINKS[name]
    sent = [Frame(n % link.sequence_modulus, (7,) * link.samples_per_frame) for n in range(5)]
    for channel in range(2, link.channels + 1):  # the patch's other channels are at rest
        got = link.decoder(channel).feed(wire_of(name, sent))
        assert {frame.counts for frame in got} == {(0,) * link.samples_per_frame}


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
        assert taken_fits(name, fed - decoder.skipped_bytes - len(decoder._buffer), given_out)


def taken_fits(name: str, taken_bytes: int, given_out: int) -> bool:
    """Whether so many bytes make up so many frames; a line has two to six."""
    if name == "ad8232":
        return 2 * given_out <= taken_bytes <= 6 * given_out
    return taken_bytes == given_out * LINKS[name].frame_bytes


@pytest.mark.parametrize("name", ["rhythmd", "ads1292r", "healthypi4", "healthypi5", "healthypi6", "max30003"])
@tried
@given(rng=seeds)
def test_a_format_with_a_length_loses_no_whole_frame_to_garbage(name, rng):
    """Unless garbage holds a frame by chance, as in ours one in 65536 false ones does: such are left out here."""
    sent, wire, starts = frames(name, rng), b"", set()
    size = LINKS[name].frame_bytes
    for frame in sent:
        wire += garbage(name, rng)
        starts.add(len(wire))
        wire += LINKS[name].encode(frame)
    assume(not any(heard(name, wire[at : at + size]) for at in {*range(len(wire))} - starts))
    assert heard(name, wire, bytes(64)) == sent


@pytest.mark.parametrize(("name", "start"), [("cyton", b"\xa0"), ("olimex", b"\xa5")])
@tried
@given(rng=seeds)
def test_no_frame_that_its_successor_follows_is_lost_to_garbage_without_a_start(name, start, rng):
    """Nor to losses. Without a checksum no more can be promised: a start in the garbage may begin a frame too."""
    sent, wire = [], b""
    for _ in range(5):
        group = frames(name, rng)
        group.append(quiet(name, group[-1]))
        sent += group
        wire += garbage(name, rng).replace(start, b"") + wire_of(name, group)
    assert heard(name, wire) == sent


@links
@tried
@given(rng=seeds)
def test_three_frames_after_any_garbage_the_decoder_is_in_step_again(name, rng):
    """Where the payload holds no sign of a beginning, that is; with it, as soon as no false start counts up too."""
    junk = garbage(name, rng)
    first = Frame(rng.randrange(LINKS[name].sequence_modulus), ())
    sent = [quiet(name, first, steps) for steps in range(40)]
    got = heard(name, junk, wire_of(name, sent))
    assert got[-37:] == sent[-37:]


@pytest.mark.parametrize("place", range(3, 32))
def test_a_steady_payload_that_looks_like_a_frame_does_not_hold_cyton(place):
    """An idle channel may read C0 A0 for ever. Joined in mid-frame, the true frames are found all the same."""
    wires = [bytearray(cyton.encode(Frame(n, (0,)))) for n in range(20)]
    for wire in wires:
        wire[place - 1 : place + 1] = b"\xc0\xa0"
    got = heard("cyton", b"".join(wires)[place:])
    assert [frame.sequence for frame in got] == list(range(1, 20))


@pytest.mark.parametrize("place", range(1, bitalino.FRAME_BYTES))
@pytest.mark.parametrize("level", range(-512, 512, 73))
def test_bitalino_joined_in_mid_frame_finds_the_true_frames_whatever_the_steady_level(place, level):
    sent = [Frame(n % 16, (level,), saturated=level == -512) for n in range(60)]
    assert heard("bitalino", wire_of("bitalino", sent)[place:])[-50:] == sent[-50:]


@pytest.mark.parametrize("name", ["cyton", "olimex"])
def test_garbage_with_the_right_number_is_no_frame(name):
    sent = [Frame(n, (n,)) for n in range(12)]
    fake = LINKS[name].encode(Frame(6, (-1,)))
    decoder = LINKS[name].decoder(1)
    assert decoder.feed(wire_of(name, sent[:6]) + b"\0" + fake + b"\0" + wire_of(name, sent[6:])) == sent
    assert decoder.damaged_frames == 1  # at which the step was lost; what looks like a start in garbage counts no more


@links
@settings(max_examples=600, deadline=None)
@given(rng=seeds)
def test_one_damaged_bit_costs_at_most_its_own_frame(name, rng):
    """The first frames of those with numbers vouch for each other, so the damage comes after them.

    Of lines, damage to the end of one costs the next in its place.
    """
    ahead = 1 + LOOKS_AHEAD.get(name, 1)
    sent = frames(name, rng, 10)
    sent = [*(quiet(name, sent[0], -steps) for steps in range(ahead, 0, -1)), *sent]
    hit = rng.randrange(ahead, len(sent))
    wires = [LINKS[name].encode(frame) for frame in sent]
    wires[hit] = damaged(wires[hit], rng.randrange(8 * len(wires[hit])))
    after = [quiet(name, sent[-1], steps) for steps in range(1, ahead + 1)]
    got = heard(name, b"".join(wires) + wire_of(name, after))
    if name in UNCHECKED and len(got) == len(sent + after):
        del got[hit]  # its payload may be wrong, which nothing shows; but it is in its place
    others = [sent[:each] + sent[each + 1 :] + after for each in (hit, hit + 1)[: 1 + (name == "ad8232")]]
    assert got in others or (name == "ad8232" and got == sent + after[1:])


@links
def test_of_a_hundred_thousand_frames_with_damage_in_every_fourth_the_others_come(name):
    rng, link = Random(3), LINKS[name]
    sent = [Frame(n % link.sequence_modulus, (n % 100,) * link.samples_per_frame) for n in range(256)]
    wires = [link.encode(frame) for frame in sent]
    whole = [frame for n, frame in enumerate(sent) if n % 4 != 3]
    decoder = in_step(name)
    for _ in range(400):
        got = decoder.feed(
            b"".join(damaged(w, rng.randrange(8 * len(w))) if n % 4 == 3 else w for n, w in enumerate(wires))
        )
        assert len(got) <= len(sent)
        if name == "ad8232":  # what joins two lines costs one of them
            assert len(got) >= len(whole)
        else:
            came = iter(got)
            assert all(frame in came for frame in whole)


@pytest.mark.parametrize("bit", [0, 7, 8, 15, 32 * 8 + 3, 32 * 8 + 7])  # of the start, the number, the end
def test_cyton_refuses_a_frame_with_a_damaged_sign_and_counts_it(bit):
    sent = [Frame(n % 256, (n,)) for n in range(250, 262)]
    wires = [cyton.encode(frame) for frame in sent]
    wires[6] = damaged(wires[6], bit)
    decoder = LINKS["cyton"].decoder(1)
    assert decoder.feed(b"".join(wires)) == sent[:6] + sent[7:]
    assert (decoder.damaged_frames, decoder.skipped_bytes) == (1, cyton.FRAME_BYTES)


@pytest.mark.parametrize("bit", [*range(32), *(8 * place + bit for place in range(4, 16, 2) for bit in range(2, 8))])
def test_olimex_refuses_a_frame_with_damage_to_what_is_fixed_in_it_and_counts_it(bit):
    """Sync, version, number, and the upper bits of its six samples."""
    sent = [Frame(n, (n,)) for n in range(12)]
    wires = [olimex.encode(frame) for frame in sent]
    wires[6] = damaged(wires[6], bit)
    decoder = LINKS["olimex"].decoder(1)
    assert decoder.feed(b"".join(wires)) == sent[:6] + sent[7:]
    assert (decoder.damaged_frames, decoder.skipped_bytes) == (1, olimex.FRAME_BYTES)


@pytest.mark.parametrize("bit", range(8 * bitalino.FRAME_BYTES))
def test_bitalino_refuses_a_frame_with_any_damaged_bit_and_counts_it(bit):
    sent = [Frame(n, (40 * n,)) for n in range(12)]
    wires = [bitalino.encode(frame) for frame in sent]
    wires[6] = damaged(wires[6], bit)
    decoder = LINKS["bitalino"].decoder(1)
    assert decoder.feed(b"".join(wires)) == sent[:6] + sent[7:]
    assert (decoder.damaged_frames, decoder.skipped_bytes) == (1, bitalino.FRAME_BYTES)


def test_bitalino_reads_the_bits_where_its_firmware_puts_them():
    """Built as `timer1TickLive` in the firmware's live.c does, word by word; the CRC bit by bit."""
    a1, a2, a3, a4, number = 0x2B7, 0x155, 0x0F3, 0x3C9, 11
    frame = bytearray(8)
    frame[6] = 0xC0
    for place, word in ((5, a1 << 2), (4, a2), (2, a3 << 6), (1, a4 << 4)):
        frame[place] |= word & 0xFF
        frame[place + 1] |= word >> 8
    frame[7] = number << 4
    crc = 0
    for byte in frame[1:]:
        for bit in range(7, -1, -1):
            crc <<= 1
            if crc & 0x10:
                crc ^= 0x03
            crc ^= byte >> bit & 1
    frame[7] |= crc & 0x0F
    tail = wire_of("bitalino", [Frame(12, (0,)), Frame(13, (0,))])
    for channel, level in enumerate((a1, a2, a3, a4), 1):
        first, *_ = LINKS["bitalino"].decoder(channel).feed(bytes(frame[1:]) + tail)
        assert (first.sequence, first.counts) == (number, (level - 512,))


def test_olimex_reads_the_example_of_the_openeeg_project():
    """The packet that its documentation shows, and the beginning of one that follows."""
    packet = bytes.fromhex("a55a023902330 1eb022201b3020002000f".replace(" ", ""))
    for channel, level in enumerate((0x233, 0x1EB, 0x222, 0x1B3, 0x200, 0x200), 1):
        (frame,) = LINKS["olimex"].decoder(channel).feed(packet + bytes.fromhex("a55a023a"))
        assert (frame.sequence, frame.counts) == (0x39, (level - 512,))


HEADER = {length: b"\x0a\xfa" + bytes([length, 0, 2]) for length in (8, 9, 12, 17, 20, 22)}


def test_each_firmware_of_the_ads1292r_shield_is_read():
    for length in (8, 9, 20):
        wire = HEADER[length] + (-1234).to_bytes(2, "little", signed=True) + bytes(length - 2) + b"\x00\x0b"
        assert [frame.counts for frame in heard("ads1292r", wire)] == [(-1234,)]


def test_healthypi4_tells_of_each_lead_that_is_off_in_its_last_byte():
    for bit in range(8):
        wire = HEADER[20] + bytes(19) + bytes([1 << bit]) + b"\x00\x0b"
        assert [frame.lead_off for frame in heard("healthypi4", wire)] == [bit < 5]


def test_what_a_healthypi5_sends_in_between_is_neither_a_frame_nor_a_loss():
    batch = LINKS["healthypi5-batch"].encode(Frame(0, tuple(range(8))))
    of_the_finger = b"\x0a\xfa\x13\0\4" + bytes(19) + b"\x00\x0b"
    decoder = LINKS["healthypi5-batch"].decoder(1)
    assert decoder.feed((batch + of_the_finger) * 3) == [Frame(0, tuple(range(8)))] * 3
    assert (decoder.skipped_bytes, decoder.damaged_frames) == (0, 0)


@pytest.mark.parametrize("channel", [1, 2, 3])
def test_healthypi6_gives_the_lead_that_was_asked_for(channel):
    payload = b"".join((1000 * n).to_bytes(4, "little", signed=True) for n in (1, -2, 3, 4, 5))
    (frame,) = LINKS["healthypi6"].decoder(channel).feed(HEADER[20] + payload + b"\x00\x0b")
    assert frame.counts == ((1000, -2000, 3000)[channel - 1],)


@pytest.mark.parametrize("count", [0, 1, 3, -1, -2, -5, 2**17 - 2, -(2**17) + 1, 12345])
def test_max30003_reads_the_sample_as_its_library_packs_it(count):
    """From the three bytes of the FIFO, as `getEcgSamples` does: the last two bits end up at the bottom."""
    fifo = (count << 6 & 0xFFFFFF).to_bytes(3, "big")
    packed = fifo[0] << 24 | fifo[1] << 16 | fifo[2] >> 6 & 3
    wire = HEADER[12] + packed.to_bytes(4, "little") + bytes(8) + b"\x00\x0b"
    assert [frame.counts for frame in heard("max30003", wire)] == [(count,)]
    longer = HEADER[17] + bytes(5) + packed.to_bytes(4, "little") + bytes(8) + b"\x00\x0b"
    assert [frame.counts for frame in heard("max30003", longer)] == [(count,)]
    assert LINKS["max30003"].encode(Frame(0, (count,))) == wire


@openview_links
@pytest.mark.parametrize("place", [2, 3, 4, -2, -1])
def test_openview_refuses_a_frame_with_a_damaged_end(name, place):
    sent = [Frame(0, (n,)) for n in range(1, 6)]
    wires = [bytearray(LINKS[name].encode(frame)) for frame in sent]
    wires[2][place] ^= 0x40
    assert heard(name, b"".join(wires)) == sent[:2] + sent[3:]


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"])
def test_lines_may_end_as_they_like(end):
    decoder = in_step("ad8232")
    got = decoder.feed(end.join([b"512", b"0", b"!", b"1023", b"7", b""]))
    assert got == [
        Frame(0, (0,)),
        Frame(0, (-512,), saturated=True),
        Frame(0, (0,), lead_off=True),
        Frame(0, (511,), saturated=True),
        Frame(0, (-505,)),
    ]
    assert (decoder.skipped_bytes, decoder.damaged_frames) == (0, 0)


@pytest.mark.parametrize("line", [b"-5", b"1024", b"51 2", b"5.12", b"!!", b"!5", b"0x10", "٣".encode(), b"51234567"])
def test_a_line_that_is_no_sample_is_skipped_and_counted(line):
    decoder = in_step("ad8232")
    assert decoder.feed(b"100\r\n" + line + b"\r\n200\r\n") == [Frame(0, (-412,)), Frame(0, (-312,))]
    assert (decoder.damaged_frames, decoder.skipped_bytes) == (1, len(line) + 2)


def test_the_first_line_may_have_lost_its_beginning_and_is_left_out():
    assert LINKS["ad8232"].decoder(1).feed(b"12\r\n513\r\n") == [Frame(0, (1,))]


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
    noise += b"\x0a\xfa\x14\0\2" * 50_000 + b"\0" * 100_000 + b"1" * 100_000 + b"\r\n" * 50_000
    decoder = LINKS[name].decoder(1)
    began_s = time.process_time()
    for start in range(0, len(noise), 4096):
        decoder.feed(noise[start : start + 4096])
        assert len(decoder._buffer) < 3 * LINKS[name].frame_bytes
    assert time.process_time() - began_s < 12  # a line at 115200 baud takes 120
