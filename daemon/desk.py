"""The desk beside the publisher: a ROUTER socket where subscribers ask for what they missed and answer alarms.

It belongs to the judge room, which asks it in passing: a few requests a turn, each of bounded size, so that whoever
floods it waits in his own queue.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import msgspec
import zmq

from daemon.doors import Doors
from daemon.ledger import Ledger
from daemon.requests import Acknowledge, Answer, Request, Silence, Since

log = logging.getLogger(__name__)

REQUESTS_A_TURN = 8
ENTRIES_A_PAGE = 200


class Desk:
    """Answers requests. Garbage is answered with an error, and counted."""

    def __init__(self, doors: Doors, ledger: Ledger, answered: Callable[[Acknowledge | Silence], str | None]) -> None:
        self.refused = 0
        self._doors = doors
        self._ledger = ledger
        self._answered = answered  # what the judge room makes of it: an error, or None

    def serve(self) -> None:
        """Answer what waits, a few at most."""
        for client, *frames in self._requests():
            try:
                answer = self._answer(frames)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:  # ValidationError is a DecodeError
                self.refused += 1
                answer = [msgspec.json.encode(Answer(ledger=self._ledger.id, error=str(error)))]
            try:
                self._doors.desk.send_multipart([client, *answer], zmq.NOBLOCK)
            except zmq.ZMQError:  # it has gone, or does not read: it may ask again
                continue

    def _requests(self) -> Iterator[list[bytes]]:
        for _ in range(REQUESTS_A_TURN):
            try:
                yield self._doors.desk.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return

    def _answer(self, frames: list[bytes]) -> list[bytes]:
        if len(frames) != 1:
            raise ValueError("a request is one frame of JSON")
        request: Request = msgspec.json.decode(frames[0], type=Request)
        if isinstance(request, Since):
            return self._page(request)
        error = self._answered(request)
        return [msgspec.json.encode(Answer(ledger=self._ledger.id, error=error))]

    def _page(self, request: Since) -> list[bytes]:
        given = max(self._ledger.newest, self._ledger.numbers.given_before("serial"))  # and perhaps lost by a full disk
        same = request.ledger in (None, self._ledger.id) and request.serial <= given
        page = self._ledger.since(request.serial if same else 0, request.topics, most=ENTRIES_A_PAGE)
        answer = Answer(ledger=self._ledger.id, upto=page.upto, more=page.more)
        return [
            msgspec.json.encode(answer),
            *(part for each in page.entries for part in (each.topic.encode(), each.payload)),
        ]
