"""The live page: see the heart in a browser, as on a bedside monitor, and answer alarms there. Not a medical device.

rhythmd monitor                     then open http://127.0.0.1:8250/ on this machine; Ctrl-C ends it
ssh -L 8250:127.0.0.1:8250 DEVICE   then the same address on yours
rhythmd monitor --host 192.168.1.5 --token-file FILE --certificate FILE
                                    for other machines: whoever opens it must give the token that FILE holds

It is a subscriber like any other: nothing that happens to it, or in a browser, reaches the daemon.
"""

from __future__ import annotations

import argparse
import logging
import secrets
import signal
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from time import monotonic

import zmq

from daemon.config import ConfigError
from daemon.keys import write_private
from daemon.notify import notify
from daemon.publish import reachable
from daemon.requests import Acknowledge, Silence, desk_of
from rhythmd.desk import Access, Desk, read_keys
from rhythmd.monitor.door import LEAST_TOKEN, Door, is_loopback
from rhythmd.monitor.follow import follow
from rhythmd.monitor.kept import kept_strip
from rhythmd.monitor.relay import Relay
from rhythmd.monitor.server import Server
from rhythmd.subscriber import ADDRESS

log = logging.getLogger(__name__)

PORT = 8250
ALIVE_S = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=PORT, help="of the page (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="of the page (default: %(default)s)")
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="the token to open it with; made where there is no such file"
    )
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="PEM with its key: the page goes encrypted")
    parser.add_argument("--name", action="append", default=[], help="a host name by which it may be opened; repeatable")
    parser.add_argument("--records", type=Path, metavar="FOLDER", help="of `rhythmd record`, for strips of before")
    parser.add_argument("--connect", default=ADDRESS, metavar="ADDRESS", help="of the daemon (default: %(default)s)")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="of `rhythmd keys add`, for a daemon elsewhere")


def run(args: argparse.Namespace) -> int:
    logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both ways of stopping are the same good end
    address = reachable(args.connect)
    try:
        keys = read_keys(args.keys) if args.keys else None
    except ValueError as error:
        raise ConfigError(str(error)) from None
    door = Door(_token(args.token_file, args.host), tuple(args.name), args.port)
    relay = Relay()
    try:
        with _serving(args, relay, door, _Teller(address, keys)) as place:
            notify("READY=1")
            print(f"The page: {place}  (daemon at {address}; Ctrl-C ends it). Not a medical device.", flush=True)
            for received in follow(address, keys, _Alive()):
                relay.take(received)
    except KeyboardInterrupt:
        pass
    return 0


class _Alive:
    """Feeds systemd's watchdog."""

    def __init__(self) -> None:
        self._due_s = 0.0

    def __call__(self) -> None:
        if monotonic() >= self._due_s:
            self._due_s = monotonic() + ALIVE_S
            notify("WATCHDOG=1")


class _Teller:
    """Answers alarms at the daemon's desk, for one viewer after the other."""

    def __init__(self, address: str, keys: Access | None) -> None:
        self._address, self._keys = address, keys
        self._lock = threading.Lock()

    def __call__(self, request: Acknowledge | Silence) -> None:
        with self._lock, zmq.Context() as context, closing(Desk(context, desk_of(self._address), self._keys)) as desk:
            desk.ask(request)


@contextmanager
def _serving(args: argparse.Namespace, relay: Relay, door: Door, answer: _Teller) -> Iterator[str]:
    """Serves in a thread; yields the page's address."""
    tls = _tls(args.certificate) if args.certificate else None
    try:
        kept = partial(kept_strip, folder=args.records)
        server = Server(args.host, args.port, relay, door, answer, kept, tls)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--port: {args.host}:{args.port}: {error}; choose another with --port") from None
    if door.locked and not tls and not is_loopback(args.host):
        log.warning("token and ECG go unencrypted over the network: give --certificate, or use ssh -L")
    thread = threading.Thread(target=server.serve_forever, args=(0.2,), name="page", daemon=True)
    thread.start()
    host = f"[{args.host}]" if ":" in args.host else args.host
    try:
        yield f"http{'s' if tls else ''}://{host}:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def _token(file: Path | None, host: str) -> str:
    if file is None:
        if not is_loopback(host):
            raise ConfigError(
                f"--host: {host} can be reached from other machines: give --token-file, which is made where there is "
                "none, or stay on 127.0.0.1 and use `ssh -L`"
            )
        return ""
    try:
        if not file.exists():
            write_private(file, secrets.token_urlsafe(24).encode() + b"\n")
            print(f"{file} holds the token to open the page with", flush=True)
        if file.stat().st_mode & 0o077:
            raise ConfigError(f"--token-file: {file} can be read by others; `chmod 600 {file}`")
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--token-file: {file}: {error}") from None
    if len(token) < LEAST_TOKEN:
        raise ConfigError(
            f"--token-file: {file}: a token has at least {LEAST_TOKEN} characters; remove it for a new one"
        )
    return token


def _tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"--certificate: {certificate}: {error}; PEM, the key in the same file") from None
    return context
