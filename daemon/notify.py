"""Tells systemd how the service does (sd_notify)."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

PATIENCE_S = 1.0
"""A systemd that does not read must not keep the daemon from ending when it is asked to."""


def notify(message: str) -> None:
    """Send `READY=1`, `WATCHDOG=1`, ...; does nothing when systemd did not start this process."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    # A supervisor that has gone is no reason to stop watching the wearer.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client, suppress(OSError):
        # A leading @ stands for the NUL byte of Linux's abstract names.
        client.connect("\0" + address[1:] if address.startswith("@") else address)
        client.settimeout(PATIENCE_S)
        client.send(message.encode())
