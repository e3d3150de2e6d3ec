"""How far `rhythmd listen --since last` has come, kept between runs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from daemon.store import state_directory
from rhythmd.subscriber import Mark


@dataclass(frozen=True, slots=True)
class Bookmark:
    """A file with the place in one daemon's ledger."""

    path: Path

    @classmethod
    def of(cls, address: str, *narrowed: str) -> Bookmark:
        """The bookmark of the daemon at `address`; of topics and a patch another one, for it passes over the others."""
        name = " ".join([address, *sorted(narrowed)])
        return cls(state_directory() / f"listen-{re.sub('[^A-Za-z0-9]+', '-', name)}.json")

    def read(self) -> Mark | None:
        """None where there is none, or nothing that can be read: then everything is told again."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Mark)
        except (OSError, msgspec.DecodeError):
            return None

    def write(self, mark: Mark) -> None:
        """Whole or not at all, whatever happens meanwhile."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.path.with_suffix(f".{os.getpid()}")
        new.write_bytes(msgspec.json.encode(mark))
        new.replace(self.path)
