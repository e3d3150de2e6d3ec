"""What a simulated patient's heart can do: the vocabulary, and when each rhythm beats.

A rhythm is a function that plans the beats of one stretch, a signal that lies below them, or both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rhythmd import patient_waves as waves
from rhythmd.patient_waves import Beat, Millivolts, Wave

_BEFORE_R_S, _AFTER_R_S = 0.25, 0.15  # room that a beat needs inside its own stretch


@dataclass(frozen=True, slots=True)
class Stretch:
    """The time a rhythm has, and the patient it happens in."""

    start_s: float
    end_s: float
    value: float  # what the script says after @, or the rhythm's usual value
    sinus_bpm: float
    previous_r_s: float  # the last R peak before the stretch
    variability: Callable[[float], float]  # (time) relative deviation of the sinus interval from its mean
    rng: np.random.Generator

    def first_r_s(self, rr_s: float) -> float:
        return max(self.start_s + _BEFORE_R_S, self.previous_r_s + rr_s)

    def holds(self, r_s: float) -> bool:
        return r_s < self.end_s - _AFTER_R_S

    def sinus_rr_s(self, bpm: float, at_s: float) -> float:
        """Varies less when the heart is fast, as the vagus lets go."""
        return 60 / bpm * (1 + self.variability(at_s) * min(1.0, 60 / bpm))


def _steady(stretch: Stretch, label: str, shape: tuple[Wave, ...], jitter: float) -> Iterator[Beat]:
    r_s = stretch.first_r_s(60 / stretch.value)
    while stretch.holds(r_s):
        rr_s = 60 / stretch.value * (1 + jitter * stretch.rng.standard_normal())
        yield Beat(r_s, label, shape, rr_s)
        r_s += rr_s


def sinus(stretch: Stretch) -> Iterator[Beat]:
    r_s = stretch.first_r_s(60 / stretch.value)
    while stretch.holds(r_s):
        rr_s = stretch.sinus_rr_s(stretch.value, r_s)
        yield Beat(r_s, "N", waves.NORMAL, rr_s)
        r_s += rr_s


def sinus_at_rest(stretch: Stretch) -> Iterator[Beat]:
    """For a rhythm whose value is no rate."""
    return sinus(replace(stretch, value=stretch.sinus_bpm))


def pauses(stretch: Stretch) -> Iterator[Beat]:
    """After every sixth beat, or the third for a start, the sinus node rests."""
    r_s, until_rest = stretch.first_r_s(60 / stretch.sinus_bpm), 3
    while stretch.holds(r_s):
        rr_s = stretch.sinus_rr_s(stretch.sinus_bpm, r_s)
        yield Beat(r_s, "N", waves.NORMAL, rr_s)
        until_rest -= 1
        r_s += rr_s if until_rest else stretch.value
        until_rest = until_rest or 6


def ventricular_ectopy(in_a_row: int, every: tuple[int, int]) -> Callable[[Stretch], Iterator[Beat]]:
    """Sinus rhythm that `in_a_row` wide beats interrupt, after `every` (least, most) sinus beats."""

    def beats(stretch: Stretch) -> Iterator[Beat]:
        rng = stretch.rng
        r_s, until_ectopic = stretch.first_r_s(60 / stretch.value), int(rng.integers(every[0], every[1] + 1))
        while stretch.holds(r_s):
            rr_s = stretch.sinus_rr_s(stretch.value, r_s)
            yield Beat(r_s, "N", waves.NORMAL, rr_s)
            until_ectopic -= 1
            if not until_ectopic:
                until_ectopic = int(rng.integers(every[0], every[1] + 1))
                ectopic_s = r_s + rr_s * rng.uniform(0.56, 0.64)
                for _ in range(in_a_row):
                    if stretch.holds(ectopic_s):
                        yield Beat(ectopic_s, "V", waves.VENTRICULAR, rr_s)
                    last_s, ectopic_s = ectopic_s, ectopic_s + rng.uniform(0.38, 0.44)
                # The sinus node keeps its time, and its next beat finds the ventricle refractory: the pause is
                # compensatory. So it stays after several, which hide more of its beats.
                yield Beat(r_s + rr_s, "", waves.P_ALONE, rr_s)
                while r_s + rr_s < last_s + max(0.45, 0.5 * rr_s):
                    r_s += rr_s
            r_s += rr_s

    return beats


def atrial_ectopy(stretch: Stretch) -> Iterator[Beat]:
    """Every few beats a premature narrow one; it resets the sinus node, so the pause is not compensatory."""
    r_s, until_ectopic = stretch.first_r_s(60 / stretch.value), int(stretch.rng.integers(3, 7))
    while stretch.holds(r_s):
        rr_s = stretch.sinus_rr_s(stretch.value, r_s)
        early = until_ectopic == 0
        yield Beat(r_s, "S" if early else "N", waves.ATRIAL_ECTOPIC if early else waves.NORMAL, rr_s)
        until_ectopic = int(stretch.rng.integers(3, 7)) if early else until_ectopic - 1
        r_s += rr_s * (stretch.rng.uniform(0.58, 0.66) if until_ectopic == 0 else 1.1 if early else 1.0)


def atrial_fibrillation(stretch: Stretch) -> Iterator[Beat]:
    """Intervals without any order: each log-normal, independent of the one before."""
    mean_s, spread = 60 / stretch.value, 0.26
    r_s = stretch.first_r_s(mean_s)
    while stretch.holds(r_s):
        rr_s = max(0.32, mean_s * float(np.exp(spread * stretch.rng.standard_normal() - spread**2 / 2)))
        yield Beat(r_s, "N", waves.NO_P, rr_s)
        r_s += rr_s


def atrial_flutter(stretch: Stretch) -> Iterator[Beat]:
    """Every second flutter wave is conducted, now and then only every fourth."""
    wave_s = 60 / stretch.value
    r_s = stretch.first_r_s(2 * wave_s)
    while stretch.holds(r_s):
        rr_s = wave_s * stretch.rng.choice([2, 2, 2, 4])
        yield Beat(r_s, "N", waves.NO_P, rr_s)
        r_s += rr_s


def ventricular_tachycardia(stretch: Stretch) -> Iterator[Beat]:
    """Wide and regular; the atria go on at the sinus rate, and nobody follows them."""
    yield from _steady(stretch, "V", waves.TACHYCARDIC, jitter=0.012)
    for p_s in np.arange(stretch.start_s + 0.4, stretch.end_s, 60 / stretch.sinus_bpm):
        yield Beat(float(p_s), "", waves.P_ALONE, 60 / stretch.sinus_bpm)


def reentrant_tachycardia(stretch: Stretch) -> Iterator[Beat]:
    return _steady(stretch, "S", waves.REENTRANT, jitter=0.006)


def paced(stretch: Stretch) -> Iterator[Beat]:
    return _steady(stretch, "Q", waves.PACED, jitter=0.0)


def nothing(_: Stretch) -> Iterator[Beat]:
    return iter(())


Background = Callable[[np.random.Generator, NDArray[np.float64], float, float], Millivolts]
"""(rng, times from the stretch's start in s, rate in Hz, the rhythm's value) -> mV"""

_BPM = (20.0, 300.0)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """One word of the vocabulary."""

    meaning: str
    beats: Callable[[Stretch], Iterator[Beat]]
    background: Background | None = None
    value: float | None = None  # what @ changes; None: the patient's sinus rate
    limits: tuple[float, float] | None = _BPM  # of the value; None: @ means nothing here
    unit: str = "bpm"


RHYTHMS: dict[str, Rhythm] = {
    "sinus": Rhythm("sinus rhythm with respiratory arrhythmia", sinus),
    "brady": Rhythm("sinus bradycardia", sinus, value=32.0),
    "tachy": Rhythm("sinus tachycardia", sinus, value=160.0),
    "pause": Rhythm("sinus rhythm with pauses", pauses, value=3.5, limits=(1.0, 30.0), unit="s"),
    "pac": Rhythm("sinus rhythm with premature atrial beats", atrial_ectopy),
    "svt": Rhythm("narrow regular tachycardia without P waves", reentrant_tachycardia, value=190.0),
    "af": Rhythm("atrial fibrillation", atrial_fibrillation, waves.fibrillatory_waves, value=105.0),
    "flutter": Rhythm(
        "atrial flutter, mostly 2:1", atrial_flutter, waves.flutter_waves, value=300.0, limits=(200.0, 360.0)
    ),
    "pvc": Rhythm("sinus rhythm with premature ventricular beats", ventricular_ectopy(1, (3, 6))),
    "bigeminy": Rhythm("every other beat ventricular", ventricular_ectopy(1, (1, 1))),
    "couplet": Rhythm("sinus rhythm with ventricular couplets", ventricular_ectopy(2, (5, 8))),
    "run": Rhythm("sinus rhythm with runs of four ventricular beats", ventricular_ectopy(4, (6, 9))),
    "vt": Rhythm("monomorphic ventricular tachycardia", ventricular_tachycardia, value=175.0),
    "vf": Rhythm("ventricular fibrillation", nothing, waves.ventricular_fibrillation, limits=None),
    "asystole": Rhythm("no beats at all", nothing, limits=None),
    "paced": Rhythm("ventricular pacemaker", paced, value=65.0),
    "noise": Rhythm(
        "sinus rhythm under muscle noise and motion",
        sinus_at_rest,
        waves.muscle_and_motion,
        400.0,
        (1.0, 5000.0),
        "uV RMS",
    ),
    "lead_off": Rhythm("the electrode hangs in the air", nothing, waves.hum, limits=None),
}
