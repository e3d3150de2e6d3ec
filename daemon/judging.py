"""One patch in the judge room: its windows in, its messages out."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from time import monotonic
from typing import Any

from daemon.alerts import AlertEvent
from daemon.announcer import Announcer, Left
from daemon.config import Wearer
from daemon.engine import Engine, Seat
from daemon.episodes import Episode
from daemon.history import JudgedBeat
from daemon.judge import Condition, Judge
from daemon.kinds import KINDS
from daemon.ledger import Ledger
from daemon.listening import Heard, Skipped
from daemon.messages import Clock, Latency, LinkCounts, Queues, Status
from daemon.metrics import Metrics
from daemon.publish import Publisher
from daemon.reporting import TimeLine, alert_message, beat_message, topic_of
from daemon.requests import Acknowledge, Silence
from daemon.utc import Change, UtcKeeper
from daemon.waveform import Waveform
from dsp.signal import RATE_HZ, Block, Fitness, Quality, Window
from engines.model import Model

log = logging.getLogger(__name__)

TIMED_READINGS = 1500  # about a minute of frames


class Judging:
    """One patch's judge, and the publishing of what it says."""

    def __init__(
        self,
        wearer: Wearer,
        model: Model,
        engine: Engine,
        engine_asked: str,
        publisher: Publisher,
        ledger: Ledger,
        metrics: Metrics,
        queues: Callable[[], Queues],
        patches: int,  # of this daemon
    ) -> None:
        self._patch = wearer.patch
        self._engine_asked = engine_asked
        self._metrics = metrics
        self._queues = queues
        self._patches = patches
        self._model = model
        self._engine = engine
        self._publisher = publisher
        self._ledger = ledger
        self._announcer = Announcer(publisher, ledger)
        self._started_s = monotonic()
        now = datetime.now(timezone.utc)
        # Ids stay unique over restarts of the daemon because each begins with the moment of its start.
        self._origin = f"{self._patch.id}-{int(now.timestamp() * 1000):x}"
        self._judge = Judge(Seat(engine, model.manifest), model.manifest.heads, wearer.alerts, self._origin)
        self._line = TimeLine(self._patch.rate_hz, now)
        self._utc = UtcKeeper(self._line)
        begins = LinkCounts()
        self._heard = Heard(
            0, connected=False, silent=False, battery_low=False, counts=begins, read_s=0.0, newest_read_s=0.0
        )
        self._sampled_s: float | None = None  # host time at which samples last came
        self._unfit_since_s: float | None = None
        self._conditions: dict[Condition, bool] = dict.fromkeys(Condition, False)
        self._newest = 0  # index one past the newest judged sample, at 250 Hz
        self._waveform = Waveform(self._patch.id, self._line, publisher)
        self._behind_ms: deque[float] = deque(maxlen=TIMED_READINGS)

    def begin(self, left: Iterable[Left]) -> None:
        """To be called first: `left` is what still stood of this patch's when the daemon before ended."""
        self._announcer.go_on(left, self._stamp)
        self._tell_utc(Change("start", 0))

    def every_second(self) -> None:
        """To be called about so often: says how things stand."""
        self._note(Condition.STORAGE, holds=bool(self._ledger.failing or self._ledger.set_aside))
        if change := self._utc.look():
            self._tell_utc(change)
        self._send_status()

    def answered(self, request: Acknowledge | Silence) -> str | None:
        """A subscriber answers alarms."""
        return self._announcer.answered(request, self._stamp)

    def close(self) -> None:
        """Close what is open: the daemon stops."""
        self._report(self._judge.book.interrupt(self._newest))

    def take(self, item: Block | Quality | Window | Heard | Skipped) -> None:
        if isinstance(item, Window):
            self._report(self._judge.window(item))
            self._metrics.engine_took(self._engine.took_ms[-1] / 1e3)
        elif isinstance(item, Quality):
            self._report(self._judge.quality(item))
            self._note_fitness()
        elif isinstance(item, Block):
            self._newest = item.end
            self._waveform.note(item)
        elif isinstance(item, Skipped):
            self._tell_utc(self._utc.session(self._line.rates.source_index(item.to), item.read_s))
            self._report(self._judge.skipped(item.gone, item.to))
            self._note_fitness()
        else:
            if item.newest != self._heard.newest:
                self._sampled_s = item.newest_read_s
                self._utc.heard(item.newest - 1, item.newest_read_s)
            self._heard = item
            behind_s = monotonic() - item.read_s
            self._behind_ms.append(1e3 * behind_s)
            self._metrics.sent_after(behind_s)
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
                beat = beat_message(event, patch=self._patch.id, seq=seq, line=self._line)
                self._publisher.send("beat", beat)
                self._metrics.beat(beat)

    def _send_alert(self, event: AlertEvent) -> None:
        topic = topic_of(event)
        seq = self._publisher.next_seq(topic)
        alert = alert_message(event, patch=self._patch.id, seq=seq, line=self._line)
        self._announcer.alert(topic, alert)
        self._metrics.alert(alert)

    def _tell_utc(self, change: Change) -> None:
        """The same samples have another UTC from here on; what was published keeps its own."""
        if change.by_s:
            why = "the host's clock was set" if change.why == "stepped" else "the patch's clock and the host's differ"
            log.warning("UTC of the patch's samples moved by %+.1f s: %s", change.by_s, why)
        clock = Clock(
            seq=self._publisher.next_seq("clock"),
            patch=self._patch.id,
            sample=change.sample,
            utc=self._line.utc(change.sample),
            why=change.why,
            rate_hz=self._patch.rate_hz,
            by_s=round(change.by_s, 3),
            origin=self._origin,
        )
        self._publisher.remember("clock", self._publisher.send("clock", clock))

    def _note_fitness(self) -> None:
        fit = self._judge.fitness is Fitness.GOOD
        self._unfit_since_s = None if fit else self._unfit_since_s or monotonic()

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
        stands = {condition.value for condition, holds in self._conditions.items() if holds}
        stands |= {event.kind for event in self._judge.book.open}
        now_s = monotonic()
        status = Status(
            **self._stamp("status"),
            port="open" if self._heard.connected else "absent",
            silent=self._heard.silent,
            quality=self._judge.fitness.value,
            battery_low=self._heard.battery_low,
            rhythm=self._judge.episodes.rhythm,
            heart_rate_bpm=rate_bpm and round(rate_bpm, 1),
            open_alerts=tuple(event.id for event in self._judge.book.open),
            calling=self._announcer.attention.calling(now_s),
            ledger=self._ledger.id,
            serial=self._ledger.newest,
            storage=self._ledger.failing or (f"set aside: {self._ledger.set_aside}" if self._ledger.set_aside else ""),
            technical=tuple(kind for kind in KINDS if kind in stands and KINDS[kind].category == "technical"),
            sample_age_s=None if self._sampled_s is None else round(now_s - self._sampled_s, 1),
            unfit_s=0.0 if self._unfit_since_s is None else round(now_s - self._unfit_since_s, 1),
            engine=self._engine.name,
            engine_asked=self._engine_asked,
            model=self._model.id,
            link=self._heard.counts,
            latency=Latency.of(engine_ms=self._engine.took_ms, read_to_sent_ms=self._behind_ms),
            uptime_s=round(now_s - self._started_s, 1),
            queues=self._queues(),
            patches=self._patches,
        )
        self._metrics.status(status)
        self._publisher.remember("status", self._publisher.send("status", status))
