"""Sends a letter by apprise. What is known of an address is its contact and a name made of it, never the address."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from daemon.config import ConfigError
from rhythmd.notify.config import Contact
from rhythmd.notify.words import Letter

LONGEST_S = 30.0


@dataclass(frozen=True, slots=True)
class Target:
    """One address of a contact."""

    name: str  # the contact's, and what tells its addresses apart
    contact: Contact
    service: Any  # apprise's
    kind: str  # what apprise calls the service

    @property
    def takes_pictures(self) -> bool:
        return self.contact.pictures and bool(self.service.attachment_support)


def targets_of(contacts: Iterable[Contact]) -> dict[str, Target]:
    """All addresses, by name. Raises ConfigError where apprise does not know one, without showing it."""
    apprise = _library()
    about = {"app_id": "rhythmd", "app_desc": "ECG alerts", "app_url": ""}
    asset = apprise.AppriseAsset(**about, storage_mode="memory", secure_logging=True, service_timeout=LONGEST_S)
    found = {}
    for contact in contacts:
        for number, url in enumerate(contact.urls, 1):
            service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
            if service is None:
                scheme, found_one, _ = url.partition("://")  # without one the whole of it may be a secret
                shown = f"{scheme[:16]}://..." if found_one else "it has no ://"
                raise ConfigError(
                    f"contact {contact.name}: urls: apprise does not understand number {number} ({shown}); "
                    "see https://github.com/caronc/apprise/wiki"
                )
            name = f"{contact.name}-{sha256(url.encode()).hexdigest()[:8]}"
            found[name] = Target(name, contact, service, str(service.service_name or service.protocol))
    return found


def send(target: Target, letter: Letter, picture: bytes | None = None) -> str:
    """Why it could not be sent, in words without a secret; empty when it was."""
    apprise = _library()
    over, high = apprise.NotifyType.INFO, apprise.NotifyType.FAILURE
    kinds = {"high": high, "medium": apprise.NotifyType.WARNING, "low": over}
    attached = None
    if picture and target.takes_pictures:
        from apprise.attachment.memory import AttachMemory

        attached = apprise.AppriseAttachment(AttachMemory(content=picture, name="ecg.png", mimetype="image/png"))
    try:
        one = apprise.Apprise(asset=target.service.asset)
        one.add(target.service)
        kind = over if letter.over else kinds[letter.priority]
        result = one.notify(letter.body, letter.title, kind, body_format="text", attach=attached)
    except Exception as error:  # a service's own plugin: its text may hold the address
        return type(error).__name__
    return "" if result else _reason(str(entry.message) for entry in result.logs())


def _reason(said: Iterable[str]) -> str:
    """Of what apprise says the HTTP status alone, and whether there was a connection: the rest may hold addresses."""
    text = "\n".join(said)
    if status := re.search(r"error=(\d{3})\b", text):
        return f"HTTP status {status[1]}"
    return "no connection" if "onnection error" in text else "refused, or no answer"


def _library() -> Any:
    try:
        import apprise
    except ImportError:
        raise ConfigError("rhythmd notify needs apprise: pip install 'rhythmd[notify]'") from None
    return apprise
