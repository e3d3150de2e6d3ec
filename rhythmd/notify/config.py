"""Who is told what, and when. rhythmd/notify/default.toml is the manual."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from daemon.config import ConfigError
from daemon.kinds import KINDS
from daemon.messages import Priority
from rhythmd.settings import Section, Source, check_names, read_settings

DEFAULT_FILE = Path(__file__).parent / "default.toml"

DAEMON_LOST = "daemon_lost"
"""A kind of ours: the daemon itself is not heard any more."""

Hours = Annotated[str, Meta(pattern=r"^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$")]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class Contact(Section, frozen=True):
    name: Name
    urls: tuple[str, ...] = ()
    quiet: Hours = ""
    quiet_priorities: tuple[Literal["low", "medium"], ...] = ("low",)
    most_at_once: Annotated[int, Meta(ge=3, le=1000)] = 10
    most_per_hour: Annotated[float, Meta(ge=1, le=10_000)] = 30.0
    discreet: bool = False
    pictures: bool = True


class Rule(Section, frozen=True):
    name: Name
    contacts: Annotated[tuple[str, ...], Meta(min_length=1)]
    daemons: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    priorities: tuple[Priority, ...] = ()
    actions: tuple[Literal["alarm", "record"], ...] = ("alarm",)
    escalate_min: Annotated[float, Meta(ge=0, le=1440)] = 5.0
    repeat_min: Annotated[float, Meta(ge=0, le=1440)] = 5.0
    give_up_h: Annotated[float, Meta(gt=0, le=168)] = 12.0
    expire_h: Annotated[float, Meta(gt=0, le=168)] = 24.0
    follow_up: bool = True


class Settings(Section, frozen=True):
    daemon: tuple[Source, ...] = (Source(),)
    contact: tuple[Contact, ...] = ()
    rule: tuple[Rule, ...] = ()
    daemon_lost_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0


def load(path: Path) -> Settings:
    """Read and check the file."""
    settings = read_settings(path, Settings, "notify")
    check(settings, str(path))
    return settings


def check(settings: Settings, where: str) -> None:
    """Refuse what types alone cannot tell is wrong."""
    contacts = [each.name for each in settings.contact]
    daemons = [each.name for each in settings.daemon]
    check_names(contacts, where, "contact")
    check_names(daemons, where, "daemon")
    check_names([each.name for each in settings.rule], where, "rule")
    for contact in settings.contact:
        if not contact.urls:
            raise ConfigError(f"{where}: contact {contact.name}: urls: give at least one that apprise knows")
    for rule in settings.rule:
        for key, given, known in (
            ("contacts", rule.contacts, contacts),
            ("daemons", rule.daemons, daemons),
            ("kinds", rule.kinds, [*KINDS, DAEMON_LOST]),
        ):
            if unknown := [each for each in given if each not in known]:
                raise ConfigError(
                    f"{where}: rule {rule.name}: {key}: {', '.join(unknown)} is not one of {', '.join(known)}"
                )


def minutes(hours: str) -> tuple[int, int] | None:
    """`22:00-07:00` as minutes of the day; None when there are none."""
    found = re.fullmatch(r"(\d\d):(\d\d)-(\d\d):(\d\d)", hours)
    return (60 * int(found[1]) + int(found[2]), 60 * int(found[3]) + int(found[4])) if found else None
