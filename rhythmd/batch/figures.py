"""One recording in some numbers: what a row of the summary says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from daemon.alerts import AlertEvent
from daemon.episodes import Episode
from daemon.kinds import KINDS
from dsp.signal import RATE_HZ

LETTERS = "NSVQ"
Span = tuple[int, int]  # at 250 Hz


def figures(
    letters: bytes | bytearray, alerts: Iterable[AlertEvent], episodes: Iterable[Episode], duration_s: float
) -> dict[str, Any]:
    """Beats by class, and of each arrhythmia how often it was and for which share of the recording.

    A kind that names the rhythm is counted by its episodes, alerted or not, another by its alerts. `unfit` is the share
    that nobody could judge: lost, lead off or noise.
    """
    last = round(duration_s * RATE_HZ)
    spans: dict[str, list[Span]] = {}
    counted: list[AlertEvent | Episode] = [*episodes, *(each for each in alerts if KINDS[each.kind].rhythm is None)]
    for each in counted:
        spans.setdefault(each.kind, []).append((each.onset, last if each.end is None else each.end))
    counts = Counter(letters.decode())
    unfit = [span for kind, its in spans.items() if KINDS[kind].rhythm == "NOISE" for span in its]
    return {
        "hours": round(duration_s / 3600, 3),
        "beats": {letter: counts[letter] for letter in LETTERS},
        "burden": {
            kind: {"count": len(spans[kind]), "share": share(spans[kind], last)} for kind in KINDS if kind in spans
        },
        "unfit": share(unfit, last),
    }


def share(spans: list[Span], last: int) -> float:
    """Of all samples to before `last`, those within one span or more."""
    covered = reached = 0
    for begin, end in sorted(spans):
        first = min(max(begin, reached), last)
        reached = max(first, min(end, last))
        covered += reached - first
    return round(covered / last, 6) if last else 0.0
