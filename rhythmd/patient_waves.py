"""The shapes of synthetic heartbeats, and the signals that have no beats. Millivolts as lead II shows them.

After P. E. McSharry, G. D. Clifford, L. Tarassenko, L. A. Smith, A dynamical model for generating synthetic
electrocardiogram signals, IEEE Trans Biomed Eng 50(3):289-294, 2003. Deviations:

- a beat is the paper's sum of Gaussian waves in closed form, placed in time around its R peak, rather than integrated
  along a limit cycle: so each beat can have its own shape (ectopic, paced), and beats may come at any time;
- a wave may rise and fall at different speeds, as T waves do;
- P and T move with the cube root of the RR interval (Fridericia), where the paper takes the square root of the mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Millivolts = NDArray[np.float64]


class Wave(NamedTuple):
    """One Gaussian of a beat, at an RR interval of 1 s."""

    at_s: float  # its peak, from the R peak
    height_mv: float
    rise_s: float  # standard deviation before its peak
    fall_s: float  # and after
    moves: bool = False  # with the heart rate, as P and T do


class Beat(NamedTuple):
    """One heartbeat as the heart plans it."""

    r_s: float
    label: str  # N S V Q as AAMI EC57 has them; empty for a P wave that nothing follows
    shape: tuple[Wave, ...]
    rr_s: float  # the interval that its P and T adapt to


_P = Wave(-0.160, 0.13, 0.022, 0.024, moves=True)
_QRS = (Wave(-0.025, -0.09, 0.008, 0.007), Wave(0.0, 1.1, 0.0105, 0.0105), Wave(0.027, -0.22, 0.008, 0.010))
_T = Wave(0.290, 0.28, 0.055, 0.036, moves=True)

NORMAL = (_P, *_QRS, _T)
NO_P = (*_QRS, _T)
P_ALONE = (_P,)
ATRIAL_ECTOPIC = (Wave(-0.135, 0.09, 0.016, 0.018, moves=True), *_QRS, _T)
REENTRANT = (*_QRS, Wave(0.075, -0.07, 0.012, 0.014), _T._replace(height_mv=0.2))  # its P falls into the S wave
VENTRICULAR = (  # 150 ms wide, notched, T opposite
    Wave(0.0, 1.35, 0.028, 0.024),
    Wave(0.053, 0.45, 0.015, 0.018),
    Wave(0.105, -0.22, 0.022, 0.040),
    Wave(0.330, -0.48, 0.080, 0.052, moves=True),
)
TACHYCARDIC = (  # monomorphic: another site than the single beats', so fast that each T runs into the next QRS
    Wave(-0.050, 0.18, 0.016, 0.016),
    Wave(0.0, 1.30, 0.023, 0.025),
    Wave(0.072, -0.55, 0.024, 0.034),
    Wave(0.245, -0.38, 0.060, 0.050, moves=True),
)
PACED = (  # a spike, then the QRS of a heart stimulated at the right ventricle's apex
    Wave(-0.062, 1.6, 0.0022, 0.0022),
    Wave(-0.034, 0.12, 0.010, 0.010),
    Wave(0.0, -1.15, 0.028, 0.034),
    Wave(0.310, 0.42, 0.075, 0.050, moves=True),
)


def drawn(beats: Iterable[Beat], samples: int, rate_hz: float, gains: Millivolts) -> Millivolts:
    """The beats on an empty strip. `gains` (samples,) is how much of each the electrode sees at its R peak."""
    strip = np.zeros(samples)
    for beat in beats:
        stretch = np.clip(beat.rr_s, 0.3, 1.5) ** (1 / 3)
        gain = gains[min(max(round(beat.r_s * rate_hz), 0), samples - 1)]
        for wave in beat.shape:
            scale = stretch if wave.moves else 1.0
            peak_s, rise_s, fall_s = beat.r_s + wave.at_s * scale, wave.rise_s * scale, wave.fall_s * scale
            first = max(0, round((peak_s - 5 * rise_s) * rate_hz))
            from_peak_s = np.arange(first, min(samples, round((peak_s + 5 * fall_s) * rate_hz))) / rate_hz - peak_s
            width_s = np.where(from_peak_s < 0, rise_s, fall_s)
            strip[first : first + len(from_peak_s)] += (
                gain * wave.height_mv * np.exp(-((from_peak_s / width_s) ** 2) / 2)
            )
    return strip


def smooth_noise(rng: np.random.Generator, samples: int, rate_hz: float, band_hz: float) -> NDArray[np.float64]:
    """Gaussian noise below about `band_hz`, standard deviation 1, mean 0."""
    longer = samples + round(2 * rate_hz / band_hz)  # cut afterwards: a Fourier transform makes the ends meet
    white = np.fft.rfft(rng.standard_normal(longer))
    frequency_hz = np.fft.rfftfreq(longer, 1 / rate_hz)
    noise = np.fft.irfft(white * np.exp(-((frequency_hz / band_hz) ** 2)), longer)[:samples]
    noise -= noise.mean()
    scaled: NDArray[np.float64] = noise / (noise.std() or 1.0)
    return scaled


def tachogram(rng: np.random.Generator, duration_s: float, *, breath_hz: float) -> tuple[NDArray[np.float64], float]:
    """The paper's heart rate variability, standard deviation 1, and its rate.

    A Gaussian at the Mayer waves (0.1 Hz) and one, half as strong, at the breath, with random phases.
    """
    rate_hz, width_hz = 4.0, 0.01
    samples = max(512, round(duration_s * rate_hz))
    frequency_hz = np.fft.rfftfreq(samples, 1 / rate_hz)
    power = sum(
        weight * np.exp(-(((frequency_hz - centre_hz) / width_hz) ** 2) / 2)
        for centre_hz, weight in ((0.1, 0.5), (breath_hz, 1.0))
    )
    series = np.fft.irfft(np.sqrt(power) * np.exp(2j * np.pi * rng.random(len(frequency_hz))), samples)
    return series / series.std(), rate_hz


def fibrillatory_waves(rng: np.random.Generator, at_s: NDArray[np.float64], rate_hz: float, _: float) -> Millivolts:
    """Saw-toothed f waves, frequency- and amplitude-modulated (Stridh & Sornmo, IEEE Trans Biomed Eng 48:105, 2001)."""
    frequency_hz = rng.uniform(5.2, 7.2) + 0.5 * smooth_noise(rng, len(at_s), rate_hz, 0.4)
    phase = 2 * np.pi * np.cumsum(np.clip(frequency_hz, 4.0, 9.0)) / rate_hz
    amplitude_mv = 0.07 * np.clip(1 + 0.4 * smooth_noise(rng, len(at_s), rate_hz, 0.7), 0.2, 2.0)
    return amplitude_mv * sum((np.sin(k * phase) / k for k in (1, 2, 3)), np.zeros(len(at_s)))


def flutter_waves(_: np.random.Generator, at_s: NDArray[np.float64], _rate_hz: float, bpm: float) -> Millivolts:
    """Saw teeth at the atrial rate, as lead II shows typical flutter."""
    phase = 2 * np.pi * bpm / 60 * at_s
    return -0.11 * sum((np.sin(k * phase) / k for k in (1, 2, 3, 4)), np.zeros(len(at_s)))


def ventricular_fibrillation(
    rng: np.random.Generator, at_s: NDArray[np.float64], rate_hz: float, _: float
) -> Millivolts:
    """Two wandering oscillators of 3 to 7 Hz beat against each other; coarse at first, finer by the minute."""

    def oscillator(centre_hz: float) -> NDArray[np.float64]:
        frequency_hz = centre_hz + 0.7 * smooth_noise(rng, len(at_s), rate_hz, 0.8)
        phase = 2 * np.pi * (rng.random() + np.cumsum(np.clip(frequency_hz, 3.0, 7.0)) / rate_hz)
        harmonic: NDArray[np.float64] = np.sin(phase) + 0.2 * np.sin(2 * phase + 0.8)
        return harmonic

    amplitude_mv = 0.45 * np.clip(1 + 0.35 * smooth_noise(rng, len(at_s), rate_hz, 0.6), 0.35, 2.0)
    return amplitude_mv * np.exp(-at_s / 120) * (oscillator(4.6) + 0.4 * oscillator(5.6))


def muscle_and_motion(rng: np.random.Generator, at_s: NDArray[np.float64], rate_hz: float, rms_uv: float) -> Millivolts:
    """Muscle noise in bursts, and an electrode that is being moved."""
    bursts = np.clip(1 + smooth_noise(rng, len(at_s), rate_hz, 0.5), 0.2, 3.0)
    muscle = bursts * rng.standard_normal(len(at_s))
    motion = smooth_noise(rng, len(at_s), rate_hz, 1.0) * np.clip(smooth_noise(rng, len(at_s), rate_hz, 0.3), 0, 3)
    return rms_uv / 1e3 * (0.7 * muscle + 2.5 * motion)


def hum(rng: np.random.Generator, at_s: NDArray[np.float64], rate_hz: float, _: float) -> Millivolts:
    """What an electrode that hangs in the air picks up: the mains."""
    return 0.4 * np.sin(2 * np.pi * 50 * at_s) * (1 + 0.2 * smooth_noise(rng, len(at_s), rate_hz, 0.5))
