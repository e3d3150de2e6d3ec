"""The training: its splits, its windows, the graph it exports, and the model that is shipped."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import replace

import numpy as np
import onnx
import pytest

from dsp.intervals import Intervals
from dsp.signal import R_INDEX, WINDOW_SAMPLES, Block
from dsp.windows import INPUT_SHAPES, RR_FEATURES, normalise
from ec57.sets import MITDB_DS1, MITDB_DS2, MITDB_PACED
from engines.backend import open_backend
from engines.model import SHIPPED, load
from training import recipe, splits
from training.export import random_weights, write
from training.graph import IR_VERSION, OPSET, told
from training.labels import AF, ANY_BEAT, ANY_RHYTHM, BEATING, CALM, NOISE, NORMAL, OTHER, VF, N, S, V, bits
from training.layout import HEADS, LEARNED, NORM_EPSILON, POINTS_OF_VIEW, Layout, layout_arrays, layout_of
from training.packed import AFTER_R, Packed, pack
from training.premature import Cuts, Donor, is_regular, made_premature
from training.records import BEAT_OF, Lead, at_peak, cinc2017_leads, filtered, wfdb_leads
from training.report import judged_leads
from training.runs import Plan, as_detected, run_of, shared_weights, strata
from training.score import area, beat_f1, beat_offsets, rhythm_offsets, softmax
from training.teach import possible, taught

DATA = splits.data_folder()
LAYOUT = Layout((32, 64, 64, 32), (15, 9, 9, 5), (4, 2, 1, 4), 32, 32, recalled=4, likened=16)
BOTTLENECKS = Layout(
    channels=(32, 16, 16, 32, 16, 16, 32),
    taps=(15, 1, 9, 1, 1, 5, 1),
    strides=(4, 1, 4, 1, 1, 1, 1),
    seen=32,
    hidden=32,
    recalled=4,
    likened=16,
    over=(0, 0, 0, 0, 0, 0, 3),
    groups=(1, 1, 4, 1, 1, 16, 1),
)
PATHS = replace(LAYOUT, taps=(15,), paths=(3, 9, 5), strides=(4, 2, 1, 4))


def needs(database):
    remedy = f"python -c \"import wfdb; wfdb.dl_database('{database}', '{database}')\""
    return pytest.mark.skipif(not (DATA / database).is_dir(), reason=f"no {DATA / database}; get it with: {remedy}")


# The splits


def test_nothing_that_tests_trains_or_chooses():
    table = splits.splits(DATA)["mitdb"]
    used = {*table["train"], *table["validation"]}
    assert not used & {*MITDB_DS2, *MITDB_PACED, *splits.STRESSED}
    assert used <= set(splits.MITDB_DS1)
    assert len(set(MITDB_DS1) | set(MITDB_DS2)) == 44


def test_no_patient_both_trains_and_validates():
    for parts in splits.splits(DATA).values():
        assert not set(parts["train"]) & set(parts["validation"])
    train, held_out = splits.fifths([f"A{number:05}" for number in range(100)])
    assert len(held_out) == 20
    assert not set(train) & set(held_out)


def test_the_electrode_motion_of_the_stress_test_is_never_trained_on():
    assert splits.splits(DATA)["nstdb"] == {"train": ["bw", "ma"], "validation": []}


# Records and their labels


def lead_with(beats=(), windows=(), samples=5000, missing=slice(0, 0), record="101", database="mitdb"):
    ecg_mv = np.sin(np.arange(samples) / 7) * np.linspace(0.5, 2, samples)
    lost = np.zeros(samples, bool)
    lost[missing] = True
    tables = np.array(beats, np.int64).reshape(-1, 2), np.array(windows, np.int64).reshape(-1, 4)
    return Lead(database, record, 0, ecg_mv, lost, *tables)


def test_beats_have_the_classes_of_ec57_as_bxb_counts_them():
    classes = {"N": "BLNR", "S": "AJSaejn", "V": "EV"}
    assert {symbol: "NSV"[label] for symbol, label in BEAT_OF.items()} == {
        symbol: name for name, symbols in classes.items() for symbol in symbols
    }


def test_packing_keeps_the_signal_to_its_resolution_and_every_label():
    first = lead_with([(900, V), (4990, N)], [(900, 1, bits(V), CALM), (4990, 1, bits(N), CALM)], missing=slice(10, 20))
    second = lead_with([(2000, S)], [(2000, 1, bits(S), BEATING), (2400, 0, ANY_BEAT, bits(VF))])
    packed = pack([(first, False), (second, True)])
    for row, lead in enumerate((first, second)):
        signal = packed.counts[packed.start[row] : packed.start[row + 1]]
        np.testing.assert_allclose(signal * packed.lsb_mv[row], lead.ecg_mv, atol=0.51 * packed.lsb_mv[row])
    np.testing.assert_array_equal(np.flatnonzero(packed.missing()), np.arange(10, 20))
    # The beat 10 samples before the end has no whole window.
    assert packed.beats.tolist() == [[0, 900, V], [1, 2000, S]]
    assert packed.windows.tolist() == [
        [0, 900, 1, bits(V), CALM],
        [1, 2000, 1, bits(S), BEATING],
        [1, 2400, 0, ANY_BEAT, bits(VF)],
    ]


def test_a_packed_file_reads_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(3)
    jumpy = Lead(
        "svdb",
        "800",
        1,
        rng.normal(0, 80, 3000),
        np.zeros(3000, bool),
        np.zeros((0, 2), np.int64),
        np.zeros((0, 4), np.int64),
    )
    packed = pack([(jumpy, False), (lead_with([(900, V)], [(900, 1, bits(V), CALM)]), True)])
    packed.save(tmp_path / "packed.npz")
    again = Packed.load(tmp_path / "packed.npz")
    for name in Packed.__slots__:
        np.testing.assert_array_equal(getattr(again, name), getattr(packed, name))


@needs("mitdb")
def test_reference_beats_lie_on_the_peaks_of_the_filtered_signal():
    lead = next(wfdb_leads(DATA / "mitdb", "101"))
    assert np.bincount(lead.beats[:, 1]).tolist() == [1860, 3]
    heights_mv = np.abs(lead.ecg_mv[lead.beats[:, 0]])
    assert np.median(heights_mv) > 5 * np.median(np.abs(lead.ecg_mv))
    assert all(at_peak(lead.ecg_mv, r_peak) == r_peak for r_peak in lead.beats[100:200, 0])


def test_a_lead_is_filtered_as_the_daemon_filters_it():
    raw_mv = np.random.default_rng(1).normal(0, 1, 3600)
    raw_mv[500:520] = np.nan
    from dsp.chain import Chain

    chain = Chain(360)
    pieces = [chain(Block.of(start, raw_mv[start : start + 77]))[0] for start in range(0, len(raw_mv), 77)]
    whole = filtered(raw_mv, 360)
    np.testing.assert_array_equal(np.concatenate([piece.ecg_mv for piece in pieces]), whole.ecg_mv)
    np.testing.assert_array_equal(np.concatenate([piece.missing for piece in pieces]), whole.missing)


# Runs of windows


def table(places):
    return np.array([(place, 1, bits(N), CALM) for place in places], np.int64)


def small():
    """Two people of mitdb, one of the challenge."""
    rng = np.random.default_rng(0)
    leads = []
    for database, record in (("mitdb", "101"), ("mitdb", "201"), ("cinc2017", "A00001")):
        windows = table(np.arange(900, 50_000, 200) + rng.integers(0, 20, 246))
        windows[::7, 2] = bits(V)
        windows[::5, 2] = bits(S)
        windows[:, 3] = bits(AF) if database == "cinc2017" else CALM
        leads.append((lead_with((), windows, 52_000, record=record, database=database), False))
    return pack(leads)


CONFIG = {
    "training": {
        "seed": 3,
        "steps": 10,
        "beat_runs": 4,
        "beat_windows": 30,
        "single_runs": 6,
        "made_runs": 2,
        "made_windows": 25,
        "taught_runs": 0,
        "taught_windows": 20,
        "rhythm_runs": 5,
        "rhythm_windows": 20,
        "drowned": 0.2,
        "patient_power": 0.5,
    },
    "beats": {"normal": 0.5, "supraventricular": 0.25, "ventricular": 0.25},
    "rhythms": {"cinc2017_AF": 0.5, "mitdb_calm": 0.5, "svdb_VT": 0.1},
}


def test_the_intervals_of_a_run_are_those_of_a_session_that_begins_with_it():
    windows = table([1000, 1200, 1300, 1600, 1700])
    windows[2, 1] = 0  # a window without a beat
    run = run_of(0, windows, 8, stretch=2.0)
    told, expected = Intervals(), []
    for rr_s in (None, 0.4, 1e9, 0.8, 0.2):
        if rr_s != 1e9:
            told.add(rr_s)
        expected.append([*told.features(), rr_s != 1e9])
    np.testing.assert_array_equal(run["rr"][:5], expected)
    assert run["beats"].tolist()[:4] == [0, 1, 3, 4]
    assert run["before"].tolist()[:5] == [0, 1, 2, 2, 3]
    assert set(run["beat"][5:]) == {ANY_BEAT}  # what pads it teaches nothing
    assert set(run["rhythm"][5:]) == {ANY_RHYTHM}


def test_a_detector_misses_and_invents_beats_but_never_two_within_200_ms():
    rng = np.random.default_rng(1)
    places = np.cumsum(rng.integers(80, 250, 400))
    found = [as_detected(table(places), rng) for _ in range(50)]
    lengths = [len(each) for each in found]
    assert min(lengths) < 400 < max(lengths)
    for each in found:
        assert (np.diff(each[:, 0]) >= 50).all()
        real = np.abs(each[:, :1] - places).min(axis=1) <= 14
        assert real.mean() > 0.95
        after = each[~real, 0] - places[np.searchsorted(places, each[~real, 0]) - 1]
        assert (after >= 36).all()  # what is no beat was invented well after one, not a beat that was moved
        assert (after <= 134).all()
        assert set(each[:, 2]) == {bits(N)}  # of none that was invented an alarm is to come


def test_what_was_invented_beside_a_ventricular_beat_may_be_anything():
    rng, windows = np.random.default_rng(1), table(np.cumsum(np.full(400, 200)))
    windows[:, 2] = bits(V)
    truths = np.concatenate([as_detected(windows, rng)[:, 2] for _ in range(20)])
    assert set(truths) == {bits(V), ANY_BEAT}


def test_what_a_step_is_trained_on_follows_from_its_number():
    plan, again = Plan(small(), CONFIG), Plan(small(), CONFIG)
    for name in ("beat", "rhythm"):
        first, second, other = (which[step][name] for which, step in ((plan, 4), (again, 4), (plan, 5)))
        np.testing.assert_array_equal(first.places, second.places)
        np.testing.assert_array_equal(first.rr, second.rr)
        assert (first.places != other.places).any()


@pytest.mark.parametrize("file", ["config.toml", "reference.toml", "paths.toml"])
def test_each_recipe_is_whole(file):
    config = recipe.read(recipe.DEFAULT.with_name(file), ["training.taught_runs=0", "training.beat_runs=2"])
    layout, dropout = recipe.shape_of(config)
    assert len(layout.channels) == len(layout.strides)
    assert len(layout.taps) == (1 if layout.paths else len(layout.channels))
    assert 0 < dropout < 1
    assert set(Plan(small(), config)[0]) == {"beat", "single", "made", "rhythm"}


def test_a_recipe_with_an_unknown_key_is_refused(tmp_path):
    (tmp_path / "mine.toml").write_text("[training]\nstep = 7\n")
    with pytest.raises(SystemExit, match=r"mine\.toml: step: .*config\.toml"):
        recipe.read(tmp_path / "mine.toml", [])
    with pytest.raises(SystemExit, match=r"training\.step"):
        recipe.read(recipe.DEFAULT, ["training.step=7"])


def test_beats_that_were_told_are_drawn_of_each_class_from_those_whom_nobody_annotated():
    packed = small()
    config = CONFIG | {"training": CONFIG["training"] | {"taught_runs": 9}}
    unknown = packed.windows.copy()
    unknown[unknown[:, 0] == 2, 3] = ANY_BEAT
    with pytest.raises(SystemExit, match=r"training\.teach"):
        Plan(replace(packed, windows=unknown), config)
    beats = packed.windows.copy()
    of_it = np.flatnonzero(beats[:, 0] == 2)
    beats[of_it, 3] = np.where(np.arange(len(of_it)) % 3, bits(N), bits(S))
    runs = Plan(replace(packed, windows=beats), config)[1]["taught"]
    assert set(runs.rows.tolist()) == {2}
    assert {bits(N), bits(S)} <= set(runs.beat.ravel().tolist())


def test_what_teachers_do_not_agree_on_stays_open():
    sure, torn = np.array([6.0, 0.0, 0.0]), np.array([2.0, 2.0, -6.0])
    logits = np.array([[sure, torn, sure], [sure, torn, np.array([0.0, 0.0, 6.0])]])
    assert possible(logits, np.zeros((2, 3))).tolist() == [bits(N), bits(N, S), bits(N, V)]


def test_what_only_the_offsets_or_only_the_network_hold_possible_is_possible():
    logits, offsets = np.array([[[0.0, 2.5, -9.0]]]), np.array([[0.0, -4.0, 0.0]])
    assert possible(logits, np.zeros((1, 3))).tolist() == [bits(S)]
    assert possible(logits, offsets).tolist() == [bits(N, S)]


def test_teachers_do_not_contradict_what_is_known_and_say_nothing_of_noise():
    packed = small()
    where = np.flatnonzero(packed.windows[:, 0] == 2)[:4]
    windows = packed.windows.copy()
    windows[where, 2:] = [
        [1, bits(N, V), bits(AF)],
        [1, ANY_BEAT, bits(NOISE)],
        [0, ANY_BEAT, CALM],
        [1, ANY_BEAT, CALM],
    ]
    result = taught(replace(packed, windows=windows), np.full(4, bits(S)), where)
    assert result.windows[where, 3].tolist() == [bits(N, V), ANY_BEAT, ANY_BEAT, bits(S)]
    assert (np.delete(result.windows, where, 0) == np.delete(windows, where, 0)).all()


def test_no_window_of_a_patient_of_validation_is_ever_drawn():
    packed = replace(small(), validation=np.array([False, True, False]))
    plan = Plan(packed, CONFIG)
    rows = np.concatenate([plan[step][name].rows for step in range(10) for name in ("beat", "rhythm")])
    assert set(rows.tolist()) == {0, 2}


def pulses(places, samples):
    """A signal whose beats look all alike: a P wave, a QRS complex and a T wave, each in whole counts."""
    signal = np.zeros(samples, np.int16)
    for place in places:
        signal[place - 40] = 20
        signal[place] = 100
        signal[place + 60] = 30
    return signal


def source(cuts, at):
    """The lead and the sample of it that stand at `at`, and with which gain."""
    piece = np.searchsorted(cuts.at, at, side="right")
    return cuts.row[piece], at + cuts.shift[piece].astype(int), cuts.gain[piece]


def test_a_beat_is_made_premature_by_taking_out_what_lies_before_its_p_wave():
    places = np.arange(1000, 30_000, 200)
    signal = pulses(places, 31_000)
    made, cuts = made_premature(table(places), 3, signal, np.random.default_rng(4))
    early = made[:, 2] == bits(S)
    taken = np.diff(cuts.shift)[: early.sum()]
    assert early.sum() > 10
    intervals = np.diff(made[:, 0])
    np.testing.assert_array_equal(intervals[early[1:]], 200 - taken)
    assert (intervals[~early[1:]] == 200).all()  # the next beat comes as long after it as ever
    assert (intervals >= 0.5 * 200).all()
    assert (intervals[early[1:]] < 0.95 * 200).all()
    for offset, height in ((-40, 20), (0, 100), (60, 30)):
        rows, samples, gains = source(cuts, made[:, 0] + offset)
        assert set(rows) == {3}
        assert set(gains) == {1.0}
        heights = signal[samples]
        if offset == 60:  # a T wave may lie in what is taken out before the next beat
            heights = heights[:-1][~early[1:]]
        assert (heights == height).all()


def test_a_donors_ventricular_beat_stands_between_two_of_the_host_whose_waves_stay_whole():
    places, theirs = np.arange(1000, 30_000, 200), np.arange(900, 60_000, 300)
    host, broad = pulses(places, 31_000), np.zeros(61_000, np.int16)
    broad[theirs] = -70
    donor = Donor(8, broad, np.stack([theirs[:-2], theirs[1:-1], theirs[2:]], axis=1), 0.5)
    made, cuts = made_premature(table(places), 3, host, np.random.default_rng(2), donor, supraventricular=False)
    ventricular = made[:, 2] == bits(V)
    assert 5 < ventricular.sum() < len(places) / 3
    rows, samples, gains = source(cuts, made[:, 0])
    assert set(rows[ventricular]) == {8}
    assert set(gains[ventricular]) == {np.float32(0.5)}
    assert (broad[samples[ventricular]] == -70).all()
    assert (host[samples[~ventricular]] == 100).all()  # each beat of the host is still there, and his P wave
    rows, samples, _ = source(cuts, made[~ventricular, 0] - 40)
    assert set(rows) == {3}
    assert (host[samples] == 20).all()
    assert (np.diff(made[:, 0]) > 0.35 * 200).all()
    assert (np.diff(made[:, 0])[ventricular[:-1]] > 150).all()  # a pause follows


def test_pieces_of_leads_are_cut_as_one_signal_in_the_hosts_units():
    torch = pytest.importorskip("torch", reason="training needs PyTorch, which `pip install torch` brings")
    from training.cutter import Cutter

    leads = [lead_with(samples=6000, record="101"), lead_with(samples=6000, record="106")]
    packed = pack([(lead, False) for lead in leads])
    cuts = Cuts.of([3000.0], [0.0, 500.0], [0, 1], [1.0, -2.0])
    pieces = tuple(torch.from_numpy(getattr(cuts, name)[None]) for name in ("at", "shift", "row", "gain"))
    cutter = Cutter(packed, torch.device("cpu"))
    ecg_mv, missing = cutter.cut(torch.tensor([0]), torch.tensor([3200]), torch.ones(1), pieces)
    at = np.arange(WINDOW_SAMPLES) + 3200 - R_INDEX
    expected = np.where(at < 3000, leads[0].ecg_mv[at], -2 * leads[1].ecg_mv[at + 500])
    np.testing.assert_allclose(ecg_mv[0].numpy(), expected, atol=0.02)
    assert not missing.any()


def test_only_beats_of_a_steady_normal_rhythm_are_made_premature():
    steady = table(np.arange(1000, 30_000, 200))
    ectopic, irregular = steady.copy(), steady.copy()
    ectopic[5, 2] = bits(V)
    irregular[:, 0] += np.random.default_rng(1).integers(-60, 60, len(steady))
    assert [is_regular(each) for each in (steady, ectopic, irregular)] == [True, False, False]


def test_where_no_beat_was_found_none_is_made_premature():
    packed = small()
    windows = packed.windows.copy()
    of_challenge = np.flatnonzero(packed.database[windows[:, 0]] == "cinc2017")
    windows[of_challenge, 3] = bits(N)
    windows[of_challenge[60:], 2] = 0
    config = CONFIG | {"training": CONFIG["training"] | {"made_runs": 200, "donated": 0.5}}
    made = Plan(replace(packed, windows=windows), config)[0]["made"]
    assert made.places.shape == (200, 25)
    assert made.beat.any()


def test_a_single_beat_has_the_intervals_before_it_but_no_memory():
    packed = small()
    config = CONFIG | {"training": CONFIG["training"] | {"single_runs": 200}}
    singles = Plan(packed, config)[1]["single"]
    assert singles.places.shape == (200, 1)
    assert not singles.before.any()
    assert singles.rr[:, 0, -1].all()
    assert (np.abs(singles.rr[:, 0, 0]) < 0.2).all()  # they come every 200 to 220 samples
    assert singles.rr[:, 0, :11].any()
    assert set(singles.rows.tolist()) == {0, 1}  # of the challenge no beat was annotated


def test_runs_that_are_drowned_are_noise_from_there_on():
    runs = Plan(small(), CONFIG)[2]["rhythm"]
    assert runs.drowned.any(axis=1).tolist() == [True, False, False, False, False]
    assert set(runs.rhythm[runs.drowned]) == {bits(NOISE)}
    assert set(runs.beat[runs.drowned]) == {bits(N)}  # no alarm is to come of them


def test_each_class_has_its_share_and_in_it_each_patient_his():
    groups, patients = np.array([0, 0, 0, 0, 0, 1]), np.array([7, 7, 7, 7, 8, 8])
    weights = shared_weights(groups, patients, np.array([0.6, 0.4]), 0.5)
    np.testing.assert_allclose(weights, [0.1, 0.1, 0.1, 0.1, 0.2, 0.4])


def test_windows_belong_to_the_stratum_of_their_database_and_rhythm():
    assert set(strata(small())) == {"mitdb_calm", "cinc2017_AF"}


@needs("mitdb")
@pytest.mark.parametrize(
    ("record", "second", "truth"),
    [
        ("203", 300, bits(AF)),
        ("207", 30, CALM),  # bigeminy is not "normal" to the challenge, and "other" to nobody else
        ("205", 26 * 60, CALM),
    ],
)
def test_a_window_has_the_rhythm_that_fills_most_of_it(record, second, truth):
    windows = next(wfdb_leads(DATA / "mitdb", record)).windows
    nearest = windows[np.abs(windows[:, 0] - second * 250).argmin()]
    assert nearest[3] == truth


@needs("cinc2017")
def test_beats_of_the_challenge_are_known_as_far_as_the_rhythm_tells():
    leads = [lead for lead, _ in zip(cinc2017_leads(DATA / "cinc2017" / "train.npz"), range(12), strict=False)]
    seen = {(beat, rhythm) for lead in leads for _, _, beat, rhythm in lead.windows.tolist()}
    assert (bits(N), bits(NORMAL)) in seen
    assert seen <= {(bits(N, V), bits(AF)), (bits(N), bits(NORMAL)), (ANY_BEAT, bits(OTHER)), (ANY_BEAT, bits(NOISE))}


# Scores


def test_the_area_is_that_of_all_pairs():
    rng = np.random.default_rng(2)
    truth, score = rng.random(60) < 0.4, rng.integers(0, 9, 60) / 8
    pairs = [(a > b) + (a == b) / 2 for a in score[truth] for b in score[~truth]]
    assert area(truth, score) == pytest.approx(np.mean(pairs))


def test_offsets_undo_a_wrong_prior():
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 3000)
    logits = rng.normal(0, 1, (3000, 3)) + 4 * np.eye(3)[truth]
    skewed = logits + np.array([0, 3.0, -1.0])
    offsets = beat_offsets(skewed, truth, np.full(3000, "svdb"))
    np.testing.assert_allclose(offsets - offsets[0], [0, -3.0, 1.0], atol=0.8)
    assert min(beat_f1(skewed + offsets, truth)) > min(beat_f1(skewed, truth)) + 0.1


def test_half_is_the_threshold_of_atrial_fibrillation_after_calibration():
    rng = np.random.default_rng(5)
    of_record = np.where(np.arange(200) < 40, AF, OTHER)
    truth = np.repeat(of_record, 10)
    logits = rng.normal(0, 1, (2000, 6)) + np.repeat(rng.normal(0, 0.5, (200, 6)), 10, axis=0) + 3 * np.eye(6)[truth]
    logits[:, AF] += 2.5  # a network that sees it everywhere
    records = np.repeat(np.arange(200).astype(str), 10)
    database = np.repeat(np.where(np.arange(200) % 4 > 0, "cinc2017", "vfdb"), 10)
    truth[(database == "vfdb") & (np.arange(2000) % 10 == 0)] = VF
    logits[truth == VF, VF] += 3.0
    offsets = rhythm_offsets(logits, truth, database, records)
    chosen = softmax(logits + offsets)[:, AF].reshape(200, 10).mean(axis=1) >= 0.5
    assert np.mean(chosen == (of_record == AF)) > 0.97


def test_a_fibrillation_does_not_pass_for_noise_though_calling_both_noise_would_score_more():
    rng = np.random.default_rng(6)
    truth = np.concatenate([np.full(400, OTHER), np.full(400, NOISE), np.full(100, VF), np.full(20, AF)])
    logits = rng.normal(0, 0.5, (920, 6)) + 3 * np.eye(6)[np.where(truth == VF, NOISE, truth)]
    logits[truth == VF, VF] += 2.5  # nearly as much
    database = np.where(np.isin(truth, (VF, OTHER)), "vfdb", "cinc2017")
    moved = logits + rhythm_offsets(logits, truth, database, np.arange(920).astype(str))
    assert np.mean(moved[truth == VF].argmax(axis=1) == NOISE) <= 0.05


# The graph


def convolved(x, kernel, stride):
    """The plainest convolution of (channel, sample) with (output, input, 1, tap), zeros beyond both ends."""
    taps = kernel.shape[3]
    padded = np.pad(x, ((0, 0), (taps // 2, taps // 2)))
    starts = range(0, padded.shape[1] - taps + 1, stride)
    return np.stack([np.tensordot(kernel[:, :, 0], padded[:, start : start + taps], 2) for start in starts], axis=1)


def recalled(asked, value, known, weights):
    """What the known beats, (key, value) and newest first, bring to mind: (recalled, difference) of each view."""
    for view, query in enumerate(asked):
        beats = [(key[view] @ query, told[view]) for key, told in known]
        ages = [*weights["recall.age"][view][: len(beats)], 0]
        beats.append((weights["recall.nothing"][0, view] @ query, weights["recall.nothing"][1, view]))
        shares = np.exp([score / len(query) ** 0.5 + age for (score, _), age in zip(beats, ages, strict=True)])
        found = shares @ np.stack([value for _, value in beats]) / shares.sum()
        yield from (found, np.abs(value[view] - found))


def reference(weights, calls):
    """The network by its definition: normalisation after the convolution, nothing folded or joined, in float64."""
    layout = layout_of(weights)
    weights = {name: value.astype(float) for name, value in weights.items()}
    known = deque(maxlen=layout.recalled)

    def linear(x, name):
        return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]

    def path(before, number):
        """The maps that the convolutions after the first make of its map, in one of the paths."""
        maps, count = [before], len(layout.strides) - 1
        for place in range(1, count + 1):
            maps.append(after(maps, place, number * count + place))
        return maps[-1]

    def after(maps, place, index):
        stride = layout.strides[place]
        scale, shift, mean, variance = (
            weights[f"trunk.{index}.norm.{part}"][:, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        groups = layout.groups[place] if layout.groups else 1
        kernels = np.split(weights[f"trunk.{index}.conv.weight"], groups)
        parts = zip(np.split(maps[-1], groups), kernels, strict=True)
        deep = np.concatenate([convolved(part, kernel, stride) for part, kernel in parts])
        deep = (deep - mean) / np.sqrt(variance + NORM_EPSILON) * scale + shift
        over = layout.over[place] if layout.over else int(deep.shape == maps[-1].shape)
        return np.maximum(deep + maps[-over] if over else deep, 0)

    for window, rr in calls:
        first = after([window.reshape(1, -1).astype(float)], 0, 0)
        x = np.concatenate([path(first, number) for number in range(max(1, len(layout.paths)))])
        at_r = [x[:, column] for column in layout.columns_at_r()]
        seen = np.maximum(linear(np.concatenate([x.mean(1), x.max(1), *at_r, rr[0]]), "see"), 0)
        parts = [seen]
        if layout.recalled:
            asked, key, value = linear(seen, "recall.liken").reshape(3, POINTS_OF_VIEW, -1)
            parts += recalled(asked, value, known, weights)
            if rr[0, -1]:
                known.appendleft((key, value))
        hidden = np.maximum(linear(np.concatenate(parts), "weigh"), 0)
        logits = {head: linear(hidden, f"head.{head}") for head in HEADS}
        shares = {head: np.exp(values) / np.exp(values).sum() for head, values in logits.items()}
        normal, other = (LEARNED["rhythm"].index(name) for name in ("normal", "other"))
        shares["rhythm"][other] += shares["rhythm"][normal]
        yield [shares["beat"], np.delete(shares["rhythm"], normal)]


def calls(count, seed=8):
    """Windows with their intervals; every third has no beat."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        rr = rng.normal(0, 0.5, (1, RR_FEATURES)).astype(np.float32)
        rr[0, -1] = number % 3 > 0
        yield rng.normal(0, 1, (1, 1, 1, WINDOW_SAMPLES)).astype(np.float32), rr


@pytest.mark.parametrize(
    "layout",
    [LAYOUT, replace(LAYOUT, recalled=0), BOTTLENECKS, PATHS],
    ids=["remembering", "forgetful", "shortcuts over bottlenecks, channels in groups", "side by side"],
)
def test_the_exported_network_computes_its_definition(tmp_path, layout):
    weights = random_weights(layout, seed=7)
    write(weights, tmp_path / "net.onnx", "0")
    with open_backend("onnxruntime", load(tmp_path / "net.onnx")) as engine:
        answers = [engine.infer(*call) for call in calls(9)]
    for answer, expected in zip(answers, reference(weights, list(calls(9))), strict=True):
        for of_head, wanted in zip(answer, expected, strict=True):
            np.testing.assert_allclose(of_head[0], wanted, atol=1e-5)


def test_weights_of_another_kind_of_network_are_refused():
    weights = random_weights(LAYOUT, seed=7) | {"layout.memory": np.array(64, np.float32)}
    with pytest.raises(ValueError, match=r"layout\.memory: made by the training at commit 3dd4aec; export it there"):
        layout_of(weights)


def test_a_window_without_a_beat_leaves_the_memory_as_it_was_bit_for_bit(tmp_path):
    write(random_weights(LAYOUT, seed=7), tmp_path / "net.onnx", "0")
    beat, quiet = (call for number, call in enumerate(calls(4)) if number in (2, 3))
    with open_backend("onnxruntime", load(tmp_path / "net.onnx")) as engine:
        fresh = engine.infer(*beat)
        engine.forget()
        engine.infer(*quiet)
        for answer, wanted in zip(engine.infer(*beat), fresh, strict=True):
            np.testing.assert_array_equal(answer, wanted)
        assert any((answer != wanted).any() for answer, wanted in zip(engine.infer(*beat), fresh, strict=True))
        before = engine.states["beats_in"]
        engine.infer(*quiet)
        np.testing.assert_array_equal(engine.states["beats_in"], before)
        assert before[0, :, 0].any()  # the newest beat
        assert not before[0, :, -1].any()  # a row that nothing is ever put into


def test_the_network_looks_at_the_r_peak():
    samples = np.prod(LAYOUT.strides)
    left, right = LAYOUT.columns_at_r()
    assert left * samples <= R_INDEX <= right * samples


RUNS_EVERYWHERE = {"Conv", "Add", "Mul", "Sub", "Relu", "Abs", "Gemm", "Softmax", "Slice", "Concat"}
RUNS_EVERYWHERE |= {"Flatten", "GlobalAveragePool", "GlobalMaxPool", "MatMul", "Reshape", "Transpose"}


@pytest.fixture(params=["fresh", "shipped"])
def model(request, tmp_path):
    if request.param == "fresh":
        write(random_weights(LAYOUT, seed=7), tmp_path / "net.onnx", "0")
        return load(tmp_path / "net.onnx")
    return load(SHIPPED / "ecg1.onnx")


def test_the_graph_is_what_every_engine_runs_fast(model):
    graph = onnx.load(model.onnx)
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", OPSET)] == [("", 17)]
    assert graph.ir_version == IR_VERSION == 9
    assert model.onnx.stat().st_size <= 4_000_000
    constants = {tensor.name: tensor.dims for tensor in graph.graph.initializer}
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv"]
    assert 3 < len(convolutions) <= 8  # each costs a GPU 5 to 9 us at batch 1, however wide it is
    for number, node in enumerate(convolutions):
        outputs, inputs, height, taps = constants[node.input[1]]
        assert height == 1
        assert inputs % 32 == 0 if number else inputs == 4  # the window is read in four phases
        assert taps % 2 or not number
        assert outputs % 32 == 0
    assert {node.op_type for node in graph.graph.node} <= RUNS_EVERYWHERE


def test_the_manifest_describes_the_file(model):
    assert model.manifest.sha256 == hashlib.sha256(model.onnx.read_bytes()).hexdigest()
    assert model.manifest.r_index == R_INDEX
    assert tuple(each.shape for each in model.manifest.inputs) == INPUT_SHAPES
    assert {head.name: head.labels for head in model.manifest.heads} == HEADS


@pytest.mark.parametrize("missing", [0.0, 0.5, 1.0])
def test_answers_are_probabilities_whatever_is_missing(model, missing):
    ((window, rr),) = calls(1, seed=9)
    window[..., : int(missing * WINDOW_SAMPLES)] = 0
    with open_backend("onnxruntime", model) as engine:
        for head, answer in zip(model.manifest.heads, engine.infer(window, rr), strict=True):
            assert answer.shape == (1, len(head.labels))
            assert np.isfinite(answer).all()
            assert answer.sum() == pytest.approx(1, abs=1e-5)


@needs("mitdb")
def test_the_shipped_model_knows_a_ventricular_beat_from_a_normal_one():
    """A floor on a patient of validation, far below what it reaches, so that a broken export cannot ship."""
    with open_backend("onnxruntime", load(SHIPPED / "ecg1.onnx")) as engine:
        found = judged_leads(engine, iter([next(wfdb_leads(DATA / "mitdb", "205"))]))["beat"]
    _, v = beat_f1(found.logits, found.truth)
    assert v > 0.8


# What needs PyTorch


def test_windows_cut_for_training_are_those_that_the_daemon_cuts():
    torch = pytest.importorskip("torch", reason="PyTorch is needed for training only")
    from training import cutter
    from training.report import window

    lead = lead_with(missing=slice(1200, 1300))
    cut = cutter.Cutter(pack([(lead, False)]), torch.device("cpu"))
    r_peaks = [300, 1400, 5000 - AFTER_R]
    windows = cutter.normalise(*cut.cut(torch.zeros(3, dtype=torch.long), torch.tensor(r_peaks)))
    for r_peak, ours in zip(r_peaks, windows, strict=True):
        np.testing.assert_allclose(ours[None].numpy(), window(lead, r_peak + AFTER_R), atol=0.02)


@pytest.mark.parametrize("layout", [LAYOUT, BOTTLENECKS, PATHS], ids=["compact", "bottlenecks", "paths"])
def test_the_network_that_trains_is_the_network_that_runs(tmp_path, layout):
    """In runs, as it trains, and window by window, as it runs."""
    torch = pytest.importorskip("torch", reason="PyTorch is needed for training only")
    from training.network import Network

    torch.manual_seed(1)
    network = Network(layout, dropout=0.5)
    network.pool(torch.randn(8, 1, 1, WINDOW_SAMPLES))  # moves the running statistics off their start
    network.eval()
    for value in (network.recall.age, network.recall.nothing):
        torch.nn.init.normal_(value)  # they are zeros at first
    write(network.arrays() | layout_arrays(layout), tmp_path / "net.onnx", "0")
    windows, rr = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*calls(9), strict=True))
    is_beat = rr[:, -1].numpy() > 0
    beats = np.resize(np.flatnonzero(is_beat), 9)
    before = np.cumsum(is_beat) - is_beat
    with torch.no_grad(), open_backend("onnxruntime", load(tmp_path / "net.onnx")) as engine:
        seen = network.pool(windows)[None]
        expected = network.judge(seen, rr[None], torch.from_numpy(beats)[None], torch.from_numpy(before)[None])
        for number, call in enumerate(calls(9)):
            for head, answer in zip(HEADS, engine.infer(*call), strict=True):
                np.testing.assert_allclose(
                    answer[0], expected[head][0, number].softmax(0).numpy() @ told(head), atol=1e-5
                )


def test_an_all_missing_window_is_silent():
    assert not normalise(np.ones(WINDOW_SAMPLES), np.ones(WINDOW_SAMPLES, bool)).any()
