"""What several tests share: the data that a user may have beside the project, and the shipped recording."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("RHYTHMD_DATA", Path(__file__).parents[2] / "shared" / "data"))


def record(name: str) -> str:
    """The path of a PhysioNet record such as `mitdb/100`, without suffix; skips the test where it is not there."""
    path = DATA / name
    if not path.with_suffix(".hea").exists():
        database = name.split("/")[0]
        command = f"import wfdb; wfdb.dl_database('{database}', '{DATA / database}')"
        pytest.skip(f'{path} is not here; python -c "{command}" downloads it, or set RHYTHMD_DATA')
    return str(path)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-replays", action="store_true", help="write the goldens of tests/replays anew")


@pytest.fixture
def update_replays(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-replays"))
