"""What is known of one patch, for a page that joins late. Pure: the caller says what time it is."""

from __future__ import annotations

from collections import deque

import msgspec
from msgspec.structs import replace

from daemon.messages import Alert, Answered, Beat, Clock, Message, Status, Wave
from rhythmd.monitor.shown import ShownAlert, ShownBeat, ShownWave, Silence, Strip
from rhythmd.monitor.tape import Tape

BEATS_S = 300.0
"""What the RR plots show."""

SWEEP_S = 40.0
"""What fills a new page's sweep, however slow it runs."""

MOST_ALERTS = 100
BEFORE_S, AFTER_S, LONGEST_S = 6.0, 6.0, 36.0
"""A strip: so much before the onset and after the raising, and if the whole is too long, less of its beginning."""

Event = ShownAlert | ShownBeat | ShownWave | Silence | Status


class Bedside:
    """One patch: its last status, alerts, beats, and the tape of its signal."""

    def __init__(self, patch: str) -> None:
        self.status: Status | None = None
        self.alerts: dict[str, ShownAlert] = {}  # the oldest first
        self._patch = patch
        self._rate_hz, self._origin = 250.0, ""  # until `clock` tells
        self._told: dict[str, Alert] = {}  # as the daemon told them: those of before come ahead of the first `clock`
        self._beats: deque[ShownBeat] = deque(maxlen=1500)
        self._tape: Tape | None = None
        self._silenced: tuple[Answered, float] | None = None  # the last one, and when it was heard (monotonic)
        self._uncut: dict[str, ShownAlert] = {}  # alerts whose strip is not complete yet
        self._strips: dict[str, bytes] = {}  # as JSON: a tenth of what the numbers take

    def take(self, message: Message, data: bytes, now_s: float) -> list[Event]:
        """What the pages are to be told of it."""
        if isinstance(message, Wave):
            return [self._wave(message, data)]
        if isinstance(message, Beat):
            beat = ShownBeat.of(message, self._rate_hz)
            if self._beats and self._beats[-1].at_s >= beat.at_s:
                self._beats.clear()  # the patch's time line began anew
            self._beats.append(beat)
            return [beat]
        if isinstance(message, Status):
            first, self.status = self.status is None, message
            silence = self.silence(now_s) if first else None  # what was told before it had no age yet
            return [message, silence] if silence else [message]
        if isinstance(message, Alert):
            return [self._alert(message)]
        if isinstance(message, Answered):
            return self._answer(message, now_s)
        return self._clock(message) if isinstance(message, Clock) else []

    def beats(self) -> tuple[ShownBeat, ...]:
        """Of the last minutes."""
        if not self._beats:
            return ()
        since_s = self._beats[-1].at_s - BEATS_S
        return tuple(beat for beat in self._beats if beat.at_s >= since_s)

    def wave(self) -> ShownWave | None:
        """What is on the sweep."""
        tape = self._tape
        return self._shown(tape, tape.ends_s - SWEEP_S, tape.ends_s) if tape else None

    def silence(self, now_s: float) -> Silence | None:
        """The last one, while it lasts."""
        left_s = self._left_s(now_s)
        return Silence(patch=self._patch, by=self._silenced[0].by, left_s=left_s) if self._silenced and left_s else None

    def strip(self, alert_id: str) -> bytes | None:
        """The JSON of a `Strip`, of an alert that was raised while the tape ran."""
        if alert_id in self._uncut:
            strip = self._cut(self._uncut[alert_id])
            return msgspec.json.encode(strip) if strip else None
        return self._strips.get(alert_id)

    def _wave(self, message: Wave, data: bytes) -> ShownWave:
        at_s = message.sample / self._rate_hz
        if self._tape is None or not self._tape.add(at_s, data):
            self._keep_strips(over=True)
            self._tape = Tape(message, at_s)
            self._tape.add(at_s, data)
        self._keep_strips(over=False)
        return self._shown(self._tape, at_s, at_s + message.samples / message.rate_hz)

    def _clock(self, message: Clock) -> list[Event]:
        """What was placed by another rate is placed anew."""
        events: list[Event] = []
        if self._origin not in ("", message.origin):  # a restart of the daemon ends a silence
            self._silenced = None
            events.append(Silence(patch=self._patch, by="", left_s=0.0))
        before_hz, self._rate_hz, self._origin = self._rate_hz, message.rate_hz, message.origin
        if message.rate_hz == before_hz:
            return events
        for alert_id, told in self._told.items():
            self.alerts[alert_id] = ShownAlert.of(told, self._rate_hz, self.alerts[alert_id].answered_by)
        return [*events, *self.alerts.values()]

    def _alert(self, message: Alert) -> ShownAlert:
        before = self.alerts.get(message.id)
        self._told[message.id] = message
        alert = self.alerts[message.id] = ShownAlert.of(message, self._rate_hz, before.answered_by if before else "")
        here = message.id.startswith(self._origin)  # sample counts of another run of the daemon say nothing here
        is_of_now = self._tape and here and abs(alert.raised_s - self._tape.ends_s) < AFTER_S
        if is_of_now and before is None:
            self._uncut[alert.id] = alert
        over = [each.id for each in self.alerts.values() if each.is_over]
        for beyond in over[: max(0, len(self.alerts) - MOST_ALERTS)]:
            del self.alerts[beyond], self._told[beyond]
            self._uncut.pop(beyond, None)
            self._strips.pop(beyond, None)
        return alert

    def _answer(self, message: Answered, now_s: float) -> list[Event]:
        if message.how == "silenced":
            self._silenced = (message, now_s)
            return [Silence(patch=self._patch, by=message.by, left_s=self._left_s(now_s))]
        alert = self.alerts.get(message.id or "")
        if alert is None:
            return []
        self.alerts[alert.id] = answered = replace(alert, answered_by=message.by)
        return [answered]

    def _left_s(self, now_s: float) -> float:
        """Of the silence, which may be told long after: for how long, the patch's own time says, where it goes on."""
        if self._silenced is None or self.status is None:
            return 0.0
        message, heard_s = self._silenced
        passed_s = max(now_s - heard_s, (self.status.utc - message.utc).total_seconds())
        return max(0.0, (message.for_s or 0.0) - passed_s)

    def _keep_strips(self, *, over: bool) -> None:
        """Cut what is complete, or will never be more so."""
        for alert in list(self._uncut.values()):
            strip = self._cut(alert)
            if strip is None or strip.complete or over:
                del self._uncut[alert.id]
                if strip:
                    self._strips[alert.id] = msgspec.json.encode(replace(strip, complete=True))

    def _cut(self, alert: ShownAlert) -> Strip | None:
        to_s = alert.raised_s + AFTER_S
        from_s = max(alert.onset_s - BEFORE_S, to_s - LONGEST_S)
        if self._tape is None or from_s > self._tape.ends_s:
            return None
        piece = self._shown(self._tape, from_s, to_s)
        return Strip(
            id=alert.id,
            at_s=piece.at_s,
            rate_hz=piece.rate_hz,
            counts_per_mv=piece.counts_per_mv,
            counts=piece.counts,
            beats=tuple(beat for beat in self._beats if from_s <= beat.at_s <= to_s),
            complete=self._tape.ends_s >= to_s + 1.0,  # its last beats are decided by then
        )

    def _shown(self, tape: Tape, from_s: float, to_s: float) -> ShownWave:
        at_s, counts = tape.cut(from_s, to_s)
        return ShownWave(
            patch=self._patch, at_s=at_s, rate_hz=tape.rate_hz, counts_per_mv=tape.counts_per_mv, counts=counts
        )
