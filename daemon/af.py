"""How much the RR intervals alone speak for atrial fibrillation. Pure and causal: it looks back only.

Two measures, each blind where the other sees. The entropy of words of three heart rates (Zhou et al., PLoS ONE 2015)
knows any pattern that repeats, such as bigeminy, but is fooled by ectopy at random. The median change from one interval
to the next, premature beats and their pauses left out, is not: it asks whether the others are irregular too. How they
add up was fitted to the beats of rr/afdb.
"""

from __future__ import annotations

from collections import Counter, deque
from itertools import islice, pairwise
from math import log, log2
from statistics import median

WORDS = 64
"""Over which the entropy is taken: about 50 s. Zhou has 127; half of that finds beginning and end sooner, and tells the
beats of afdb apart no worse (sensitivity 96.4 against 96.0 % at a specificity of 97.5 %)."""

LEAST_WORDS = 8
"""With fewer nothing is said."""

CHANGES = 32
"""Intervals over which the median change is taken."""

USUAL = 9
"""Intervals whose median is the usual one."""

EARLY, LATE = 0.88, 1.15
"""An interval shorter than this part of the usual one, and one longer than this multiple of that, are those before and
after a premature beat."""


UNIT = 2.0**-40
TIMES_BITS = tuple(round(count * log2(count) / UNIT) if count else 0 for count in range(WORDS + 1))
"""What a word that came so often takes off the entropy, in whole units: they add up to the same in any order."""


class Words:
    """The newest words, and how often each came."""

    def __init__(self) -> None:
        self._newest: deque[tuple[int, ...]] = deque()
        self._counts: Counter[tuple[int, ...]] = Counter()
        self._taken = 0  # off the entropy, by words that came again

    def __len__(self) -> int:
        return len(self._newest)

    def add(self, word: tuple[int, ...]) -> None:
        if len(self._newest) == WORDS:
            self._count(self._newest.popleft(), -1)
        self._newest.append(word)
        self._count(word, 1)

    def _count(self, word: tuple[int, ...], more: int) -> None:
        before = self._counts[word]
        self._taken += TIMES_BITS[before + more] - TIMES_BITS[before]
        self._counts[word] += more
        if not self._counts[word]:
            del self._counts[word]

    def entropy(self) -> float:
        """Times the part of the words that differ: from 0 (all alike) to 1 (all different)."""
        words = len(self._newest)
        bits = log2(words) - self._taken * UNIT / words
        return len(self._counts) / words * bits / log2(words)


class Irregularity:
    """The RR intervals so far, as far as they are remembered."""

    def __init__(self) -> None:
        self._rates: deque[int] = deque(maxlen=2)  # before the newest one, in steps of 5/min
        self._words = Words()
        self._intervals: deque[float] = deque(maxlen=CHANGES + 1)
        self._ectopic: deque[bool] = deque(maxlen=CHANGES + 1)  # of the same: it begins or ends with a premature beat
        self._usual_s = 0.0  # before the newest interval

    def add(self, rr_s: float) -> None:
        """The next interval, in seconds."""
        rate = min(63, int(12.0 / rr_s))
        if len(self._rates) == 2:
            self._words.add((*self._rates, rate))
        self._rates.append(rate)
        before_s = self._intervals[-1] if self._intervals else rr_s
        premature = before_s < EARLY * self._usual_s and rr_s > LATE * before_s
        if premature:
            self._ectopic[-1] = True
        self._usual_s = median(islice(reversed(self._intervals), USUAL)) if self._intervals else rr_s
        self._ectopic.append(premature)
        self._intervals.append(rr_s)

    def log_odds(self) -> float | None:
        """Of fibrillation against another rhythm; None with too few intervals."""
        words = len(self._words)
        if words < LEAST_WORDS:
            return None
        # Fewer words repeat less, whatever the rhythm: in sinus rhythm by so much for each halving.
        entropy = self._words.entropy() - 0.11 * log2(WORDS / words)
        return 9.0 * entropy + log(max(self._change(), 0.002)) - 3.0

    def _change(self) -> float:
        """Median change from one interval to the next over the median interval; 0 when nothing but ectopy is there."""
        regular = [None if odd else rr_s for rr_s, odd in zip(self._intervals, self._ectopic, strict=True)]
        changes = [abs(a - b) for a, b in pairwise(regular) if a and b]
        return median(changes) / median(self._intervals) if changes else 0.0
