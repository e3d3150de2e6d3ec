"""A patient in a bed without a daemon: the messages of one, made here, into a monitor page's relay and server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from time import monotonic

import numpy as np
from msgspec.structs import replace

from daemon.messages import Alert, Answered, Beat, Clock, Message, Wave
from daemon.requests import Acknowledge, Silence
from rhythmd import patient
from rhythmd.monitor.door import Door
from rhythmd.monitor.relay import Relay
from rhythmd.monitor.server import Server
from rhythmd.subscriber import Received
from tests.test_messages import STATUS

RATE_HZ, BLOCK = 250, 25
PATIENT = patient.make("sinus 40, pvc 20", seed=3)
COUNTS = np.rint(1000 * PATIENT.recording.ecg_mv).astype("<i2")


class Bed:
    """One patch. Nothing comes of itself: `plays` lets time pass."""

    def __init__(self, relay: Relay, patch: str = "patch0") -> None:
        self.relay, self.patch = relay, patch
        self.began = datetime.now(timezone.utc)
        self.sample = 0  # the next one
        self.status = replace(STATUS, patch=patch, open_alerts=(), calling=(), heart_rate_bpm=71.0)
        self.answered: list[Acknowledge | Silence] = []
        self._seq = self._serial = 0

    def tells(self, topic: str, message: Message, data: bytes = b"") -> None:
        self.relay.take(Received(topic, message, data))

    def common(self, sample: int | None = None) -> dict:
        self._seq += 1
        at = self.sample if sample is None else sample
        return {
            "seq": self._seq,
            "patch": self.patch,
            "sample": at,
            "utc": self.began + timedelta(seconds=at / RATE_HZ),
        }

    def clock(self, rate_hz: float = RATE_HZ, origin: str = "") -> None:
        self.tells("clock", Clock(why="start", rate_hz=rate_hz, origin=origin, **self.common()))

    def wave(self, counts: np.ndarray | None = None) -> None:
        """The next block, of the patient where none is given, and the beat that it holds."""
        at = np.arange(self.sample, self.sample + BLOCK)
        data = (COUNTS[at % len(COUNTS)] if counts is None else counts).astype("<i2").tobytes()
        wave = Wave(rate_hz=RATE_HZ, samples=BLOCK, counts_per_mv=1000, missing=-32768, **self.common())
        self.tells("wave", wave, data)
        self.sample += BLOCK
        for beat in PATIENT.beats if counts is None else ():
            if beat.sample in at % len(COUNTS):
                self.beat(self.sample - BLOCK + int(np.argmax(at % len(COUNTS) == beat.sample)), beat.label)

    def beat(self, sample: int, label: str = "N", rr_s: float | None = 0.85) -> None:
        fields = {"beat": label, "probability": 1.0, "rr_s": rr_s, "heart_rate_bpm": 71.0, "decided_sample": sample}
        self.tells("beat", Beat(**fields, **self.common(sample)))

    def tell_status(self, **changes) -> None:
        self.status = replace(self.status, **changes, **self.common())
        self.tells("status", self.status)

    def alert(self, kind: str, alert_id: str, priority: str = "high", **more) -> None:
        """Opens, and calls from the next status on; with `end_sample` it closes."""
        self._serial += 1
        ended = more.get("end_sample") is not None
        fields = {
            "category": "physiological", "action": "alarm", "latching": False, "end_sample": None,
            "onset_sample": self.sample - 100, "raised_sample": self.sample, "evidence": {}, **more,
        }  # fmt: skip
        state = {"state": "closed", "ended_by": "ended"} if ended else {"state": "open", "ended_by": None}
        alert = Alert(
            id=alert_id, kind=kind, priority=priority, serial=self._serial, **state, **fields, **self.common()
        )
        self.status = replace(self.status, calling=(*self.status.calling, alert_id))
        self.tells(f"alert.{kind}", alert)

    def answer(self, request: Acknowledge | Silence) -> None:
        """What the daemon would make of it."""
        self.answered.append(request)
        if isinstance(request, Acknowledge):
            how = {"how": "acknowledged", "id": request.id}
            calling = tuple(each for each in self.status.calling if each != request.id)
        else:
            how, calling = {"how": "silenced", "id": None, "for_s": request.for_s}, ()
        self.status = replace(self.status, calling=calling)
        self.tells("answered", Answered(by=request.by, **how, **self.common()))

    @contextmanager
    def plays(self) -> Iterator[None]:
        """In real time, in a thread: a block each tenth of a second, a status each second."""
        stop = threading.Event()

        def play() -> None:
            due_s, blocks = monotonic(), 0
            while not stop.wait(max(0.0, due_s - monotonic())):
                due_s += BLOCK / RATE_HZ
                self.wave()
                if blocks % 10 == 0:
                    self.tell_status()
                blocks += 1

        thread = threading.Thread(target=play)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


@contextmanager
def serving(token: str = "", names: tuple[str, ...] = (), tls=None, kept=lambda _id: None) -> Iterator[tuple[Bed, int]]:
    """A bed, and the port of its page."""
    relay = Relay()
    bed = Bed(relay)
    with Server("127.0.0.1", 0, relay, Door(token, names, 0), bed.answer, kept, tls) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield bed, server.server_port
        finally:
            server.shutdown()
            thread.join()
