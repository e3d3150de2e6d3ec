"""All comparisons of one record, from its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ec57 import bxb, epicmp, header, rxr
from ec57.annotations import read
from ec57.beats import AAMI_CLASS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class RecordScore:
    """What the standard asks of one record."""

    beats: bxb.BeatScore
    ventricular_runs: rxr.RunScore
    supraventricular_runs: rxr.RunScore
    af: epicmp.EpisodeScore
    vf: epicmp.EpisodeScore


def compare(
    reference: Path,
    test: Path,
    *,
    reference_extension: str,
    test_extension: str,
    start_s: float = bxb.LEARNING_S,
    vf: epicmp.Kind = epicmp.VF,
    classes: Mapping[str, str] = AAMI_CLASS,
) -> RecordScore:
    """Score the annotations `test.test_extension`; the header lies beside `reference.reference_extension`."""
    clock = header.read(reference)
    truth = read(reference, reference_extension).at(clock.rate_hz)
    claim = read(test, test_extension).at(clock.rate_hz)
    runs = rxr.compare(truth, claim, fs=clock.rate_hz, length=clock.length, start_s=start_s, classes=classes)
    af_score, vf_score = (
        epicmp.compare(truth, claim, kind=kind, fs=clock.rate_hz, length=clock.length, start_s=start_s)
        for kind in (epicmp.AF, vf)
    )
    return RecordScore(
        bxb.compare(truth, claim, fs=clock.rate_hz, length=clock.length, start_s=start_s, classes=classes),
        runs.ventricular,
        runs.supraventricular,
        af_score,
        vf_score,
    )
