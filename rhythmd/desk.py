"""Asks at a daemon's desk: what was missed, and the answering of alarms. Needs pyzmq and msgspec alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import zmq

from daemon.requests import Answer, Request

ANSWER_S = 2.0


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client shows at the door: the file that `rhythmd keys add` writes. CURVE keys in Z85."""

    server: str  # the daemon's public key
    public: str
    secret: str


class DeskError(Exception):
    """The desk did not answer, or refused; the message says which."""


class Desk:
    """One question at a time. After one without an answer the socket is made anew: a late answer is to no other one."""

    def __init__(self, context: zmq.Context[Any], address: str, keys: Access | None = None) -> None:
        self._context = context
        self._keys = keys
        self._address = address
        self._socket: zmq.Socket[Any] | None = None

    def ask(self, request: Request, timeout_s: float = ANSWER_S) -> tuple[Answer, Iterator[tuple[str, bytes]]]:
        """The answer, and the entries that came with it: (topic, message)."""
        socket = self._socket = self._socket or self._connected()
        socket.send(msgspec.json.encode(request))
        if not socket.poll(int(1000 * timeout_s)):
            self.close()
            raise DeskError(f"no answer from {self._address} within {timeout_s:g} s; is the daemon running there?")
        first, *rest = socket.recv_multipart()
        answer = msgspec.json.decode(first, type=Answer)
        if answer.error:
            raise DeskError(answer.error)
        return answer, zip((topic.decode() for topic in rest[::2]), rest[1::2], strict=True)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close(linger=0)
            self._socket = None

    def _connected(self) -> zmq.Socket[Any]:
        socket: zmq.Socket[Any] = self._context.socket(zmq.DEALER)
        show_keys(socket, self._keys)
        socket.connect(self._address)
        return socket


def show_keys(socket: zmq.Socket[Any], keys: Access | None) -> None:
    """Before `socket` connects."""
    if keys:
        socket.curve_serverkey = keys.server.encode()
        socket.curve_publickey, socket.curve_secretkey = keys.public.encode(), keys.secret.encode()


def read_keys(path: Path) -> Access:
    """Raises ValueError when it is no such file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Access)
    except (OSError, msgspec.DecodeError) as error:
        raise ValueError(f"{path}: {error}; `rhythmd keys add` on the daemon's machine makes one") from None
