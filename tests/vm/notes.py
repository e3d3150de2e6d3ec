"""The commands of docs/operations.md, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

NOTES = Path(__file__).parents[2] / "docs" / "operations.md"


def commands(after: str) -> str:
    """The first block of shell after these words."""
    _, rest = NOTES.read_text().split(after)
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
    return commands("Uninstall:")
