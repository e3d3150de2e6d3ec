"""The first line of a WFDB header: how fast a record was sampled, and how long it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_DEFAULT_RATE_HZ = 250.0  # WFDB's, when a header names none


@dataclass(frozen=True, slots=True)
class Header:
    """The clock of a record."""

    rate_hz: float
    length: int | None  # samples; None where the header leaves it open


def read(path_without_extension: str | Path) -> Header:
    """The header in the file `path_without_extension.hea`."""
    path = Path(f"{path_without_extension}.hea")
    for line in path.read_text("latin-1").splitlines():
        if line.strip() and not line.startswith("#"):
            return _parse(line.split(), path)
    raise ValueError(f"{path}: no record line")


def _parse(fields: list[str], path: Path) -> Header:
    """`name[/segments] signals [rate[/counter[(base)]] [samples [time [date]]]]`."""
    try:
        rate_hz = float(fields[2].split("/")[0].split("(")[0]) if len(fields) > 2 else _DEFAULT_RATE_HZ
        length = int(fields[3]) if len(fields) > 3 else 0
    except ValueError:
        raise ValueError(f"{path}: cannot read the record line {' '.join(fields)!r}") from None
    return Header(rate_hz, length or None)
