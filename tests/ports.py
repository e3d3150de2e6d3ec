"""Ports for those who listen in tests."""

from __future__ import annotations

import random
import socket


def free_port() -> int:
    """One that nobody has, on any address, and below those that the kernel gives to whoever connects somewhere: one of
    these can be gone again before it is used.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as one:
            try:
                one.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
