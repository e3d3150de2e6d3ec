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

FEW_SAY = 1.5
"""Log-odds. What more there is for AF counts only as far as all words are there: a few premature beats make few of
them random. Chosen on the challenge of 2017, half a minute each, in five folds (F1 80.3 to 81.4)."""

CHANGES = 32
"""Intervals over which the median change is taken."""

USUAL = 9
"""Intervals whose median is the usual one."""

EARLY, LATE = 0.88, 1.15
"""An interval shorter than this part of the usual one, and one longer than this multiple of that, are those before and
after a premature beat."""


class Irregularity:
    """The RR intervals so far, as far as they are remembered."""

    def __init__(self) -> None:
        self._rates: deque[int] = deque(maxlen=WORDS + 2)  # in steps of 5/min
        self._intervals: deque[float] = deque(maxlen=CHANGES + 1)
        self._ectopic: deque[bool] = deque(maxlen=CHANGES + 1)  # of the same: it begins or ends with a premature beat
        self._usual_s = 0.0  # before the newest interval

    def add(self, rr_s: float) -> None:
        """The next interval, in seconds."""
        self._rates.append(min(63, int(12.0 / rr_s)))
        before_s = self._intervals[-1] if self._intervals else rr_s
        premature = before_s < EARLY * self._usual_s and rr_s > LATE * before_s
        if premature:
            self._ectopic[-1] = True
        self._usual_s = median(islice(reversed(self._intervals), USUAL)) if self._intervals else rr_s
        self._ectopic.append(premature)
        self._intervals.append(rr_s)

    def is_whole(self) -> bool:
        """Whether there are all words."""
        return len(self._rates) == self._rates.maxlen

    def log_odds(self) -> float | None:
        """Of fibrillation against another rhythm; None with too few intervals."""
        words = list(zip(*(islice(self._rates, first, None) for first in range(3)), strict=False))
        if len(words) < LEAST_WORDS:
            return None
        # Fewer words repeat less, whatever the rhythm: in sinus rhythm by so much for each halving.
        entropy = _entropy(words) - 0.11 * log2(WORDS / len(words))
        said = 9.0 * entropy + log(max(self._change(), 0.002)) - 3.0
        return min(said, FEW_SAY + max(said - FEW_SAY, 0.0) * len(words) / WORDS)

    def _change(self) -> float:
        """Median change from one interval to the next over the median interval; 0 when nothing but ectopy is there."""
        regular = [None if odd else rr_s for rr_s, odd in zip(self._intervals, self._ectopic, strict=True)]
        changes = [abs(a - b) for a, b in pairwise(regular) if a and b]
        return median(changes) / median(self._intervals) if changes else 0.0


TIMES_BITS = tuple(count * log2(count) if count else 0.0 for count in range(WORDS + 1))
"""What a word that came so often takes off the entropy."""


def _entropy(words: list[tuple[int, ...]]) -> float:
    """Of the words, times the part of them that differ: from 0 (all alike) to 1 (all different)."""
    counts = Counter(words).values()
    bits = log2(len(words)) - sum(map(TIMES_BITS.__getitem__, counts)) / len(words)
    return len(counts) / len(words) * bits / log2(len(words))
