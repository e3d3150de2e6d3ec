"""Tells systemd how the service does (sd_notify)."""

from __future__ import annotations

import os
import socket


def notify(message: str) -> None:
    """Send `READY=1`, `WATCHDOG=1`, ...; does nothing when systemd did not start this process."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        # A leading @ stands for the NUL byte of Linux's abstract names.
        client.connect("\0" + address[1:] if address.startswith("@") else address)
        client.send(message.encode())
