"""What ANSI/AAMI EC13 (IEC 60601-2-27) asks of a bedside monitor, through the whole pipeline with the shipped model.

Simulated signals as the standard describes them: a triangular QRS complex of 1 mV and 70 ms on a flat line, a T wave
where one is asked for. The standard's own recordings are on PhysioNet and not at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from daemon.app import find_model
from daemon.config import Alerts, Config, ExtremeBradycardia, ExtremeTachycardia
from dsp.signal import RATE_HZ
from engines.backend import open_backend
from rhythmd import patient
from rhythmd.analysis import Analysis, analyze
from rhythmd.recording import Recording

COUNTS_PER_MV = 400.0
DEFAULTS = Alerts()
NOISE_MV = 0.003  # an amplifier's: a line without any is a lead that is off
WITHIN_S = 11.0  # of a change of rate, until it is shown and, beyond a limit, alarmed


def triangle(since_s: np.ndarray, width_s: float) -> np.ndarray:
    """1 at 0, 0 from half the width on."""
    return np.clip(1 - np.abs(since_s) / (width_s / 2), 0, None)


def recording(r_s: np.ndarray, *, qrs_s: float = 0.07, t_mv: float = 0.0, qt_s: float = 0.35) -> Recording:
    """A beat of 1 mV at each of these seconds; QRS `qrs_s` wide, T a half sine of 180 ms that ends `qt_s` after QRS
    begins."""
    at_s = np.arange(round((r_s[-1] + 2.0) * RATE_HZ)) / RATE_HZ
    ecg_mv = NOISE_MV * np.random.default_rng(13).standard_normal(len(at_s))
    for each_s in r_s:
        ecg_mv += triangle(at_s - each_s, qrs_s)
        in_t = (at_s - (each_s - qrs_s / 2 + qt_s - 0.18)) / 0.18
        ecg_mv += t_mv * np.where((in_t > 0) & (in_t < 1), np.sin(np.pi * in_t), 0.0)
    return Recording("ec13", "II", RATE_HZ, np.rint(ecg_mv * COUNTS_PER_MV), COUNTS_PER_MV)


def regular(bpm: float, seconds: float, start_s: float = 1.0) -> np.ndarray:
    """Seconds of R peaks."""
    return np.arange(start_s, start_s + seconds, 60.0 / bpm)


@pytest.fixture(scope="module")
def analyzed() -> Iterator[Callable[[Recording, Alerts], Analysis]]:
    model = find_model(Config().engine.model)
    with open_backend("onnxruntime", model) as engine:
        yield lambda made, alerts=DEFAULTS: analyze(made, engine, model.manifest.heads, alerts)


def shown_bpm(found: Analysis, since_s: float) -> list[float]:
    """The heart rate that goes out with each beat from `since_s` on."""
    return [beat.heart_rate_bpm for beat in found.beats if beat.r_peak >= since_s * RATE_HZ]


@pytest.mark.parametrize("bpm", [15, 20, 30, 40, 60, 80, 100, 120, 150, 180, 200, 220, 240, 260, 280, 300])
def test_the_heart_rate_is_right_to_1_percent_or_1_per_minute(analyzed, bpm):
    rates = shown_bpm(analyzed(recording(regular(bpm, 60))), since_s=20)
    assert len(rates) == pytest.approx(41 * bpm / 60, abs=2)
    assert rates == [pytest.approx(bpm, rel=0.01, abs=1.0)] * len(rates)


@pytest.mark.parametrize("t_mv", [0.3, 0.6, 0.9, 1.2])
def test_tall_t_waves_are_not_counted(analyzed, t_mv):
    r_s = regular(80, 60)
    found = analyzed(recording(r_s, qrs_s=0.1, t_mv=t_mv))
    assert len(found.beats) == len(r_s)
    assert shown_bpm(found, since_s=20) == [pytest.approx(80, abs=1.0)] * len(shown_bpm(found, since_s=20))


@pytest.mark.parametrize(
    ("to_bpm", "limits"),
    [
        (120, Alerts(extreme_tachycardia=ExtremeTachycardia(rate_bpm=100.0))),
        (40, Alerts(extreme_bradycardia=ExtremeBradycardia(rate_bpm=60.0))),
    ],
)
def test_a_step_of_the_heart_rate_is_shown_and_alarmed_within_11_s(analyzed, to_bpm, limits):
    before_s = regular(80, 30)
    step_s = before_s[-1]
    found = analyzed(recording(np.concatenate([before_s[:-1], regular(to_bpm, 30, start_s=step_s)])), limits)
    (alert,) = [one for one in found.alerts if one.kind.startswith("extreme")]
    assert 0 < alert.raised / RATE_HZ - step_s < WITHIN_S
    shown = [beat for beat in found.beats if beat.at / RATE_HZ >= step_s + WITHIN_S - 60 / to_bpm]
    assert [beat.heart_rate_bpm for beat in shown] == [pytest.approx(to_bpm, abs=1.0)] * len(shown)
    assert len(shown) > 5


@pytest.mark.parametrize(
    ("intervals_s", "bpm"),
    [
        ((0.56, 0.94), 80.0),  # ventricular bigeminy
        ((0.75, 0.75, 0.5, 1.0), 80.0),  # a premature beat and its pause, now and then
        ((0.8, 1.2), 60.0),  # slow, alternating
        ((0.4, 0.6), 120.0),  # rapid, alternating
        ((0.6, 0.73), 90.2),  # systoles of two directions
    ],
)
def test_the_mean_rate_of_an_irregular_rhythm_is_shown(analyzed, intervals_s, bpm):
    r_s = 1.0 + np.concatenate([[0], np.cumsum(np.tile(intervals_s, 30))])
    rates = shown_bpm(analyzed(recording(r_s)), since_s=21)
    assert rates == [pytest.approx(bpm, rel=0.05)] * len(rates)
    assert np.mean(rates) == pytest.approx(bpm, abs=2.0)


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("bpm", [160, 186, 206])
def test_a_ventricular_tachycardia_is_alarmed_within_11_s_at_half_and_double_its_size(analyzed, bpm, gain):
    made = patient.make(f"sinus 40, vt 25 @{bpm}", seed=3, rate_bpm=80.0).recording
    found = analyzed(replace(made, counts=np.rint(gain * made.counts)))
    lethal = {"ventricular_tachycardia", "ventricular_fibrillation", "extreme_tachycardia"}
    raised_s = [one.raised / RATE_HZ for one in found.alerts if one.kind in lethal]
    assert 40 < min(raised_s) < 40 + WITHIN_S
