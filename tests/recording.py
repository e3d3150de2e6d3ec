"""A real `rhythmd record` in a process of its own, and messages for one without a daemon."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import wfdb

from daemon.messages import Alert, Beat, Clock, Latency, LinkCounts, Status, Wave
from rhythmd.records.recorder import Recorder
from rhythmd.subscriber import Received

BEGAN = datetime(2026, 3, 1, 12, 0, 0, tzinfo=timezone.utc)
RUN = "p-1"


class RecordProcess:
    """Started, killed, started again, always into the same folder."""

    def __init__(self, address: str, folder: Path, *options: str) -> None:
        self.folder = folder
        self._command = [sys.executable, "-m", "rhythmd", "record", "--connect", address, "--directory", str(folder)]
        self._command += options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)

    def end(self, sign: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(sign)
        return self.process.wait(30)

    @contextmanager
    def running(self) -> Iterator[RecordProcess]:
        self.start()
        try:
            yield self
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


def read_everything(folder: Path) -> list[wfdb.Record]:
    """Every record in the folder by wfdb, its annotations too where it has some."""
    records = []
    for header in sorted(folder.rglob("*.hea")):
        path = str(header.with_suffix(""))
        record = wfdb.rdrecord(path)
        if record.n_sig:
            assert record.sig_len > 0, path
            assert header.with_suffix(".dat").stat().st_size // 2 == record.sig_len, path
        if header.with_suffix(".rhy").exists():
            wfdb.rdann(path, "rhy")
        records.append(record)
    return records


class Daemon:
    """What a daemon would send, message by message, to a recorder in this process."""

    def __init__(self, folder: Path, *, rate_hz: float = 250.0, keep_mb: float = 100.0, full: bool = True) -> None:
        self.recorder = Recorder(folder, keep_bytes=1e6 * keep_mb, full_disclosure=full)
        self.rate_hz, self.run, self.began = rate_hz, RUN, BEGAN
        self.at = 0  # samples at 250 Hz
        self.seq = 0

    def starts(self, run: str = RUN, began: datetime = BEGAN, why: str = "start") -> None:
        """A run of the daemon begins."""
        self.run, self.began, self.at = run, began, 0 if why == "start" else self.at
        self.tell("clock", Clock(why=why, rate_hz=self.rate_hz, origin=run, **self.common(0)))
        self.status()

    def status(self, rhythm: str = "N", quality: str = "good") -> None:
        status = Status(
            port="open", silent=False, quality=quality, battery_low=False, rhythm=rhythm, heart_rate_bpm=None,
            open_alerts=(), engine="onnxruntime", model="ecg1", link=LinkCounts(), uptime_s=0.0,
            latency=Latency.of(engine_ms=[], read_to_sent_ms=[]), **self.common(self.at),
        )  # fmt: skip
        self.tell("status", status)

    def signal(self, seconds: float, *, tick: bool = True) -> None:
        """So much ECG, in messages of 0.1 s: sample k is k modulo 1000, so that its place can be read from it."""
        for _ in range(round(10 * seconds)):
            counts = (np.arange(self.at, self.at + 25) % 1000).astype("<i2")
            wave = Wave(rate_hz=250, samples=25, counts_per_mv=1000, missing=-32768, **self.common(self.at))
            self.at += 25
            self.tell("wave", wave, counts.tobytes())
            if tick and self.at % 250 == 0:
                self.recorder.tick(None)

    def beat(self, at: int, kind: str = "N") -> None:
        fields = {"probability": 1.0, "rr_s": None, "heart_rate_bpm": None, "decided_sample": 0}
        self.tell("beat", Beat(beat=kind, **fields, **self.common(at)))

    def alert(self, number: int, onset_s: float, kind: str = "asystole", *, state: str = "open", **more) -> Alert:
        """`onset_s` from the run's beginning; raised 2 s after."""
        onset = round(onset_s * self.rate_hz)
        raised = onset + round(2 * self.rate_hz)
        fields = {"priority": "high", "category": "physiological", "action": "alarm", "latching": False} | more
        common = {**self.common(0), "sample": raised, "utc": self.began + timedelta(seconds=raised / self.rate_hz)}
        closed = {"end_sample": raised, "ended_by": "ended"} if state == "closed" else {}
        alert = Alert(
            id=f"{self.run}-{number}", kind=kind, state=state, onset_sample=onset, raised_sample=raised,
            evidence={}, **{"end_sample": None, "ended_by": None, **closed}, **fields, **common,
        )  # fmt: skip
        self.tell(f"{'alert' if alert.action == 'alarm' else 'event'}.{kind}", alert)
        return alert

    def common(self, at: int) -> dict:
        """`at` is at 250 Hz, the message's sample at the patch's rate."""
        self.seq += 1
        sample = round(at * self.rate_hz / 250)
        return {"seq": self.seq, "patch": "p", "sample": sample, "utc": self.began + timedelta(seconds=at / 250)}

    def tell(self, topic: str, message, data: bytes = b"") -> None:
        self.recorder.take(Received(topic, message, data))
