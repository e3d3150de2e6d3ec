"""How the referee of ventricular beats is taught: whose beats they are, what each counts for, what is learned."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.config import Alerts
from dsp.qrs_referee import Weighing
from ec57.annotations import Annotation, encoded
from ec57.sets import MITDB_DS1, MITDB_DS2
from rhythmd.recording import shipped, shipped_beats
from tests.test_judge import HEADS
from tests.test_training import needs
from training import beats
from training.beats import UNKNOWN, Watching, fitted, shares, truths
from training.splits import STRESSED, fold, splits


def noted(folder, database, notes):
    """A record's annotations, at 250 Hz."""
    path = folder / database / "1"
    path.parent.mkdir()
    path.with_suffix(".atr").write_bytes(encoded(notes, rate_hz=None))
    return path


def test_a_beat_that_was_found_has_the_truth_of_the_annotation_nearest_to_it_within_150_ms(tmp_path):
    symbols = {1000: "N", 1200: "V", 1400: "A", 1600: "F", 1800: "/", 2000: "E", 2200: "V", 2400: "~"}
    path = noted(tmp_path, "mitdb", [Annotation(at, symbol) for at, symbol in symbols.items()])
    found = {1003: 0, 1170: 0, 1195: 1, 1405: 0, 1590: UNKNOWN, 1801: UNKNOWN, 1963: 1, 2238: 0, 2401: 0}
    assert truths(np.array([*found]), path, 250.0).tolist() == [*found.values()]


def test_of_what_was_found_in_flutter_nothing_is_known(tmp_path):
    marks = {1000: "V", 1100: "[", 1200: "!", 1300: "!", 1400: "]", 1600: "N"}
    path = noted(tmp_path, "mitdb", [Annotation(at, symbol) for at, symbol in marks.items()])
    assert truths(np.array([1000, 1150, 1210, 1290, 1600]), path, 250.0).tolist() == [1, *[UNKNOWN] * 3, 0]


def test_nobody_is_told_of_by_a_network_that_knows_him_and_who_tests_or_validates_teaches_nothing(tmp_path):
    for database in ("mitdb", "svdb", "vfdb", "cudb"):
        (tmp_path / database).mkdir()
        for name in MITDB_DS1 + MITDB_DS2 if database == "mitdb" else map(str, range(420, 440)):
            (tmp_path / database / f"{name}.hea").touch()
    table = splits(tmp_path)
    jobs = beats.jobs_of(["2:two.onnx", "0:zero.onnx"], tmp_path)
    held_out = {*MITDB_DS2, *STRESSED, *(name for parts in table.values() for name in parts["validation"])}
    for job in jobs:
        database, name = job.record.parent.name, job.record.name
        people = np.array(sorted(table[database]["train"] + table[database]["validation"]))
        validates = fold(np.full(len(people), database), people, 2 if job.model.name == "two.onnx" else 0)
        assert name in people[validates]
        assert name in table[database]["train"]
        assert database != "mitdb" or name not in held_out
    assert len({(job.record, job.model, job.seed) for job in jobs}) == len(jobs)
    assert {job.share for job in jobs} == {1.0, beats.SHARE_IN_NOISE, beats.SHARE_OF_RHYTHMS}
    noisy = [job for job in jobs if job.seed]
    assert len({job.seed for job in noisy if job.record.parent.name == "mitdb"}) == sum(
        job.record.parent.name == "mitdb" for job in noisy
    )


@needs("nstdb")
def test_noise_is_as_large_as_the_complexes_and_leaves_pauses():
    pytest.importorskip("torch", reason="PyTorch is needed for training only")
    first, last = 300 * 250, 600 * 250  # where its beats are annotated
    recording = shipped().piece(first, last)
    r_peaks = np.array([at - first for at in shipped_beats()[0] if at < last])
    added_mv = beats.in_noise(recording, r_peaks, seed=5).ecg_mv - recording.ecg_mv
    in_parts = np.sqrt((added_mv[: 290 * 250].reshape(-1, 1250) ** 2).mean(axis=1))
    assert (in_parts < 0.01).any()
    assert 0.1 < in_parts.max() < 5.0


def test_an_annotation_is_taken_at_the_rate_of_its_record(tmp_path):
    path = noted(tmp_path, "svdb", [Annotation(1280, "V")])
    assert truths(np.array([1280, 2500]), path, 128.0).tolist() == [0, 1]


def test_where_only_rhythms_are_annotated_what_was_found_in_the_ventricles_own_is_theirs(tmp_path):
    notes = [Annotation(0, "+", aux="(N"), Annotation(2500, "+", aux="(VT"), Annotation(5000, "+", aux="(N")]
    path = noted(tmp_path, "vfdb", notes)
    found = {1000: UNKNOWN, 2600: UNKNOWN, 3000: 1, 4700: 1, 4800: UNKNOWN, 6000: UNKNOWN}
    assert truths(np.array([*found]), path, 250.0).tolist() == [*found.values()]


def test_a_recording_counts_as_a_power_of_its_beats_and_what_is_unknown_not_at_all():
    drawn = shares(np.array([0] * 16 + [1] * 4 + [UNKNOWN] * 5), 0.5)
    assert drawn[:16].sum() == pytest.approx(0.5 * 16**beats.POWER)
    assert drawn[16:20].sum() == pytest.approx(0.5 * beats.SHARE_OF_V * 4**beats.POWER)
    assert not drawn[20:].any()
    assert np.isfinite(shares(np.array([UNKNOWN]), 1.0)).all()


def test_what_is_learned_tells_ventricular_beats_from_others(monkeypatch):
    pytest.importorskip("torch", reason="PyTorch is needed for training only")
    monkeypatch.setattr(beats, "STEPS", 150)
    monkeypatch.setattr(beats, "TRAININGS", 2)
    rng = np.random.default_rng(2)
    known = rng.integers(0, 2, 2000)
    told = rng.standard_normal((2000, 3)) + known[:, None] * [3.0, -3.0, 0.0] + [50.0, 0.0, 0.0]
    weighing = Weighing(fitted(told, known, np.full(2000, 0.1), seed=4), "beat")
    called = np.array([weighing(each) > 0 for each in told])
    assert (called == known).mean() > 0.95


def test_who_watches_believes_the_network_and_is_asked_about_every_beat():
    from tests.test_judge import Told

    told = Told()
    told.judge = Watching(told, HEADS, Alerts(), "test")
    told.beats(3).beats(1, ventricular=0.6).beats(1, ventricular=0.01)
    assert told.letters == "NNNVN"
    assert [r_peak for r_peak, _ in told.judge.told] == [200, 400, 600, 800, 1000]
    assert [known[0] > 0 for _, known in told.judge.told] == [False, False, False, True, False]
