"""Fitness: each cause is seen and forgotten within three seconds, and fibrillation is never taken for noise."""

import numpy as np
import pytest

from dsp.chain import Chain
from dsp.quality import QualityMeter
from dsp.signal import LEAD_OFF, MISSING, RATE_HZ, SATURATED, Block, Fitness, Quality
from rhythmd import recording
from rhythmd.patient import make
from tests.conftest import record

SPELL_S = 8
SPELL = SPELL_S * RATE_HZ
GOOD_MV = recording.shipped().ecg_mv[: 3 * SPELL]
RNG = np.random.default_rng(1)
NONE = np.zeros(SPELL, bool)
HUM_MV = 2 * np.sin(2 * np.pi * 50 * np.arange(SPELL) / RATE_HZ)

BAD = {  # the cause, what the input gives, and what the patch says of it
    "lost": (Fitness.LOST, np.full(SPELL, np.nan), NONE, NONE),
    "lead off": (Fitness.LEAD_OFF, HUM_MV, ~NONE, NONE),
    "lead off at the rail": (Fitness.LEAD_OFF, np.full(SPELL, 82.0), ~NONE, ~NONE),
    "saturated": (Fitness.SATURATED, np.full(SPELL, -82.0), NONE, ~NONE),
    "flat": (Fitness.FLAT, np.full(SPELL, 0.2) + 0.0005 * RNG.standard_normal(SPELL), NONE, NONE),
    "motion": (Fitness.NOISY, 20 * np.sign(np.sin(2 * np.pi * 1.3 * np.arange(SPELL) / RATE_HZ)), NONE, NONE),
    "muscle": (Fitness.NOISY, 1.5 * RNG.standard_normal(SPELL), NONE, NONE),
}


def changes(ecg_mv: np.ndarray, rate_hz: float = RATE_HZ, **marks: np.ndarray) -> list[Quality]:
    _, events = Chain(rate_hz)(Block.of(0, ecg_mv, **marks))
    return [event for event in events if isinstance(event, Quality)]


def metered(*fitness_by_second: Fitness) -> list[tuple[Fitness, int]]:
    """What the meter says of seconds that are each of one kind, and after how many of them."""
    marks = {Fitness.LOST: MISSING, Fitness.LEAD_OFF: LEAD_OFF, Fitness.SATURATED: SATURATED, Fitness.GOOD: 0}
    marked = np.repeat([marks[fitness] for fitness in fitness_by_second], RATE_HZ).astype(np.uint8)
    block = Block(0, np.tile(GOOD_MV[:RATE_HZ], len(fitness_by_second)), marked)
    return [(change.fitness, (change.at + 1) // RATE_HZ) for change in QualityMeter()(block, block)]


@pytest.mark.parametrize("name", BAD)
def test_a_cause_is_seen_and_forgotten_within_three_seconds(name):
    cause, bad_mv, lead_off, saturated = BAD[name]
    seen, forgotten, *settled = changes(
        np.concatenate([GOOD_MV[:SPELL], bad_mv, GOOD_MV[SPELL : 2 * SPELL]]),
        lead_off=np.concatenate([NONE, lead_off, NONE]),
        saturated=np.concatenate([NONE, saturated, NONE]),
    )
    assert seen.fitness is cause
    assert 0 < seen.at - SPELL <= 3 * RATE_HZ
    assert 0 < forgotten.at - 2 * SPELL <= 3 * RATE_HZ
    (last,) = settled or [forgotten]  # the way back from the rail is motion while the band-pass settles
    assert last.fitness is Fitness.GOOD
    assert last.at - 2 * SPELL <= 5 * RATE_HZ


def jolted(line_mv: np.ndarray, height_mv: float, *, passes: float = 0.02) -> np.ndarray:
    """Beats, then a jolt so high, from which the amplifier comes back over 6 s; till then so much passes of them."""
    at_s = np.arange(6 * RATE_HZ) / RATE_HZ
    back_mv = passes * line_mv[SPELL : SPELL + len(at_s)] + height_mv * np.exp(-at_s / 1.5)
    return np.concatenate([line_mv[:SPELL], back_mv, line_mv[SPELL : 2 * SPELL]])


@pytest.mark.parametrize("height_mv", [3.5, -3.5, 6.0])
def test_an_amplifier_that_comes_back_from_a_jolt_is_blocked_before_4_s_without_a_beat_are_over(height_mv):
    blocked, *_, good = changes(jolted(GOOD_MV, height_mv))
    assert blocked.fitness is Fitness.BLOCKED
    assert blocked.at - SPELL < 4 * RATE_HZ
    assert good.fitness is Fitness.GOOD
    assert good.at - SPELL < 10 * RATE_HZ


@pytest.mark.parametrize("wander_mv", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("beats", [0.0, 1.0])
def test_a_line_that_breathes_is_not_blocked_with_beats_or_without(wander_mv, beats):
    """A heart that stands still on it must be told."""
    at_s = np.arange(len(GOOD_MV)) / RATE_HZ
    stops = np.where(at_s < 8, 1.0, beats)
    wander_mv = wander_mv * np.sin(2 * np.pi * 0.2 * at_s) + 0.01 * RNG.standard_normal(len(at_s))
    assert changes(stops * GOOD_MV + wander_mv) == []


def test_a_jolt_after_which_beats_pass_blocks_nothing():
    assert not any(change.fitness is Fitness.BLOCKED for change in changes(jolted(GOOD_MV, 3.5, passes=1.0)))


def test_a_real_recording_is_good_all_along():
    assert changes(recording.shipped().ecg_mv) == []


@pytest.mark.parametrize("scale", [-3, -1, 0.25, 1 / 8])
def test_gain_and_direction_of_the_electrodes_do_not_matter(scale):
    assert changes(scale * GOOD_MV) == []


def test_one_bad_second_is_no_change():
    good, lost = Fitness.GOOD, Fitness.LOST
    assert metered(good, lost, good, lost, good) == []
    assert metered(lost, lost, good, lost, good, good) == [(lost, 2), (good, 6)]


def test_causes_that_take_turns_do_not_pass_for_good():
    good, lost, saturated = Fitness.GOOD, Fitness.LOST, Fitness.SATURATED
    assert metered(good, lost, saturated, lost, saturated, good, good) == [(saturated, 3), (good, 7)]


def test_another_cause_must_last_two_seconds_to_take_over():
    lost, saturated = Fitness.LOST, Fitness.SATURATED
    assert metered(lost, lost, saturated, lost, saturated, saturated) == [(lost, 2), (saturated, 6)]


@pytest.mark.parametrize(
    ("marks", "cause"),
    [
        (MISSING | LEAD_OFF | SATURATED, Fitness.LOST),
        (LEAD_OFF | SATURATED, Fitness.LEAD_OFF),
        (SATURATED, Fitness.SATURATED),
        (0, Fitness.FLAT),
    ],
)
def test_of_several_causes_the_first_is_the_reason(marks, cause):
    zeros = Block(1000, np.zeros(2 * RATE_HZ), np.full(2 * RATE_HZ, marks, np.uint8))
    assert QualityMeter()(zeros, zeros) == [Quality(cause, 1000 + 2 * RATE_HZ - 1)]


@pytest.mark.parametrize(("lost_of_100", "expected"), [(40, []), (60, [Fitness.LOST])])
def test_a_second_is_lost_when_most_of_it_is(lost_of_100, expected):
    ecg_mv = GOOD_MV.copy()
    ecg_mv[np.arange(len(ecg_mv)) % 100 < lost_of_100] = np.nan
    assert [change.fitness for change in changes(ecg_mv)] == expected


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rhythm", ["vf", "vt", "af", "asystole"])
def test_a_patients_rhythm_is_no_noise_and_no_loose_lead(rhythm, seed):
    assert changes(make(f"sinus 10, {rhythm} 30", seed).recording.ecg_mv) == []


@pytest.mark.parametrize("name", ["cu01", "cu11", "cu21", "cu23", "cu29"])
def test_real_fibrillation_is_never_called_noise(name):
    wfdb = pytest.importorskip("wfdb")
    path = record(f"cudb/{name}")
    found, marks = recording.read(path), wfdb.rdann(path, "atr")
    fibrillates = np.zeros(len(found.counts), bool)
    for sample, note in zip(marks.sample, marks.aux_note, strict=True):
        if note:  # a rhythm change; it holds until the next one
            fibrillates[sample:] = note.startswith("(VF")
    assert fibrillates.any()
    noisy = np.zeros(len(found.counts), bool)
    for change in changes(found.ecg_mv, found.rate_hz, saturated=found.saturated):
        noisy[change.at :] = change.fitness is Fitness.NOISY
    assert not (noisy & fibrillates).any()
