"""What the recorder makes of messages: hours, strips, the budget, a full disk. Read back by wfdb."""

from __future__ import annotations

import json
import os
import resource
from datetime import timedelta
from pathlib import Path
from time import time

import numpy as np
import pytest
import wfdb

from rhythmd.records import budget, recorder, records_folder, strip
from rhythmd.records.durable import write_whole
from rhythmd.records.form import About, header
from rhythmd.records.hour import GrowingHour, finish, hours
from rhythmd.records.keeping import read_kept
from tests.recording import BEGAN, Daemon, read_everything
from tests.test_disk import fill, small_disk


@pytest.fixture
def daemon(tmp_path) -> Daemon:
    made = Daemon(tmp_path)
    made.starts()
    return made


def test_the_strip_of_an_alert_is_30_s_before_its_onset_to_30_s_after_it_was_raised(daemon, tmp_path):
    daemon.signal(62)
    alert = daemon.alert(1, 60.0)
    daemon.signal(31)
    record = wfdb.rdrecord(str(tmp_path / "strips" / alert.id))
    assert (record.sig_len, record.fs, record.units, record.fmt) == (62 * 250, 250, ["mV"], ["16"])
    assert record.base_datetime == (BEGAN + timedelta(seconds=30)).replace(tzinfo=None)
    expected = (np.arange(30 * 250, 92 * 250) % 1000) / 1000
    np.testing.assert_allclose(record.p_signal[:, 0], expected)
    assert read_kept(tmp_path / "strips", alert.id).signal == "whole"


def test_a_strip_says_what_was_decided_of_it(daemon, tmp_path):
    daemon.signal(20)
    daemon.beat(19 * 250, "V")
    daemon.status(rhythm="AFIB")
    daemon.signal(42)
    daemon.status(rhythm="ASYS")
    alert = daemon.alert(1, 60.0)
    daemon.beat(61 * 250, "S")
    daemon.signal(31)
    marks = wfdb.rdann(str(tmp_path / "strips" / alert.id), "rhy")
    assert list(zip(marks.sample.tolist(), marks.symbol, marks.aux_note, strict=True)) == [
        (0, "+", "(AFIB"),  # which began before the strip
        (30 * 250, "+", "(ASYS"),  # from the onset on, though it was known 2 s later
        (30 * 250, '"', f"alarm asystole open, {alert.id}"),
        (31 * 250, "S", ""),
    ]


def test_what_is_missing_is_missing_in_the_strip_too(daemon, tmp_path):
    daemon.signal(40)
    daemon.at += 5 * 250
    daemon.signal(20)
    alert = daemon.alert(1, 60.0)
    daemon.signal(40)
    record = wfdb.rdrecord(str(tmp_path / "strips" / alert.id))
    there = np.isfinite(record.p_signal[:, 0])
    assert np.flatnonzero(~there).tolist() == list(range(10 * 250, 15 * 250))
    assert read_kept(tmp_path / "strips", alert.id).signal == "part"
    assert [hour.length for hour in hours(tmp_path / "hours")] == [105 * 250]


def test_a_strip_goes_across_hours_and_a_change_of_utc(daemon, tmp_path):
    daemon.starts(began=BEGAN + timedelta(minutes=59, seconds=10))
    daemon.signal(55)  # an hour of the clock begins after 50 s
    daemon.starts(began=daemon.began + timedelta(hours=3), why="stepped")
    daemon.signal(10)
    alert = daemon.alert(1, 60.0)
    daemon.signal(40)
    assert len(hours(tmp_path / "hours")) == 3
    signal = wfdb.rdrecord(str(tmp_path / "strips" / alert.id)).p_signal[:, 0]
    np.testing.assert_allclose(signal, (np.arange(30 * 250, 92 * 250) % 1000) / 1000)


@pytest.mark.parametrize("rate_hz", [200.0, 360.0, 1000.0])
def test_another_rate_of_the_patch_is_placed_as_well(tmp_path, rate_hz):
    daemon = Daemon(tmp_path, rate_hz=rate_hz)
    daemon.starts()
    daemon.signal(62)
    alert = daemon.alert(1, 60.0)
    daemon.beat(60 * 250)
    daemon.signal(40)
    signal = wfdb.rdrecord(str(tmp_path / "strips" / alert.id)).p_signal[:, 0]
    np.testing.assert_allclose(signal, (np.arange(30 * 250, 92 * 250) % 1000) / 1000)
    marks = wfdb.rdann(str(tmp_path / "strips" / alert.id), "rhy")
    assert marks.sample[marks.symbol.index("N")] == 30 * 250


def test_another_run_of_the_daemon_is_no_signal_of_this_alert(daemon, tmp_path):
    daemon.signal(61)
    alert = daemon.alert(1, 59.0)
    daemon.starts("p-2", BEGAN + timedelta(seconds=63))
    daemon.signal(70)
    daemon.run, daemon.began = "p-1", BEGAN
    late = daemon.alert(2, 59.0)  # told out of the ledger, when the second has samples of these numbers too
    daemon.run = "p-2"
    daemon.signal(2)
    for one in (alert, late):
        record = wfdb.rdrecord(str(tmp_path / "strips" / one.id))
        assert record.sig_len == 32 * 250  # to the death of the first
        np.testing.assert_allclose(record.p_signal[:, 0], (np.arange(29 * 250, 61 * 250) % 1000) / 1000)
        assert read_kept(tmp_path / "strips", one.id).signal == "part"


def test_an_alert_told_out_of_the_ledger_is_noted_without_signal(daemon, tmp_path):
    daemon.signal(5)
    daemon.run = "p-0"
    alert = daemon.alert(7, 400.0)
    daemon.run = "p-1"
    daemon.signal(2)
    assert json.loads((tmp_path / "strips" / f"{alert.id}.json").read_text())["signal"] == "none"
    assert not (tmp_path / "strips" / f"{alert.id}.hea").exists()
    assert strip(alert.id, tmp_path) is None


def test_an_alert_told_again_is_kept_once_and_its_end_is_noted(daemon, tmp_path):
    daemon.signal(62)
    alert = daemon.alert(1, 60.0)
    daemon.alert(1, 60.0)
    daemon.signal(40)
    daemon.alert(1, 60.0, state="closed")
    kept = read_kept(tmp_path / "strips", alert.id)
    assert (kept.opened.state, kept.newest.state, kept.signal) == ("open", "closed", "whole")
    assert len(list((tmp_path / "strips").glob("*.json"))) == 1


def test_a_strip_can_be_had_before_its_last_seconds_came(daemon, tmp_path):
    daemon.signal(62)
    alert = daemon.alert(1, 60.0)
    found = strip(alert.id, tmp_path)
    assert len(found.ecg_mv) == 32 * 250
    assert found.alert == alert
    assert not found.whole
    daemon.signal(31)
    assert strip(alert.id, tmp_path).whole


def test_a_strip_waits_for_its_last_seconds_though_the_clock_is_set_meanwhile(daemon, tmp_path, monkeypatch):
    daemon.signal(62)
    alert = daemon.alert(1, 60.0)
    monkeypatch.setattr(recorder, "time", lambda: time() + 86_400.0)
    daemon.signal(31)
    kept = read_kept(tmp_path / "strips", alert.id)
    assert kept.signal == "whole"
    assert len(strip(alert.id, tmp_path).counts) == 62 * 250


def test_a_recorder_that_is_stopped_leaves_what_it_has_and_the_next_one_completes_it(daemon, tmp_path):
    daemon.signal(62)
    alert = daemon.alert(1, 60.0)
    daemon.signal(10)
    daemon.recorder.close()
    assert wfdb.rdrecord(str(tmp_path / "strips" / alert.id)).sig_len == 42 * 250
    later = Daemon(tmp_path)
    later.starts()
    later.at = daemon.at + 500
    later.signal(25)
    record = wfdb.rdrecord(str(tmp_path / "strips" / alert.id))
    assert record.sig_len == 62 * 250
    assert np.isnan(record.p_signal).sum() == 500
    assert later.recorder is not daemon.recorder


def test_hours_begin_with_the_hour_and_have_what_was_decided(daemon, tmp_path):
    daemon.starts(began=BEGAN + timedelta(minutes=59))
    daemon.signal(59.9)
    daemon.beat(59 * 250)
    daemon.signal(1)
    daemon.beat(15000 - 50, "V")  # told after the next hour began
    daemon.signal(10)
    daemon.recorder.close()
    first, second = hours(tmp_path / "hours")
    assert (first.about.name, second.about.name) == ("20260301T125900Z", "20260301T130000Z")
    beats = wfdb.rdann(str(first.path), "rhy")
    assert [(int(at), kind) for at, kind in zip(beats.sample, beats.symbol, strict=True) if kind in "NV"] == [
        (59 * 250, "N"),
        (15000 - 50, "V"),
    ]
    assert wfdb.rdrecord(str(second.path)).base_time.hour == 13
    assert (tmp_path / "hours" / "RECORDS").read_text() == "20260301T125900Z\n20260301T130000Z\n"


def test_without_full_disclosure_only_what_was_decided_outlives_the_hour(tmp_path):
    daemon = Daemon(tmp_path, full=False)
    daemon.starts()
    daemon.signal(62)
    alert = daemon.alert(1, 60.0)
    daemon.beat(60 * 250)
    daemon.signal(40)
    daemon.recorder.close()
    (record,) = read_everything(tmp_path / "hours")
    assert record.n_sig == 0
    assert wfdb.rdann(str(next((tmp_path / "hours").glob("*.hea")).with_suffix("")), "rhy").symbol.count("N") == 1
    assert wfdb.rdrecord(str(tmp_path / "strips" / alert.id)).n_sig == 1


def test_the_budget_is_kept_the_oldest_go_first_and_alarms_last(tmp_path):
    began, alerts = BEGAN, []
    for hour in range(6):
        daemon = Daemon(tmp_path, keep_mb=1000)
        daemon.starts(f"p-{hour}", began + timedelta(hours=hour))
        daemon.signal(62)
        alerts.append(daemon.alert(1, 60.0).id)
        alerts.append(daemon.alert(2, 60.0, "pause", action="record").id)
        daemon.signal(300, tick=False)
        daemon.recorder.close()

    def left(suffix: str) -> list[str]:
        return sorted(path.stem for path in tmp_path.rglob(f"*{suffix}"))

    steps, of_hours = [], left("Z.dat")
    whole = budget.used_bytes(tmp_path)
    for keep in range(whole, 0, -50_000):
        budget.make_room(tmp_path, keep)
        if keep > 20_000:
            assert budget.used_bytes(tmp_path) <= keep or keep < 30_000
        read_everything(tmp_path)
        signals = left("Z.dat")
        assert signals == of_hours[len(of_hours) - len(signals) :]
        steps.append((len(signals), left("-2.hea"), left("-1.hea")))
    alarms = [alert for alert in alerts if alert.endswith("-1")]
    events = [alert for alert in alerts if alert.endswith("-2")]
    assert steps[0] == (6, events, alarms)
    for signals, of_events, of_alarms in steps:
        assert len(of_events) == 6 or signals == 0
        assert len(of_alarms) == 6 or of_events == []
        assert of_events == events[len(events) - len(of_events) :]
        assert of_alarms == alarms[len(alarms) - len(of_alarms) :]
    assert any(0 < len(of_alarms) < 6 for _, _, of_alarms in steps)


def test_a_budget_that_was_lowered_is_kept_without_halting_the_recorder(tmp_path):
    counts = np.ones(5000, np.int16)
    before = Daemon(tmp_path)
    for hour in range(60):
        begins = BEGAN + timedelta(hours=hour)
        about = About(f"{begins:%Y%m%dT%H%M%SZ}", begins, "p", 0, 250.0, "p-0", 1000, "rhythmd")
        path = tmp_path / "hours" / about.name
        path.with_suffix(".dat").write_bytes(counts.tobytes())
        path.with_suffix(".hea").write_bytes(header(about, counts))
    before.recorder.close()
    after = Daemon(tmp_path, keep_mb=0.3)
    left = [60]
    while len(left) < 10 and budget.used_bytes(tmp_path) > 300_000:
        after.recorder.tick(None)
        left.append(len(list((tmp_path / "hours").glob("*.dat"))))
    steps = -np.diff(left)
    assert len(steps) > 1
    assert (steps <= budget.MOST_AT_ONCE).all()
    assert budget.used_bytes(tmp_path) <= 300_000


def test_on_a_full_disk_the_recorder_goes_on_and_nothing_is_unreadable(tmp_path):
    folder = tmp_path / "state"
    with small_disk(folder):
        daemon = Daemon(folder)
        daemon.starts()
        daemon.signal(100)
        fill(folder)
        daemon.signal(32)
        alert = daemon.alert(1, 120.0)
        daemon.signal(10)
        read_everything(folder)
        assert daemon.recorder.failing
        assert daemon.recorder.dropped_samples > 0
        (folder / "filler").unlink()
        daemon.signal(40)
        assert not daemon.recorder.failing
        daemon.recorder.close()
        signal = np.concatenate([one.p_signal[:, 0] for one in read_everything(folder / "hours")])
        assert np.isnan(signal).sum() > 0
        there = np.isfinite(signal)
        np.testing.assert_allclose(signal[there], (np.arange(len(signal))[there] % 1000) / 1000)
        assert read_kept(folder / "strips", alert.id).signal in {"part", "awaited"}


def test_a_disk_that_others_fill_is_left_its_spare(tmp_path):
    folder = tmp_path / "state"
    with small_disk(folder):
        for hour in range(6):
            daemon = Daemon(folder, keep_mb=1000)
            daemon.starts(f"p-{hour}", BEGAN + timedelta(hours=hour))
            daemon.signal(360, tick=False)
            daemon.recorder.close()
        disk = os.statvfs(folder)
        assert disk.f_bavail >= 0.1 * disk.f_blocks
        assert len(list((folder / "hours").glob("*.dat"))) < 6
        assert len(read_everything(folder)) == 6


def test_what_a_power_cut_leaves_is_finished_at_the_next_start(daemon, tmp_path):
    daemon.signal(100)
    daemon.beat(99 * 250)
    with next((tmp_path / "hours").glob("*.dat")).open("ab") as file:
        file.write(b"\x00")  # half a sample
    with next((tmp_path / "hours").glob("*.notes")).open("ab") as file:
        file.write(b"\0\0\0500\tV\t\n24740\tS\t\n2490")  # a line that half came, a whole one, and half of one
    (tmp_path / "hours" / "20260301T140000Z.dat").write_bytes(b"")  # died before the header
    (tmp_path / "hours" / "20260301T140000Z.notes").write_bytes(b"")
    (tmp_path / "strips" / ".x.json.new").write_bytes(b"{")
    before = wfdb.rdrecord(str(next((tmp_path / "hours").glob("*.hea")).with_suffix(""))).p_signal[:, 0]
    assert np.flatnonzero(np.isfinite(before)).tolist() == list(
        range(25_000)
    )  # and what is to come is marked as missing
    Daemon(tmp_path)
    (record,) = read_everything(tmp_path)
    assert record.sig_len == 25_000
    assert record.base_datetime == BEGAN.replace(tzinfo=None)
    assert not list(tmp_path.rglob("*.notes")) + list(tmp_path.rglob("*.new")) + list(tmp_path.rglob("*140000*"))
    symbols = wfdb.rdann(str(next((tmp_path / "hours").glob("*.hea")).with_suffix("")), "rhy").symbol
    assert [symbol for symbol in symbols if symbol in "NVS"] == ["S", "N"]


def test_an_hour_that_cannot_be_read_now_is_kept_and_finished_later(daemon, tmp_path):
    """As where the process has no files left: what nobody can read at the moment is no debris."""
    daemon.signal(20)
    (hour,) = (path.with_suffix("") for path in (tmp_path / "hours").glob("*.hea"))
    signal = hour.with_suffix(".dat").read_bytes()
    used = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, used[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            finish(hour)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, used)
    assert hour.with_suffix(".dat").read_bytes() == signal
    daemon.recorder.close()
    (record,) = read_everything(tmp_path)
    assert record.sig_len == 20 * 250


def test_an_hour_that_cannot_begin_leaves_neither_files_nor_descriptors(tmp_path):
    about = About("x", BEGAN, "p", 0, 250.0, "p-1", 1000, "rhythmd")
    (tmp_path / "x.notes").mkdir()  # the second of its files cannot be made
    descriptors = Path("/proc/self/fd")
    open_before = len(list(descriptors.iterdir()))
    with pytest.raises(OSError, match="directory"):
        GrowingHour(tmp_path, about, bytes(50))
    assert len(list(descriptors.iterdir())) == open_before
    assert [path.name for path in tmp_path.iterdir()] == ["x.notes"]


def test_what_cannot_be_written_whole_leaves_nothing_half(tmp_path):
    (tmp_path / "x.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "x.json", b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_the_folder_is_that_of_the_configuration(monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/rhythmd")
    assert str(records_folder()) == "/var/lib/rhythmd/records"
