"""Answer alarms: acknowledge one that you have seen, or silence those that call. Everybody who listens is told.

rhythmd ack                         the alarms that call now
rhythmd ack patch0-19a5c2-3         acknowledge this one: a latching alarm calls until someone does
rhythmd ack --all                   acknowledge all that call
rhythmd ack --patch bed-3 --silence 120   of one patch only, where the daemon reads several
rhythmd ack --silence 120           silence for two minutes; a new lethal alarm breaks through. 0 ends it
"""

from __future__ import annotations

import argparse
import getpass
from contextlib import closing
from pathlib import Path

import zmq

from daemon.config import ConfigError
from daemon.messages import Status
from daemon.publish import reachable
from daemon.requests import Acknowledge, Request, Silence, desk_of
from rhythmd.desk import Access, Desk, DeskError, read_keys
from rhythmd.subscriber import ADDRESS, Subscriber

STATUS_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", nargs="*", help="of the alarms, as `rhythmd listen` and `rhythmd ack` show them")
    parser.add_argument("--all", action="store_true", help="every alarm that calls now")
    parser.add_argument("--silence", type=float, metavar="SECONDS", help="0 to 600")
    parser.add_argument("--patch", metavar="NAME", help="only this one's alarms (default: of all patches)")
    parser.add_argument("--by", default=getpass.getuser(), help="who you are (default: %(default)s)")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="of `rhythmd keys add`, for a daemon elsewhere")
    parser.add_argument("--connect", default=ADDRESS, metavar="ADDRESS", help="of the daemon (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    address = reachable(args.connect)
    try:
        keys = read_keys(args.keys) if args.keys else None
    except ValueError as error:
        raise ConfigError(str(error)) from None
    ids = list(args.id)
    if args.all or not (ids or args.silence is not None):
        calling = _calling(address, keys, args.patch)
        if not args.all:
            print("\n".join(calling) or "no alarm calls")
            return 0
        ids += calling
    if args.silence is not None and not 0 <= args.silence <= 600:
        raise ConfigError("--silence: give 0 to 600 seconds; a longer silence is an acknowledgement")
    requests: list[Request] = [Acknowledge(id=each, by=args.by) for each in ids]
    if args.silence is not None:
        requests.append(Silence(for_s=args.silence, by=args.by, patch=args.patch))
    with zmq.Context() as context, closing(Desk(context, desk_of(address), keys)) as desk:
        for request in requests:
            try:
                desk.ask(request)
            except DeskError as error:
                raise ConfigError(str(error)) from None
    return 0


def _calling(address: str, keys: Access | None, patch: str | None) -> tuple[str, ...]:
    found: dict[str, Status] = {}
    with Subscriber(address, ("status",), keys=keys, patch=patch) as subscriber:
        while received := subscriber.receive(STATUS_S):
            status = received.message
            if isinstance(status, Status):
                found[status.patch] = status
                if patch or len(found) >= status.patches:
                    return tuple(each for one in found.values() for each in one.calling)
    raise ConfigError(
        f"no {f'patch {patch!r}' if patch else 'daemon'} answers at {address}; `rhythmd doctor` looks why"
    )
