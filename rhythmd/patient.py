"""A synthetic patient: from a script such as "sinus 60, pvc 30, vt 10 @180, vf 8" to a recording, and its truth."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rhythmd import patient_waves as waves
from rhythmd.patient_rhythms import RHYTHMS, Stretch
from rhythmd.patient_waves import Beat, Millivolts
from rhythmd.recording import Recording

COUNTS_PER_MV = 400.0  # the scale of our own link, so that counts reach the wire unchanged
_JOIN_S = 0.3  # in which one stretch's background gives way to the next one's
_VARIABILITY = 0.045  # standard deviation of the sinus interval at 60 bpm, relative
_BREATH_HZ = 0.25


class ScriptError(ValueError):
    """A script cannot be understood. The message says which part and what would be right."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One rhythm of a script, at its place."""

    name: str
    start_s: float
    end_s: float
    value: float | None  # what stood after @


@dataclass(frozen=True, slots=True)
class TrueBeat:
    """One beat of the simulated patient, where the recording has its R peak."""

    sample: int
    label: str  # N S V Q


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    recording: Recording
    beats: tuple[TrueBeat, ...]
    segments: tuple[Segment, ...]


def parse(script: str) -> tuple[Segment, ...]:
    """The segments of a script, one after another."""
    segments: list[Segment] = []
    for part in filter(None, (part.strip() for part in script.split(","))):
        match = re.fullmatch(r"(\w+)\s+(\d+(?:\.\d*)?)\s*(?:@\s*(\d+(?:\.\d*)?))?", part)
        if not match:
            raise ScriptError(f"{part!r} is not NAME SECONDS [@VALUE], such as: af 60 @120")
        name, seconds, value = match[1], float(match[2]), float(match[3]) if match[3] else None
        if name not in RHYTHMS:
            raise ScriptError(f"no rhythm {name!r}; there are {', '.join(RHYTHMS)}")
        limits = RHYTHMS[name].limits
        if value is not None and not (limits and limits[0] <= value <= limits[1]):
            right = f"from {limits[0]:g} to {limits[1]:g} {RHYTHMS[name].unit}" if limits else "nothing"
            raise ScriptError(f"{part!r}: {name} takes {right} after @")
        if not seconds:
            raise ScriptError(f"{part!r}: lasts no time")
        start_s = segments[-1].end_s if segments else 0.0
        segments.append(Segment(name, start_s, start_s + seconds, value))
    if not segments:
        raise ScriptError("the script is empty; try: sinus 60, vf 10")
    return tuple(segments)


def vocabulary() -> str:
    """The rhythms, a line each, for people."""
    lines = []
    for name, rhythm in RHYTHMS.items():
        usual = "sinus rate" if rhythm.value is None else f"{rhythm.value:g} {rhythm.unit}"
        lines.append(f"  {name:<10}{rhythm.meaning}" + (f" (@ {rhythm.unit}: {usual})" if rhythm.limits else ""))
    return "\n".join(lines)


def make(
    script: str, seed: int, rate_hz: float = 250.0, *, rate_bpm: float = 70.0, noise_uv: float = 10.0
) -> Simulated:
    """A recording of a patient who does what the script says. The same arguments give the same samples.

    `rate_bpm` is the patient's sinus rate, `noise_uv` the amplifier's and the skin's noise, RMS.
    """
    segments = parse(script)
    samples = round(segments[-1].end_s * rate_hz)
    rng = np.random.default_rng([seed, 0])
    beats = _planned(segments, seed, rng, rate_bpm)
    at_s = np.arange(samples) / rate_hz
    breath = np.sin(2 * np.pi * (_BREATH_HZ * at_s + 0.1 * waves.smooth_noise(rng, samples, rate_hz, 0.1)))
    # The heart turns with the breath under the electrode; electrodes sit differently on each patient.
    gains = rng.uniform(0.85, 1.15) * (1 + 0.05 * breath)
    ecg_mv = waves.drawn(beats, samples, rate_hz, gains)
    ecg_mv += 0.05 * breath + 0.04 * waves.smooth_noise(rng, samples, rate_hz, 0.08)
    ecg_mv += noise_uv / 1e3 * rng.standard_normal(samples)
    for index, segment in enumerate(segments):
        _add_background(ecg_mv, segment, np.random.default_rng([seed, 2, index]), rate_hz)
    recording = Recording(f"synthetic-patient-{seed}", "II", rate_hz, np.rint(ecg_mv * COUNTS_PER_MV), COUNTS_PER_MV)
    true_beats = sorted((round(beat.r_s * rate_hz), beat.label) for beat in beats if beat.label)
    return Simulated(recording, tuple(TrueBeat(*beat) for beat in true_beats), segments)


def _planned(segments: tuple[Segment, ...], seed: int, rng: np.random.Generator, rate_bpm: float) -> list[Beat]:
    series, series_hz = waves.tachogram(rng, segments[-1].end_s, breath_hz=_BREATH_HZ)
    beats: list[Beat] = []
    previous_r_s = 0.0
    for index, segment in enumerate(segments):
        usual = RHYTHMS[segment.name].value
        stretch = Stretch(
            segment.start_s,
            segment.end_s,
            value=segment.value or usual or rate_bpm,
            sinus_bpm=rate_bpm,
            previous_r_s=previous_r_s,
            variability=lambda at_s: _VARIABILITY * float(series[int(at_s * series_hz) % len(series)]),
            rng=np.random.default_rng([seed, 1, index]),  # its own: a change elsewhere leaves it alone
        )
        beats += RHYTHMS[segment.name].beats(stretch)
        previous_r_s = max((beat.r_s for beat in beats if beat.label), default=0.0)
    return beats


def _add_background(ecg_mv: Millivolts, segment: Segment, rng: np.random.Generator, rate_hz: float) -> None:
    rhythm = RHYTHMS[segment.name]
    if rhythm.background is None:
        return
    first = max(0, round((segment.start_s - _JOIN_S / 2) * rate_hz))
    last = min(len(ecg_mv), round((segment.end_s + _JOIN_S / 2) * rate_hz))
    at_s = np.arange(last - first) / rate_hz
    background = rhythm.background(rng, at_s, rate_hz, segment.value or rhythm.value or 0.0)
    ecg_mv[first:last] += background * _fade(first / rate_hz + at_s, segment)


def _fade(at_s: NDArray[np.float64], segment: Segment) -> NDArray[np.float64]:
    """From 0 to 1 and back, without a corner."""
    inside_s = np.minimum(at_s - segment.start_s, segment.end_s - at_s) + _JOIN_S / 2
    ramp: NDArray[np.float64] = 0.5 - 0.5 * np.cos(np.pi * np.clip(inside_s / _JOIN_S, 0, 1))
    return ramp
