"""Follow what a daemon publishes, until Ctrl-C. On joining you are told what is open now.

rhythmd listen                      alerts and recorded events
rhythmd listen --topic beat         every beat; also status, wave, or `alert.atrial_fibrillation`; may be repeated
rhythmd listen --patch bed-3        of one patch, where the daemon reads several
rhythmd listen --json | jq .        one object a line, for programs (better still: `from rhythmd import Subscriber`)
rhythmd listen --since 0            first all alerts that the daemon keeps, then on; or after the one with this serial
rhythmd listen --since last         go on where the last `--since last` stopped: nothing is missed in between
"""

from __future__ import annotations

import argparse
import signal
import sys
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from daemon.config import ConfigError
from daemon.publish import reachable
from rhythmd.bookmark import Bookmark
from rhythmd.desk import read_keys
from rhythmd.subscriber import ADDRESS, ALERTS, Received, Subscriber


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--connect", default=ADDRESS, metavar="ADDRESS", help="of the daemon (default: %(default)s)")
    parser.add_argument("--topic", action="append", metavar="PREFIX", help="default: alert. and event.")
    parser.add_argument("--patch", metavar="NAME", help="only this one's (default: all of the daemon)")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="of `rhythmd keys add`, for a daemon elsewhere")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--since", type=_place, metavar="SERIAL|last", help="also what came before (see above)")
    parser.add_argument("--for", dest="for_s", type=float, metavar="SECONDS", help="stop after this long")


LAST = "last"


def _place(text: str) -> int | str:
    if text != LAST and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is neither a serial number nor `{LAST}`")
    return text if text == LAST else int(text)


def run(args: argparse.Namespace) -> int:
    topics = tuple(args.topic or ALERTS)
    show = _as_json if args.json else partial(in_words, named=not args.patch)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both ways of stopping are the same good end
    deadline_s = None if args.for_s is None else monotonic() + args.for_s
    address = reachable(args.connect)
    narrowed = [*(args.topic or ()), *([f"patch {args.patch}"] if args.patch else ())]
    kept = Bookmark.of(address, *narrowed) if args.since == LAST else None
    try:
        keys = read_keys(args.keys) if args.keys else None
        since = (kept.read() or 0) if kept else args.since
        subscriber = Subscriber(address, topics, since=since, keys=keys, patch=args.patch)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    with subscriber:
        try:
            while deadline_s is None or monotonic() < deadline_s:
                received = subscriber.receive(None if deadline_s is None else max(0.0, deadline_s - monotonic()))
                if received:
                    print(show(received), flush=True)
                    if kept and subscriber.mark:
                        kept.write(subscriber.mark)
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


def in_words(received: Received, *, named: bool = False) -> str:
    """One line for people: time, topic, whose if `named`, and what matters most."""
    fields = msgspec.to_builtins(received.message)
    when = received.message.utc.astimezone().strftime("%H:%M:%S")
    shown = _SHOWN.get(received.topic.split(".")[0], ())
    shown = ("patch", *shown) if named else shown
    parts = [f"{name}={_short(fields[name])}" for name in shown if fields[name] not in (None, "", ())]
    return f"{when}  {received.topic:<32} {' '.join(parts)}"


_SHOWN = {
    "alert": ("state", "priority", "onset_sample", "end_sample", "ended_by", "evidence"),
    "event": ("state", "priority", "onset_sample", "end_sample", "ended_by", "evidence"),
    "answered": ("how", "id", "by", "for_s"),
    "beat": ("beat", "sample", "rr_s", "heart_rate_bpm"),
    "status": ("port", "quality", "rhythm", "heart_rate_bpm", "open_alerts", "engine"),
    "clock": ("why", "sample", "by_s"),
    "wave": ("sample", "samples"),
}


def _short(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {each}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return str(value)
