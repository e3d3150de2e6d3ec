"""Tell people of alerts: SMS, push, mail, chat, whatever apprise knows. A program beside the daemon, until SIGTERM.

rhythmd config notify > notify.toml     the file: contacts and rules, every key explained
chmod 600 notify.toml                   it holds secrets
rhythmd notify --test                   send each contact a message now; or `--test NAME`
rhythmd notify --config notify.toml     at work: repeats until `rhythmd ack`, escalates, is quiet at night
rhythmd notify --show                   what waits, who is being told of what, and what was sent or given up

No message is sure to arrive. Exit codes: 0 stopped as asked, 1 a test failed, 2 something to mend.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from daemon.config import ConfigError
from rhythmd.journal import log_to_stderr
from rhythmd.notify.config import Settings, load
from rhythmd.notify.words import Letter
from rhythmd.settings import installed_file, warn_if_others_can_read

ALL = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: /etc/rhythmd/notify.toml")
    parser.add_argument("--state", type=Path, metavar="FOLDER", help="for the outbox (default: the state directory)")
    parser.add_argument(
        "--test", nargs="?", const=ALL, metavar="CONTACT", help="send a test message, to all contacts or to this one"
    )
    parser.add_argument("--show", action="store_true", help="how things stand, from the outbox")
    parser.add_argument("--json", action="store_true", help="with --show or --test: one object, for programs")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))


def run(args: argparse.Namespace) -> int:
    log_to_stderr(args.log_level, ours_alone=True)
    if args.show:
        return _show(args.state, as_json=args.json)
    file = args.config or installed_file("notify")
    settings = load(file)
    warn_if_others_can_read(file)
    if args.test is not None:
        return _test(settings, args.test, as_json=args.json)
    from rhythmd.notify.app import run as work

    return work(settings, args.state)


def _test(settings: Settings, name: str, *, as_json: bool) -> int:
    """Each address once, now, beside outbox, quiet hours and limits."""
    from rhythmd.notify.sending import send, targets_of

    contacts = [each for each in settings.contact if name in (ALL, each.name)]
    if not contacts:
        known = ", ".join(each.name for each in settings.contact)
        raise ConfigError(f"--test: {name!r} is no contact; there are {known}")
    daemons = ", ".join(each.name for each in settings.daemon)
    letter = Letter("rhythmd: a test", f"This is how alerts of {daemons} would reach you.", "low", over=True)
    found = []
    for target in targets_of(contacts).values():
        failed = send(target, letter)
        found.append({"contact": target.contact.name, "service": target.kind, "sent": not failed, "why": failed})
        if not as_json:
            verdict = f"FAILED: {failed}" if failed else "sent"
            print(f"{target.contact.name:<20} {target.kind:<16} {verdict}", flush=True)
    if as_json:
        print(json.dumps(found))
    return 0 if all(each["sent"] for each in found) else 1


def _show(folder: Path | None, *, as_json: bool) -> int:
    from rhythmd.notify.outbox import glance

    found = glance(folder)
    if as_json:
        print(json.dumps(found))
        return 0
    print("waiting ", *(f"{number} for {contact}" for contact, number in found["waiting"].items()), sep="  ")
    print("so far  ", *(f"{what} {number}" for what, number in found["counts"].items()), sep="  ")
    for case in found["cases"]:
        print(f"{case['state']:<9} {case['alert']}  {case['kind']}, rule {case['rule']}, told {case['told']} contacts")
    return 0
