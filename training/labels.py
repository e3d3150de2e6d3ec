"""What is true of a window, as sets of classes: bit i stands for class i of a head. All bits: nothing is known."""

from __future__ import annotations

from training.layout import BEATS, LEARNED

N, S, V = range(len(BEATS))
AF, VF, VT, NORMAL, OTHER, NOISE = range(len(LEARNED["rhythm"]))
UNKNOWN = -1


def bits(*classes: int) -> int:
    """The set of these classes."""
    return sum(1 << each for each in classes)


ANY_BEAT, ANY_RHYTHM = bits(*range(len(BEATS))), bits(*range(len(LEARNED["rhythm"])))
ONE_BEAT = [bits(each) for each in range(len(BEATS))]
BEATING = bits(AF, NORMAL, OTHER)
"""A person whose beats were annotated: neither fibrillation of the ventricles nor noise."""

CALM = bits(NORMAL, OTHER)
"""No fibrillation, no tachycardia; whether other than normal the annotations do not say."""
