"""What the whole chain reaches on a few records each: `python -m tests.floors` measures, `--write` pins it.

A pin is what was measured less a little: another CPU sums in another order and may take a beat differently. Pin anew
after a change that is better on whole databases, not to make a test pass.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from daemon.config import Config
from daemon.kinds import KINDS
from ec57.bxb import LEARNING_S
from ec57.ratio import Ratio
from ec57.sumstats import gross
from rhythmd.evaluation import alarms, cinc2017, scores, store
from rhythmd.evaluation.challenge2015 import KIND_OF, is_ours
from rhythmd.evaluation.job import Job
from tests.conftest import DATA

PINS = Path(__file__).with_suffix(".json")
MARGIN = 0.5
"""Of a percentage."""

OF_A_RECORD = 2.0
"""Where one record of thirty is one and a half."""

BEATS = ("VEB Se", "VEB +P", "SVEB Se", "SVEB +P")
EPISODES = ("duration Se", "duration +P")
RECORDS = {  # group -> (records, what of them is pinned)
    "mitdb DS1": ("mitdb", "106 116 119 201 208", {"beats": BEATS, "af": EPISODES, "alarms": ()}),
    "mitdb DS2": ("mitdb", "200 219 221 231 232", {"beats": BEATS, "af": EPISODES, "alarms": ()}),
    "mitdb 222": ("mitdb", "222", {"beats": ("SVEB Se", "SVEB +P")}),
    "svdb": ("svdb", "802 849", {"beats": BEATS}),
    "nstdb 6 dB": ("nstdb", "119e06", {"beats": ("VEB Se", "VEB +P")}),
    "vfdb": ("vfdb", "426", {"vf": EPISODES}),
    "cudb": ("cudb", "cu15 cu21 cu33", {"vf": EPISODES}),
}
CHALLENGE = (
    "a103l a142s a163l a167l b124s b184s b187l b216s t106s t108s t112s t116s f120s f129l f450s f544s "
    "v102s v127l v131l v135l v143l v159l v160s v194s v199l v404s"
)
"""Of challenge2015: alarms of each kind, true ones and false ones."""

OF_CINC2017 = 20
"""One of so many of cinc2017 is asked: those that trained nothing."""


def needed() -> list[str]:
    """Every record, as `database/name`."""
    named = [f"{database}/{name}" for database, names, _ in RECORDS.values() for name in names.split()]
    return named + [f"challenge2015/{name}" for name in CHALLENGE.split()]


def measured(jobs: int) -> dict[str, float]:
    """Every figure by its name; more is better, of false alarms too, which count below zero."""
    with TemporaryDirectory() as folder:
        results = Path(folder)
        wrong = store.refresh([DATA / path for path in needed()], results, Config(), jobs=jobs)
        assert not wrong, wrong
        found = {name: value for group in RECORDS for name, value in _of_group(group, results)}
        return found | dict([_of_challenge(results), _of_cinc2017(results, jobs)])


def _of_group(group: str, results: Path) -> Iterator[tuple[str, float]]:
    database, names, wanted = RECORDS[group]
    references = [scores.read_reference(DATA / database / name, "atr") for name in names.split()]
    _, vf = scores.vf_kind(references)
    compared = [scores.compare(one, results, extension="atr", vf=vf, start_s=LEARNING_S).standard for one in references]
    for part in (each for each in wanted if each != "alarms"):
        ratios: dict[str, Ratio] = gross([getattr(one, part) for one in compared]).statistics()
        for figure in wanted[part]:
            yield named(f"{group}: {'' if part == 'beats' else part + ' '}{figure}", ratios[figure])
    if "alarms" in wanted:
        heard = [alarms.read_alarms(results, name) for name in names.split()]
        kinds = alarms.score(references, heard, Config().alerts)
        lethal = [score for kind, score in kinds.items() if KINDS[kind].latching]
        yield f"{group}: lethal alarms, false", -float(sum(score.false for score in lethal))
        yield f"{group}: lethal alarms, episodes found", float(sum(score.found for score in lethal))


def named(name: str, ratio: Ratio) -> tuple[str, float]:
    if ratio.percent is None:
        raise ValueError(f"{name}: nothing to divide by; choose records of which the chain finds something")
    return name, ratio.percent


def _of_challenge(results: Path) -> tuple[str, float]:
    with (DATA / "challenge2015" / "labels.csv").open(newline="") as file:
        labels = {row[0]: (row[1], row[2].strip() == "1") for row in csv.reader(file) if row[0] != "record"}
    right = 0
    for name in CHALLENGE.split():
        alarm, true = labels[name]
        right += is_ours(alarms.read_alarms(results, name), KIND_OF[alarm], 250.0) == true
    return f"challenge2015: right of {len(CHALLENGE.split())}", float(right)


def _of_cinc2017(results: Path, jobs: int) -> tuple[str, float]:
    folder = DATA / "cinc2017"
    with np.load(folder / "train.npz") as file:
        asked = file["names"].astype(str)[::OF_CINC2017].tolist()
    job = Job(folder, results, asked, "", None, 0.0, jobs, Config(), None)
    f1: float = cinc2017.evaluate(job).data["f1_percent"]
    return "cinc2017: atrial fibrillation by record F1", f1


def pin(name: str, value: float) -> float:
    """The least that is no worse than `value`."""
    counted = "alarms" in name or "right of" in name
    return value - 1 if counted else round(value - (OF_A_RECORD if "by record" in name else MARGIN), 1)


def main() -> None:
    found = measured(jobs=2)
    pinned = json.loads(PINS.read_text()) if PINS.exists() else {}
    say = partial(print, sep="  ")
    for name, value in found.items():
        say(f"{name:<45}", f"{value:7.2f}", f"pinned {pinned.get(name, '-')}")
    if "--write" in sys.argv:
        PINS.write_text(json.dumps({name: pin(name, value) for name, value in found.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
