"""`rhythmd notify` at work: hears, decides, stores, sends. One thread does all but the following and the sending."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from time import monotonic, time
from typing import Any

from daemon.kinds import KINDS
from daemon.messages import Alert, Message, Status
from daemon.notify import notify
from rhythmd.following import Broken, Following, Heard, check_sources
from rhythmd.notify import pace
from rhythmd.notify.calls import Calls
from rhythmd.notify.config import Settings
from rhythmd.notify.outbox import MOST_WAITING, Outbox, Row, open_outbox
from rhythmd.notify.pace import Pace, Waiting
from rhythmd.notify.pictures import Album
from rhythmd.notify.rules import Notice, rule_for
from rhythmd.notify.sending import LONGEST_S, Target, send, targets_of
from rhythmd.notify.words import letter
from rhythmd.service import Stop, all_that_waits

log = logging.getLogger(__name__)

MOST_A_TURN = 200
LINGER_S = 600.0
PICTURES_S = 5.0
STATUS_WITHIN_S = 10.0
"""So long an alert that seems too old waits for its patch's first status. A patch that is here has one a second."""

LAST_ANSWERS_S = LONGEST_S + 2.0


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a letter."""

    target: str
    rows: tuple[Row, ...]
    failed: str  # why; empty when it arrived


class Clock:
    """Seconds since 1970 that never jump while the program runs, and never go back."""

    def __init__(self, not_before_s: float) -> None:
        self._ahead_s = max(time(), not_before_s) - monotonic()

    def __call__(self) -> float:
        return monotonic() + self._ahead_s


def run(settings: Settings, folder: Path | None = None) -> int:
    """Until SIGINT or SIGTERM."""
    targets = targets_of(settings.contact)
    check_sources(settings.daemon)
    inbox: SimpleQueue[Any] = SimpleQueue()
    with Stop() as stop, open_outbox(folder) as outbox, ThreadPoolExecutor(len(targets), "send") as threads:
        teller = Teller(settings, targets, outbox, lambda *what: threads.submit(_try, inbox, *what))
        with Following(settings.daemon, outbox.marks(), inbox) as following:
            notify("READY=1")
            log.info("ready: %d daemons, %d contacts", len(settings.daemon), len(settings.contact))
            if untold := untold_of(settings):
                log.warning("nobody is told of %s: no rule fits", ", ".join(untold))
            while not stop.asked:
                items = all_that_waits(inbox, MOST_A_TURN)
                teller.turn(items)
                following.dealt_with([item for item in items if isinstance(item, Heard)])
                notify("WATCHDOG=1")
        notify("STOPPING=1")
        until_s = monotonic() + LAST_ANSWERS_S
        while teller.sending and monotonic() < until_s:  # or they would be sent again at the next start
            teller.hear_of(all_that_waits(inbox, MOST_A_TURN))
    return 0


def untold_of(settings: Settings) -> list[str]:
    """The kinds of high priority for which some daemon has no rule."""
    high = [name for name, kind in KINDS.items() if kind.priority == "high"]
    names = [daemon.name for daemon in settings.daemon]
    return [kind for kind in high if not all(rule_for(settings.rule, name, kind, "high", "alarm") for name in names)]


def _try(inbox: SimpleQueue[Any], target: Target, rows: tuple[Row, ...], album: Album) -> None:
    """In a thread of the pool; one letter to an address at a time."""
    try:
        written = letter([row.notice for row in rows], discreet=target.contact.discreet)
        picture = album.of([row.notice for row in rows]) if target.takes_pictures else None
        failed = send(target, written, picture)
    except Exception as error:
        inbox.put(Broken(error))
    else:
        inbox.put(Tried(target.name, rows, failed))


class Teller:
    """Owns the outbox, and knows what is on its way."""

    def __init__(
        self,
        settings: Settings,
        targets: dict[str, Target],
        outbox: Outbox,
        begin: Callable[[Target, tuple[Row, ...], Album], object],
    ) -> None:
        self._targets = targets
        self._outbox = outbox
        self._begin = begin
        self._now_s = Clock(outbox.newest_s())
        followed = {source.name for source in settings.daemon}
        cases = [case for case in outbox.cases() if case.daemon in followed]  # of others no answer would ever come
        self._calls = Calls(settings.rule, lost_s=settings.daemon_lost_s, cases=cases, silent=outbox.silent())
        self._album = Album(settings.daemon)
        self._looked_s = 0.0
        self._too_old = 0
        self._newest: dict[tuple[str, str], datetime] = {}  # of each daemon's patch's samples, by its status
        self._expire_s = 3600 * min((rule.expire_h for rule in settings.rule), default=0.0)
        self._undated_s: dict[tuple[str, str], float] = {}  # since when we wait for the first one of this patch
        self._heard: dict[str, deque[Heard]] = {daemon.name: deque() for daemon in settings.daemon}
        self._told: set[str] = set()  # why messages were given up, as was logged since the last one that was sent
        self._paces: dict[str, Pace] = {
            name: pace.fresh(target.contact, self._now_s()) for name, target in targets.items()
        }
        self.sending: set[str] = set()
        for daemon in settings.daemon:
            self._calls.follow(daemon.name, self._now_s())
        gone = [row for row in outbox.waiting() if row.target not in targets]
        self._give_up(gone, "no longer in the configuration", "unknown")

    def turn(self, items: Sequence[Any]) -> None:
        """Deal with what came, then see what is due."""
        now_s = self._now_s()
        notices: list[Notice] = []
        marks = {}
        heard = list(self._datable(items, now_s))
        for item in heard:
            message = item.received.message
            notices += self._calls.heard(item.daemon, message, now_s, age_s=self._age_s(item.daemon, message))
            if item.mark:
                marks[item.daemon] = item.mark
        notices += self._calls.due(now_s)
        notices += self._pictures(now_s)
        self._calls.forget(now_s, linger_s=LINGER_S)
        if self._calls.too_old > self._too_old:
            self._outbox.count("too old when heard", self._calls.too_old - self._too_old, now_s)
            self._say_once("alerts are not told: they are older than expire_h")
            self._too_old = self._calls.too_old
        if notices or any(item.received.topic != "status" for item in heard):
            posts = [post for notice in notices for post in self._posts(notice)]
            self._outbox.keep(marks, self._calls.cases, self._calls.silent_until_s, posts, now_s)
        self.hear_of(items)
        self._dispatch(now_s)

    def _datable(self, items: Sequence[Any], now_s: float) -> Iterator[Heard]:
        """What can be dealt with now, in the order of its daemon: a mark that is stored never passes what waits."""
        for item in items:
            if isinstance(item, Heard):
                self._heard[item.daemon].append(item)
                self._calls.follow(item.daemon, now_s)  # it is no less there for what waits
                if isinstance(item.received.message, Status):
                    self._newest[item.daemon, item.received.message.patch] = item.received.message.utc
        for waiting in self._heard.values():
            while waiting and not self._is_undated(waiting[0], now_s):
                yield waiting.popleft()

    def _is_undated(self, item: Heard, now_s: float) -> bool:
        """Whether it seems too old, and its patch may only have been away, as its first status will tell."""
        message = item.received.message
        patch = item.daemon, message.patch
        seems_old = isinstance(message, Alert) and self._age_s(item.daemon, message) > self._expire_s
        if not seems_old or patch in self._newest:
            return False
        return now_s < self._undated_s.setdefault(patch, now_s) + STATUS_WITHIN_S

    def _age_s(self, daemon: str, message: Message) -> float:
        """How old it is. A message's time is that of a sample: while the patch is away time stands still."""
        newest = self._newest.get((daemon, message.patch))
        return max(0.0, min(time(), newest.timestamp() if newest else time()) - message.utc.timestamp())

    def hear_of(self, items: Sequence[Any]) -> None:
        """What became of letters."""
        for item in items:
            if isinstance(item, Broken):
                raise item.error
            if isinstance(item, Tried):
                self._tried(item)

    def _tried(self, item: Tried) -> None:
        now_s, target = self._now_s(), self._targets[item.target]
        self.sending.discard(item.target)
        before = self._paces[item.target]
        who = f"contact {target.contact.name} ({target.kind})"
        if item.failed:
            self._paces[item.target] = before.failed(now_s, target.contact)
            self._outbox.count("failed", 1, now_s)
            if not before.failures:
                log.warning("%s: a message was not sent: %s; it is tried again", who, item.failed)
        else:
            self._paces[item.target] = before.sent(now_s, target.contact)
            self._outbox.sent(item.rows, now_s)
            self._told.clear()
            if before.failures:
                log.warning("%s: messages are sent again, after %d failures", who, before.failures)

    def _dispatch(self, now_s: float) -> None:
        waiting = self._outbox.waiting()
        expired = pace.expired(waiting, now_s)
        self._give_up(expired, "expired", "expired")
        waiting = _without(waiting, expired)
        obsolete = pace.obsolete(waiting, self._calls.cases)
        self._outbox.give_up(obsolete, "answered", now_s)
        waiting = _without(waiting, obsolete)
        local = datetime.now()  # noqa: DTZ005 quiet hours are this machine's
        for name, target in self._targets.items():
            rows = [row for row in waiting if row.target == name]
            if name in self.sending or not rows:
                continue
            crowded = pace.too_many(rows, MOST_WAITING)
            self._give_up(crowded, "too many wait", "crowded")
            left, minute = _without(rows, crowded), 60 * local.hour + local.minute
            out = pace.ready(left, target.contact, self._paces[name], now_s, minute)
            if out:
                self.sending.add(name)
                self._begin(target, tuple(out), self._album)

    def _give_up(self, rows: Sequence[Row], why: str, count: str) -> None:
        if rows:
            self._say_once(f"messages are not sent: {why}; `rhythmd notify --show` counts them")
            self._outbox.give_up(rows, count, self._now_s())

    def _say_once(self, what: str) -> None:
        if what not in self._told:
            log.warning(what)
        self._told.add(what)

    def _pictures(self, now_s: float) -> list[Notice]:
        """Of the strips that became whole."""
        cases = self._calls.without_picture()
        if not cases or now_s < self._looked_s + PICTURES_S:
            return []
        self._looked_s = now_s
        whole = [case.key for case in cases if self._album.has(case.daemon, case.alert.id)]
        return [notice for key in whole for notice in self._calls.pictured(key, now_s)]

    def _posts(self, notice: Notice) -> list[Waiting]:
        to = [each for each in self._targets.values() if each.contact.name == notice.contact]
        wanted = [each for each in to if notice.what != "pictured" or each.takes_pictures]
        return [Waiting(notice, each.name) for each in wanted]


def _without(rows: Sequence[Row], gone: Sequence[Row]) -> list[Row]:
    numbers = {row.number for row in gone}
    return [row for row in rows if row.number not in numbers]
