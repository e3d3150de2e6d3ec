"""How the network that follows beats is trained: made-up rhythms are what they claim, and the file says the same."""

from __future__ import annotations

import numpy as np
import pytest

from dsp.beat_picture import POINT_SAMPLES, USUAL_BEATS, picture
from dsp.intervals import Intervals
from dsp.signal import R_INDEX, RATE_HZ, WINDOW_SAMPLES
from dsp.windows import scale_mv
from engines.backend import open_backend
from engines.model import load
from rhythmd.together import BeatsTogether
from training.labels import NORMAL, ONE_BEAT, OTHER, N, S, V, bits
from training.packed import pack
from training.records import Lead

torch = pytest.importorskip("torch", reason="training needs PyTorch, which `pip install torch` brings")

from training.sveb import kinds, runs, signals, train  # noqa: E402 - they need PyTorch
from training.sveb.export import export  # noqa: E402
from training.sveb.network import COMPARED, Network  # noqa: E402

SMALL = {"steps": 4, "validate_every": 2, "width": 16, "heads": 2}
SMALL |= {"annotated": 3, "made": 4, "normal": 1, "fibrillating": 1}
HOW = train.configured([f"{key}={value}" for key, value in SMALL.items()])
CPU = torch.device("cpu")
P_MV, P_BEFORE_R = 0.3, 36
NO_T_WAVE_CUT = 175  # samples from beat to beat


def lead(database, record, truth, p_mv=P_MV, seconds=60):
    """QRS complexes of 1 mV every 0.8 s, P waves before them; beats of these classes in turn."""
    ecg_mv = 0.005 * np.random.default_rng(len(record)).standard_normal(seconds * RATE_HZ)
    peaks = np.arange(900, len(ecg_mv) - 200, 200)
    for peak in peaks:
        ecg_mv[peak - 8 : peak + 9] += 1 - np.abs(np.arange(-8, 9)) / 9
        ecg_mv[peak - P_BEFORE_R - 8 : peak - P_BEFORE_R + 9] += p_mv * (1 - np.abs(np.arange(-8, 9)) / 9)
    truths = np.resize(truth, len(peaks))
    windows = np.stack([peaks, np.ones_like(peaks), truths, np.full_like(peaks, bits(NORMAL, OTHER))], axis=1)
    return Lead(database, record, 0, ecg_mv, np.zeros(len(ecg_mv), bool), np.zeros((0, 2), np.int64), windows)


@pytest.fixture(scope="module")
def packed():
    each = [ONE_BEAT[N]] * 6 + [ONE_BEAT[S], ONE_BEAT[V]]
    leads = [(lead("cinc2017", f"n{number}", ONE_BEAT[N]), False) for number in range(3)]
    leads += [(lead("cinc2017", f"flat{number}", ONE_BEAT[N], p_mv=0.0), False) for number in range(3)]
    leads += [(lead("cinc2017", "held", ONE_BEAT[N]), True), (lead("cinc2017", "a", bits(N, V), 0.0), False)]
    leads += [(lead("mitdb", "1", each, seconds=90), False), (lead("svdb", "2", each, seconds=400), True)]
    leads += [(lead("nstdb", "bw", ONE_BEAT[N], seconds=120), False)]
    return pack(leads)


@pytest.fixture(scope="module")
def drawn(packed):
    """Of each kind, a function that makes so many runs of it, with the ECG in mV."""
    of_all, there = runs.Runs(packed, HOW), signals.Signals(packed, HOW, CPU)

    def made(kind, count=12):
        rng = np.random.default_rng(1)
        found = [of_all.made(kind, rng) for _ in range(count)]
        ecg_mv = there.made(runs.stacked([run for run, _ in found], [timing for _, timing in found])).numpy()
        return [(run, timing, of_run) for (run, timing), of_run in zip(found, ecg_mv, strict=True)]

    return made


def beats(run, timing, ecg_mv):
    """Of beats as they were planned and with time for a P wave: truth, and the height of the ECG where it would be."""
    at = timing.r_peaks[1:-1]
    slow = (np.diff(timing.r_peaks)[:-1] > 130) & (at < POINT_SAMPLES * (len(ecg_mv) - 1))
    found = np.abs(run.at[:, None] * POINT_SAMPLES - at[slow]).argmin(0)
    sure = np.abs(run.at[found] * POINT_SAMPLES - at[slow]) < 20
    height = np.interp((at[slow] - P_BEFORE_R) / POINT_SAMPLES, np.arange(len(ecg_mv)), ecg_mv)
    return run.truth[found][sure], height[sure]


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_an_r_peak_is_where_it_is_marked(drawn, kind):
    for run, timing, ecg_mv in drawn(kind):
        assert run.truth[0] in ONE_BEAT
        inside = timing.r_peaks[timing.r_peaks < POINT_SAMPLES * (len(ecg_mv) - 1)]
        assert ecg_mv[np.round(inside / POINT_SAMPLES).astype(int)].min() > 0.8
        known = ecg_mv * timing.known > 0.75
        assert np.count_nonzero(np.diff(known.astype(int)) == 1) <= len(inside), "and there is none where it is not"


def test_a_premature_rhythm_has_lost_its_p_waves_and_the_beats_after_its_pauses_have_not(drawn):
    truth, height = (np.concatenate(each) for each in zip(*(beats(*each) for each in drawn("rhythm")), strict=True))
    assert np.count_nonzero(truth == ONE_BEAT[S]) > 100
    assert height[truth == ONE_BEAT[S]].max() < 0.2 * P_MV
    assert height[truth == ONE_BEAT[S]].min() < -0.2 * P_MV, "some are turned round"
    assert np.median(height[truth == ONE_BEAT[N]]) > 0.8 * P_MV


@pytest.mark.parametrize("kind", ["junction", "rhythm"])
def test_beats_are_junctional_only_where_p_waves_could_be_seen(drawn, packed, kind):
    assert {packed.record[run.row][0] for run, _, _ in drawn(kind, 30)} == {"n"}
    assert {packed.record[run.row][0] for run, _, _ in drawn("ectopy", 30)} == {"n", "f"}


def test_a_beat_that_is_blocked_leaves_its_p_wave(drawn):
    heights = [
        ecg_mv[timing.added_level > 0].max()
        for run, timing, ecg_mv in drawn("block", 30)
        if (timing.added_level > 0).any() and run.row < 3 and np.diff(timing.r_peaks).min() > NO_T_WAVE_CUT
    ]
    assert len(heights) > 3
    assert min(heights) > 0.8 * P_MV


def test_no_beat_of_fibrillating_or_fluttering_atria_is_premature(drawn):
    fluttering = 0
    for run, timing, ecg_mv in drawn("af"):
        truth, height = beats(run, timing, ecg_mv)
        assert set(truth) <= {ONE_BEAT[N]}
        assert height.size == 0 or np.median(height) < 0.2 * P_MV
        fluttering += np.abs(timing.waves).max() > 0
    assert fluttering == 12


def test_irregular_sinus_beats_and_blocked_ones_are_normal():
    rng = np.random.default_rng(2)
    for kind, others in (("irregular", False), ("block", False), ("ectopy", True)):
        plans = [kinds.planned(kind, 200.0, 100, rng, escapes=False) for _ in range(10)]
        assert any(each.truth == ONE_BEAT[S] for plan in plans for each in plan.beats) == others


def test_intervals_are_told_as_the_daemon_tells_them():
    peaks, intervals = np.cumsum(np.random.default_rng(0).integers(100, 300, 80)), Intervals()
    for place, told in enumerate(runs.rr_features(peaks)):
        intervals.add((peaks[place] - peaks[place - 1]) / RATE_HZ if place else None)
        np.testing.assert_array_equal(told, intervals.features())


def test_the_pictures_of_the_training_are_the_daemons():
    rng = np.random.default_rng(3)
    ecg_mv = np.repeat(0.2 * rng.standard_normal(5000), POINT_SAMPLES)  # so that half of the samples have its power
    peaks = np.arange(1200, 9000, 220)
    cut = [ecg_mv[peak - R_INDEX : peak - R_INDEX + WINDOW_SAMPLES] for peak in peaks]
    scales = [scale_mv(window, np.zeros(WINDOW_SAMPLES, bool)) for window in cut]
    half = torch.from_numpy(ecg_mv[None, ::POINT_SAMPLES])
    drawn = signals.pictures(half, torch.ones_like(half), torch.from_numpy(peaks[None] // POINT_SAMPLES))
    for beat in range(len(peaks)):
        recent = sorted(scales[max(0, beat + 1 - USUAL_BEATS) : beat + 1])
        usual = recent[(len(recent) - 1) // 2]
        np.testing.assert_allclose(drawn[0, beat].numpy(), picture(cut[beat], usual)[0], atol=1e-4)


def test_a_training_that_broke_off_goes_on_as_if_it_had_not(packed, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    train.train(packed, whole, HOW, CPU, 0)
    (broken / "validation.npz").mkdir(parents=True)  # which it cannot write then, after its first checkpoint
    with pytest.raises(IsADirectoryError):
        train.train(packed, broken, HOW, CPU, 0)
    (broken / "validation.npz").rmdir()
    assert torch.load(broken / "checkpoint.pt")["step"] == HOW["validate_every"]
    train.train(packed, broken, HOW, CPU, 0)
    one, other = (torch.load(run / "weights.pt")["weights"] for run in (whole, broken))
    assert all(torch.equal(weights, other[name]) for name, weights in one.items())
    with np.load(whole / "validation.npz") as found:
        assert {"svdb-2.place", "svdb-2.truth", "svdb-2.logits"} == set(found)


@pytest.mark.filterwarnings("ignore")  # PyTorch's newer exporter would need onnxscript
def test_the_file_says_beat_by_beat_what_the_network_says_of_the_whole_run(tmp_path):
    torch.manual_seed(1)
    network = Network(HOW).eval()
    with torch.no_grad():
        for each in network.parameters():  # as of one that has learned: the exporter gives equal ones one name
            each.add_(0.2 * torch.randn_like(each))
        for layer in network.compare:
            torch.nn.init.normal_(layer.by_distance)
    torch.save({"how": HOW, "weights": network.state_dict()}, tmp_path / "weights.pt")
    export(tmp_path, "0.1", tmp_path / "net.onnx")
    model = load(tmp_path / "net.onnx")
    beat, rr = (torch.randn(1, 2 * COMPARED + 20, *each.shape[1:]) for each in model.manifest.inputs)
    with torch.no_grad(), open_backend("onnxruntime", model) as engine:
        whole = network(beat, rr).softmax(2)[0].numpy()
        told = [engine.infer(*(each[:, place].numpy() for each in (beat, rr)))[0][0] for place in range(beat.shape[1])]
        assert BeatsTogether(model).agrees(engine), "and so does the one for many beats"
    np.testing.assert_allclose(told, whole, atol=1e-4)
    assert np.ptp(whole, axis=0).max() > 0.05, "which is not always the same"


def test_an_unknown_key_is_an_error():
    with pytest.raises(SystemExit, match="has no key step"):
        train.configured(["step=3"])
