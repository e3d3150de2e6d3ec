"""What the rhythm was called as time went, and what was known of it afterwards, brought together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daemon.kinds import KINDS
from daemon.messages import Alert

LATE_S = 15.0
"""A rhythm's name in `status` begins and ends some seconds after what an alert of it says of its beginning and end."""

_GRAVITY = list(dict.fromkeys(kind.rhythm for kind in KINDS.values() if kind.rhythm))


@dataclass(frozen=True, slots=True)
class Episode:
    """From where to where a rhythm held, by an alert. In the units of whoever asks; None while it goes on."""

    begin: float
    end: float | None
    rhythm: str


def rhythm_named_by(alert: Alert) -> str | None:
    kind = KINDS.get(alert.kind)
    return kind.rhythm if kind else None


def named(changes: Sequence[tuple[float, str]], episodes: Sequence[Episode], *, late: float) -> list[tuple[float, str]]:
    """(from, name) wherever the name changes. `changes` are those that `status` told, in order; `late` is LATE_S.

    An episode holds from its onset to its end; where `status` called it so outside of these it was merely late.
    """
    ends = [*(at for at, _ in changes[1:]), float("inf")]
    told = [(begin, end, name) for (begin, name), end in zip(changes, ends, strict=True)]
    told = [
        (begin, end, "N" if any(_tells(begin, end, name, episode, late) for episode in episodes) else name)
        for begin, end, name in told
    ]
    edges = {at for at, _ in changes} | {episode.begin for episode in episodes}
    edges |= {episode.end for episode in episodes if episode.end is not None}
    found: list[tuple[float, str]] = []
    for at in sorted(edges):
        names = {name for begin, end, name in told if begin <= at < end}
        names |= {one.rhythm for one in episodes if one.begin <= at and (one.end is None or at < one.end)}
        name = next((rhythm for rhythm in _GRAVITY if rhythm in names), "N")
        if not found or found[-1][1] != name:
            found.append((at, name))
    return found


def _tells(begin: float, end: float, name: str, episode: Episode, late: float) -> bool:
    """Whether `status` speaks of this episode."""
    until = float("inf") if episode.end is None else episode.end + late
    return name == episode.rhythm and begin < until and episode.begin < end
