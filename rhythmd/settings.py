"""The configuration files of the programs that follow daemons: `rhythmd notify`, `rhythmd bridge`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from daemon.config import ConfigError, in_words
from rhythmd.subscriber import ADDRESS

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Struct)


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of such a file."""


class Source(Section, frozen=True):
    """A daemon to follow. Its name tells several apart, in messages and in topics."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "patch0"  # no dot: NATS parts its subjects there
    connect: str = ADDRESS
    keys: str = ""
    records: str = ""


def installed_file(program: str) -> Path:
    """Where the configuration of an installed program is: handed over by systemd, or in /etc."""
    handed_over = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere")) / f"{program}.toml"
    return handed_over if handed_over.exists() else Path(f"/etc/rhythmd/{program}.toml")


def read_settings(path: Path, kind: type[T], program: str) -> T:
    """Read a file of this kind. Raises ConfigError with file, key and remedy."""
    manual = f"`rhythmd config {program}`"
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; {manual} prints one to start from") from None
    try:
        return msgspec.toml.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {in_words(str(error))}; {manual} explains every key") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}; {manual} prints a file that is") from None


def check_names(names: list[str], where: str, key: str) -> None:
    """Names tell things apart: there is one of each, and at least one."""
    if not names:
        raise ConfigError(f"{where}: [[{key}]]: there is none; give at least one")
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"{where}: {key}.name: {', '.join(sorted(twice))} is there twice; give each its own")


def warn_if_others_can_read(path: Path) -> None:
    """It holds secrets. What systemd hands over (LoadCredential=) only looks so: an access list is shown as a group."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if path.stat().st_mode & 0o077 and (not credentials or not path.is_relative_to(credentials)):
        log.warning("%s holds secrets and others can read it: chmod 600 %s", path, path)
