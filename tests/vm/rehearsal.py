"""What is seen of every step: when it began, how long it took, what was there, or what was wrong."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import msgspec

from daemon.messages import Alert, Status
from rhythmd.desk import Access
from rhythmd.player import Player
from rhythmd.subscriber import ALERTS, Received, Subscriber
from tests.vm.machine import Machine
from tests.vm.wearer import Wearer

PATIENCE_S, PATIENCE_CPU_S, LONGEST_S = 600.0, 400.0, 1800.0
"""For whatever takes seconds on a machine of one's own: so long, and not before the emulated one has had so much of a
processor, which others may want too; and never longer than the last.
"""


@dataclass
class Rehearsal:
    """One machine, and what the steps before left for those after."""

    machine: Machine
    access: Access | None = None
    rows: list[tuple[str, float, str]] = field(default_factory=list)
    failed: int = 0

    def step(self, name: str, does: Callable[[Rehearsal], str]) -> bool:
        print(f"{self.machine.arch}: {name} ...", flush=True)
        began_s = monotonic()
        try:
            seen = does(self)
        except Exception as error:
            self.failed += 1
            seen = f"**FAILED**: {type(error).__name__}: {error}"[:1500]
            traceback.print_exc()
            self._show_journal()
        took_s = monotonic() - began_s
        self.rows.append((name, took_s, seen))
        print(f"{self.machine.arch}: {name}: {took_s:.0f} s: {seen}", flush=True)
        return "**FAILED**" not in seen

    def table(self) -> str:
        lines = [f"| {name} | {took_s:.0f} s | {seen} |" for name, took_s, seen in self.rows]
        return "\n".join([f"| {self.machine.arch} | took | seen |", "|---|---:|---|", *lines])

    def subscriber(self, *, topics: tuple[str, ...] = (*ALERTS, "status", "clock"), **more: Any) -> Subscriber:
        """On the host, through the forwarded port, with the key that the machine made for it."""
        return Subscriber(f"tcp://127.0.0.1:{self.machine.port}", topics, keys=self.access, **more)

    @contextmanager
    def worn(self, player: Player, *, patient: bool = False) -> Any:
        with Wearer(self.machine.patch, player, patient=patient) as wearer:
            yield wearer

    def until(self, subscriber: Subscriber, holds: Callable[[Received], bool]) -> list[Received]:
        """All that comes up to the first message for which it holds, that one too."""
        came: list[Received] = []
        began_s, began_cpu_s = monotonic(), self.machine.cpu_s
        while not came or not holds(came[-1]):
            took_s, took_cpu_s = monotonic() - began_s, self.machine.cpu_s - began_cpu_s
            if took_s > LONGEST_S or (took_s > PATIENCE_S and took_cpu_s > PATIENCE_CPU_S):
                raise AssertionError(f"it never came in {took_s:.0f} s; the last was {came[-1:]}")
            if one := subscriber.receive(1.0):
                came.append(one)
        return came

    def wait_for(self, subscriber: Subscriber, holds: Callable[[Received], bool]) -> Received:
        return self.until(subscriber, holds)[-1]

    def service(self, *names: str) -> list[str]:
        """Properties of the unit."""
        options = " ".join(f"-p {name}" for name in names)
        lines = self.machine.run(f"systemctl show rhythmd {options}").splitlines()
        found = dict(line.split("=", 1) for line in lines)
        return [found[name] for name in names]

    def journal(self, since: str = "") -> str:
        return self.machine.run(f"journalctl -b -u rhythmd -o short-monotonic --no-pager {since}")

    def _show_journal(self) -> None:
        try:
            print(self.machine.run("journalctl -b --no-pager | grep -v qemu-ga | tail -n 60", check=False))
        except Exception as error:
            print(f"its journal cannot be had: {error}")


def forget(subscriber: Subscriber) -> None:
    """What came so far."""
    while subscriber.receive(0.05):
        pass


def is_alert(kind: str, state: str) -> Callable[[Received], bool]:
    return lambda one: isinstance(one.message, Alert) and (one.message.kind, one.message.state) == (kind, state)


def is_status(**wanted: Any) -> Callable[[Received], bool]:
    return lambda one: (
        isinstance(one.message, Status) and all(getattr(one.message, name) == value for name, value in wanted.items())
    )


def read_access(text: str) -> Access:
    return msgspec.json.decode(text, type=Access)
