"""Which rhythms hold now, and from where to where each lasted. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from daemon.kinds import KINDS, rhythm_of
from daemon.moment import Finding


@dataclass(frozen=True, slots=True)
class Episode:
    """A condition that names the rhythm, as it begins or ends, whether or not anyone is alerted; indices at 250 Hz."""

    kind: str  # one of KINDS
    onset: int
    end: int | None = None


class Episodes:
    """The episodes that are going on."""

    def __init__(self) -> None:
        self._open: dict[str, Episode] = {}

    @property
    def rhythm(self) -> str:
        """What the signal is called now."""
        return rhythm_of(set(self._open))

    def note(self, kind: str, finding: Finding | None, at: int) -> list[Episode]:
        """What `finding` changes: nothing, an episode that begins, one that ends, or one that did both."""
        if KINDS[kind].rhythm is None:
            return []
        begun = self._open.get(kind)
        changed = []
        if finding and not begun:
            begun = self._open[kind] = Episode(kind, finding.onset)
            changed.append(begun)
        end = finding.end if finding else at
        if begun and end is not None:
            del self._open[kind]
            changed.append(replace(begun, end=max(begun.onset, end)))
        return changed
