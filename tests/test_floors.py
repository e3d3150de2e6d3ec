"""The whole chain is no worse than it was, on a few records of each database. The pins: tests/floors.py."""

from __future__ import annotations

import json
import os

import pytest

from ec57.ratio import Ratio
from tests import floors
from tests.conftest import DATA, record

pytestmark = pytest.mark.timeout(900)  # the first waits for the chain to go through all of them

PINNED = json.loads(floors.PINS.read_text())


@pytest.fixture(scope="module")
def found() -> dict[str, float]:
    for path in floors.needed():
        record(path)  # skips, with the command that downloads it
    if not (DATA / "cinc2017" / "train.npz").exists():
        pytest.skip(f"no {DATA / 'cinc2017'}; ../shared/data/README.md says what it holds")
    return floors.measured(jobs=min(2, os.cpu_count() or 1))


@pytest.mark.parametrize("figure", PINNED)
def test_the_figure_is_no_worse_than_its_floor(found, figure):
    assert found[figure] >= PINNED[figure]


def test_a_figure_that_has_nothing_to_divide_by_is_named():
    with pytest.raises(ValueError, match="svdb: SVEB"):
        floors.named("svdb: SVEB +P", Ratio(0, 0))


def test_every_figure_is_pinned(found):
    assert set(found) == set(PINNED)
