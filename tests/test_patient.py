"""The synthetic patient does what the script says, and knows the truth about it."""

from collections import Counter

import numpy as np
import pytest

from rhythmd import patient
from rhythmd.patient import ScriptError, make, parse
from rhythmd.patient_rhythms import RHYTHMS

RATE_HZ = 250.0
SEEDS = range(5)


def rr_s(simulated):
    return np.diff([beat.sample for beat in simulated.beats]) / simulated.recording.rate_hz


def labels(simulated):
    return Counter(beat.label for beat in simulated.beats)


def around(simulated, label, before_s, after_s):
    """(beat, sample) millivolts around every beat with that label, without noise's offset."""
    ecg_mv, rate_hz = simulated.recording.ecg_mv, simulated.recording.rate_hz
    before, after = round(before_s * rate_hz), round(after_s * rate_hz)
    inside = [b.sample for b in simulated.beats if b.label == label and before <= b.sample < len(ecg_mv) - after]
    return np.array([ecg_mv[at - before : at + after] for at in inside])


def width_s(beats_mv):
    """Of the mean beat's greatest deflection, at half its height."""
    mean = beats_mv.mean(axis=0)
    mean = np.abs(mean - np.median(mean))
    return np.count_nonzero(mean > mean.max() / 2) / RATE_HZ


def spectrum(ecg_mv):
    power = np.abs(np.fft.rfft((ecg_mv - ecg_mv.mean()) * np.hanning(len(ecg_mv)))) ** 2
    return np.fft.rfftfreq(len(ecg_mv), 1 / RATE_HZ), power


# The script


def test_segments_stand_one_after_another_with_their_values():
    segments = parse("sinus 60, pvc 30 , af 2.5 @120")
    assert [(segment.name, segment.start_s, segment.end_s, segment.value) for segment in segments] == [
        ("sinus", 0.0, 60.0, None),
        ("pvc", 60.0, 90.0, None),
        ("af", 90.0, 92.5, 120.0),
    ]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("", "the script is empty"),
        ("sinus", "'sinus' is not NAME SECONDS"),
        ("sinus 60 90", "'sinus 60 90' is not NAME SECONDS"),
        ("sinus 60, rumba 5", "no rhythm 'rumba'; there are sinus, brady"),
        ("sinus 0", "lasts no time"),
        ("sinus 10 @5", "sinus takes from 20 to 300 bpm after @"),
        ("vf 10 @5", "vf takes nothing after @"),
    ],
)
def test_a_script_that_cannot_be_played_is_refused_with_the_part_at_fault(script, says):
    with pytest.raises(ScriptError, match=says):
        parse(script)


def test_help_names_every_rhythm():
    assert [line.split()[0] for line in patient.vocabulary().splitlines()] == list(RHYTHMS)


# Every rhythm


@pytest.mark.parametrize("name", RHYTHMS)
def test_every_rhythm_plays_within_its_segment_at_a_patients_amplitudes(name):
    simulated = make(f"sinus 5, {name} 20, sinus 5", 3)
    assert len(simulated.recording.counts) == 30 * RATE_HZ
    assert np.isfinite(simulated.recording.counts).all()
    assert np.abs(simulated.recording.ecg_mv).max() < 6
    samples = [beat.sample for beat in simulated.beats]
    assert samples == sorted(set(samples))
    assert set(labels(simulated)) <= set("NSVQ")
    assert min(rr_s(simulated)) > 0.25


@pytest.mark.parametrize("name", RHYTHMS)
def test_the_same_seed_gives_the_same_samples_and_another_seed_others(name):
    script = f"sinus 5, {name} 10"
    once, again, other = make(script, 7), make(script, 7), make(script, 8)
    np.testing.assert_array_equal(once.recording.counts, again.recording.counts)
    assert once.beats == again.beats
    assert not np.array_equal(once.recording.counts, other.recording.counts)


def test_it_says_that_it_is_synthetic_and_suits_the_wire():
    recording = make("sinus 5", 7).recording
    assert "synthetic" in recording.name
    assert recording.counts_per_mv == 400.0
    np.testing.assert_array_equal(recording.counts, np.rint(recording.counts))


def test_beats_do_not_depend_on_the_sampling_rate():
    slow, fast = make("sinus 20, pvc 20", 1), make("sinus 20, pvc 20", 1, rate_hz=1000.0)
    assert [beat.label for beat in slow.beats] == [beat.label for beat in fast.beats]
    assert all(abs(a.sample / 250 - b.sample / 1000) <= 0.003 for a, b in zip(slow.beats, fast.beats, strict=True))


@pytest.mark.parametrize("script", ["sinus 30", "pvc 60", "vt 20", "af 30", "paced 20 @60", "svt 20", "pac 30"])
def test_the_truth_stands_at_the_peaks_of_the_signal(script):
    simulated = make(script, 2, noise_uv=0.0)
    for label in labels(simulated):
        beats_mv = np.abs(around(simulated, label, 0.05, 0.1))
        assert np.all(np.abs(beats_mv.argmax(axis=1) / RATE_HZ - 0.05) <= 0.012)


def test_stretches_join_without_a_jump():
    names = [name for name in RHYTHMS if name not in {"paced", "noise", "lead_off"}]  # steep by nature
    script = ", ".join(f"{a} 4, {b} 4" for a, b in zip(names, names[1:] + names[:1], strict=True))
    simulated = make(script, 4, noise_uv=0.0)
    steepest = np.abs(np.diff(make("sinus 20", 4, noise_uv=0.0).recording.ecg_mv)).max()  # of a normal QRS
    steps = np.abs(np.diff(simulated.recording.ecg_mv))
    for segment in simulated.segments[1:]:
        border = round(segment.start_s * RATE_HZ)
        assert steps[border - 75 : border + 75].max() <= 1.5 * steepest


# One rhythm after another


@pytest.mark.parametrize(
    ("script", "bpm"),
    [
        ("sinus 60", 70),
        ("sinus 60 @90", 90),
        ("brady 60", 32),
        ("tachy 60", 160),
        ("svt 60", 190),
        ("vt 60", 175),
        ("af 120 @110", 110),
        ("paced 60 @65", 65),
    ],
)
def test_the_rate_is_the_one_asked_for(script, bpm):
    simulated = make(script, 1)
    assert 60 / np.mean(rr_s(simulated)) == pytest.approx(bpm, rel=0.06 if "af" in script else 0.03)


def test_the_patients_own_rate_drives_its_sinus_rhythm():
    assert 60 / np.mean(rr_s(make("sinus 60", 1, rate_bpm=50))) == pytest.approx(50, rel=0.03)


def test_sinus_rhythm_breathes():
    series_s = rr_s(make("sinus 300 @60", 1))
    assert 0.02 < series_s.std() / series_s.mean() < 0.08
    power = np.abs(np.fft.rfft(series_s - series_s.mean())) ** 2
    per_beat = np.fft.rfftfreq(len(series_s))  # at 60 bpm one beat is one second
    assert power[(per_beat > 0.06) & (per_beat < 0.30)].sum() > 0.7 * power.sum()


def test_normal_beats_are_narrow_about_a_millivolt_high_and_have_a_p_wave():
    beats_mv = around(make("sinus 60", 1), "N", 0.35, 0.45)
    assert width_s(beats_mv) < 0.045
    mean = beats_mv.mean(axis=0)
    baseline = mean[:12].mean()
    assert 0.7 < mean.max() - baseline < 1.5
    assert 0.06 < mean[round(0.15 * RATE_HZ) : round(0.26 * RATE_HZ)].max() - baseline < 0.3  # P
    assert 0.1 < mean[round(0.5 * RATE_HZ) :].max() - baseline < 0.6  # T


@pytest.mark.parametrize("seed", SEEDS)
def test_premature_ventricular_beats_are_early_wide_and_paid_back(seed):
    simulated = make("pvc 120", seed)
    assert labels(simulated)["V"] >= 12
    assert width_s(around(simulated, "V", 0.25, 0.25)) > 1.8 * width_s(around(simulated, "N", 0.25, 0.25))
    series_s, mean_s = rr_s(simulated), 60 / 70
    at = [i for i, beat in enumerate(simulated.beats[1:-1], 1) if beat.label == "V"]
    assert all(series_s[i - 1] < 0.75 * mean_s for i in at)
    assert all(series_s[i - 1] + series_s[i] == pytest.approx(2 * mean_s, rel=0.15) for i in at)


def test_the_t_wave_after_a_wide_beat_points_the_other_way():
    simulated = make("pvc 120", 1)
    after_r = slice(round(0.5 * RATE_HZ), round(0.65 * RATE_HZ))  # of strips that begin 0.25 s before R
    assert around(simulated, "V", 0.25, 0.45).mean(axis=0)[after_r].min() < -0.3
    assert around(simulated, "N", 0.25, 0.45).mean(axis=0)[after_r].max() > 0.1


@pytest.mark.parametrize(("name", "in_a_row"), [("pvc", 1), ("bigeminy", 1), ("couplet", 2), ("run", 4)])
def test_ventricular_beats_come_in_the_number_the_word_says(name, in_a_row):
    simulated = make(f"{name} 90, sinus 5", 2)
    rows = [len(row) for row in "".join(beat.label for beat in simulated.beats).split("N") if row]
    assert len(rows) > 5
    assert set(rows[:-1]) == {in_a_row}


def test_premature_atrial_beats_are_early_and_narrow():
    simulated = make("pac 120", 1)
    series_s = rr_s(simulated)
    early = [series_s[i - 1] for i, beat in enumerate(simulated.beats) if beat.label == "S" and i]
    assert len(early) >= 12
    assert max(early) < 0.75 * 60 / 70
    assert width_s(around(simulated, "S", 0.2, 0.25)) < 0.045


def test_pauses_last_as_long_as_asked():
    assert max(rr_s(make("pause 60", 1))) == pytest.approx(3.5, abs=0.01)
    assert max(rr_s(make("pause 10 @2", 1))) == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("seed", SEEDS)
def test_atrial_fibrillation_is_irregularly_irregular_and_has_no_p_wave(seed):
    simulated = make("af 240 @90", seed)
    series_s = rr_s(simulated)
    assert series_s.std() / series_s.mean() > 0.18
    assert abs(np.corrcoef(series_s[:-1], series_s[1:])[0, 1]) < 0.2  # no beat knows the one before

    def p_mv(beats_mv):
        mean = beats_mv.mean(axis=0)
        return mean[round(0.08 * RATE_HZ) : round(0.18 * RATE_HZ)].max() - np.median(mean[: round(0.18 * RATE_HZ)])

    sinus = make("sinus 240 @60", seed)
    assert p_mv(around(simulated, "N", 0.3, 0.1)) < 0.5 * p_mv(around(sinus, "N", 0.3, 0.1))


def test_the_baseline_of_atrial_fibrillation_fibrillates_at_4_to_9_hz():
    background = RHYTHMS["af"].background
    assert background is not None
    for seed in SEEDS:
        waves_mv = background(np.random.default_rng(seed), np.arange(7500) / RATE_HZ, RATE_HZ, 0.0)
        frequency_hz, power = spectrum(waves_mv)
        assert 4 <= frequency_hz[power.argmax()] <= 9
        assert 0.03 < waves_mv.std() < 0.15


@pytest.mark.parametrize("seed", SEEDS)
def test_ventricular_tachycardia_is_wide_regular_and_has_no_other_beats(seed):
    simulated = make("vt 20", seed)
    assert set(labels(simulated)) == {"V"}
    assert rr_s(simulated).std() / rr_s(simulated).mean() < 0.03
    assert width_s(around(simulated, "V", 0.17, 0.17)) > 0.05


@pytest.mark.parametrize("seed", SEEDS)
def test_ventricular_fibrillation_swings_at_3_to_7_hz_and_has_no_beats(seed):
    simulated = make("vf 30", seed)
    assert simulated.beats == ()
    frequency_hz, power = spectrum(simulated.recording.ecg_mv)
    assert 3 <= frequency_hz[power.argmax()] <= 7
    assert power[(frequency_hz > 2.5) & (frequency_hz < 8)].sum() > 0.8 * power.sum()
    second_mv = simulated.recording.ecg_mv.reshape(30, 250)
    assert np.ptp(second_mv, axis=1).min() > 0.15  # coarse: finer than that would be asystole
    assert np.std(np.ptp(second_mv, axis=1)) > 0.1  # and waxes and wanes


def test_asystole_is_almost_flat():
    simulated = make("sinus 5, asystole 20", 1)
    flat_mv = simulated.recording.ecg_mv[round(6 * RATE_HZ) :]
    assert max(beat.sample for beat in simulated.beats) < 5 * RATE_HZ
    assert 0 < np.ptp(flat_mv) < 0.4
    assert np.abs(np.diff(flat_mv)).max() < 0.1


def test_a_pacemaker_leaves_a_spike_before_each_wide_beat():
    simulated = make("paced 30", 1)
    assert set(labels(simulated)) == {"Q"}
    steps_mv = np.abs(np.diff(around(simulated, "Q", 0.1, 0.2), axis=1))
    assert steps_mv.max(axis=1).min() > 0.4
    assert np.all(steps_mv.argmax(axis=1) < 0.06 * RATE_HZ)


def test_noise_is_as_strong_as_asked():
    def hiss_uv(simulated):
        return 1e3 * np.std(np.diff(simulated.recording.ecg_mv)) / np.sqrt(2)

    assert hiss_uv(make("asystole 20", 1, noise_uv=50.0)) == pytest.approx(50.0, rel=0.05)
    assert hiss_uv(make("noise 20 @800", 1)) > 2 * hiss_uv(make("noise 20 @200", 1))
