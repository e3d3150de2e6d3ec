"""Which broker gets what. rhythmd/bridge/default.toml is the manual."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from daemon.config import ConfigError, is_local
from rhythmd.settings import Section, Source, check_names, read_settings

DEFAULT_FILE = Path(__file__).parent / "default.toml"

Level = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,64}$")]  # of a topic; no dot: NATS parts its subjects there


class Broker(Section, frozen=True):
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    tls: bool = False
    plain: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""
    user: str = ""
    password_file: str = ""
    keepalive_s: Annotated[int, Meta(ge=2, le=3600)] = 30


class Publish(Section, frozen=True):
    prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}(/[A-Za-z0-9_-]{1,64}){0,7}$")] = "rhythmd"
    device: Level = ""
    status_every_s: Annotated[float, Meta(ge=1, le=3600)] = 10.0
    strips: bool = True
    keep_mb: Annotated[float, Meta(ge=1, le=100_000)] = 64.0


class Gateway(Source, frozen=True):
    """A daemon to follow; with `several` its patches' names are one more level of the topics."""

    several: bool = False


class Settings(Section, frozen=True):
    broker: Broker = Broker()
    publish: Publish = Publish()
    daemon: tuple[Gateway, ...] = (Gateway(),)


def load(path: Path) -> Settings:
    """Read and check the file."""
    settings = read_settings(path, Settings, "bridge")
    check(settings, str(path))
    return settings


def check(settings: Settings, where: str) -> None:
    """Refuse what types alone cannot tell is wrong."""
    check_names([each.name for each in settings.daemon], where, "daemon")
    broker = settings.broker
    if not broker.host:
        raise ConfigError(f"{where}: broker.host: name the broker's machine")
    if not (broker.tls or broker.plain or is_local(f"tcp://{broker.host}:1")):
        raise ConfigError(
            f"{where}: broker.host: {broker.host} is another machine, and what goes there is somebody's health: set "
            "broker.tls = true, or broker.plain = true where the network itself is encrypted"
        )
    if bool(broker.certificate) != bool(broker.key):
        raise ConfigError(f"{where}: broker.certificate and broker.key: a client's certificate needs its key, and back")
    if (broker.ca or broker.certificate) and not broker.tls:
        raise ConfigError(f"{where}: broker.tls: set it to true, or certificates are not looked at")
    if broker.password_file and not broker.user:
        raise ConfigError(f"{where}: broker.user: a password needs its user")
    for key in ("ca", "certificate", "key", "password_file"):
        path = getattr(broker, key)
        if path and not os.access(path, os.R_OK):
            raise ConfigError(f"{where}: broker.{key}: {path} cannot be read; is it there, and this user's?")


def port_of(broker: Broker) -> int:
    return broker.port or (8883 if broker.tls else 1883)


def device_of(publish: Publish) -> str:
    """The configured name, else the machine's, as far as a topic can hold it."""
    plain = "".join(sign if sign.isascii() and sign.isalnum() else "-" for sign in socket.gethostname().split(".")[0])
    return publish.device or plain[:64] or "device"
