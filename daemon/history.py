"""What the decisions remember of past beats."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from statistics import fmean

from daemon.messages import BeatClass
from dsp.signal import RATE_HZ

MEMORY_BEATS = 400
"""A minute at 300/min and some: `frequent_pvc` looks back that far."""


AVERAGED_INTERVALS = 12
"""Of the heart rate that is shown."""


@dataclass(frozen=True, slots=True)
class JudgedBeat:
    """A beat and what the network made of it."""

    r_peak: int
    at: int
    rr_s: float | None
    beat: BeatClass
    probability: float
    heart_rate_bpm: float | None
    ventricular: float = 0.0  # the probability of that class, whichever was called
    slight: bool = False  # so small and strange that no ventricle made it


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive beats of one class."""

    beat: BeatClass
    r_peaks: tuple[int, ...]

    def rate_bpm(self, beats: int) -> float:
        """Over the last `beats` of it, which it must have."""
        span = self.r_peaks[-1] - self.r_peaks[-beats]
        return 60.0 * RATE_HZ * (beats - 1) / span


class History:
    """The beats so far, as far as they follow one another without a hole."""

    def __init__(self) -> None:
        self._beats: deque[JudgedBeat] = deque(maxlen=MEMORY_BEATS)
        self._r_peaks: dict[BeatClass, deque[int]] = {}  # of the beats of each class
        self.run = Run("N", ())  # the one that is going on
        self.ended: Run | None = None  # the one that the newest beat ended
        self._broken_off = False

    def add(
        self,
        r_peak: int,
        at: int,
        rr_s: float | None,
        beat: BeatClass,
        probability: float,
        ventricular: float = 0.0,
        *,
        slight: bool = False,
    ) -> JudgedBeat:
        if self._broken_off:
            rr_s, self._broken_off = None, False
        intervals = [rr_s, *islice(self._intervals(), AVERAGED_INTERVALS - 1)] if rr_s else []
        judged = JudgedBeat(r_peak, at, rr_s, beat, probability, _heart_rate_bpm(intervals), ventricular, slight)
        goes_on = beat == self.run.beat and rr_s is not None
        self.ended = None if goes_on else self.run
        self.run = Run(beat, (*self.run.r_peaks, r_peak)[-MEMORY_BEATS:] if goes_on else (r_peak,))
        self._beats.append(judged)
        self._r_peaks.setdefault(beat, deque(maxlen=MEMORY_BEATS)).append(r_peak)
        return judged

    def break_off(self) -> None:
        """The signal could not be judged for a while: what comes does not follow what was."""
        self.run, self.ended, self._broken_off = Run("N", ()), None, True

    @property
    def last(self) -> JudgedBeat | None:
        return self._beats[-1] if self._beats else None

    def intervals(self, beats: int, longest_s: float) -> list[float] | None:
        """RR intervals of the last `beats`; None when they are not there, or something came between them.

        Missing samples or an interval of `longest_s`, which is no heartbeat's but the absence of one.
        """
        intervals = list(islice(self._intervals(), beats - 1))
        return intervals if len(intervals) == beats - 1 and max(intervals, default=0.0) < longest_s else None

    def newest(self, beats: int) -> list[JudgedBeat]:
        """The last `beats`, newest first, or as many as there are."""
        return list(islice(reversed(self._beats), beats))

    def r_peak_of(self, beats_ago: int) -> int:
        return self._beats[-beats_ago].r_peak

    def r_peaks(self, beat: BeatClass, since: int) -> list[int]:
        """Of the beats of this class at or after `since`, newest first."""
        return list(takewhile(lambda r_peak: r_peak >= since, reversed(self._r_peaks.get(beat, ()))))

    def _intervals(self) -> Iterator[float]:
        """RR intervals, newest first, back to the first unknown one."""
        for judged in reversed(self._beats):
            if judged.rr_s is None:
                return
            yield judged.rr_s


def _heart_rate_bpm(intervals: list[float]) -> float | None:
    """Averaged as bedside monitors do (IEC 60601-2-27, as the vendors' manuals state it).

    The 12 latest RR intervals less the longest and the shortest; the 4 latest when the last three are over 1.2 s.
    """
    if not intervals:
        return None
    if len(intervals) >= 4 and min(intervals[:3]) > 1.2:
        used = intervals[:4]
    elif len(intervals) >= 5:
        used = sorted(intervals)[1:-1]
    else:
        used = intervals
    return 60.0 / fmean(used)
