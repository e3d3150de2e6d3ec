"""What `rhythmd record` makes of each message. One thread owns it; it knows files, no socket."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from time import monotonic, time

import msgspec

from daemon.messages import Alert, Beat, Clock, Status, Wave
from dsp.signal import RATE_HZ
from rhythmd import __version__
from rhythmd.records.budget import make_room, thin_hours
from rhythmd.records.cutting import life_of, span
from rhythmd.records.durable import sweep, write_whole
from rhythmd.records.form import About, record_name
from rhythmd.records.hour import NOTES, GrowingHour, finish
from rhythmd.records.keeping import Kept, Strips, index
from rhythmd.subscriber import Mark, Received

log = logging.getLogger(__name__)

ROUNDING = 2
"""Samples by which two messages may seem to overlap or lie apart, at another rate than 250 Hz."""

LONGEST_GAP_S = 60.0
"""Written as missing samples; after a longer one a new record begins."""

UTC_S = 0.25
"""A record keeps one relation of samples and time; where the daemon's moved by more, a new one begins."""

LATE_S = 5.0
"""A beat is told 0.6 s after it was: a record that is full waits so long for the last ones before it is finished."""

WAIT_S = 45.0
"""Without signal, a strip waits so long for its last 30 s."""

THIN_AFTER = timedelta(minutes=10)
LOOK_EVERY_S = 30.0
MARK = "mark.json"


class Recorder:
    """Appends signal as it comes, cuts strips when they are due, keeps within the budget."""

    def __init__(self, root: Path, *, keep_bytes: float, full_disclosure: bool) -> None:
        self._root = root
        self._keep_bytes = keep_bytes
        self._full_disclosure = full_disclosure
        self._hours = root / "hours"
        for folder in (self._hours, root / "strips"):
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            sweep(folder)
        sweep(root)
        self._current: GrowingHour | None = None
        self._full: GrowingHour | None = None  # the one before, until its last beats have come
        self._finishing: list[Path] = sorted(path.with_suffix("") for path in self._hours.glob(f"*{NOTES}"))
        self._clock: Clock | None = None
        self._status: Status | None = None
        self._look_due_s = 0.0
        self._marked: Mark | None = None
        self.failing = ""  # why nothing can be written; empty is well
        self.dropped_samples = 0
        self._strips = Strips(root / "strips")
        self._unheard: deque[Alert] = deque()  # that found no room on the disk yet
        self._heard_s: dict[str, float] = {}  # when (monotonic) those were that this recorder heard and that wait
        self._finish_grown()

    def take(self, received: Received) -> None:
        message = received.message
        if isinstance(message, Wave):
            self._take_wave(message, received.data)
        elif isinstance(message, Beat):
            self._note(message.sample, message.beat)
        elif isinstance(message, Alert):
            self._unheard.append(message)
            self._hear()
        elif isinstance(message, Status):
            self._take_status(message)
        elif isinstance(message, Clock):
            self._clock = message

    def tick(self, mark: Mark | None) -> None:
        """Once a second: what was written survives the power from here on; what is due is done."""
        for hour in (self._current, self._full):
            if hour:
                self._safely(hour.sync)
        self._hear()
        if mark and mark != self._marked and not self._unheard and self._safely(lambda: self._write(mark)):
            self._marked = mark
        if self._full and (not self._current or self._current.length > LATE_S * RATE_HZ):
            self._close(self._full)
            self._full = None
        self._finish_grown()
        for kept in list(self._strips.awaited.values()):
            if self._due(kept):
                self._safely(lambda kept=kept: self._cut(kept))  # type: ignore[misc]
        if monotonic() >= self._look_due_s:
            self._look_due_s = monotonic() + LOOK_EVERY_S
            self._safely(self._look)

    def close(self) -> None:
        """The recorder stops: everything is finished as far as it goes."""
        due = {kept.name for kept in self._strips.awaited.values() if self._due(kept)}
        for hour in (self._full, self._current):
            if hour:
                self._close(hour)
        self._full = self._current = None
        self._finish_grown()
        for kept in list(self._strips.awaited.values()):  # as far as it goes; the next recorder may have more
            self._safely(lambda kept=kept: self._cut(kept, last=kept.name in due))  # type: ignore[misc]
        self._safely(self._look)

    def _take_wave(self, wave: Wave, data: bytes) -> None:
        if self._clock is None or not data:
            return
        if self._current and not self._continues(self._current, wave):
            if self._full:
                self._close(self._full)
            self._full, self._current = self._current, None
        try:
            if self._current is None:
                self._begin(wave, data)
            else:
                at = self._current.about.position(wave.sample)
                near = abs(at - self._current.length) <= ROUNDING
                self._current.add(data, self._current.length if near else at)
        except OSError as error:
            self.dropped_samples += wave.samples
            self._failed(error)
        else:
            self._well()

    def _continues(self, hour: GrowingHour, wave: Wave) -> bool:
        about = hour.about
        ahead = about.position(wave.sample) - hour.length
        return (
            about.life == self._life
            and -ROUNDING <= ahead <= LONGEST_GAP_S * RATE_HZ
            and abs((about.utc(wave.sample) - wave.utc).total_seconds()) < UTC_S
            and wave.utc.replace(minute=0, second=0, microsecond=0)
            == about.begins.replace(minute=0, second=0, microsecond=0)
        )

    def _begin(self, wave: Wave, data: bytes) -> None:
        assert self._clock
        stem = wave.utc.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        taken = len(list(self._hours.glob(f"{stem}*.hea")))
        status = self._status
        made_by = f"rhythmd {__version__}" + (f", {status.engine}, model {status.model}" if status else "")
        about = About(
            f"{stem}-{taken}" if taken else stem,
            wave.utc,
            wave.patch,
            wave.sample,
            self._clock.rate_hz,
            self._life,
            wave.counts_per_mv,
            made_by,
        )
        self._current = GrowingHour(self._hours, about, data)
        if status:
            self._current.note(0, "+", f"({status.rhythm}")
            if status.quality != "good":
                self._current.note(0, "~", status.quality)

    def _take_status(self, status: Status) -> None:
        before, self._status = self._status, status
        if before is None or before.rhythm != status.rhythm:
            self._note(status.sample, "+", f"({status.rhythm}")
        if before is None or before.quality != status.quality:
            self._note(status.sample, "~", "" if status.quality == "good" else status.quality)

    def _note(self, sample: int, symbol: str, aux: str = "") -> None:
        """In the record that it belongs to: the newest one that begins before it."""
        for hour in (self._current, self._full):
            if hour and hour.about.life == self._life and (at := hour.about.position(sample)) >= 0:
                with suppress(OSError):  # the signal tells that the disk is full
                    hour.note(at, symbol, aux)
                return

    def _hear(self) -> None:
        """Note the alerts that came: on disk before the place in the daemon's ledger is."""
        while self._unheard and self._safely(lambda: self._strips.heard(self._unheard[0], time())):
            alert = self._unheard.popleft()
            if (name := record_name(alert.id)) in self._strips.awaited:
                self._heard_s.setdefault(name, monotonic())
            if life_of(alert) == self._life:
                self._note(alert.raised_sample, '"', f"{alert.action} {alert.kind} {alert.state}, {alert.id}")

    @property
    def _life(self) -> str:
        return self._clock.origin if self._clock else ""

    def _write(self, mark: Mark) -> None:
        write_whole(self._root / MARK, msgspec.json.encode(mark))

    def _due(self, kept: Kept) -> bool:
        """Whether all its signal is there, or no more will come."""
        heard_s = self._heard_s.get(kept.name)  # a board sets its clock some minutes after it began, by years
        waited_s = time() - kept.heard_s if heard_s is None else monotonic() - heard_s
        if waited_s > WAIT_S or (self._clock and life_of(kept.opened) != self._life):
            return True
        current = self._current
        return current is not None and current.end_sample >= span(kept.opened, current.about.patch_rate_hz)[1]

    def _cut(self, kept: Kept, *, last: bool = True) -> None:
        done = self._strips.cut(kept, self._hours, last=last)
        self._heard_s.pop(done.name, None)
        log.info("strip of %s: %s", done.name, done.signal)
        with suppress(OSError):
            index(self._root / "strips")

    def _look(self) -> None:
        if not self._full_disclosure and not self._strips.awaited:
            thin_hours(self._root, datetime.now(timezone.utc) - THIN_AFTER)
        gone = make_room(self._root, self._keep_bytes)
        for each in gone:
            log.info("%s went: the oldest, to keep within the budget", each)
        if gone:  # there may be more to go
            self._look_due_s = monotonic()

    def _close(self, hour: GrowingHour) -> None:
        self._safely(hour.sync)
        hour.close()
        self._finishing.append(hour.path)

    def _finish_grown(self) -> None:
        """Again and again where the disk is full."""
        for path in list(self._finishing):
            if self._safely(lambda path=path: finish(path)):  # type: ignore[misc]
                self._finishing.remove(path)
                with suppress(OSError):
                    index(self._hours)

    def _safely(self, work: Callable[[], object]) -> bool:
        try:
            work()
        except OSError as error:
            self._failed(error)
            return False
        return True

    def _failed(self, error: OSError) -> None:
        if not self.failing:
            log.error("nothing can be recorded: %s; the oldest goes until there is room", error)
        self.failing = error.strerror or str(error)
        self._look_due_s = min(self._look_due_s, monotonic() + 1.0)

    def _well(self) -> None:
        if self.failing:
            log.warning("signal is recorded again; %d samples were not", self.dropped_samples)
        self.failing = ""
