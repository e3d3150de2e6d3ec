"""The judge room's work: every patch's windows in, messages out. One engine, ledger and pair of doors for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from time import monotonic

from daemon.announcer import left_in
from daemon.config import Config
from daemon.desk import Desk
from daemon.doors import Doors, open_doors
from daemon.engine import Engine, open_engine
from daemon.judging import Judging
from daemon.ledger import Ledger
from daemon.messages import Queues
from daemon.metrics import Metrics
from daemon.publish import Publisher, resolve
from daemon.requests import Acknowledge, Silence
from daemon.room import Work
from daemon.store import open_store
from daemon.turns import Of
from engines.model import Model

STATUS_EVERY_S = 1.0
FLUSH_EVERY_S = 1.0
SERVE_EVERY_S = 0.02  # however many turns there are meanwhile, and while a long one lasts
LOOK_EVERY_S = 1.0

Waiting = Callable[[int], tuple[int, int]]
"""How many readings and how many items of the judge room wait in the queues of the patch at this place."""


class Ward:
    """All patches of this daemon, in the order of the configuration."""

    def __init__(
        self,
        config: Config,
        model: Model,
        engine: Engine,
        ledger: Ledger,
        doors: Doors,
        metrics: Metrics,
        waiting: Waiting,
    ) -> None:
        self._store = config.store
        self._ledger = ledger
        self._doors = doors
        self._publisher = Publisher(doors, ledger.numbers)
        self._desk = Desk(doors, ledger, self._answered)
        self._waiting = waiting
        self._judgings = [
            Judging(
                wearer,
                model,
                engine,
                config.engine.backend,
                self._publisher.of(wearer.patch.id) if config.patches else self._publisher,
                ledger,
                metrics,
                lambda place=place: self._queues(place),  # type: ignore[misc]
                len(config.wearers),
            )
            for place, wearer in enumerate(config.wearers)
        ]
        self._by_name = {wearer.patch.id: each for wearer, each in zip(config.wearers, self._judgings, strict=True)}
        self._begin()
        self._telling = cycle(self._judgings)
        self._tell_due_s = self._flush_due_s = self._look_due_s = self._serve_due_s = 0.0

    def work(self, items: list[Of]) -> Iterator[Of]:
        """A turn."""
        for item in items:
            self._judgings[item.place].take(item.item)
            yield item
            if monotonic() >= self._serve_due_s:
                self._serve()
        if monotonic() >= self._serve_due_s:
            self._serve()

    def close(self) -> None:
        """The daemon stops: an alert that no one watches any more is not open."""
        for judging in self._judgings:
            judging.close()

    def _begin(self) -> None:
        """Go on with what the daemon before left; the first patch answers for those that are not here any more."""
        left = list(left_in(self._ledger))
        heirs = [self._by_name.get(message.patch, self._judgings[0]) for _, message in left]
        for judging in self._judgings:
            judging.begin([each for each, heir in zip(left, heirs, strict=True) if heir is judging])

    def _serve(self) -> None:
        """What is done in between, whatever comes or not."""
        now_s = monotonic()
        self._serve_due_s = now_s + SERVE_EVERY_S
        if now_s >= self._flush_due_s:
            self._flush_due_s = now_s + FLUSH_EVERY_S
            self._ledger.flush()
            self._ledger.prune(keep_s=86_400 * self._store.keep_days, keep_bytes=round(1e6 * self._store.keep_mb))
        self._publisher.welcome()  # first: a status before what stands open says that there is nothing to be had
        self._tell(now_s)
        self._desk.serve()
        if now_s >= self._look_due_s:
            self._look_due_s = now_s + LOOK_EVERY_S
            if self._doors.look():
                self._publisher.all_left()

    def _tell(self, now_s: float) -> None:
        """One patch after the other, each once a second: 64 statuses at once would hold up an alert."""
        apart_s = STATUS_EVERY_S / len(self._judgings)
        self._tell_due_s = max(self._tell_due_s, now_s - STATUS_EVERY_S + apart_s)
        while self._tell_due_s <= now_s:
            self._tell_due_s += apart_s
            next(self._telling).every_second()

    def _answered(self, request: Acknowledge | Silence) -> str | None:
        """A subscriber answers alarms: an error, or None when it is done."""
        if isinstance(request, Acknowledge):
            errors = [judging.answered(request) for judging in self._judgings]
            return None if None in errors else errors[0]
        if request.patch is not None and request.patch not in self._by_name:
            return f"no patch {request.patch!r} here; `rhythmd status` shows those that are"
        for name, judging in self._by_name.items():
            if request.patch in (None, name):
                judging.answered(request)
        return None

    def _queues(self, place: int) -> Queues:
        readings, windows = self._waiting(place)
        return Queues(
            readings=readings,
            windows=windows,
            unstored=self._ledger.waiting,
            given_up=self._ledger.dropped,
            slow_subscribers=self._publisher.slow,
            refused_connections=self._doors.refused,
            refused_requests=self._desk.refused,
        )


@contextmanager
def open_ward(config: Config, model: Model, metrics: Metrics, waiting: Waiting) -> Iterator[Work]:
    """The judge room's work on all patches of `config`."""
    with (
        open_engine(config.engine.backend, model, config.engine.wait) as engine,
        open_store(config.store) as ledger,
        open_doors(tuple(map(resolve, config.publish.bind)), config.publish.keys) as doors,
    ):
        ward = Ward(config, model, engine, ledger, doors, metrics, waiting)
        try:
            yield ward.work
        finally:
            ward.close()
