"""Whether what runs beside the daemon can delay its alerts: by hanging, by being killed."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from time import monotonic

from daemon.messages import Alert, Status
from rhythmd import patient
from rhythmd.player import Player
from rhythmd.subscriber import Subscriber
from tests.running import MANY_ALERTS, Place, fields, raised_in, until

RATE_HZ, SPEED = 250, 10.0
HANG_S, KILLED_S = 30.0, 60.0
"""Of the recording's 72 s."""

LATEST_S = 1.0
Beside = Callable[[Place], AbstractContextManager[tuple[list[subprocess.Popen[bytes]], Callable[[], object]]]]
"""Starts programs beside a daemon: gives their processes, and what to call once the patch sends: do they work?"""


def assert_that_none_delays_an_alert(folder: Path, beside: Beside) -> None:
    """All alerts come, within a second from the moment that the patch has sent what they needed."""
    place = Place(folder, MANY_ALERTS)
    recording = patient.make("sinus 6, vt 6 @190, sinus 4, asystole 6, sinus 2, " * 4, seed=1).recording
    late_s: dict[str, list[float]] = {"alive": [], "hanging": [], "killed": []}
    sent: list[tuple[float, float]] = []
    found = []
    with place.running(), Subscriber(place.address, ("alert.", "event.", "status")) as subscriber, ExitStack() as stack:
        until(subscriber, lambda one: isinstance(one.message, Status))
        processes, works = stack.enter_context(beside(place))
        stack.enter_context(
            place.patch(Player(recording, "rhythmd"), SPEED, lambda due_s: sent.append((due_s, monotonic())))
        )
        works()
        state = "alive"
        while True:
            one = until(subscriber, lambda _: True)[-1].message
            if isinstance(one, Status) and one.port == "absent" and one.sample > 0:
                break
            if not isinstance(one, Alert) or one.state != "open" or one.category != "physiological":
                continue
            found.append(fields(one))
            needed_s = one.raised_sample / RATE_HZ
            late_s[state].append(monotonic() - next(at_s for due_s, at_s in sent if due_s >= needed_s))
            if state == "alive" and needed_s > HANG_S:
                state = "hanging"
                for process in processes:
                    process.send_signal(signal.SIGSTOP)
            elif state == "hanging" and needed_s > KILLED_S:
                state = "killed"
                for process in processes:
                    process.kill()
    assert found == raised_in(recording, place)
    assert all(len(each) > 2 for each in late_s.values()), late_s
    print({state: f"{len(each)} alerts, the latest {max(each):.2f} s" for state, each in late_s.items()})
    assert max(max(each) for each in late_s.values()) < LATEST_S
