"""What the lethal alarms are worth on the ICU alarms of challenge2015, and what would be the best of their thresholds.

`python -m training.alarms`: for each kind and each setting of its thresholds, alarms found and missed and the
challenge's score; then the score with the setting of each fifth chosen on the other four, which is what may be quoted.
`python -m training.alarms --fit vt`: the weights of what speaks for a ventricular tachycardia (daemon/run_evidence.py),
fitted anew; and the score with the weights of each fifth fitted on the other four.

Run both for a new model or detector: the first pass tapes all records, later ones take a minute or two.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from daemon.config import (
    Alerts,
    Asystole,
    ExtremeBradycardia,
    ExtremeRate,
    ExtremeTachycardia,
    Fibrillation,
    Tachycardia,
)
from daemon.run_evidence import WEIGHTS
from dsp.signal import RATE_HZ
from rhythmd.evaluation import store
from rhythmd.evaluation.alarms import Alarm
from rhythmd.evaluation.challenge2015 import KIND_OF, Case, is_ours, score
from training import alarm_fit
from training.alarm_fit import Fit, Stretch
from training.splits import data_folder
from training.tapes import tape_of

Thresholds = Asystole | Fibrillation | Tachycardia | ExtremeRate
Task = TypeVar("Task")
Answer = TypeVar("Answer")

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
        Tachycardia(probability=probability) for probability in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    ],
}
FOLDS = 5
DRAWS, FITTED_DRAWS = 20, 5
"""Ways in which the records are dealt into folds: one alone moves the score by a point."""

FALSE_A_DAY = (5.0, 8.0, alarm_fit.FALSE_A_DAY, 16.0, 20.0)
"""What the weights of tachycardia are tried at."""


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
    kind = KIND_OF[one.alarm]
    tape = tape_of(one.path)
    found = []
    for setting in SETTINGS[kind]:
        events = tape.judged_by(structs.replace(Alerts(), **{kind: setting})).alerts
        alarms = [Alarm(event.kind, event.onset, event.raised, event.end) for event in events]
        found.append(_case(one, ours=is_ours(alarms, kind, RATE_HZ)))
    return found


def chosen(by_setting: Sequence[Sequence[Case]], fold: NDArray[np.int64]) -> list[Case]:
    """Each record with the setting that was best on the records of the other folds."""
    told: list[Case] = []
    for number in range(FOLDS):
        best = max(by_setting, key=lambda cases: score(np.array(cases, object)[fold != number]) or 0.0)
        told += np.array(best, object)[fold == number].tolist()
    return told


def draws(records: int) -> Iterator[NDArray[np.int64]]:
    """The fold of each record, in every way in which they are dealt."""
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        yield rng.permutation(records) % FOLDS


def try_thresholds(records: Sequence[Labelled]) -> None:
    """Every setting of every kind."""
    told: dict[str, list[list[Case]]] = {}
    for one, found in _over(cases, records):
        told.setdefault(KIND_OF[one.alarm], []).append(found)
    quoted: list[list[Case]] = [[] for _ in range(DRAWS)]
    for kind, settings in SETTINGS.items():
        by_setting = list(zip(*told[kind], strict=True))
        for setting, ours in zip(settings, by_setting, strict=True):
            print(f"{_words(setting):<66} {_line(ours)}{'  <- default' if setting == getattr(Alerts(), kind) else ''}")
        dealt = [chosen(by_setting, fold) for fold in draws(len(told[kind]))]
        quoted = [all_ + deal for all_, deal in zip(quoted, dealt, strict=True)]
        print(f"{kind}, chosen in folds: {_mean_score(dealt):.1f}\n")
    print(f"all kinds, thresholds chosen in folds: {_mean_score(quoted):.1f}")
    print("The weights behind ventricular tachycardia were fitted to these records: see --fit vt.")


def fit_tachycardia(records: Sequence[Labelled]) -> None:
    """Weights, and what they reach on alarms that they were not fitted to."""
    alarms = [one for one in records if KIND_OF[one.alarm] == alarm_fit.KIND]
    ours = dict(_over(_alarm, alarms))
    theirs = alarm_fit.databases()
    marked = alarm_fit.marked_in(theirs)
    told = [
        each for _, some in _over(_stretches, [(path, marked[path.parent.name]) for path in theirs]) for each in some
    ]
    days = alarm_fit.days_of(theirs)

    def fits(known: Sequence[Labelled]) -> list[Fit]:
        fitted = alarm_fit.fit([ours[one] for one in known] + told)
        return [alarm_fit.calibrated(fitted, told, days, a_day) for a_day in FALSE_A_DAY]

    dealt: list[list[list[Case]]] = [[] for _ in FALSE_A_DAY]
    for fold in islice(draws(len(alarms)), FITTED_DRAWS):
        in_folds: list[list[Case]] = [[] for _ in FALSE_A_DAY]
        for number in range(FOLDS):
            known = [one for one, its in zip(alarms, fold, strict=True) if its != number]
            unseen = [one for one, its in zip(alarms, fold, strict=True) if its == number]
            for found, rule in zip(in_folds, fits(known), strict=True):
                found += [_case(one, ours=rule.log_odds(ours[one]) > 0) for one in unseen]
        for all_, found in zip(dealt, in_folds, strict=True):
            all_.append(found)

    rules = fits(alarms)
    for rule, deals in zip(rules, dealt, strict=True):
        print(f"false stretches a day {_a_day(rule, told, days)}; episodes found {_found(rule, told, days)}")
        print(f"   alarms of the challenge, in folds: {_mean_line(deals)}")
    rule = rules[FALSE_A_DAY.index(alarm_fit.FALSE_A_DAY)]
    print(
        f"\nFor daemon/run_evidence.py, at {alarm_fit.FALSE_A_DAY:g} false stretches a day in mitdb and svdb together:"
    )
    for name, weight in zip(WEIGHTS, rule.weights, strict=True):
        print(f'    "{name}": {weight:.2f},')
    print(f"NEUTRAL = {-rule.bias:.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.alarms", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--fit", choices=["vt"], help="fit the weights of this kind instead")
    fitting = parser.parse_args().fit
    records = labelled(data_folder() / "challenge2015")
    (fit_tachycardia if fitting else try_thresholds)(records)
    return 0


def _over(work: Callable[[Task], Answer], tasks: Sequence[Task]) -> Iterator[tuple[Task, Answer]]:
    from tqdm import tqdm

    yield from tqdm(store.spread(work, tasks, jobs=2), total=len(tasks), unit=" records", disable=None)


def _alarm(one: Labelled) -> Stretch:
    return alarm_fit.alarm(one.path, true=one.true)


def _stretches(task: tuple[Path, set[str]]) -> list[Stretch]:
    return alarm_fit.stretches(*task)


def _case(one: Labelled, *, ours: bool) -> Case:
    return Case(one.path.name, one.alarm, one.true, ours)


def _words(setting: Thresholds) -> str:
    values = ", ".join(f"{name} {getattr(setting, name)}" for name in setting.__struct_fields__ if name != "action")
    return f"{type(setting).__name__}: {values}"


def _line(ours: Sequence[Case]) -> str:
    counts = Counter(case.outcome for case in ours)
    return f"TP {counts['TP']:3} FP {counts['FP']:3} FN {counts['FN']:3} TN {counts['TN']:3}  {score(ours):5.1f}"


def _mean_line(deals: Sequence[Sequence[Case]]) -> str:
    counts = Counter(case.outcome for deal in deals for case in deal)
    mean = " ".join(f"{name} {counts[name] / len(deals):.1f}" for name in ("TP", "FP", "FN", "TN"))
    return f"{mean}  {_mean_score(deals):.1f}"


def _mean_score(deals: Sequence[Sequence[Case]]) -> float:
    return float(np.mean([score(deal) or 0.0 for deal in deals]))


def _a_day(rule: Fit, stretches: Sequence[Stretch], days: dict[str, float]) -> str:
    rates = alarm_fit.false_a_day(rule, stretches, days)
    return ", ".join(f"{database} {rate:.1f}" for database, rate in rates.items())


def _found(rule: Fit, stretches: Sequence[Stretch], days: dict[str, float]) -> str:
    true = {database: [each for each in stretches if each.true and each.database == database] for database in days}
    return ", ".join(
        f"{database} {sum(rule.log_odds(each) > 0 for each in some)} of {len(some)}" for database, some in true.items()
    )


if __name__ == "__main__":
    sys.exit(main())
