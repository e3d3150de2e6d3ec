"""Follow what a daemon publishes, until Ctrl-C. On joining you are told what is open now.

rhythmd listen                      alerts and recorded events
rhythmd listen --topic beat         every beat; also status, wave, or `alert.atrial_fibrillation`; may be repeated
rhythmd listen --json | jq .        one object a line, for programs (better still: `from rhythmd import Subscriber`)
"""

from __future__ import annotations

import argparse
import signal
import sys
from time import monotonic
from typing import Any

import msgspec

from daemon.config import ConfigError
from daemon.publish import reachable
from rhythmd.subscriber import ADDRESS, ALERTS, Received, Subscriber


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--connect", default=ADDRESS, metavar="ADDRESS", help="of the daemon (default: %(default)s)")
    parser.add_argument("--topic", action="append", metavar="PREFIX", help="default: alert. and event.")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--for", dest="for_s", type=float, metavar="SECONDS", help="stop after this long")


def run(args: argparse.Namespace) -> int:
    topics = tuple(args.topic or ALERTS)
    show = _as_json if args.json else in_words
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both ways of stopping are the same good end
    deadline_s = None if args.for_s is None else monotonic() + args.for_s
    try:
        subscriber = Subscriber(reachable(args.connect), topics)
    except ValueError as error:
        raise ConfigError(f"--connect: {error}") from None
    with subscriber:
        try:
            while deadline_s is None or monotonic() < deadline_s:
                received = subscriber.receive(None if deadline_s is None else max(0.0, deadline_s - monotonic()))
                if received:
                    print(show(received), flush=True)
        except KeyboardInterrupt:
            pass
        if subscriber.lost:
            print(f"rhythmd: {subscriber.lost} messages were lost on the way here", file=sys.stderr)
    return 0


def _as_json(received: Received) -> str:
    fields: dict[str, Any] = {"topic": received.topic, **msgspec.to_builtins(received.message)}
    if received.data:
        fields["counts"] = list(memoryview(received.data).cast("h"))
    return msgspec.json.encode(fields).decode()


def in_words(received: Received) -> str:
    """One line for people: time, topic, and what matters most."""
    fields = msgspec.to_builtins(received.message)
    when = received.message.utc.astimezone().strftime("%H:%M:%S")
    shown = _SHOWN.get(received.topic.split(".")[0], ())
    parts = [f"{name}={_short(fields[name])}" for name in shown if fields[name] not in (None, "", ())]
    return f"{when}  {received.topic:<32} {' '.join(parts)}"


_SHOWN = {
    "alert": ("state", "priority", "onset_sample", "end_sample", "ended_by", "evidence"),
    "event": ("state", "priority", "onset_sample", "end_sample", "ended_by", "evidence"),
    "beat": ("beat", "sample", "rr_s", "heart_rate_bpm"),
    "status": ("port", "quality", "rhythm", "heart_rate_bpm", "open_alerts", "engine"),
    "wave": ("sample", "samples"),
}


def _short(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {each}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return str(value)
