"""`python -m training.alarms`: what the thresholds of the lethal alarms are worth on the ICU alarms of challenge2015.

For each kind of alarm and each setting of its thresholds: alarms found and missed, and the challenge's score; then the
score with the setting of each fifth chosen on the other four, which is what may be quoted. Run it again for a new model
or detector, and write what it finds into daemon/config.py and default.toml.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from daemon.app import find_model
from daemon.config import (
    Alerts,
    Asystole,
    Config,
    ExtremeBradycardia,
    ExtremeRate,
    ExtremeTachycardia,
    Fibrillation,
    Tachycardia,
)
from dsp.signal import RATE_HZ
from engines.backend import open_backend
from rhythmd.evaluation import store
from rhythmd.evaluation.alarms import Alarm
from rhythmd.evaluation.challenge2015 import KIND_OF, Case, is_ours, score
from rhythmd.recording import read
from training.splits import data_folder
from training.tapes import Tape

Thresholds = Asystole | Fibrillation | Tachycardia | ExtremeRate

SETTINGS: dict[str, Sequence[Thresholds]] = {
    "asystole": [Asystole(no_beat_s=seconds) for seconds in (3.0, 3.5, 4.0, 4.5)],
    "extreme_bradycardia": [
        ExtremeBradycardia(rate_bpm=bpm, beats=beats) for bpm, beats in product((40.0, 42.0, 45.0), (4, 5))
    ],
    "extreme_tachycardia": [
        ExtremeTachycardia(rate_bpm=bpm, beats=beats) for bpm, beats in product((135.0, 140.0), (11, 13, 15, 17))
    ],
    "ventricular_fibrillation": [
        Fibrillation(on_probability=on, off_probability=0.3, sustained_s=seconds)
        for on, seconds in product((0.4, 0.5, 0.6, 0.7, 0.8), (2.0, 3.0, 4.0))
    ],
    "ventricular_tachycardia": [
        Tachycardia(probability=probability) for probability in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
    ],
}
FOLDS = 5
DRAWS = 20
"""Ways in which the records are dealt into folds: one alone moves the score by a point."""


class Labelled(NamedTuple):
    path: Path
    alarm: str
    true: bool


def labelled(folder: Path) -> list[Labelled]:
    with (folder / "labels.csv").open(newline="") as file:
        rows = [row for row in csv.reader(file) if row and row[0] != "record"]
    return [Labelled(folder / name, alarm, true.strip() == "1") for name, alarm, true in rows]


def cases(one: Labelled) -> list[Case]:
    """With each setting of the thresholds of its kind."""
    config = Config()
    kind = KIND_OF[one.alarm]
    model = find_model(config.engine.model)
    with open_backend("onnxruntime", model) as backend:
        tape = Tape(read(str(one.path)), backend, model.manifest.heads)
    found = []
    for setting in SETTINGS[kind]:
        events = tape.judged_by(structs.replace(Alerts(), **{kind: setting})).alerts
        alarms = [Alarm(event.kind, event.onset, event.raised, event.end) for event in events]
        found.append(Case(one.path.name, one.alarm, one.true, is_ours(alarms, kind, RATE_HZ)))
    return found


def chosen(by_setting: Sequence[Sequence[Case]], fold: NDArray[np.int64]) -> list[Case]:
    """Each record with the setting that was best on the records of the other folds."""
    told: list[Case] = []
    for number in range(FOLDS):
        best = max(by_setting, key=lambda cases: score(np.array(cases, object)[fold != number]) or 0.0)
        told += np.array(best, object)[fold == number].tolist()
    return told


def main() -> int:
    records = labelled(data_folder() / "challenge2015")
    with store.progress(2 * 60.0 * len(records)) as bar:
        told: dict[str, list[list[Case]]] = {}
        for one, found in store.spread(cases, records, jobs=2):
            told.setdefault(KIND_OF[one.alarm], []).append(found)
            bar.update(2)
    quoted: list[list[Case]] = [[] for _ in range(DRAWS)]
    for kind, settings in SETTINGS.items():
        by_setting = list(zip(*told[kind], strict=True))
        for setting, ours in zip(settings, by_setting, strict=True):
            print(f"{_words(setting):<66} {_line(ours)}{'  <- default' if setting == getattr(Alerts(), kind) else ''}")
        rng = np.random.default_rng(0)
        draws = [chosen(by_setting, rng.permutation(len(told[kind])) % FOLDS) for _ in range(DRAWS)]
        quoted = [all_ + draw for all_, draw in zip(quoted, draws, strict=True)]
        print(f"{kind}, chosen in folds: {np.mean([score(draw) or 0.0 for draw in draws]):.1f}\n")
    print(f"all kinds, thresholds chosen in folds: {np.mean([score(each) or 0.0 for each in quoted]):.1f}")
    return 0


def _words(setting: Thresholds) -> str:
    values = ", ".join(f"{name} {getattr(setting, name)}" for name in setting.__struct_fields__ if name != "action")
    return f"{type(setting).__name__}: {values}"


def _line(ours: Sequence[Case]) -> str:
    counts = Counter(case.outcome for case in ours)
    return f"TP {counts['TP']:3} FP {counts['FP']:3} FN {counts['FN']:3} TN {counts['TN']:3}  {score(ours):5.1f}"


if __name__ == "__main__":
    sys.exit(main())
