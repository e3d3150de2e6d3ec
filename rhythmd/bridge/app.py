"""`rhythmd bridge` at work: hears, stores, publishes, forgets what the broker has confirmed."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from time import monotonic, time
from typing import Any

from daemon.messages import Alert, Status
from daemon.notify import notify
from rhythmd import __version__
from rhythmd.bridge.broker import MOST_ON_THE_WAY, Away, Confirmed, Connected, Link
from rhythmd.bridge.config import Settings, device_of
from rhythmd.bridge.outbox import Outbox, Row, Wanted, open_outbox
from rhythmd.bridge.payloads import OnlinePayload, encode, id_of, payload_of
from rhythmd.bridge.strips import post_of
from rhythmd.bridge.topics import ALERTS, Post, is_news, online_topic, rank_of, topic_of
from rhythmd.following import Broken, Following, Heard, check_sources
from rhythmd.service import Stop, all_that_waits
from rhythmd.strips import folder_of, is_recorded, strip_of

log = logging.getLogger(__name__)

MOST_A_TURN = 200
TRY_DISK_S = 1.0
STRIPS_S = 5.0
STRIP_PATIENCE_S = 900.0
LAST_WORD_S = 2.0


def run(settings: Settings, folder: Path | None = None) -> int:
    """Until SIGINT or SIGTERM."""
    check_sources(settings.daemon)
    device = device_of(settings.publish)
    inbox: SimpleQueue[Any] = SimpleQueue()
    will = _online(settings, device, online=False)
    with (
        Stop() as stop,
        open_outbox(settings.publish.keep_mb, folder) as outbox,
        Link(settings.broker, f"rhythmd-{device}", will, inbox) as link,
        Following(settings.daemon, outbox.marks(), inbox) as following,
    ):
        bridge = Bridge(settings, device, outbox, link)
        notify("READY=1")
        log.info("ready: %d daemons, %d messages wait for the broker", len(settings.daemon), outbox.waiting())
        while not stop.asked:
            following.dealt_with(bridge.turn(all_that_waits(inbox, MOST_A_TURN, TRY_DISK_S)))
            notify("WATCHDOG=1")
        notify("STOPPING=1")
        bridge.leave()
        until_s = monotonic() + LAST_WORD_S
        while bridge.on_the_way and monotonic() < until_s:
            bridge.hear_of(all_that_waits(inbox, MOST_A_TURN))
    return 0


def _online(settings: Settings, device: str, *, online: bool) -> Post:
    payload = encode(OnlinePayload(device=device, online=online, version=__version__))
    return Post("", ALERTS, online_topic(settings.publish.prefix, device), payload, retain=True)


class Bridge:
    """Owns the outbox, and knows what is on its way to the broker."""

    def __init__(self, settings: Settings, device: str, outbox: Outbox, link: Link) -> None:
        self._settings, self._device = settings, device
        self._outbox, self._link = outbox, link
        self._sources = {source.name: source for source in settings.daemon}
        self._unstored: list[tuple[Heard, Post | None]] = []  # while the disk takes nothing
        self._hurried: set[str] = set()  # ids of those that were published all the same
        self._confirmed: list[Row] = []  # that are still on disk
        self._several = {source.name for source in settings.daemon if source.several}
        self._statuses: dict[tuple[str, str], tuple[Status, float]] = {}  # as last published, and when
        self._connected = False
        self._away: set[str] = set()  # why, as was told since it was last there
        self._failing = ""  # why nothing can be stored; empty is well
        self._dropping = False
        self._looked_s = 0.0
        self.on_the_way: dict[int, Row | None] = {}  # paho's number -> what it is; None: of no row

    def turn(self, items: Sequence[Any]) -> list[Heard]:
        """Deal with what came. Returns what was heard and is stored now."""
        self.hear_of(items)
        self._unstored += [(item, self._post(item)) for item in items if isinstance(item, Heard)]
        stored = self._store() if self._unstored else []
        self._look_for_strips()
        self._drop()
        self._publish()
        return stored

    def hear_of(self, items: Sequence[Any]) -> None:
        """What the broker says."""
        for item in items:
            if isinstance(item, Broken):
                raise item.error
            if isinstance(item, Confirmed):
                row = self.on_the_way.pop(item.number, None)
                self._confirmed += [row] if row else []
            elif isinstance(item, Connected):
                self._connected = True
                self._away.clear()
                log.warning("the broker is there; %d messages wait", self._outbox.waiting())
                self._send(_online(self._settings, self._device, online=True), None)
            elif isinstance(item, Away):
                self._connected = False
                if item.why not in self._away:
                    log.warning("the broker is away: %s; what comes is kept", item.why)
                self._away.add(item.why)
        if self._confirmed and self._on_disk(lambda: self._outbox.confirmed(self._confirmed)):
            self._confirmed = []

    def leave(self) -> None:
        """Say good-bye: this is no accident."""
        if self._connected:
            self._send(_online(self._settings, self._device, online=False), None)

    def _post(self, heard: Heard) -> Post | None:
        topic, message = heard.received.topic, heard.received.message
        if isinstance(message, Status):
            last, at_s = self._statuses.get((heard.daemon, message.patch), (None, 0.0))
            if last is None and message.patches > 1 and heard.daemon not in self._several:
                log.warning("%s reads %d patches: write several = true there", heard.daemon, message.patches)
            if not is_news(message, last, monotonic() - at_s, self._settings.publish.status_every_s):
                return None
            self._statuses[heard.daemon, message.patch] = message, monotonic()
        payload = payload_of(topic, message, device=self._device, daemon=heard.daemon)
        place = self._place(heard.daemon, message.patch)
        where = topic_of(self._settings.publish.prefix, self._device, place, topic)
        return Post(id_of(topic, message), rank_of(message), where, encode(payload), retain=isinstance(message, Status))

    def _place(self, daemon: str, patch: str) -> str:
        patch = patch.replace(".", "_")  # NATS parts its subjects at a dot
        return f"{daemon}/{patch}" if daemon in self._several else daemon

    def _store(self) -> list[Heard]:
        posts = [post for _, post in self._unstored if post]
        marks = {heard.daemon: heard.mark for heard, _ in self._unstored if heard.mark}
        wanted = [found for heard, _ in self._unstored if (found := self._wanted(heard))]
        # What is not published moves no mark: a status each second would wear the disk.
        if posts and not self._on_disk(lambda: self._outbox.add(marks, posts, wanted)):
            self._publish_unstored(posts)
            return []
        stored = [heard for heard, _ in self._unstored]
        self._unstored, self._hurried = [], set()
        return stored

    def _publish_unstored(self, posts: Sequence[Post]) -> None:
        """An alert does not wait for the disk. It goes again when it is stored, with the same id."""
        for post in posts:
            if self._connected and post.rank == ALERTS and post.message_id not in self._hurried:
                self._send(post, None)
                self._hurried.add(post.message_id)

    def _wanted(self, heard: Heard) -> Wanted | None:
        alert = heard.received.message
        there = self._settings.publish.strips and is_recorded(folder_of(self._sources[heard.daemon]))
        if not (there and isinstance(alert, Alert) and alert.state == "open"):
            return None
        return Wanted(alert.id, heard.daemon, alert.patch, alert.kind, time())

    def _look_for_strips(self) -> None:
        if monotonic() < self._looked_s + STRIPS_S:
            return
        self._looked_s = monotonic()
        for each in self._outbox.wanted():
            source = self._sources.get(each.daemon)  # it may be gone from the configuration
            folder = folder_of(source) if source else None
            there = strip_of(folder, each.alert) if folder else "none"
            place = self._place(each.daemon, each.patch)
            topic = topic_of(self._settings.publish.prefix, self._device, place, f"strip.{each.kind}")
            post = post_of(folder, each, topic, self._device) if folder and there in ("whole", "part") else None
            if post and self._on_disk(partial(self._outbox.add, {}, [post])):
                self._on_disk(partial(self._outbox.satisfied, each, "strips"))
            elif not post and (there != "awaited" or time() > each.since_s + STRIP_PATIENCE_S):
                self._on_disk(partial(self._outbox.satisfied, each, "strips that never came"))

    def _drop(self) -> None:
        before = self._outbox.bytes
        if self._outbox.too_big and not self._failing:
            self._on_disk(partial(self._outbox.drop, self._busy))
        dropped = self._outbox.bytes < before
        if dropped and not self._dropping:
            log.warning("more waits than publish.keep_mb: the oldest statuses are dropped, then strips, alerts never")
        self._dropping = dropped or (self._dropping and not self._outbox.half_empty)

    @property
    def _busy(self) -> set[int]:
        """Rows that are not to be sent now."""
        return {row.number for row in [*self.on_the_way.values(), *self._confirmed] if row}

    def _publish(self) -> None:
        free = MOST_ON_THE_WAY - len(self.on_the_way)
        if self._connected and free > 0:
            for row in self._outbox.next(self._busy, free):
                self._send(row.post, row)

    def _send(self, post: Post, row: Row | None) -> None:
        self.on_the_way[self._link.publish(post)] = row

    def _on_disk(self, write: Callable[[], object]) -> bool:
        """Whether it is there now. What is not waits in memory, and the daemon's ledger keeps what finds no room."""
        try:
            write()
        except sqlite3.Error as error:
            if not self._failing:
                log.error("nothing can be stored: %s; alerts are published while the broker is there", error)
            self._failing = str(error)
            return False
        if self._failing:
            log.warning("what comes is stored again")
        self._failing = ""
        return True
