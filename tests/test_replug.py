"""A patch that is unplugged again and again, sends garbage, nothing, or twice as fast: the real daemon comes back each
time, and knows of every sample what became of it.

RHYTHMD_REPLUGS says how often, a few times by default.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import closing
from time import monotonic, sleep

import pytest

from daemon.links import LINKS, Frame
from daemon.messages import Alert, LinkCounts, Status, Wave
from rhythmd import patient
from rhythmd.player import Fate, Faults, Player, Span
from rhythmd.pty_port import PtyPort, _alias, play
from rhythmd.subscriber import ALERTS, Received, Subscriber
from tests.running import Place, at_length, many, until

REPLUGS = int(many("RHYTHMD_REPLUGS", 1, 100))
BACK_WITHIN_S = 2.0

pytestmark = pytest.mark.timeout(120 + 10 * REPLUGS)


def settled(subscriber: Subscriber) -> LinkCounts:
    """What a status counts that tells of nothing new since the one before."""
    before = None
    while True:
        now = until(subscriber, lambda one: isinstance(one.message, Status))[-1].message.link
        if before == now:
            return now
        before = now


@pytest.mark.alone
@at_length  # tests/test_port.py has the reader alone
@pytest.mark.parametrize("name", ["rhythmd", "cyton"])
def test_unplugged_and_plugged_in_again_it_is_heard_within_2_s_and_every_sample_is_accounted_for(tmp_path, name):
    """What was sent has been received; all else is counted as lost. A Cyton's numbers wrap every second: what it lost
    while it was away is known but for whole wraps."""
    place = Place(tmp_path, f'patch.link = "{name}"\n')
    chance = random.Random(3)
    spans, at_s = [], 1.0
    for _ in range(REPLUGS):
        spans.append(Span(at_s, chance.uniform(0.3, 1.2)))
        at_s += spans[-1].for_s + chance.uniform(0.4, 1.0)
    recording = patient.make(f"sinus {at_s + 1:.0f}", seed=1).recording
    size, faults = (
        LINKS[name].samples_per_frame,
        Faults(corrupt=0.01 if name == "rhythmd" else 0.0, unplug=tuple(spans)),
    )
    plugged_s: list[float] = []
    heard_s: list[float] = []
    fates: list = []

    def wear() -> None:
        plugged = lambda _: plugged_s.append(monotonic())  # noqa: E731
        fates.append(play(Player(recording, name, faults), place.port, plugged_in=plugged))

    with Subscriber(place.address, (*ALERTS, "status", "wave")) as subscriber, place.running() as running:
        until(subscriber, lambda one: isinstance(one.message, Status))
        patch = threading.Thread(target=wear)
        patch.start()
        while patch.is_alive():
            one = subscriber.receive(0.1)
            if one and isinstance(one.message, Wave):
                heard_s.append(monotonic())
        patch.join()
        counts = settled(subscriber)
        assert running.end() == 0
    back_s = [min(at for at in heard_s if at > plugged) - plugged for plugged in plugged_s]
    assert len(back_s) == REPLUGS + 1
    assert max(back_s) < BACK_WITHIN_S
    (became,) = fates
    assert counts.connections == len(plugged_s)
    assert counts.samples == size * became[Fate.SENT]
    off = counts.samples + counts.lost_samples - size * became.total()
    assert off == 0 if name == "rhythmd" else off % 256 == 0
    assert counts.restarts == counts.dropped_bytes == 0
    print(f"{name}: {REPLUGS} times unplugged, heard again after {max(back_s):.2f} s at most; {counts}")


class Sender:
    """A patch under a test's own hand, in real time."""

    def __init__(self, port: PtyPort) -> None:
        self._port = port
        self.frames = 0
        self.link = LINKS["rhythmd"]

    def paced(self, for_s: float, each_s: float, make: Callable[[], bytes]) -> None:
        begun_s = monotonic()
        for number in range(round(for_s / each_s)):
            sleep(max(0.0, begun_s + number * each_s - monotonic()))
            self._port.send(make())

    def frame(self) -> bytes:
        self.frames += 1
        return self.link.encode(Frame(self.frames % 2**16, (self.frames % 40,) * self.link.samples_per_frame))


def signal_lost(state: str) -> Callable[[Received], bool]:
    wanted = ("signal_lost", state)
    return lambda one: isinstance(one.message, Alert) and (one.message.kind, one.message.state) == wanted


@pytest.mark.alone
def test_silence_garbage_and_twice_the_rate_are_told_survived_and_accounted_for(tmp_path):
    place, stop, rng = Place(tmp_path, "patch.silence_limit_s = 0.5\n"), threading.Event(), random.Random(4)
    garbage_bytes = 0

    def garbage() -> bytes:
        nonlocal garbage_bytes
        garbage_bytes += 460
        return rng.randbytes(460)  # 115200 baud for 40 ms

    with (
        Subscriber(place.address, (*ALERTS, "status")) as subscriber,
        place.running() as running,
        closing(PtyPort(LINKS["rhythmd"], stop)) as port,
        _alias(place.port, port.device),
    ):
        sender = Sender(port)
        port.wait_until_wanted()
        sender.paced(0.4, 0.04, sender.frame)
        for trouble in (lambda: sleep(1.2), lambda: sender.paced(1.2, 0.04, garbage)):
            trouble()
            until(subscriber, signal_lost("open"), within_s=2.0)
            back_s = monotonic()
            sender.paced(0.5, 0.04, sender.frame)
            until(subscriber, signal_lost("closed"), within_s=BACK_WITHIN_S)
            assert monotonic() - back_s < BACK_WITHIN_S
        sender.paced(1.0, 0.02, sender.frame)  # twice the rate: the sample count is the clock
        counts = settled(subscriber)
        assert running.end() == 0
    assert (counts.frames, counts.samples) == (sender.frames, 10 * sender.frames)
    assert counts.skipped_bytes == garbage_bytes
    assert (counts.lost_samples, counts.dropped_bytes, counts.restarts, counts.connections) == (0, 0, 0, 1)
