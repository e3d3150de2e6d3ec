"""The small HTTP server of the live page: some files, one stream of events, strips, and the answering of alarms.

A thread a connection, and few of those: whoever floods it or never reads keeps other viewers out at most. The
daemon knows nothing of any viewer.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import AF_INET, AF_INET6, socket
from time import sleep
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from daemon.requests import Acknowledge, Silence
from rhythmd.desk import DeskError
from rhythmd.monitor.door import Door
from rhythmd.monitor.relay import CrowdedError, Relay
from rhythmd.monitor.shown import Strip

WEB = Path(__file__).parents[1] / "web"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
MOST_CONNECTIONS = 96
READER_S = 5.0
"""Who takes nothing, or says nothing, for so long is shown out."""

LARGEST_BODY = 4096
WRONG_TOKEN_S = 1.0
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Connection": "close",
}

Answer = Callable[[Acknowledge | Silence], None]
"""Passes it on to the daemon's desk; raises DeskError."""

Kept = Callable[[str], Strip | None]
"""The strip of an alert that is on disk."""


class Server(ThreadingHTTPServer):
    """Binds at once; `serve_forever` in a thread of its own."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self,
        host: str,
        port: int,
        relay: Relay,
        door: Door,
        answer: Answer,
        kept: Kept,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.address_family = AF_INET6 if ":" in host else AF_INET
        self.relay, self.door, self.answer, self.kept = relay, door, answer, kept
        self._tls = tls
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self.files = {
            "/" + path.relative_to(WEB).as_posix(): (TYPES[path.suffix], path.read_bytes())
            for path in sorted(WEB.rglob("*"))
            if path.suffix in TYPES
        }
        super().__init__((host, port), Page)

    def get_request(self) -> tuple[socket, Any]:
        connection, address = super().get_request()
        if self._tls:  # the handshake waits for the visitor: in the connection's own thread
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # the system gives no more threads
            self._room.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A viewer who went away is nobody's trouble."""


class Page(BaseHTTPRequestHandler):
    server: Server
    timeout = READER_S
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if not self._may_come_in():
            return
        if path in ("/page.css", "/icon.svg"):  # the login's too
            self._send_file(path)
        elif not self.server.door.lets_in(self.headers):
            self._send_file("/login.html", HTTPStatus.UNAUTHORIZED)
        elif path == "/stream":
            self._stream()
        elif path == "/strip":
            self._strip()
        else:
            self._send_file("/index.html" if path == "/" else path)

    def do_POST(self) -> None:
        if not self._may_come_in():
            return
        size = self.headers.get("Content-Length") or ""
        if not size.isdecimal() or int(size) > LARGEST_BODY:
            self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {LARGEST_BODY} bytes")
            return
        body = self.rfile.read(int(size))
        path = urlsplit(self.path).path
        if path == "/login":
            self._login(body)
        elif path != "/answer":
            self._say(HTTPStatus.NOT_FOUND, "there is no such thing here")
        elif not self.server.door.lets_in(self.headers) or self.headers.get("X-Guard") != self.server.relay.guard:
            self._say(HTTPStatus.FORBIDDEN, "load the page again: it may have another server by now")
        else:
            self._answer(body)

    def _may_come_in(self) -> bool:
        """Says why not."""
        known = self.server.door.knows(self.headers)
        typed = self.command == "GET" and urlsplit(self.path).path == "/"  # a link from elsewhere may lead to the page
        if known and (typed or self.server.door.from_own_page(self.headers)):
            return True
        host = self.headers.get("Host")
        self._say(
            HTTPStatus.FORBIDDEN,
            "requests of other sites' pages are refused"
            if known
            else f"{host!r} is not a name of this page: open it by its address, or start it with --name",
        )
        return False

    def _login(self, body: bytes) -> None:
        token = parse_qs(body.decode(errors="replace")).get("token", [""])[0]
        cookie = self.server.door.cookie_for(token.strip())
        if cookie is None:
            sleep(WRONG_TOKEN_S)
            self._send_file("/login.html", HTTPStatus.UNAUTHORIZED)
            return
        secure = "; Secure" if isinstance(self.connection, ssl.SSLSocket) else ""
        self._head(HTTPStatus.SEE_OTHER, {"Location": "/", "Set-Cookie": cookie + secure, "Content-Length": "0"})

    def _answer(self, body: bytes) -> None:
        try:
            request: Acknowledge | Silence = msgspec.json.decode(body, type=Acknowledge | Silence)
            self.server.answer(request)
        except msgspec.DecodeError as error:
            self._say(HTTPStatus.BAD_REQUEST, str(error))
        except DeskError as error:
            self._say(HTTPStatus.BAD_GATEWAY, str(error))
        else:
            self._say(HTTPStatus.OK, "")

    def _strip(self) -> None:
        alert_id = parse_qs(urlsplit(self.path).query).get("id", [""])[0]
        strip = self.server.relay.strip(alert_id) or msgspec.json.encode(self.server.kept(alert_id))
        self._send(HTTPStatus.OK, "application/json", strip)

    def _stream(self) -> None:
        patch = parse_qs(urlsplit(self.path).query).get("patch", [None])[0]
        try:
            with self.server.relay.viewer(patch) as viewer:
                self._head(HTTPStatus.OK, {"Content-Type": "text/event-stream"})
                for data in self.server.relay.events(viewer):
                    self.wfile.write(data)
        except CrowdedError:
            self._say(HTTPStatus.SERVICE_UNAVAILABLE, "as many viewers look on as can be served")

    def _send_file(self, path: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        if path in self.server.files:
            self._send(status, *self.server.files[path])
        else:
            self._say(HTTPStatus.NOT_FOUND, "there is no such thing here")

    def _say(self, status: HTTPStatus, text: str) -> None:
        self._send(status, "text/plain; charset=utf-8", text.encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self._head(status, {"Content-Type": kind, "Content-Length": str(len(body))})
        self.wfile.write(body)

    def _head(self, status: HTTPStatus, more: dict[str, str]) -> None:
        self.close_connection = True
        self.send_response(status)
        for name, value in {**HEADERS, **more}.items():
            self.send_header(name, value)
        self.end_headers()

    def version_string(self) -> str:
        return "rhythmd"

    def log_message(self, *_: object) -> None:
        """Who looks on is not written down."""
