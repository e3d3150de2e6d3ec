"""Who may listen from another machine. Loopback and ipc addresses need no keys.

rhythmd keys init /etc/rhythmd/keys                the daemon's own pair; then set publish.keys and publish.bind
rhythmd keys add /etc/rhythmd/keys ward-3          a pair for one who listens: writes ward-3.json, to be carried there
rhythmd keys list /etc/rhythmd/keys
rhythmd keys revoke /etc/rhythmd/keys ward-3       at once: whoever is connected with it is shown out

There: rhythmd listen --connect tcp://DEVICE:8251 --keys ward-3.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
import zmq

from daemon.config import ConfigError
from daemon.keys import CLIENTS, NAME, SERVER, SUFFIX, Pair, read_clients, read_server, write_private
from rhythmd.desk import Access


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("init", "add", "list", "revoke"))
    parser.add_argument("folder", type=Path, help="where the daemon's keys are")
    parser.add_argument("name", nargs="?", help="of the one who listens")
    parser.add_argument("--output", type=Path, help="of `add` (default: NAME.json here)")


def run(args: argparse.Namespace) -> int:
    if args.action in ("add", "revoke") and not (args.name and NAME.fullmatch(args.name)):
        raise ConfigError(f"rhythmd keys {args.action}: give a name of letters, digits, `_`, `.`, `@` and `-`")
    try:
        _ACTIONS[args.action](args)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}; {_remedy(error)}") from None
    return 0


def _init(args: argparse.Namespace) -> None:
    (args.folder / CLIENTS).mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(args.folder / SERVER, msgspec.json.encode(_pair()))
    print(f"{args.folder} has the daemon's keys; set publish.keys to it, and `rhythmd keys add` whoever may listen")


def _add(args: argparse.Namespace) -> None:
    server, pair = read_server(args.folder), _pair()
    public = args.folder / CLIENTS / f"{args.name}{SUFFIX}"
    if public.exists():
        raise ConfigError(f"{public}: there is one of this name; `rhythmd keys revoke` it first, or choose another")
    output = args.output or Path(f"{args.name}.json")
    access = Access(server=server.public, public=pair.public, secret=pair.secret)
    write_private(output, msgspec.json.encode(access))
    new = public.with_suffix(".new")
    new.write_text(pair.public)
    new.rename(public)  # whole or not at all: the daemon may look at any moment
    print(f"{output} holds the secret of {args.name}: carry it there safely, and keep no copy here")


def _list(args: argparse.Namespace) -> None:
    read_server(args.folder)
    for key, name in sorted(read_clients(args.folder).items(), key=lambda item: item[1]):
        print(f"{name:<24} {key.decode()}")


def _revoke(args: argparse.Namespace) -> None:
    (args.folder / CLIENTS / f"{args.name}{SUFFIX}").unlink()


_ACTIONS = {"init": _init, "add": _add, "list": _list, "revoke": _revoke}


def _pair() -> Pair:
    public, secret = zmq.curve_keypair()
    return Pair(public=public.decode(), secret=secret.decode())


def _remedy(error: OSError) -> str:
    if isinstance(error, FileExistsError):
        return "remove it first if it is to be made anew: all who have access then need new keys"
    if isinstance(error, FileNotFoundError):
        return "`rhythmd keys list` shows the names"
    return "run it as the user who owns the folder"
