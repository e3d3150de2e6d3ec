"""What the RR intervals alone say of atrial fibrillation."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from daemon.af import LEAST_WORDS, WORDS, Irregularity
from ec57.sumstats import gross
from tests.conftest import record
from training import rr


def after(intervals_s) -> float | None:
    irregularity = Irregularity()
    for rr_s in intervals_s:
        irregularity.add(rr_s)
    return irregularity.log_odds()


def fibrillating(beats: int, seed: int = 1) -> list[float]:
    chance = random.Random(seed)
    return [max(0.3, chance.gauss(0.7, 0.14)) for _ in range(beats)]


def sinus(beats: int, seed: int = 1) -> list[float]:
    """With breathing: 0.05 s up and down every 5 beats."""
    chance = random.Random(seed)
    return [0.8 + 0.05 * np.sin(2 * np.pi * beat / 5) + chance.gauss(0, 0.01) for beat in range(beats)]


def with_premature(letters: str, usual_s: float = 0.8) -> list[float]:
    """Intervals of a rhythm in which each V comes early and is followed by the pause that makes up for it."""
    return [
        {"NV": 0.6, "VN": 1.4, "VV": 0.6}.get(pair, 1.0) * usual_s for pair in map("".join, pairwise("N" + letters))
    ]


def test_fibrillation_is_told_from_sinus_rhythm_whatever_the_rate():
    for factor in (0.6, 1.0, 1.5):
        assert after(factor * rr_s for rr_s in fibrillating(100)) > 2.0
        assert after(factor * rr_s for rr_s in sinus(100)) < -1.0


@pytest.mark.parametrize("pattern", ["NV", "NNV", "NNNV", "NVV"])
def test_a_pattern_of_premature_beats_is_no_fibrillation_however_far_the_intervals_swing(pattern):
    assert after(with_premature(pattern * 60)) < -2.0


def test_premature_beats_at_random_are_no_fibrillation():
    chance = random.Random(2)
    letters = "".join(chance.choice("NNNV") for _ in range(200)).replace("VV", "VN")
    assert after(with_premature(letters)) < 0.0


@pytest.mark.parametrize("seed", range(4))
def test_few_irregular_intervals_say_less_than_a_minute_of_them_and_few_regular_ones_as_much(seed):
    assert after(fibrillating(14, seed)) < 2.0 < after(fibrillating(70, seed))
    assert after(sinus(14, seed)) < 0.0


def test_so_few_intervals_say_nothing():
    assert after(fibrillating(LEAST_WORDS + 1)) is None
    assert after(fibrillating(LEAST_WORDS + 2)) is not None


def test_only_what_is_remembered_counts_and_only_what_is_past():
    recent = fibrillating(WORDS + 12, seed=3)
    assert after(sinus(500) + recent) == after([0.4] * 77 + recent)


def test_what_is_said_grows_as_fibrillation_fills_the_memory():
    began = sinus(100)
    said = [after(began + fibrillating(beats)) for beats in (0, 16, 32, 48, 64)]
    assert said == sorted(said)


@pytest.mark.parametrize(("name", "sensitivity", "specificity"), [("04746", 0.99, 0.99), ("06995", 0.975, 0.89)])
def test_beats_of_the_af_database_are_told_apart_no_worse_than_this(name, sensitivity, specificity):
    """Measured when the thresholds were chosen, less half a point. All of it: `python -m training.rr`."""
    one = rr.told(Path(record(f"rr/afdb/{name}")), "qrs")
    called = one.log_odds >= rr.BEAT_ON
    assert called[one.fibrillates].mean() >= sensitivity
    assert (~called[~one.fibrillates]).mean() >= specificity


def test_a_day_of_a_healthy_heart_has_no_episode():
    total = gross([rr.score(rr.told(Path(record("rr/nsrdb/16265")), "atr"))])
    assert total.test_episodes == 0
