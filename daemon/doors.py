"""The sockets that others reach: the publisher's XPUB and the desk's ROUTER, bound to every address.

Loopback and `ipc` addresses are open to whoever may use this machine; any other asks for a key.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import zmq

from daemon.config import ConfigError, is_local
from daemon.guard import Doorkeeper, Guard, authenticator, limit
from daemon.requests import LARGEST_REQUEST, desk_of

log = logging.getLogger(__name__)

QUEUED_MESSAGES = 10_000
"""Per subscriber. A subscriber that falls further behind loses messages, sees it by `seq`, and stalls no one."""


QUEUED_PAGES = 50
"""Per client of the desk, each way."""


MOST_CONNECTIONS = 800
"""At both sockets together; a subscriber that asks the desk has two. Beyond, all are shown out, and who needs to comes
back. ZeroMQ has no limit of its own, and ends the process where no file is left for a connection (ipc_listener.cpp)."""

MOST_FILES = 8192
"""What a second may bring before it is counted."""

REOPENED_WITHIN_S = 3.0
TELL_EVERY_S = 60.0
"""Who knocks all night must not fill the journal."""


class Doors:
    """Both sockets, and who came in vain. Opened again when a key is revoked: ZeroMQ cannot show out one alone."""

    def __init__(self, context: zmq.Context[Any], addresses: tuple[str, ...], guard: Guard | None) -> None:
        self.refused = 0  # connections that came to nothing
        self.slow = 0  # how often the publisher found somebody too far behind to take more
        self._told = 0
        self._tell_due_s = 0.0
        self._context = context
        self._addresses = sorted(addresses, key=is_local, reverse=True)  # what is bound later asks for a key
        self._guard = guard
        self._open()

    def look(self) -> bool:
        """To be called every second or so. True when everybody was shown out: a key was revoked, or a throng."""
        self.refused += sum(keeper.count() for keeper in self._keepers)
        if self.refused > self._told and monotonic() >= self._tell_due_s:
            log.warning(
                "%d connections refused%s", self.refused - self._told, self._guard.last() if self._guard else ""
            )
            self._told, self._tell_due_s = self.refused, monotonic() + TELL_EVERY_S
        inside = sum(keeper.inside for keeper in self._keepers)
        if inside > MOST_CONNECTIONS:
            log.warning("%d connections, more than %d: all are closed, and may come back", inside, MOST_CONNECTIONS)
        elif self._guard and self._guard.look():
            log.warning("a key was revoked: all connections are closed, and those whose key is in force will come back")
        else:
            return False
        self.close()
        self._open_again()
        return True

    def close(self) -> None:
        for keeper in self._keepers:
            keeper.close()
        self.publisher.close()
        self.desk.close()

    def _open_again(self) -> None:
        """ZeroMQ gives an address back a little after `close` returns."""
        until_s = monotonic() + REOPENED_WITHIN_S
        while True:
            try:
                return self._open()
            except ConfigError:
                if monotonic() > until_s:
                    raise
                sleep(0.01)

    def _open(self) -> None:
        self.publisher: zmq.Socket[bytes] = self._context.socket(zmq.XPUB)
        self.desk: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        self._keepers = [Doorkeeper(self.publisher), Doorkeeper(self.desk)]
        self.publisher.setsockopt(zmq.XPUB_VERBOSE, 1)  # a second subscriber to a topic is a late joiner too
        self.publisher.setsockopt(zmq.SNDHWM, QUEUED_MESSAGES)
        self.publisher.setsockopt(zmq.XPUB_NODROP, 1)  # so that the publisher is told when someone is too far behind
        self.publisher.setsockopt(zmq.LINGER, 1000)  # ms: the last words of a daemon that stops
        self.desk.setsockopt(zmq.SNDHWM, QUEUED_PAGES)
        self.desk.setsockopt(zmq.RCVHWM, QUEUED_PAGES)
        self.desk.setsockopt(zmq.ROUTER_MANDATORY, 1)  # an answer that cannot go out is an error, not a silence
        self.desk.setsockopt(zmq.LINGER, 0)
        for each in (self.publisher, self.desk):
            each.setsockopt(zmq.MAXMSGSIZE, LARGEST_REQUEST)
            limit(each)
        try:
            for address in self._addresses:
                for each, place in ((self.publisher, address), (self.desk, desk_of(address))):
                    if not is_local(address):
                        assert self._guard, "daemon.config refuses it"
                        self._guard.protect(each)
                    _bind(each, place)
        except BaseException:
            self.close()
            raise


@contextmanager
def open_doors(addresses: tuple[str, ...], keys: str = "") -> Iterator[Doors]:
    """`addresses` as they are bound; `keys` is the folder of the keys, empty where none is needed."""
    guard = Guard(Path(keys)) if keys else None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, MOST_FILES)), hard))
    context: zmq.Context[Any] = zmq.Context()
    try:
        with authenticator(context, guard) if guard else nullcontext():
            doors = Doors(context, addresses, guard)
            try:
                yield doors
            finally:
                doors.close()
    finally:
        context.term()


def _bind(publisher: zmq.Socket[Any], address: str) -> None:
    try:
        if address.startswith("ipc://"):
            path = Path(address.removeprefix("ipc://"))
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            if _is_answered(path):  # ZeroMQ would take it away from the one who has it
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
            publisher.bind(address)
            path.chmod(0o660)
        else:
            publisher.bind(address)
    except (zmq.ZMQError, OSError) as error:
        taken = error.errno == errno.EADDRINUSE
        remedy = "is another rhythmd running? `rhythmd doctor` looks" if taken else "choose an address of this machine"
        raise ConfigError(f"publish.bind: {address}: {error}; {remedy}") from None


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0
