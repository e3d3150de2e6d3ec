"""UTC is a mapping for people: what happens to it when the host's clock is set, and that no sample moves for it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from daemon import ledger as room
from daemon.ledger import Entry, open_ledger
from daemon.reporting import TimeLine
from daemon.utc import Change, HostTime, UtcKeeper
from rhythmd import patient, rehearsal
from rhythmd.player import Player
from rhythmd.pty_port import play
from rhythmd.subscriber import Subscriber

NOON_S = datetime(2026, 1, 1, 12, tzinfo=timezone.utc).timestamp()
RATE_HZ = 250.0


class Host:
    """A host whose clocks a test sets, and a patch with a crystal of its own, watched once a second."""

    def __init__(self, utc_s: float = NOON_S, pace: float = 1.0) -> None:
        self.now = HostTime(utc_s, 1000.0)
        self.line = TimeLine(RATE_HZ, datetime.fromtimestamp(utc_s, timezone.utc))
        self.keeper = UtcKeeper(self.line, lambda: self.now)
        self.sample = 0
        self.pace = pace
        self.late_s = 0.0
        self._ran_s = 0.0

    def run(self, seconds: int) -> list[Change]:
        changes = []
        for _ in range(seconds):
            self.now = HostTime(self.now.utc_s + 1, self.now.monotonic_s + 1)
            self._ran_s += 1
            self.sample = round(self._ran_s * self.pace * RATE_HZ)
            self.keeper.heard(self.sample, self.now.monotonic_s + self.late_s)
            if change := self.keeper.look():
                changes.append(change)
        return changes

    def set_utc(self, by_s: float) -> None:
        self.now = self.now._replace(utc_s=self.now.utc_s + by_s)

    def off_s(self) -> float:
        return self.line.utc(self.sample).timestamp() - self.now.utc_s


def test_as_long_as_the_clocks_agree_nothing_is_told():
    host = Host()
    assert host.run(3600) == []
    assert host.off_s() == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("by_s", [3600.0, -3600.0, 1.5, 56 * 365 * 86_400.0])
def test_a_step_of_the_hosts_clock_moves_utc_and_no_sample(by_s):
    host = Host()
    host.run(100)
    before, sample = host.line.utc(10_000), host.sample
    host.set_utc(by_s)
    (change,) = host.run(10)
    assert (change.why, change.by_s, change.sample) == ("stepped", pytest.approx(by_s), sample + 250)
    assert host.line.utc(10_000) - before == timedelta(seconds=by_s)
    assert host.off_s() == pytest.approx(0.0, abs=0.01)
    assert host.run(200) == []  # told once


def test_a_clock_that_is_slewed_is_followed_when_it_has_gone_a_second():
    host = Host()
    changes = []
    for _ in range(4000):  # 500 ppm, as fast as Linux slews
        host.set_utc(5e-4)
        changes += host.run(1)
    assert [change.why for change in changes] == ["stepped"]
    assert abs(host.off_s()) <= 1.1


@pytest.mark.parametrize("ppm", [-100.0, 100.0])
def test_a_patch_whose_crystal_drifts_is_followed(ppm):
    host = Host(pace=1 + ppm * 1e-6)
    changes = host.run(30_000)  # 3 s of drift
    assert {change.why for change in changes} == {"drifted"}
    assert 2 <= len(changes) <= 3
    assert abs(host.off_s()) < 1.1


def test_samples_that_come_late_for_less_than_a_minute_move_nothing():
    host = Host()
    host.run(600)
    host.late_s = 3.0
    assert host.run(50) == []
    host.late_s = 0.0
    assert host.run(200) == []


def test_a_recording_played_fast_keeps_its_own_time():
    """No crystal is 20 times too fast: its UTC runs ahead smoothly and does not jump back each minute."""
    host = Host(pace=20.0)
    assert host.run(600) == []
    assert host.off_s() == pytest.approx(19 * 600, rel=1e-3)


def test_a_session_begins_at_the_moment_its_first_sample_was_read():
    host = Host()
    host.run(60)
    change = host.keeper.session(50_000, read_s=host.now.monotonic_s - 20.0)  # the judge is 20 s behind
    assert (change.why, change.sample) == ("session", 50_000)
    assert host.line.utc(50_000).timestamp() == pytest.approx(host.now.utc_s - 20.0)


def test_alerts_stored_before_the_clock_was_set_do_not_grow_old_by_it(tmp_path, monkeypatch):
    """A board without a battery boots in 1970; when NTP comes it is 2026, and 90 days are not over, then or later."""
    keeps = {"keep_s": 90 * 86_400.0, "keep_bytes": 10**9}
    utc_s = [1000.0]
    monkeypatch.setattr(room, "time", lambda: utc_s[0])

    def payloads(ledger):
        return [entry.payload for entry in ledger.since(0, ("alert.",), most=9).entries]

    with open_ledger(tmp_path) as ledger:
        ledger.add(Entry(ledger.numbers.next("serial"), "alert.asystole", b"before"))
        utc_s[0] = NOON_S
        ledger.add(Entry(ledger.numbers.next("serial"), "alert.asystole", b"just after"))
        assert ledger.prune(**keeps) == 0
        utc_s[0] -= 100 * 86_400.0  # and set back, just before the daemon ends
    with open_ledger(tmp_path) as ledger:
        assert ledger.prune(**keeps) == 0
        ledger.add(Entry(ledger.numbers.next("serial"), "alert.asystole", b"of this run"))
        utc_s[0] += 100 * 86_400.0
        assert ledger.prune(**keeps) == 2
        assert payloads(ledger) == [b"of this run"]


def test_a_real_daemon_tells_its_utc_at_the_start_with_each_session_and_to_late_joiners():
    player = Player(patient.make("sinus 10", seed=1).recording, "rhythmd")
    with rehearsal.daemon() as running:
        with Subscriber(running.address, ("clock",)) as early:
            start = early.receive(30.0).message
            play(player, running.port, speed=10.0)
            session = early.receive(10.0).message
        with Subscriber(running.address, ("clock", "status")) as late:
            told = [late.receive(10.0).message for _ in range(2)]
    assert (start.why, start.sample, session.why, session.sample) == ("start", 0, "session", 0)
    assert 0 < (session.utc - start.utc).total_seconds() < 30  # when the first sample came
    assert session in told
    (status,) = (one for one in told if one != session)
    assert status.utc - session.utc == timedelta(seconds=(status.sample - session.sample) / session.rate_hz)
