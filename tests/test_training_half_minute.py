"""How the network of half a minute is trained: the same pictures as the daemon's, and a file that says the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dsp.half_minute import SAMPLES, picture
from engines.backend import open_backend
from engines.model import load
from training.labels import AF, NORMAL, OTHER, bits
from training.packed import pack
from training.records import Lead

torch = pytest.importorskip("torch", reason="training needs PyTorch, which `pip install torch` brings")

from training import half_minute, half_minutes  # noqa: E402 - they need PyTorch
from training.half_minute_export import export  # noqa: E402

HOW = {
    "channels": [8, 8, 8, 8, 8, 8],
    "recurrent": 8,
    "dropout": 0.1,
    "seed": 1,
    "steps": 4,
    "validate_every": 2,
    "batch": 16,
    "learning_rate": 1e-3,
    "weight_decay": 0.1,
    "averaging": 0.9,
    "smoothing": 0.05,
    "challenge": 0.5,
    "retimed": 0.25,
    "holter": 0.25,
    "whole": 0.5,
    "noisy": 0.5,
    "flipped": 0.5,
    "unmarked": 0.5,
}
CPU = torch.device("cpu")


def lead(database, record, rhythm, seconds=60, rr=200, number=0):
    """A lead with a spike at each R peak; all of its windows of one rhythm."""
    ecg_mv = 0.05 * np.random.default_rng(len(record)).standard_normal(seconds * 250)
    peaks = np.arange(900, len(ecg_mv) - 200, rr)
    ecg_mv[peaks] += 1.0
    windows = np.stack([peaks, np.ones_like(peaks), np.ones_like(peaks), np.full_like(peaks, rhythm)], axis=1)
    return Lead(database, record, number, ecg_mv, np.zeros(len(ecg_mv), bool), np.zeros((0, 2), np.int64), windows)


@pytest.fixture(scope="module")
def packed():
    kinds = (("a", AF), ("n", NORMAL), ("o", OTHER))
    challenge = [(f"{name}{number}", bits(kind)) for name, kind in kinds for number in range(4)]
    leads = [(lead("cinc2017", name, kind), name.endswith("3")) for name, kind in challenge]
    leads += [(lead("cinc2017", "x", bits(5)), False)]
    calm = bits(NORMAL, OTHER)
    leads += [(lead("mitdb", "1", bits(AF), 90), False), (lead("mitdb", "2", calm, 90), False)]
    leads += [(lead("svdb", "3", bits(AF, NORMAL, OTHER), 90), False), (lead("qtdb", "4", calm, 90), False)]
    leads += [(lead("nstdb", "bw", bits(5), 90), False)]
    return pack(leads)


def test_the_pictures_of_the_training_are_the_daemons(packed):
    rows, ends = np.array([0, 5, 13]), np.array([15000, 6000, 20000])
    pictures, columns = half_minutes.Pictures(packed, HOW, CPU).plain(rows, ends)
    for place, (row, end) in enumerate(zip(rows, ends, strict=True)):
        counts = packed.counts[packed.start[row] : packed.start[row] + end] * np.float64(packed.lsb_mv[row])
        ecg_mv = np.concatenate([np.zeros(max(0, SAMPLES - end)), counts[-SAMPLES:]])
        known = np.arange(SAMPLES) >= SAMPLES - end
        drawn, there = picture(ecg_mv, known, half_minutes.peaks_of(packed, row) - (end - SAMPLES))
        np.testing.assert_allclose(pictures[place].numpy(), drawn[0], atol=1e-4)
        assert np.array_equal(columns[place].numpy(), there[0])


def test_a_step_is_drawn_from_those_who_train_with_their_own_truth(packed):
    plan = half_minutes.Plan(packed, HOW)
    of_challenge = half_minutes.record_truth(packed)
    for step in range(20):
        drawn = plan(step)
        assert len(drawn.row) == HOW["batch"]
        assert not packed.validation[drawn.row].any()
        for row, truth in zip(drawn.row[4:12], drawn.truth[4:12], strict=True):
            assert truth == of_challenge[row]
        assert {packed.database[row] for row in drawn.row[12:]} <= {"mitdb", "svdb", "qtdb"}
        for row, truth in zip(drawn.row[12:], drawn.truth[12:], strict=True):
            assert (truth == half_minutes.AF) == (packed.record[row] == "1"), "svdb is held for free of it"
        for row, truth, changed in zip(drawn.row[:4], drawn.truth[:4], drawn.retimed, strict=True):
            assert packed.record[row][0] == "n"
            assert (truth == half_minutes.AF) == changed.fibrillates


def test_a_step_follows_from_the_seed_and_its_number(packed):
    one, other = half_minutes.Plan(packed, HOW)(7), half_minutes.Plan(packed, HOW)(7)
    assert np.array_equal(one.row, other.row)
    assert np.array_equal(one.end, other.end)
    assert np.array_equal(one.waves, other.waves)


def test_what_fibrillates_has_lost_its_p_waves_and_what_is_only_irregular_has_not(packed):
    row = int(np.flatnonzero(packed.record == "n0")[0])
    counts = packed.counts.copy()
    for peak in half_minutes.peaks_of(packed, row):
        counts[packed.start[row] + peak - 40 : packed.start[row] + peak - 30] += 80  # a P wave
    waving = replace(packed, counts=counts)
    pictures, plan = half_minutes.Pictures(waving, HOW, CPU), half_minutes.Plan(waving, HOW)
    height: dict[bool, list[float]] = {True: [], False: []}
    for drawn in map(plan, range(60)):
        ecg_mv, _, known = pictures._retimed(replace(drawn, waves=np.zeros_like(drawn.waves)))
        for place, changed in enumerate(drawn.retimed):
            in_p = (changed.in_p > 0.4) & (changed.in_p < 0.7) & known[place].numpy()
            if drawn.row[place] == row and in_p.any():
                height[changed.without_p].append(float(ecg_mv[place].numpy()[in_p].max()))
    assert min(map(len, height.values())) > 5
    assert max(height[True]) < 0.5 * min(height[False])


def test_a_training_that_broke_off_goes_on_as_if_it_had_not(packed, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    half_minute.train(packed, whole, HOW, CPU)
    (broken / "validation.npz").mkdir(parents=True)  # which it cannot write then, after its first checkpoint
    with pytest.raises(IsADirectoryError):
        half_minute.train(packed, broken, HOW, CPU)
    (broken / "validation.npz").rmdir()
    assert torch.load(broken / "checkpoint.pt")["step"] == HOW["validate_every"]
    half_minute.train(packed, broken, HOW, CPU)
    one, other = (torch.load(run / "weights.pt")["weights"] for run in (whole, broken))
    assert all(torch.equal(weights, other[name]) for name, weights in one.items())


@pytest.mark.filterwarnings("ignore")  # PyTorch's newer exporter would need onnxscript
def test_the_file_says_what_was_trained(packed, tmp_path):
    half_minute.train(packed, tmp_path, HOW, CPU)
    export(tmp_path, "0.1", tmp_path / "net.onnx")
    pictures, columns = half_minutes.Pictures(packed, HOW, CPU).plain(np.array([0]), np.array([5000]))
    network = half_minute.Network(HOW["channels"], HOW["recurrent"], HOW["dropout"]).eval()
    network.load_state_dict(torch.load(tmp_path / "weights.pt")["weights"])
    with torch.no_grad(), open_backend("onnxruntime", load(tmp_path / "net.onnx")) as engine:
        (answer,) = engine.infer(pictures.numpy(), columns.numpy())
        np.testing.assert_allclose(answer, network(pictures, columns).softmax(1).numpy(), atol=1e-5)
