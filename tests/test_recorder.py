"""The real recorder beside the real daemon, killed at random instants, cut off from power, frozen: what is left reads.

RHYTHMD_KILLS says how often, a few times by default. The power is cut by copying the block device of a mounted ext4
file system while the recorder writes: what the copy has is what the disk had.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from daemon.messages import Alert, Status, Wave
from rhythmd.player import Player, excerpt
from rhythmd.recording import shipped
from rhythmd.records.hour import hours
from rhythmd.records.keeping import read_all
from rhythmd.records.recorder import Recorder
from rhythmd.report import of_folder
from rhythmd.subscriber import ALERTS, Subscriber
from tests.recording import RecordProcess, read_everything
from tests.running import MANY_ALERTS, Place, eventually, many
from tests.test_deploy import run, settings, tool

KILLS = int(many("RHYTHMD_KILLS", 2, 60))
CUTS = int(many("RHYTHMD_CUTS", 2, 60))
SPEED = 20.0
LOST_S = 2.0
RECORDING = excerpt(shipped(), 300, 180)
UNIT = Path(__file__).parents[1] / "systemd" / "rhythmd-recorder.service"

pytestmark = pytest.mark.timeout(300 + 15 * (KILLS + CUTS))


class Witness:
    """Another subscriber: what the daemon sent, and when it came."""

    def __init__(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        self.counts: dict[int, np.ndarray] = {}  # by their first sample
        self.came_s: list[tuple[float, int]] = []  # (when, one past the newest sample)
        self.alerts: list[tuple[float, Alert]] = []
        self.status_s: list[float] = []

    def watch(self, seconds: float) -> None:
        until_s = monotonic() + seconds
        while (left_s := until_s - monotonic()) > 0:
            one = self._subscriber.receive(left_s)
            if one and isinstance(one.message, Wave):
                self.counts[one.message.sample] = np.frombuffer(one.data, "<i2")
                self.came_s.append((monotonic(), one.message.sample + one.message.samples))
            elif one and isinstance(one.message, Alert):
                self.alerts.append((monotonic(), one.message))
            elif one and isinstance(one.message, Status):
                self.status_s.append(monotonic())

    def newest(self, before_s: float) -> int:
        """One past the newest sample that had come by then."""
        return max((sample for came_s, sample in self.came_s if came_s <= before_s), default=0)

    def agrees(self, folder: Path) -> int:
        """All that is on disk is what was sent. How many samples there are."""
        samples = 0
        for hour in hours(folder):
            counts = hour.counts()
            for first, sent in self.counts.items():
                at = first - hour.about.first_sample
                if at >= 0 and at + len(sent) <= len(counts) and (counts[at : at + len(sent)] != -(2**15)).all():
                    np.testing.assert_array_equal(counts[at : at + len(sent)], sent)
                    samples += len(sent)
        return samples


@contextmanager
def watched(tmp_path, state: Path | None = None):
    """A daemon with a worn patch, a recorder's folder, and a witness."""
    place = Place(tmp_path, MANY_ALERTS)
    recorder = RecordProcess(place.address, state or tmp_path / "records", "--full-disclosure")
    with Subscriber(place.address, ("wave", "status", *ALERTS)) as subscriber, place.running() as running:
        running.wait_until_ready()
        with place.patch(Player(RECORDING, "rhythmd", loop=True), SPEED):
            yield recorder, Witness(subscriber), running


def newest_on_disk(folder: Path) -> int:
    """One past it."""
    return max((hour.about.first_sample + hour.length for hour in hours(folder / "hours")), default=0)


def test_a_recorder_killed_at_any_instant_has_lost_2_s_at_most_and_all_that_is_left_reads(tmp_path):
    chance = random.Random(3)
    killed = 0
    with watched(tmp_path) as (recorder, witness, _):
        with recorder.running():  # the first start begins with what stands open
            eventually((recorder.folder / "mark.json").exists)
            witness.watch(0.5)
            first = len(witness.alerts)
        for _ in range(KILLS):
            with recorder.running():
                eventually((recorder.folder / "strips").exists)
                before = newest_on_disk(recorder.folder)
                while newest_on_disk(recorder.folder) == before:
                    witness.watch(0.1)
                began_s = monotonic()
                witness.watch(chance.choice([chance.uniform(0, 0.3), chance.uniform(0, 4), chance.uniform(2.5, 5)]))
                recorder.process.send_signal(signal.SIGKILL)
                died_s = monotonic()
                recorder.process.wait()
            read_everything(recorder.folder)
            if died_s - LOST_S > began_s:
                killed += 1
                assert newest_on_disk(recorder.folder) >= witness.newest(died_s - LOST_S)
            witness.watch(chance.uniform(0, 0.5))
        with recorder.running():
            eventually((recorder.folder / "strips").exists)
            witness.watch(5.0)
            assert recorder.end() == 0
        told = {alert.id for _, alert in witness.alerts[first:]}
    assert killed >= KILLS // 5
    records = read_everything(recorder.folder)
    assert not list(recorder.folder.rglob("*.notes")) + list(recorder.folder.rglob(".*.new"))
    assert witness.agrees(recorder.folder / "hours") > 250 * KILLS
    kept = {one.opened.id: one.signal for one in read_all(recorder.folder / "strips")}
    assert told - kept.keys() == set()  # the ledger tells what was missed while it was dead
    assert sum(signal in {"whole", "part"} for signal in kept.values()) >= KILLS
    assert len(of_folder.observe(recorder.folder, None).beat_s) > 20
    print(f"{KILLS} recorders killed: {len(records)} records read, {len(kept)} alerts kept")


def test_alerts_missed_while_it_was_down_are_noted_without_signal(tmp_path):
    with watched(tmp_path) as (recorder, witness, _):
        with recorder.running():
            eventually((recorder.folder / "strips").exists)
            witness.watch(2.0)
            assert recorder.end() == 0
        down = len(witness.alerts)
        begun = witness.newest(monotonic())
        while witness.newest(monotonic()) < begun + 150 * 250:
            witness.watch(0.2)
        missed = {alert.id for _, alert in witness.alerts[down:]}
        assert len(missed) > 5
        with recorder.running():
            eventually(lambda: missed <= {one.opened.id for one in read_all(recorder.folder / "strips")})
            witness.watch(4.0)
            assert recorder.end() == 0
    kept = {one.opened.id: one for one in read_all(recorder.folder / "strips")}
    gone = [one for one in kept.values() if one.signal == "none"]
    assert gone
    for one in gone:
        assert not (recorder.folder / "strips" / f"{one.name}.hea").exists()
        first, last = one.opened.onset_sample - 7500, one.opened.raised_sample + 7500
        for hour in hours(recorder.folder / "hours"):
            if hour.about.life == one.opened.id.rpartition("-")[0]:
                assert hour.about.first_sample >= last or hour.about.first_sample + hour.length <= first


@pytest.mark.alone
def test_a_recorder_that_is_frozen_or_killed_delays_no_alert(tmp_path):
    with watched(tmp_path) as (recorder, witness, _):
        for _ in range(2):
            with recorder.running():
                eventually((recorder.folder / "strips").exists)
                witness.watch(2.0)
                recorder.process.send_signal(signal.SIGSTOP)
                witness.watch(2.0)
                recorder.process.send_signal(signal.SIGKILL)
                witness.watch(1.0)
    assert len(witness.alerts) >= 5
    arrivals_s, samples = np.array(witness.came_s).T
    late_s = []
    for came_s, alert in witness.alerts:
        place = np.searchsorted(samples, alert.raised_sample + 1)
        if alert.state == "open" and place < len(samples) and alert.category == "physiological":
            late_s.append(came_s - arrivals_s[place])  # after the signal that it was decided by
    assert len(late_s) >= 3
    assert max(late_s) < 1.0
    assert np.diff(witness.status_s).max() < 2.5


@contextmanager
def disk(folder: Path):
    """An ext4 file system of 24 MB in a file, mounted; (mount point, the file)."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed: apt-get install e2fsprogs")
    image, mounted = folder / "disk", folder / "mounted"
    with image.open("wb") as file:
        file.truncate(24 * 2**20)
    mounted.mkdir()
    made = subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], capture_output=True)
    if made.returncode or subprocess.run(["mount", "-o", "loop", image, mounted], capture_output=True).returncode:
        pytest.skip("only root, with loop devices, may mount a file system here")
    try:
        yield mounted, image
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


@contextmanager
def after_the_cut(image: Path, folder: Path):
    """The disk as the next boot finds it: what had reached it when it was copied."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, folder], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_power_cut_at_any_instant_costs_2_s_at_most_and_all_that_is_left_reads(tmp_path):
    chance = random.Random(4)
    with disk(tmp_path) as (mounted, image), watched(tmp_path, mounted / "records") as (recorder, witness, _):
        with recorder.running():
            eventually((recorder.folder / "strips").exists)
            eventually(lambda: newest_on_disk(recorder.folder) > 0)
            witness.watch(3.0)
            for number in range(CUTS):
                witness.watch(chance.uniform(0.1, 3.0))
                recorder.process.send_signal(signal.SIGSTOP)  # so that the copy is of one instant
                cut_s = monotonic()
                copy = tmp_path / f"cut{number}"
                subprocess.run(["cp", str(image), str(copy)], check=True)
                recorder.process.send_signal(signal.SIGCONT)
                with after_the_cut(copy, tmp_path / "after") as after:
                    left = read_everything(after / "records")
                    assert len(left) > 0
                    assert newest_on_disk(after / "records") >= witness.newest(cut_s - LOST_S)
                    witness.agrees(after / "records" / "hours")
                    Recorder(after / "records", keep_bytes=1e9, full_disclosure=True)
                    read_everything(after / "records")
                    assert newest_on_disk(after / "records") >= witness.newest(cut_s - LOST_S)
                    assert not list((after / "records").rglob("*.notes"))
                copy.unlink()
            assert recorder.end() == 0
        assert witness.agrees(recorder.folder / "hours") > 250 * SPEED
        print(f"power cut {CUTS} times: what was left could be read, to 2 s before")


def test_two_recorders_do_not_write_to_one_folder(tmp_path):
    recorder = RecordProcess(f"ipc://{tmp_path}/none", tmp_path / "records")
    with recorder.running():
        eventually((recorder.folder / "strips").exists)
        command = [*recorder._command]
        second = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert (second.returncode, second.stderr.count("\n")) == (2, 1)
        assert "records.directory" in second.stderr
        assert recorder.end() == 0


def test_what_it_loads_is_on_the_device_already():
    program = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"wfdb", "matplotlib", "edfio", "onnxruntime", "scipy", "serial", "tqdm", "pandas"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import rhythmd.commands.record, rhythmd.records
"""
    subprocess.run([tool("python", ""), "-c", program], check=True, cwd=UNIT.parents[1])


def test_systemd_finds_no_fault_with_its_unit_and_little_exposure(tmp_path):
    unit = tmp_path / UNIT.name
    lines = UNIT.read_text().splitlines()
    unit.write_text("\n".join("ExecStart=/bin/true" if line.startswith("ExecStart=") else line for line in lines))
    analyze = tool("systemd-analyze", "apt-get install systemd")
    assert run(analyze, "verify", unit) == ""
    if "--offline" in run(analyze, "--help"):
        run(analyze, "security", "--offline=yes", "--threshold=10", unit)
    keys = settings(UNIT)
    assert keys["PrivateNetwork"] == ["yes"]
    (start,) = keys["ExecStart"]
    assert f"/var/lib/{keys['StateDirectory'][0]}" in start.split()


def test_it_stops_at_once_when_it_is_asked_to(tmp_path):
    recorder = RecordProcess(f"ipc://{tmp_path}/none", tmp_path / "records")
    with recorder.running():
        eventually((recorder.folder / "strips").exists)
        sleep(0.5)
        asked_s = monotonic()
        assert recorder.end(signal.SIGINT) == 0
        assert monotonic() - asked_s < 3.0
