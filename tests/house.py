"""A daemon's sockets, ledger and desk without its pipeline: for tests of what is published."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from time import monotonic, sleep

from daemon.announcer import Announcer
from daemon.desk import Desk
from daemon.doors import Doors, open_doors
from daemon.ledger import Ledger, open_ledger
from daemon.messages import Alert, Beat, Latency, LinkCounts, Status, Wave
from daemon.publish import Publisher
from rhythmd.subscriber import Received, Subscriber

BEGAN = datetime(2026, 1, 1, tzinfo=timezone.utc)
ALERT = {
    "category": "physiological", "priority": "high", "action": "alarm", "latching": False, "onset_sample": 0,
    "raised_sample": 9, "end_sample": None, "ended_by": None, "evidence": {},
}  # fmt: skip


class Daemon:
    """The sockets, the ledger, and what the judge room does with them."""

    def __init__(self, ledger: Ledger, doors: Doors) -> None:
        self.ledger = ledger
        self.doors = doors
        self.publisher = Publisher(doors, ledger.numbers)
        self.announcer = Announcer(self.publisher, ledger)
        self.asked = Desk(doors, ledger, lambda request: self.announcer.answered(request, self.common))

    def common(self, topic: str) -> dict:
        seq = self.publisher.next_seq(topic)
        return {"seq": seq, "patch": "p", "sample": seq, "utc": BEGAN + timedelta(seconds=seq)}

    def beat(self) -> None:
        values = {"beat": "N", "probability": 1.0, "rr_s": None, "heart_rate_bpm": None, "decided_sample": 0}
        self.publisher.send("beat", Beat(**values, **self.common("beat")))

    def opens(self, kind: str, id_: str, *, latching: bool = False) -> None:
        topic, fields = f"alert.{kind}", {**ALERT, "latching": latching}
        self.announcer.alert(topic, Alert(id=id_, kind=kind, state="open", **fields, **self.common(topic)))

    def closes(self, kind: str, id_: str, *, latching: bool = False) -> None:
        topic, fields = f"alert.{kind}", {**ALERT, "latching": latching, "end_sample": 10, "ended_by": "ended"}
        self.announcer.alert(topic, Alert(id=id_, kind=kind, state="closed", **fields, **self.common(topic)))

    def status(self, **told) -> None:
        message = Status(
            port="open", silent=False, quality="good", battery_low=False, rhythm="N", heart_rate_bpm=None,
            open_alerts=(), engine="", model="", link=LinkCounts(), uptime_s=0.0,
            calling=self.announcer.attention.calling(monotonic()), ledger=self.ledger.id, serial=self.ledger.newest,
            latency=Latency.of(engine_ms=[], read_to_sent_ms=[]), **(self.common("status") | told),
        )  # fmt: skip
        self.publisher.remember("status", self.publisher.send("status", message))

    def wave(self) -> None:
        message = Wave(rate_hz=250, samples=2, counts_per_mv=1000, missing=-32768, **self.common("wave"))
        self.publisher.send("wave", message, b"\x01\x00\x02\x00")

    def serve(self) -> None:
        self.publisher.welcome()
        self.asked.serve()

    def serve_until(self, holds) -> None:
        """Subscriptions arrive when ZeroMQ has carried them."""
        until = monotonic() + 5.0
        while not holds():
            assert monotonic() < until
            self.serve()
            sleep(0.005)


def served(house: Daemon, work):
    """What `work` returns, done in a thread of its own while the house answers."""
    with ThreadPoolExecutor(1) as pool:
        doing = pool.submit(work)
        while not doing.done():
            house.serve()
            sleep(0.002)
        return doing.result()


def received(subscriber: Subscriber, wait_s: float = 0.2) -> list[Received]:
    """All that has come, and comes without so long a pause."""
    return list(iter(partial(subscriber.receive, timeout_s=wait_s), None))


@contextmanager
def open_daemon(address: str, folder: Path, keys: str = ""):
    with open_ledger(folder) as ledger, open_doors((address,), keys) as doors:
        yield Daemon(ledger, doors)
