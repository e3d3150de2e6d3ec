"""What speaks for a beat being ventricular, what the referee makes of it, and how it learned that."""

from __future__ import annotations

import numpy as np
import pytest

from daemon import config as cfg
from daemon import judge
from daemon.beat_referee import NOT_ALIKE, evidence, shipped
from daemon.judge import Judge
from daemon.likeness import Shapes
from dsp.intervals import Intervals
from dsp.qrs_referee import Weighing
from dsp.signal import RATE_HZ, Beat, Fitness, Window
from tests.story import window_of
from tests.test_judge import BEATS, HEADS

RNG = np.random.default_rng(3)


def knowing(beats: str, *, sure: str = "NSV") -> Shapes:
    """Shapes that have seen these beats, and were sure of those kinds."""
    shapes = Shapes()
    for number, letter in enumerate(beats, 1):
        shapes.add(number * 200, window_of(letter) + 0.02 * RNG.standard_normal(1000))
        if letter in sure:
            shapes.surely(letter)
    return shapes


def intervals(*rr_s: float) -> np.ndarray:
    told = Intervals()
    for each in rr_s:
        told.add(each)
    return np.append(told.features(), 1.0).astype(np.float32)


STEADY = [0.8] * 70
CALM = {"atrial_fibrillation": 0.01, "ventricular_fibrillation": 1e-5, "ventricular_tachycardia": 1e-4, "noise": 1e-3}


def odds(shapes: Shapes, ventricular: float, rr_s: list[float] = STEADY, **rhythm: float) -> float:
    beat = {"normal": 0.9 * (1 - ventricular), "supraventricular": 0.1 * (1 - ventricular), "ventricular": ventricular}
    return shipped()(evidence(beat, CALM | rhythm, intervals(*rr_s), shapes))


def test_a_beat_that_looks_and_comes_as_the_normal_ones_do_is_not_ventricular_though_the_network_finds_it_likely():
    assert odds(knowing("N" * 40), 0.7) < 0
    assert odds(knowing("N" * 40, sure=""), 0.7) > odds(knowing("N" * 40), 0.7) + 1, "nothing is known to be normal"


def test_a_beat_that_looks_as_ventricular_ones_did_and_comes_early_is_one_though_the_network_doubts():
    early = [*STEADY, 0.5]
    assert odds(knowing("NNNNV" * 10), 0.3, early) > 0
    assert odds(knowing("NNNNV" * 9 + "NNNNN"), 0.3, early) < 0, "it looks as the normal ones do"


def test_what_is_rare_and_like_nothing_known_is_believed_less_in_noise():
    shapes = knowing("N" * 40 + "V")
    assert odds(shapes, 0.5, [*STEADY, 0.5], noise=0.5) < odds(shapes, 0.5, [*STEADY, 0.5]) - 1


@pytest.mark.parametrize("gain", [-1.0, 0.2, 5.0])
def test_neither_the_gain_nor_the_polarity_of_the_lead_changes_what_the_shapes_say(gain):
    told = []
    for factor in (1.0, gain):
        shapes = Shapes()
        for number, letter in enumerate("NNNNNNNNNNVNV", 1):
            shapes.add(number * 200, factor * window_of(letter))
            shapes.surely(letter)
        told.append(evidence(dict.fromkeys(BEATS, 0.3), CALM, intervals(*STEADY), shapes))
    np.testing.assert_allclose(*told, atol=1e-9)


def test_the_evidence_is_as_many_numbers_as_the_referee_weighs_and_says_what_is_not_known():
    told = evidence(dict.fromkeys(BEATS, 0.3), CALM, intervals(0.8), knowing("NNV", sure="N"))
    assert len(told) == 30
    likenesses = np.array(told[15:]).reshape(3, 5)  # of N, S and V: three likenesses, how many, the best once more
    assert (likenesses[1:, :3] == NOT_ALIKE).all()
    assert likenesses[0, 2] == NOT_ALIKE, "two are known, and no fourth"
    assert (likenesses[0, :2] > NOT_ALIKE).all()
    np.testing.assert_allclose(likenesses[:, 3], np.log([3.0, 1.0, 1.0]))


def test_what_the_network_is_certain_of_is_bounded():
    for certain in ({"normal": 1.0, "supraventricular": 0.0, "ventricular": 0.0}, dict.fromkeys(BEATS, 1.0)):
        assert np.isfinite(evidence(certain, dict.fromkeys(CALM, 0.0), intervals(0.8), knowing("N"))).all()


class Patient:
    """Windows to a judge whose network says what it is told to."""

    def __init__(self) -> None:
        self.judge = Judge(self, HEADS, cfg.Alerts(), "test")
        self.ventricular, self.noise, self.r_peak, self.letters = 0.0, 0.0, 0, ""

    def infer(self, *_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        beat = [[0.99 * (1 - self.ventricular), 0.01 * (1 - self.ventricular), self.ventricular]]
        return np.array(beat), np.array([[1.0 - self.noise, 0.0, 0.0, 0.0, self.noise]])

    def forget(self) -> None:
        """It remembers nothing."""

    def beats(self, letters: str, ventricular: float, rr_s: float = 0.8, noise: float = 0.0) -> Patient:
        self.ventricular, self.noise = ventricular, noise
        for letter in letters:
            self.r_peak += round(rr_s * RATE_HZ)
            ecg = window_of(letter).astype(np.float32).reshape(1, 1, 1, -1)
            beat = Beat(self.r_peak, self.r_peak + 150, rr_s)
            rr = intervals(*STEADY, rr_s)[None]
            window = Window(beat.at, beat, ecg, 1.0, 0.0, Fitness.GOOD, rr)
            self.letters += next(each for each in self.judge.window(window) if hasattr(each, "beat")).beat
        return self


def test_the_judge_follows_the_referee():
    known = "NNNNNNNNNV" * 4
    patient = Patient()
    for letter in known:
        patient.beats(letter, 0.98 if letter == "V" else 0.001, 0.5 if letter == "V" else 0.8)
    assert patient.letters == known
    assert patient.beats("V", 0.3, 0.5).letters[-1] == "V", "as those before"
    assert patient.beats("N", 0.6).letters[-1] == "N", "as the normal ones"


@pytest.mark.parametrize(("log_odds", "noise", "called"), [(-0.5, 0.0, "N"), (-0.3, 0.0, "V"), (0.1, 0.009, "V")])
@pytest.mark.parametrize("ventricular", [0.06, 0.9])
def test_where_the_referee_is_in_balance_a_beat_is_ventricular(monkeypatch, log_odds, noise, called, ventricular):
    monkeypatch.setattr(judge, "shipped", lambda: lambda _: log_odds)
    assert Patient().beats("N", ventricular, noise=noise).letters == called


@pytest.mark.parametrize(("log_odds", "called"), [(0.1, "N"), (0.3, "V")])
def test_in_noise_more_must_speak_for_it(monkeypatch, log_odds, called):
    monkeypatch.setattr(judge, "shipped", lambda: lambda _: log_odds)
    assert Patient().beats("N", 0.9, noise=0.011).letters == called


def test_it_is_not_asked_about_what_the_network_all_but_rules_out(monkeypatch):
    monkeypatch.setattr(judge, "shipped", lambda: lambda _: 9.0)
    assert Patient().beats("N", 0.04).beats("N", 0.06).letters == "NV"


def test_what_beats_looked_like_is_forgotten_with_the_session():
    patient = Patient().beats("N" * 20, 0.001)
    assert patient.beats("N", 0.7).letters[-1] == "N"
    patient.judge.skipped(patient.r_peak, patient.r_peak + 5000)
    patient.r_peak += 5000
    assert patient.beats("N", 0.7).letters[-1] == "V"


def test_a_weighing_of_any_number_of_layers_is_the_sum_that_it_says():
    arrays = {"beat_mean": np.array([1.0, 0.0]), "beat_spread": np.array([2.0, 1.0])}
    arrays |= {"beat_weight0": np.array([[1.0, -1.0], [0.5, 0.0]]), "beat_bias0": np.zeros(2)}
    arrays |= {"beat_weight1": np.array([[3.0], [5.0]]), "beat_bias1": np.array([0.25])}
    assert Weighing(arrays, "beat")([5.0, 1.0]) == 3.0 * 2.5 + 0.25
    assert Weighing(arrays, "beat")([-99.0, 0.0]) == 5.0 * 4.0 + 0.25, "bounded"
