"""The training: its splits, its windows, the graph it exports, and the model that is shipped."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest

from dsp.signal import Block
from dsp.windows import R_INDEX, WINDOW_SAMPLES, normalise
from ec57.sets import MITDB_DS1, MITDB_DS2, MITDB_PACED
from engines.backend import open_backend
from engines.model import SHIPPED, load
from training import splits
from training.export import IR_VERSION, OPSET, layout_arrays, layout_of, random_weights, write
from training.layout import HEADS, KERNEL, NORM_EPSILON, STEM_KERNEL, STEM_STRIDE, TAIL_STRIDE, Layout
from training.packed import AFTER_R, COVERED, Packed, pack
from training.records import AF, BEAT_OF, OTHER, UNKNOWN, Lead, N, S, V, at_peak, filtered, wfdb_leads
from training.score import area, beat_f1, beat_offsets, rhythm_offsets, softmax

DATA = splits.data_folder()
LAYOUT = Layout((32, 32, 64), (2, 2, 2), 32)


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


def lead_with(beats=(), spans=(), samples=5000, missing=slice(0, 0)):
    ecg_mv = np.sin(np.arange(samples) / 7) * np.linspace(0.5, 2, samples)
    lost = np.zeros(samples, bool)
    lost[missing] = True
    return Lead("mitdb", "101", 0, ecg_mv, lost, np.array(beats, np.int64).reshape(-1, 2), tuple(spans))


def test_beats_have_the_classes_of_ec57_and_doubtful_ones_none():
    classes = {"N": "BLNRej", "S": "AJSa", "V": "EV"}
    assert {symbol: "NSV"[label] for symbol, label in BEAT_OF.items()} == {
        symbol: name for name, symbols in classes.items() for symbol in symbols
    }


def test_packing_keeps_the_signal_to_its_resolution_and_every_label():
    first = lead_with([(900, V), (4990, N)], [(0, 3000, AF, "mitdb_0")], missing=slice(10, 20))
    second = lead_with([(2000, S)], [(2000, 5000, OTHER, "mitdb_2")])
    packed = pack([(first, False), (second, True)])
    for row, lead in enumerate((first, second)):
        counts = packed.counts[packed.start[row] : packed.start[row + 1]]
        np.testing.assert_allclose(counts * packed.lsb_mv[row], lead.ecg_mv, atol=0.51 * packed.lsb_mv[row])
    np.testing.assert_array_equal(np.flatnonzero(packed.missing()), np.arange(10, 20))
    # The beat 10 samples before the end has no whole window. The third lies where its rhythm has only just begun.
    assert packed.beats.tolist() == [[0, 900, V, AF], [1, 2000, S, UNKNOWN]]
    assert packed.spans.tolist() == [[0, COVERED, 3000, AF, 0], [1, 2000 + COVERED, 5000, OTHER, 1]]


def test_a_packed_file_reads_back_bit_for_bit(tmp_path):
    rng = np.random.default_rng(3)
    jumpy = Lead("svdb", "800", 1, rng.normal(0, 80, 3000), np.zeros(3000, bool), np.zeros((0, 2), np.int64), ())
    packed = pack([(jumpy, False), (lead_with([(900, V)], [(0, 3000, AF, "mitdb_0")]), True)])
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
    logits = rng.normal(0, 1, (2000, 4)) + np.repeat(rng.normal(0, 0.5, (200, 4)), 10, axis=0) + 3 * np.eye(4)[truth]
    logits[:, AF] += 2.5  # a network that sees it everywhere
    records = np.repeat(np.arange(200).astype(str), 10)
    challenge = np.repeat(np.arange(200) % 4 > 0, 10)
    offsets = rhythm_offsets(logits, truth, records, challenge)
    chosen = softmax(logits + offsets)[:, AF].reshape(200, 10).mean(axis=1) >= 0.5
    assert np.mean(chosen == (of_record == AF)) > 0.97


# The graph


def convolved(x, kernel, stride):
    """The plainest convolution of (channel, sample) with (output, input, 1, tap), zeros beyond both ends."""
    taps = kernel.shape[3]
    padded = np.pad(x, ((0, 0), (taps // 2, taps // 2)))
    starts = range(0, padded.shape[1] - taps + 1, stride)
    return np.stack([np.tensordot(kernel[:, :, 0], padded[:, start : start + taps], 2) for start in starts], axis=1)


def reference(weights, window):
    """The network by its definition: normalisation after the convolution, nothing folded, in float64."""
    layout = layout_of(weights)

    def conv_norm(x, name, stride=1):
        scale, shift, mean, variance = (
            weights[f"{name}.norm.{part}"].astype(float)[:, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        out = convolved(x, weights[f"{name}.conv.weight"].astype(float), stride)
        return (out - mean) / np.sqrt(variance + NORM_EPSILON) * scale + shift

    def block(x, name, stride):
        deep = conv_norm(np.maximum(conv_norm(x, f"{name}.first", stride), 0), f"{name}.second")
        if f"{name}.shortcut.conv.weight" in weights:
            x = conv_norm(x, f"{name}.shortcut", stride)
        return np.maximum(deep + x, 0)

    x = np.maximum(conv_norm(window.reshape(1, -1).astype(float), "stem", STEM_STRIDE), 0)
    for index, stride in enumerate(layout.strides):
        x = block(x, f"trunk.{index}", stride)
    answers = []
    for head in HEADS:
        tail = block(x, f"tail.{head}", TAIL_STRIDE)
        at_r = [tail[:, column] for column in layout.columns_at_r()] if head == "beat" else []
        features = np.concatenate([tail.mean(1), tail.max(1), *at_r])
        logits = weights[f"head.{head}.weight"][:, :, 0, 0] @ features + weights[f"head.{head}.bias"]
        answers.append(np.exp(logits) / np.exp(logits).sum())
    return answers


@pytest.mark.parametrize("layout", [LAYOUT, Layout((32, 64), (1, 2), 32)], ids=["downsampling", "keeping the rate"])
def test_the_exported_network_computes_its_definition(tmp_path, layout):
    weights = random_weights(layout, seed=7)
    write(weights, tmp_path / "net.onnx", "0")
    window = np.random.default_rng(8).normal(0, 1, (1, 1, 1, WINDOW_SAMPLES)).astype(np.float32)
    with open_backend("onnxruntime", load(tmp_path / "net.onnx")) as engine:
        for answer, expected in zip(engine.infer(window), reference(weights, window), strict=True):
            np.testing.assert_allclose(answer[0], expected, atol=1e-5)


def test_the_beat_head_looks_at_the_r_peak():
    samples = STEM_STRIDE * np.prod(LAYOUT.strides) * TAIL_STRIDE
    left, right = LAYOUT.columns_at_r()
    assert left * samples <= R_INDEX <= right * samples


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
    assert len(convolutions) > 10
    for node in convolutions:
        outputs, inputs, height, taps = constants[node.input[1]]
        assert height == 1
        assert taps in {1, KERNEL, STEM_KERNEL}
        assert inputs == 1 or inputs % 32 == 0
        assert outputs % 32 == 0 or node.name.endswith("logits")
    assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}


def test_the_manifest_describes_the_file(model):
    assert model.manifest.sha256 == hashlib.sha256(model.onnx.read_bytes()).hexdigest()
    assert model.manifest.r_index == R_INDEX
    assert model.manifest.window_shape == (1, 1, 1, WINDOW_SAMPLES)
    assert {head.name: head.labels for head in model.manifest.heads} == HEADS


@pytest.mark.parametrize("missing", [0.0, 0.5, 1.0])
def test_answers_are_probabilities_whatever_is_missing(model, missing):
    window = np.random.default_rng(9).normal(0, 3, (1, 1, 1, WINDOW_SAMPLES)).astype(np.float32)
    window[..., : int(missing * WINDOW_SAMPLES)] = 0
    with open_backend("onnxruntime", model) as engine:
        for head, answer in zip(model.manifest.heads, engine.infer(window), strict=True):
            assert answer.shape == (1, len(head.labels))
            assert np.isfinite(answer).all()
            assert answer.sum() == pytest.approx(1, abs=1e-5)


@needs("mitdb")
def test_the_shipped_model_knows_a_ventricular_beat_from_a_normal_one():
    """A floor on a patient of validation, far below what it reaches, so that a broken export cannot ship."""
    from training.report import beat_rows, judged

    with open_backend("onnxruntime", load(SHIPPED / "ecg1.onnx")) as engine:
        lead = next(wfdb_leads(DATA / "mitdb", "205"))
        rows = [row for index, row in enumerate(beat_rows([lead])) if index % 5 == 0 or row[2] == V]
        found = judged(engine, 0, rows)
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


def test_the_network_that_trains_is_the_network_that_runs(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is needed for training only")
    from training.network import Network

    torch.manual_seed(1)
    network = Network(LAYOUT, dropout=0.5)
    windows = torch.randn(8, 1, 1, WINDOW_SAMPLES)
    network(windows)  # moves the running statistics off their start
    write(network.arrays() | layout_arrays(LAYOUT), tmp_path / "net.onnx", "0")
    network.eval()
    with torch.no_grad(), open_backend("onnxruntime", load(tmp_path / "net.onnx")) as engine:
        expected = network(windows[:1])
        for head, answer in zip(HEADS, engine.infer(windows[:1].numpy()), strict=True):
            np.testing.assert_allclose(answer, expected[head].softmax(1).numpy(), atol=1e-5)


def test_an_all_missing_window_is_silent():
    assert not normalise(np.ones(WINDOW_SAMPLES), np.ones(WINDOW_SAMPLES, bool)).any()
