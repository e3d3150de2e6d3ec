"""The judge room's work: windows in, messages out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from time import monotonic
from typing import Any

import numpy as np

from daemon.alerts import AlertEvent
from daemon.announcer import Announcer
from daemon.config import Config
from daemon.desk import Desk
from daemon.doors import open_doors
from daemon.engine import Engine, open_engine
from daemon.episodes import Episode
from daemon.history import JudgedBeat
from daemon.judge import Condition, Judge
from daemon.ledger import Ledger
from daemon.listening import Heard, Skipped
from daemon.messages import Latency, LinkCounts, Status, Wave
from daemon.publish import Publisher, resolve
from daemon.reporting import TimeLine, alert_message, beat_message, topic_of
from daemon.requests import Acknowledge, Silence
from daemon.room import Work
from daemon.store import open_store
from dsp.signal import RATE_HZ, Block, Quality, Window
from engines.model import Model

STATUS_EVERY_S = 1.0
LOOK_EVERY_S = 1.0
PRUNE_EVERY_S = 10.0
TIMED_READINGS = 1500  # about a minute of frames
WAVE_SAMPLES = 25  # a message: 0.1 s, however few come at a time
WAVE_COUNTS_PER_MV = 1000
WAVE_MISSING = -(2**15)


class Judging:
    """One patch's judge, and the publishing of what it says."""

    def __init__(self, config: Config, model: Model, engine: Engine, publisher: Publisher, ledger: Ledger) -> None:
        self._patch = config.patch
        self._store = config.store
        self._model = model
        self._engine = engine
        self._publisher = publisher
        self._ledger = ledger
        self._announcer = Announcer(publisher, ledger)
        self._started_s = monotonic()
        now = datetime.now(timezone.utc)
        # Ids stay unique over restarts of the daemon because each begins with the moment of its start.
        origin = f"{config.patch.id}-{int(now.timestamp() * 1000):x}"
        self._judge = Judge(engine, model.manifest.heads, config.alerts, origin)
        self._line = TimeLine(config.patch.rate_hz, now)
        self._heard = Heard(
            0, connected=False, silent=False, battery_low=False, counts=LinkCounts(), read_s=monotonic()
        )
        self._conditions: dict[Condition, bool] = dict.fromkeys(Condition, False)
        self._newest = 0  # index one past the newest judged sample, at 250 Hz
        self._status_due_s = self._prune_due_s = 0.0
        self._wave: list[Block] = []  # contiguous, not sent yet
        self._behind_ms: deque[float] = deque(maxlen=TIMED_READINGS)
        self._announcer.interrupted(self._stamp)

    def __call__(self, items: list[Any]) -> Iterator[Any]:
        """Judge and publish; yields each item when it is done with it."""
        for item in items:
            self._take(item)
            yield item
        if monotonic() >= self._status_due_s:
            self._status_due_s = monotonic() + STATUS_EVERY_S
            self._ledger.flush()
            if monotonic() >= self._prune_due_s:
                self._prune_due_s = monotonic() + PRUNE_EVERY_S
                self._ledger.prune(keep_s=86_400 * self._store.keep_days, keep_bytes=round(1e6 * self._store.keep_mb))
            self._note(Condition.STORAGE, holds=bool(self._ledger.failing or self._ledger.set_aside))
            self._send_status()
        self._publisher.welcome()

    def answered(self, request: Acknowledge | Silence) -> str | None:
        """A subscriber answers alarms."""
        return self._announcer.answered(request, self._stamp)

    def close(self) -> None:
        """Close what is open: the daemon stops."""
        self._report(self._judge.book.interrupt(self._newest))

    def _take(self, item: Block | Quality | Window | Heard | Skipped) -> None:
        if isinstance(item, Window):
            self._report(self._judge.window(item))
        elif isinstance(item, Quality):
            self._report(self._judge.quality(item))
        elif isinstance(item, Block):
            self._newest = item.end
            self._note_wave(item)
        elif isinstance(item, Skipped):
            self._line.anchor(self._line.rates.source_index(item.to), datetime.now(timezone.utc))
            self._report(self._judge.skipped(item.gone, item.to))
        else:
            self._heard = item
            self._behind_ms.append(1e3 * (monotonic() - item.read_s))
            self._note(Condition.ABSENT, holds=not item.connected)
            self._note(Condition.SILENT, holds=item.connected and item.silent)
        self._note(Condition.ENGINE, holds=self._engine.failing)  # also when no beat comes: it may fail to open

    def _note(self, condition: Condition, *, holds: bool) -> None:
        if self._conditions[condition] != holds:
            self._conditions[condition] = holds
            self._report(self._judge.condition(condition, holds=holds, at=self._newest))

    def _report(self, events: Iterable[JudgedBeat | AlertEvent | Episode]) -> None:
        for event in events:
            if isinstance(event, AlertEvent):
                self._send_alert(event)
            elif isinstance(event, JudgedBeat):
                seq = self._publisher.next_seq("beat")
                self._publisher.send("beat", beat_message(event, patch=self._patch.id, seq=seq, line=self._line))

    def _send_alert(self, event: AlertEvent) -> None:
        topic = topic_of(event)
        seq = self._publisher.next_seq(topic)
        self._announcer.alert(topic, alert_message(event, patch=self._patch.id, seq=seq, line=self._line))

    def _stamp(self, topic: str) -> dict[str, Any]:
        """What every message carries that speaks of now."""
        sample = max(0, self._heard.newest - 1)
        return {
            "seq": self._publisher.next_seq(topic),
            "patch": self._patch.id,
            "sample": sample,
            "utc": self._line.utc(sample),
        }

    def _send_status(self) -> None:
        last = self._judge.history.last
        recent = last and self._newest - last.r_peak < 5 * RATE_HZ
        rate_bpm = last.heart_rate_bpm if last and recent else None
        status = Status(
            **self._stamp("status"),
            port="open" if self._heard.connected else "absent",
            silent=self._heard.silent,
            quality=self._judge.fitness.value,
            battery_low=self._heard.battery_low,
            rhythm=self._judge.episodes.rhythm,
            heart_rate_bpm=rate_bpm and round(rate_bpm, 1),
            open_alerts=tuple(event.id for event in self._judge.book.open),
            calling=self._announcer.attention.calling(monotonic()),
            ledger=self._ledger.id,
            serial=self._ledger.newest,
            engine=self._engine.name,
            model=self._model.id,
            link=self._heard.counts,
            latency=Latency.of(engine_ms=self._engine.took_ms, read_to_sent_ms=self._behind_ms),
            uptime_s=round(monotonic() - self._started_s, 1),
        )
        self._publisher.remember("status", self._publisher.send("status", status))

    def _note_wave(self, clean: Block) -> None:
        if not self._publisher.wanted("wave"):
            self._wave.clear()
            return
        if self._wave and self._wave[-1].end != clean.start:
            self._send_wave()
        if len(clean.ecg_mv):
            self._wave.append(clean)
        if self._wave and clean.end - self._wave[0].start >= WAVE_SAMPLES:
            self._send_wave()

    def _send_wave(self) -> None:
        sample = self._line.rates.source_index(self._wave[0].start)
        ecg_mv = np.concatenate([block.ecg_mv for block in self._wave])
        counts = np.clip(np.rint(ecg_mv * WAVE_COUNTS_PER_MV), WAVE_MISSING + 1, -WAVE_MISSING - 1)
        counts[np.concatenate([block.missing for block in self._wave])] = WAVE_MISSING
        self._wave.clear()
        wave = Wave(
            seq=self._publisher.next_seq("wave"),
            patch=self._patch.id,
            sample=sample,
            utc=self._line.utc(sample),
            rate_hz=RATE_HZ,
            samples=len(counts),
            counts_per_mv=WAVE_COUNTS_PER_MV,
            missing=WAVE_MISSING,
        )
        self._publisher.send("wave", wave, counts.astype("<i2").tobytes())


@contextmanager
def open_judging(config: Config, model: Model) -> Iterator[Work]:
    with (
        open_engine(config.engine.backend, model, config.engine.wait) as engine,
        open_store(config.store) as ledger,
        open_doors(tuple(map(resolve, config.publish.bind)), config.publish.keys) as doors,
    ):
        publisher = Publisher(doors, ledger.numbers)
        judging = Judging(config, model, engine, publisher, ledger)
        desk = Desk(doors, ledger, judging.answered)
        look_due_s = 0.0

        def work(items: list[Any]) -> Iterator[Any]:
            nonlocal look_due_s
            yield from judging(items)
            desk.serve()
            if monotonic() >= look_due_s:
                look_due_s = monotonic() + LOOK_EVERY_S
                if doors.look():
                    publisher.all_left()

        try:
            yield work
        finally:  # whatever ends the daemon: an alert that no one watches any more is not open
            judging.close()
