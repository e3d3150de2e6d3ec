"""How the daemon is, in one screen. A daemon that runs is not yet one that watches: each reason comes with its remedy.

rhythmd status               exit code 0: it watches; 1: it runs and does not; 2: no daemon answers
rhythmd status --watch       again with each of its messages, until Ctrl-C
rhythmd status --json        one object: healthy, reasons, and the daemon's own message; of several patches one a line
rhythmd status --patch NAME  of one patch in full, where the daemon reads several; else each has a line
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from daemon.config import ConfigError
from daemon.messages import Status
from daemon.publish import reachable
from rhythmd.desk import read_keys
from rhythmd.subscriber import ADDRESS, Subscriber

ANSWER_S = 5.0  # five times what a healthy daemon needs between two statuses
STALE_S = 5.0
UNFIT_S = 30.0
BEHIND = 100
"""Readings: four seconds of a patch that sends 25 frames a second."""

CLEAR = "\x1b[H\x1b[J"

REMEDY = {
    "patch_lost": "the patch's port is not there: is it plugged in and charged? `rhythmd doctor` lists the ports",
    "signal_lost": "nothing readable comes: is the patch on? `rhythmd doctor` hears what it sends, the daemon stopped",
    "lead_off": "an electrode is off or the signal flat: press it on, or take a new one",
    "noise": "the signal cannot be read: sit still, new electrodes, mains cables away",
    "engine_failing": "the configured engine broke and the CPU judges: the log says why; `rhythmd engine verify`",
    "storage_failing": "alerts are not kept: make room on the disk, or name another in store.directory",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--connect", default=ADDRESS, metavar="ADDRESS", help="of the daemon (default: %(default)s)")
    parser.add_argument("--patch", metavar="NAME", help="of a daemon that reads several")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="of `rhythmd keys add`, for a daemon elsewhere")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--watch", action="store_true", help="until Ctrl-C")


def run(args: argparse.Namespace) -> int:
    address = reachable(args.connect)
    try:
        keys = read_keys(args.keys) if args.keys else None
        subscriber = Subscriber(address, ("status",), keys=keys, patch=args.patch)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    before = CLEAR if args.watch and not args.json and sys.stdout.isatty() else ""
    with subscriber:
        healthy = False
        try:
            for statuses in _rounds(subscriber, address, args.patch):
                found = [(status, reasons(status)) for status in statuses]
                healthy = not any(why for _, why in found)
                show = _as_json if args.json else _in_words if len(found) == 1 else _in_a_line
                print(before + "\n".join(show(status, why) for status, why in found), flush=True)
                if not args.watch:
                    break
        except KeyboardInterrupt:
            pass
    return 0 if healthy else 1


def _rounds(subscriber: Subscriber, address: str, patch: str | None) -> Iterator[list[Status]]:
    """Again and again a status of each patch, by name."""
    found: dict[str, Status] = {}
    while received := subscriber.receive(ANSWER_S):
        status = received.message
        if isinstance(status, Status):
            found[status.patch] = status
            if patch or len(found) >= status.patches:
                yield [found[name] for name in sorted(found)]
                found = {}
    who = f"patch {patch!r}" if patch else "daemon"
    raise ConfigError(f"no {who} answers at {address} within {ANSWER_S:g} s; `systemctl status rhythmd` or the log")


def reasons(status: Status) -> list[str]:
    """Why it does not watch as it should, each with its remedy; none when all is well."""
    found = {kind: REMEDY[kind] for kind in status.technical if kind in REMEDY}
    if status.port == "absent":
        found["patch_lost"] = REMEDY["patch_lost"]
    elif status.silent:
        found["signal_lost"] = REMEDY["signal_lost"]
    elif status.sample_age_s is None or status.sample_age_s > STALE_S:
        found.setdefault("signal_lost", "no samples come: " + REMEDY["signal_lost"])
    if status.storage:
        found["storage_failing"] = f"{REMEDY['storage_failing']} ({status.storage})"
    if status.engine_asked not in ("", status.engine):
        found["engine_failing"] = f"{status.engine} in place of {status.engine_asked}: {REMEDY['engine_failing']}"
    if status.unfit_s > UNFIT_S and not found:
        found["quality"] = f"{status.quality} for {_span(status.unfit_s)}: {REMEDY['lead_off']}"
    if status.queues.readings > BEHIND:
        found["behind"] = f"{status.queues.readings} readings wait: the engine or this machine is too slow"
    return [f"{kind}: {text}" for kind, text in found.items()]


def _as_json(status: Status, found: list[str]) -> str:
    fields = {"healthy": not found, "reasons": found, "status": msgspec.to_builtins(status)}
    return msgspec.json.encode(fields).decode()


def _in_a_line(status: Status, found: list[str]) -> str:
    rate = "no heart rate" if status.heart_rate_bpm is None else f"{status.heart_rate_bpm:g} a minute"
    says = (
        f"{status.quality}, rhythm {status.rhythm}, {rate}; {len(status.open_alerts)} stand, {len(status.calling)} call"
    )
    return "\n".join([f"{status.patch:<16} {says}", *(f"! {each}" for each in found)])


def _in_words(status: Status, found: list[str]) -> str:
    link, queues, latency = status.link, status.queues, status.latency
    rate = "no heart rate" if status.heart_rate_bpm is None else f"{status.heart_rate_bpm:g} a minute"
    came = "no samples yet" if status.sample_age_s is None else f"newest sample {_span(status.sample_age_s)} ago"
    lines = {
        "rhythmd": ("NOT WATCHING AS IT SHOULD" if found else "healthy") + f", up {_span(status.uptime_s)}",
        "patch": f"{status.patch}: port {status.port}{', silent' * status.silent}, {came}"
        + ", battery low" * status.battery_low,
        "signal": f"{status.quality}, rhythm {status.rhythm}, {rate}",
        "alerts": f"{len(status.open_alerts)} stand, {len(status.calling)} call"
        + "".join(f"\n           {each}" for each in status.calling),
        "engine": f"{status.engine}, {status.model}, p99 {_ms(latency.engine_p99_ms)}; "
        f"read to sent p99 {_ms(latency.read_to_sent_p99_ms)}",
        "link": f"{link.frames} frames, {link.samples} samples; lost: {link.lost_samples} samples, "
        f"{link.damaged_frames} frames damaged, {link.skipped_bytes} bytes skipped, {link.dropped_bytes} dropped",
        "queues": f"{queues.readings} readings, {queues.windows} windows, {queues.unstored} alerts not stored yet; "
        f"given up {queues.given_up}",
        "doors": f"refused {queues.refused_connections} connections, {queues.refused_requests} requests; "
        f"subscribers too slow {queues.slow_subscribers}",
        "storage": status.storage or f"on disk up to serial {status.serial}",
    }
    return "\n".join([*(f"{name:<10} {text}" for name, text in lines.items()), *(f"! {each}" for each in found)])


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} ms"


def _span(seconds: float) -> str:
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.1f} s"
