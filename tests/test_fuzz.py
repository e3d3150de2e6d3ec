"""Mutated frames and messages by the million: no exception, bounded memory, damage stays where it is.

RHYTHMD_FRAMES and RHYTHMD_MESSAGES say how many, a few by default; the seeds are fixed.
"""

from __future__ import annotations

from random import Random
from time import monotonic

import msgspec
import pytest
import zmq

from daemon.desk import ENTRIES_A_PAGE
from daemon.links import LINKS, Frame, cyton
from daemon.requests import Acknowledge, Answer, Silence, Since, desk_of
from tests.house import open_daemon, served
from tests.running import many, memory_kb

FRAMES = int(many("RHYTHMD_FRAMES", 10_000, 1_000_000))
MESSAGES = int(many("RHYTHMD_MESSAGES", 1_000, 100_000))
BATCH = 250
BY_CHANCE = 3
"""Frames of a batch that one of 65,536 false ones may swallow, whose checksum holds by chance; and one that waits."""

OF_SEVERAL_LENGTHS = {"ad8232", "ads1292r", "healthypi5-batch", "max30003"}
"""Whose decoders take lines as they come, or more than one kind of frame: a mutation may make one of another."""

SLACK_KB = 24_000

pytestmark = pytest.mark.timeout(1200)


def flipped(wire: bytes, rng: Random, bits: int) -> bytes:
    hit = bytearray(wire)
    for _ in range(bits):
        bit = rng.randrange(8 * len(wire))
        hit[bit // 8] ^= 1 << bit % 8
    return bytes(hit)


def mutated(wires: list[bytes], rng: Random) -> tuple[list[bytes], int]:
    """A batch as no patch sends it: bits damaged, bytes gone or doubled or put in, frames twice or in another order;
    and how many frames are whole in it."""
    out, whole = [], 0
    for wire in wires:
        how, at = rng.randrange(10), rng.randrange(len(wire))
        whole += {0: 1, 6: 1, 7: 2}.get(how, 0)
        out += [
            [wire],
            [flipped(wire, rng, 1)],
            [flipped(wire, rng, rng.randint(2, 40))],
            [wire[:at]],
            [wire[at:]],
            [wire[:at], rng.randbytes(rng.randrange(8)), wire[at:]],
            [wire[:at], wire],
            [wire, wire],
            [rng.randbytes(rng.randrange(2 * len(wire)))],
            [wire[:2] * rng.randrange(30)],
        ][how]
    if not rng.randrange(4):
        rng.shuffle(out)
    return out, whole


def sent(name: str, first: int, rng: Random) -> list[Frame]:
    link = LINKS[name]
    most = link.full_scale_counts - 1
    return [
        Frame((first + n) % link.sequence_modulus, tuple(rng.choices(range(-most, most), k=link.samples_per_frame)))
        for n in range(BATCH)
    ]


@pytest.mark.parametrize("name", LINKS)
def test_mutated_frames_raise_nothing_and_fill_nothing_and_the_decoder_is_in_step_again(name):
    """Every byte is a frame's, skipped or waits; less than three frames wait; whole frames that follow come through.

    After what may end in half of a frame, the first ten are not asked for. In our own format all whole ones come.
    """
    rng, link = Random(6), LINKS[name]
    decoder = link.decoder(1)
    fed = given = 0
    before_kb = None
    for first in range(0, FRAMES, BATCH):
        wires = [link.encode(frame) for frame in sent(name, first, rng)]
        pieces, intact = mutated(wires, rng)
        for piece in pieces:
            fed += len(piece)
            got = len(decoder.feed(piece))
            given, intact = given + got, intact - got
            assert len(decoder._buffer) < 3 * link.frame_bytes
        assert name != "rhythmd" or intact <= BY_CHANCE
        whole = [Frame(n % link.sequence_modulus, (0,) * link.samples_per_frame) for n in range(40)]
        wire = b"".join(map(link.encode, whole))
        fed += len(wire)
        heard = decoder.feed(wire)
        given += len(heard)
        assert heard[-30:] == whole[-30:]
        taken = fed - decoder.skipped_bytes - len(decoder._buffer)
        assert taken == given * link.frame_bytes or name in OF_SEVERAL_LENGTHS
        assert 2 * given <= taken
        before_kb = before_kb or memory_kb()
    assert memory_kb() - before_kb < SLACK_KB
    print(f"{name}: {FRAMES} frames mutated, {given} taken for whole, {decoder.damaged_frames} counted as damaged")


def test_in_rhythmd_a_damaged_bit_costs_its_own_frame_and_no_other():
    """One frame in four has one; all others come, bit for bit, and nothing that was not sent."""
    rng, link = Random(7), LINKS["rhythmd"]
    decoder = link.decoder(1)
    for first in range(0, FRAMES, BATCH):
        frames = sent("rhythmd", first, rng)
        wires = [link.encode(frame) for frame in frames]
        hit = {n for n in range(BATCH) if not rng.randrange(4)}
        wire = b"".join(flipped(wire, rng, 1) if n in hit else wire for n, wire in enumerate(wires))
        end = link.encode(Frame(0, (0,) * link.samples_per_frame))  # so that a damaged last one is not waited for
        assert decoder.feed(wire + end)[:-1] == [frame for n, frame in enumerate(frames) if n not in hit]


def test_in_cyton_a_damaged_bit_costs_at_most_its_own_frame():
    """It has no checksum, so what holds is less: a frame with a damaged payload comes, in its place, with a count that
    nothing shows to be wrong; one with a damaged sign (first byte, number, last byte) is lost; all others come, bit
    for bit. Two frames in order stand between two damages: a successor vouches for the frame after one."""
    rng = Random(8)
    decoder = LINKS["cyton"].decoder(1)
    wrong = lost = bits = 0
    for first in range(0, FRAMES, BATCH):
        frames = sent("cyton", first, rng)
        hit = {n for n in range(2, BATCH - 2) if not n % 3 and rng.randrange(2)}
        wires = [cyton.encode(frame) for frame in frames]
        heard = decoder.feed(b"".join(flipped(wire, rng, 1) if n in hit else wire for n, wire in enumerate(wires)))
        bits += len(hit)
        came = iter(heard)
        one = next(came, None)
        for n, frame in enumerate(frames):
            if n in hit and (one is None or one.sequence != frame.sequence):
                lost += 1
                continue
            assert one is not None
            assert one == frame or (n in hit and one.sequence == frame.sequence)
            wrong += one != frame
            one = next(came, None)
        assert one is None
    assert lost < bits * (2.2 * 8 + 8) / (33 * 8)  # of the signs' bits, all but those that make another last byte
    print(f"cyton: {bits} bits damaged, {lost} frames lost, {wrong} with a wrong count")


def requests(rng: Random) -> bytes:
    """Requests, most of them spoiled."""
    whole = msgspec.json.encode(
        rng.choice(
            [
                Since(serial=rng.choice([0, 5, 2**62]), topics=(rng.choice(["", "alert.", "x"]),)),
                Since(serial=0, topics=("",) * 64, ledger="x"),
                Acknowledge(id="a-1", by="x"),
                Silence(for_s=rng.choice([0, 600]), by="x" * 64),
            ]
        )
    )
    at = rng.randrange(len(whole))
    return rng.choice(
        [
            whole,
            flipped(whole, rng, rng.randint(1, 9)),
            whole[:at],
            whole[:at] + rng.randbytes(rng.randrange(30)) + whole[at:],
            rng.randbytes(rng.randrange(5000)),
            b"[" * rng.randrange(4000),
            whole.replace(b'"', b"'"),
            whole.replace(b":0", b":1e999").replace(b":5", b":-1"),
            b"",
        ]
    )


def drained(socket) -> list[list[bytes]]:
    """What has come; a peer that is hung up upon comes again by itself."""
    return [socket.recv_multipart() for _ in iter(lambda: socket.poll(0), 0)]


def test_garbage_at_the_desk_gets_answers_at_most_and_at_the_publisher_changes_nothing(tmp_path):
    """Requests of several frames, too large ones, subscriptions that are none: and who asks in earnest is answered."""
    rng = Random(9)
    address = f"ipc://{tmp_path}/alerts.ipc"
    with open_daemon(address, tmp_path) as house, zmq.Context() as context:
        for n in range(2 * ENTRIES_A_PAGE):
            house.opens("lead_off", f"a-{n}")
            house.closes("lead_off", f"a-{n}")
        house.opens("asystole", "a-1")
        before_kb = None
        for _ in range(0, MESSAGES, BATCH):
            with context.socket(zmq.DEALER) as dealer, context.socket(zmq.XSUB) as xsub:
                for socket, place in ((dealer, desk_of(address)), (xsub, address)):
                    socket.setsockopt(zmq.LINGER, 0)
                    socket.connect(place)
                dealer.setsockopt(zmq.LINGER, 2_000)  # at 0, libzmq 4.3.5 may abort him who leaves in mid-message

                def flood() -> None:
                    for n in range(BATCH):
                        dealer.send_multipart([requests(rng) for _ in range(rng.choice([1, 1, 1, 2, 5]))])
                        verb = rng.choice([b"\0", b"\1", b"\2", b""])
                        xsub.send(verb + rng.randbytes(rng.choice([0, 3, 30, 5000])))
                        if not n % 20:
                            dealer.poll(20)
                            for answer in drained(dealer):
                                msgspec.json.decode(answer[0], type=Answer)
                            drained(xsub)

                served(house, flood)
                drained(dealer)
            began_s = monotonic()
            with context.socket(zmq.DEALER) as earnest:
                earnest.setsockopt(zmq.LINGER, 0)
                earnest.connect(desk_of(address))
                earnest.send(msgspec.json.encode(Since(serial=0, topics=("alert.",))))
                served(house, lambda: earnest.poll(5000))
                answer, *entries = earnest.recv_multipart()
            assert len(entries) == 2 * ENTRIES_A_PAGE
            assert msgspec.json.decode(answer, type=Answer).error is None
            assert monotonic() - began_s < 3.0
            before_kb = before_kb or memory_kb()
        assert house.asked.refused > MESSAGES / 8  # others were too large, and hung up upon before they were read
        assert memory_kb() - before_kb < SLACK_KB
        print(f"{MESSAGES} requests and as many subscriptions: {house.asked.refused} refused")
