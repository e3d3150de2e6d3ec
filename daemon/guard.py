"""At the door of the sockets that others can reach: who has a key may in, everybody else is counted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import recv_monitor_message

from daemon.keys import CLIENTS, Pair, read_clients, read_server

log = logging.getLogger(__name__)

DOMAIN = "rhythmd"
REFUSED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
MOST_EVENTS = 100_000
"""Between two counts. Where they do not fit ZeroMQ waits, and with it every alert: 2,000, its default, is a second's
flood."""

HANDSHAKE_MS = 5000
PULSE_S, PULSES = 5, 3


class Guard:
    """Knows the keys that are in force. The authenticator's thread asks it, the judge room keeps it up to date."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / CLIENTS
        self._pair: Pair = read_server(folder)
        self._changed_ns = 0
        self._clients: dict[bytes, str] = {}
        self._stranger = b""
        self.look()

    def callback(self, _domain: str, key: bytes) -> bool:
        """Whether this one may come in: asked by ZeroMQ's authenticator."""
        known = key in self._clients
        if not known:
            self._stranger = key
        return known

    def last(self) -> str:
        """The key that was refused last, for the log; empty when none was."""
        stranger, self._stranger = self._stranger, b""
        return f", the last with key {stranger[:8].decode(errors='replace')}..." if stranger else ""

    def look(self) -> bool:
        """Read the keys again if they changed. True when one went that was in force: its holder must be shown out."""
        try:
            changed_ns = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            changed_ns = -1
        if changed_ns == self._changed_ns:
            return False
        before, self._clients = self._clients, read_clients(self._folder.parent)
        self._changed_ns = changed_ns
        return bool(before.keys() - self._clients.keys())

    def protect(self, socket: zmq.Socket[Any]) -> None:
        """All addresses that `socket` is bound to from here on ask for a key."""
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = self._pair.public.encode(), self._pair.secret.encode()
        socket.zap_domain = DOMAIN.encode()


@contextmanager
def authenticator(context: zmq.Context[Any], guard: Guard) -> Iterator[None]:
    """ZeroMQ asks `guard` at every handshake, in a thread of its own, so that a busy judge keeps nobody waiting."""
    thread = ThreadAuthenticator(context, log=log)
    thread.start()
    thread.thread.name = "keys"
    thread.configure_curve_callback(domain=DOMAIN, credentials_provider=guard)
    try:
        yield
    finally:
        thread.stop()


class Doorkeeper:
    """Counts who is inside, and the connections that came to nothing: no key, a wrong key, no ZeroMQ at all."""

    def __init__(self, socket: zmq.Socket[Any]) -> None:
        self.inside = 0
        self._socket = socket
        self._events: zmq.Socket[Any] = socket.context.socket(zmq.PAIR)
        self._events.setsockopt(zmq.RCVHWM, MOST_EVENTS)
        place = f"inproc://doorkeeper-{id(self)}"
        socket.monitor(place, REFUSED | zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._events.connect(place)

    def count(self) -> int:
        """How many came to nothing since the last call."""
        refused = 0
        with suppress(zmq.Again):
            while True:
                event = recv_monitor_message(self._events, zmq.NOBLOCK)["event"]
                self.inside += (event == zmq.EVENT_ACCEPTED) - (event == zmq.EVENT_DISCONNECTED)
                refused += bool(event & REFUSED)
        return refused

    def close(self) -> None:
        """Before its socket is closed."""
        self._socket.monitor(None, 0)
        self._events.close(linger=0)


def limit(socket: zmq.Socket[Any]) -> None:
    """What a stranger may cost: a few seconds to shake hands, and a connection that falls silent is closed.

    The kernel looks whether the other machine is still there. ZeroMQ's own heartbeat must not: up to 4.3.5 it aborts
    the process when someone floods a socket and leaves before all is read (libzmq issues 3937, 4364 and 4767).
    """
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, PULSE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, PULSE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, PULSES)
