"""A recording is analysed as it is read, piece by piece, and that changes nothing."""

from __future__ import annotations

from itertools import groupby
from random import Random

import numpy as np
import pytest

from daemon.app import find_model
from daemon.config import Alerts
from rhythmd import analysis
from rhythmd.recording import NO_DATE, RecordError, Recording, find, read, shipped
from tests.conftest import write_record

LONGEST = 500  # samples lost that are bridged: 2 s
HEADS = find_model("ecg1").manifest.heads


class Likely:
    """An engine that finds every beat normal, and remembers nothing."""

    def infer(self, *_):
        return tuple(np.linspace(0.9, 0.1, len(head.labels), dtype=np.float32)[None] for head in HEADS)

    def forget(self):
        pass


def with_losses(seed: int, seconds: int = 60) -> Recording:
    rng = Random(seed)
    counts = shipped().counts[: seconds * 250].copy()
    for _ in range(rng.randrange(8)):
        first = rng.randrange(len(counts))
        counts[first : first + rng.choice([1, 5, 300, LONGEST - 1, LONGEST, LONGEST + 1, 2600, 5000])] = np.nan
    return Recording("r", "ECG", 250.0, counts, shipped().counts_per_mv)


def sessions_of(recording: Recording) -> list[tuple[int, int]]:
    """(first, end), by going over the samples one by one."""
    runs, at = [], 0
    for there, samples in groupby(np.isfinite(recording.counts)):
        length = len(list(samples))
        if there:
            runs.append([at, at + length])
        at += length
    sessions: list[list[int]] = []
    for first, end in runs:
        if sessions and first - sessions[-1][1] <= LONGEST:
            sessions[-1][1] = end
        else:
            sessions.append([first, end])
    if sessions and at - sessions[-1][1] <= LONGEST:
        sessions[-1][1] = at
    return [(first, end) for first, end in sessions]


@pytest.mark.parametrize("block_s", [0.5, 2, 10])
@pytest.mark.parametrize("seed", range(12))
def test_only_losses_too_long_to_bridge_are_left_out_wherever_blocks_end(monkeypatch, seed, block_s):
    monkeypatch.setattr(analysis, "BLOCK_S", block_s)
    recording = with_losses(seed)
    heard: list[list[int]] = []
    losses = analysis.Losses(recording.rate_hz)
    cut = [block for each in analysis.blocks(recording) for block in losses(*each)]
    for block in [*cut, *losses.finish(recording.samples)]:
        given = recording.ecg_mv[block.start : block.end]
        assert np.array_equal(block.ecg_mv, given, equal_nan=True)
        if heard and heard[-1][1] == block.start:
            heard[-1][1] = block.end
        else:
            heard.append([block.start, block.end])
    assert [(first, end) for first, end in heard] == sessions_of(recording)


@pytest.mark.parametrize("seed", range(4))
def test_pieces_of_any_size_give_the_same_analysis(monkeypatch, seed):
    recording = with_losses(seed)
    found = analysis.analyze(recording, Likely(), HEADS, Alerts())
    assert len(found.beats) > 10
    monkeypatch.setattr(analysis, "BLOCK_S", 0.7)
    monkeypatch.setattr(analysis, "PIECE_BLOCKS", 3)
    assert analysis.analyze(recording, Likely(), HEADS, Alerts()) == found


def test_nothing_there_is_a_lost_signal():
    found = analysis.analyze(Recording("r", "ECG", 250.0, np.full(5000, np.nan), 400.0), Likely(), HEADS, Alerts())
    assert [event.kind for event in found.alerts] == ["signal_lost"]
    assert found.beats == ()


@pytest.mark.parametrize("header", ["", "two/2 1 250 5000\nr 2000\ns 3000\n", "no 1 250\nr.dat 16 400(0)/mV 16 0\n"])
def test_a_stored_record_gives_by_pieces_what_it_gives_as_a_whole(tmp_path, header):
    write_record(tmp_path, "r", shipped().counts[:2000])
    write_record(tmp_path, "s", shipped().counts[2000:5000])
    name = header.partition(" ")[0].partition("/")[0] or "r"
    if header:
        (tmp_path / f"{name}.hea").write_text(header)
    stored, whole = find(str(tmp_path / name)), read(str(tmp_path / name))
    assert isinstance(stored, Recording) == (name == "no")  # wfdb reads pieces of no record without a length
    assert (stored.name, stored.lead, stored.begins) == (name, whole.lead, NO_DATE)
    assert stored.samples == whole.samples == (5000 if name == "two" else 2000)
    pieces = [stored.piece(first, min(first + 700, stored.samples)) for first in range(0, stored.samples, 700)]
    assert np.concatenate([piece.ecg_mv for piece in pieces]).tobytes() == whole.ecg_mv.tobytes()
    assert np.concatenate([piece.saturated for piece in pieces]).tobytes() == whole.saturated.tobytes()


def test_the_record_that_comes_along_has_one_lead():
    assert find("shipped", "0").lead == find("shipped", "ECG").lead == "ECG"
    with pytest.raises(RecordError, match="no lead 'V9'; it has 0 ECG"):
        find("shipped", "V9")


def test_a_file_that_ends_early_is_told_of_when_its_end_is_reached(tmp_path):
    write_record(tmp_path, "r", shipped().counts[:2000])
    (tmp_path / "r.hea").write_text("r 1 250 500000\nr.dat 16 400(0)/mV 16 0 0 0 0 ECG\n")
    stored = find(str(tmp_path / "r"))
    assert stored.piece(0, 2000).samples == 2000
    with pytest.raises(RecordError, match="is the file whole"):
        stored.piece(150_000, 300_000)
