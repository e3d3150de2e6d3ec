"""The commands of the docs, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def commands(after: str, page: str = "operations.md") -> str:
    """The first block of shell after these words."""
    _, rest = (DOCS / page).read_text().split(after)
    found = re.search(r"```sh\n(.*?)```", rest, re.S)
    assert found, after
    return found[1]


def install() -> str:
    """On a PC; all but the last line, which listens for ever."""
    first, then = commands("on a **Linux PC or laptop**"), commands("Then, on either:").removesuffix("rhythmd listen\n")
    assert "pip install" in first
    assert then.endswith("enable --now rhythmd\n")
    return first + then


def let_others_listen() -> str:
    return commands("To let others listen")


def uninstall() -> str:
    return commands("Uninstall, with")


def companions() -> dict[str, str]:
    """What follows the daemon as a service of its own and needs nothing else: unit to its commands."""
    pages = {"rhythmd-monitor": "monitor.md", "rhythmd-recorder": "records.md"}
    return {unit: commands("## As a service", page) for unit, page in pages.items()}
