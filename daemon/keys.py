"""The CURVE keys of a daemon and of those who may listen to it: a folder, read at start and whenever it changes.

    server.json            the daemon's own pair, for its owner alone (0600)
    clients/NAME.key       the public key of one who may connect

`rhythmd keys` writes them. A client's file holds its own pair and the daemon's public key, and lives on its machine.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from daemon.config import ConfigError

SERVER, CLIENTS, SUFFIX = "server.json", "clients", ".key"
NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
KEY_BYTES = 40
"""Of a CURVE key in Z85, ZeroMQ's own text form."""


class Pair(Struct, frozen=True, forbid_unknown_fields=True):
    """A CURVE key pair, in Z85."""

    public: str
    secret: str


def read_server(folder: Path) -> Pair:
    """The daemon's own keys."""
    path = folder / SERVER
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"publish.keys: {path} can be read by others; `chmod 600 {path}`")
        return msgspec.json.decode(path.read_bytes(), type=Pair)
    except FileNotFoundError:
        raise ConfigError(f"publish.keys: {path} is missing; `rhythmd keys init {folder}` makes it") from None
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"publish.keys: {path}: {error}; `rhythmd keys init {folder}` makes a new one") from None


def read_clients(folder: Path) -> dict[bytes, str]:
    """Who may connect: public key -> name. A file that holds no key lets nobody in."""
    found = {}
    for path in sorted((folder / CLIENTS).glob(f"*{SUFFIX}")):
        with suppress(OSError):
            found[path.read_bytes().strip()] = path.name.removesuffix(SUFFIX)
    return {key: name for key, name in found.items() if len(key) == KEY_BYTES}


def write_private(path: Path, content: bytes) -> None:
    """For its owner alone, from the first byte on; refuses to overwrite."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        os.fsync(file.fileno())
