"""Who may open the page, and who may answer alarms from it. Pure: it reads headers.

Three kinds of visitor: this machine's users, who need nothing while the page is on loopback; other machines', who need
the token; and pages of other sites in either's browser, who must be told and do nothing (DNS rebinding, cross-site
requests).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from email.message import Message
from http.cookies import CookieError, SimpleCookie

LEAST_TOKEN = 16
SAME_SITE = {None, "same-origin", "none"}
"""What `Sec-Fetch-Site` says of a page's own requests, and of an address that somebody typed."""


class Door:
    """`token` empty: whoever reaches it may enter. `names`: by which it may be called beside its addresses."""

    def __init__(self, token: str, names: tuple[str, ...], port: int) -> None:
        self.locked = bool(token)
        self._token = token.encode()
        self._names = {"localhost", *(name.lower() for name in names)}
        self._cookie = f"rhythmd_{port}"  # cookies do not tell ports apart
        self._pass = hmac.new(self._token, b"rhythmd page", hashlib.sha256).hexdigest()

    def knows(self, headers: Message) -> bool:
        """Whether the visitor called it by its own name. An address cannot be rebound, a name of another site can."""
        host = host_of(headers.get("Host") or "")
        return host in self._names or is_address(host)

    def lets_in(self, headers: Message) -> bool:
        if not self.locked:
            return True
        try:
            shown = SimpleCookie(headers.get("Cookie") or "").get(self._cookie)
        except CookieError:
            return False
        return shown is not None and hmac.compare_digest(shown.value.encode(), self._pass.encode())

    def cookie_for(self, token: str) -> str | None:
        """What to set for who gave this token; None for a wrong one."""
        if not (self.locked and hmac.compare_digest(token.encode(), self._token)):
            return None
        return f"{self._cookie}={self._pass}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000"

    @staticmethod
    def from_own_page(headers: Message) -> bool:
        """Whether the request comes from a page of this server; a program that is no browser says nothing of it."""
        origin = headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != headers.get("Host"):
            return False
        return headers.get("Sec-Fetch-Site") in SAME_SITE


def host_of(header: str) -> str:
    """`Host` without the port, and an IPv6 address without its brackets."""
    match = re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::\d{1,5})?|([^:\[\]]+)(?::\d{1,5})?", header)
    return (match[1] or match[2]).lower() if match else ""


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)
