"""What several tests share: the data that a user may have beside the project, and the shipped recording."""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as rhythmd.cli does, before anything imports numpy

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.house import Daemon

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background job, and so in all that tests start
    signal.signal(signal.SIGINT, signal.default_int_handler)

DATA = Path(os.environ.get("RHYTHMD_DATA", Path(__file__).parents[2] / "shared" / "data"))


def record(name: str) -> str:
    """The path of a PhysioNet record such as `mitdb/100`, without suffix; skips the test where it is not there."""
    path = DATA / name
    if not path.with_suffix(".hea").exists():
        database, _, _ = name.partition("/")
        command = f"import wfdb; wfdb.dl_database('{database}', '{DATA / database}')"
        pytest.skip(f'{path} is not here; python -c "{command}" downloads it, or set RHYTHMD_DATA')
    return str(path)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-replays", action="store_true", help="write the goldens of tests/replays anew")
    parser.addoption("--update-pictures", action="store_true", help="write the screenshots of docs/img anew")


@pytest.fixture
def update_replays(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-replays"))


@pytest.fixture
def address(tmp_path: Path) -> str:
    """Where a daemon of the test's own is reached."""
    return f"ipc://{tmp_path}/alerts.ipc"


@pytest.fixture
def house(address: str, tmp_path: Path) -> Iterator[Daemon]:
    """Such a daemon."""
    from tests.house import open_daemon

    with open_daemon(address, tmp_path) as daemon:
        yield daemon


def write_record(folder: Path, name: str, counts: np.ndarray, rate_hz: float = 250.0) -> None:
    """A WFDB record of one lead, 400 counts per mV; NaN becomes WFDB's mark of a lost sample."""
    import wfdb

    digital = np.clip(np.nan_to_num(counts, nan=-32768.0), -32768, 32767).astype(np.int16).reshape(-1, 1)
    wfdb.wrsamp(
        name,
        rate_hz,
        ["mV"],
        ["ECG"],
        d_signal=digital,
        fmt=["16"],
        adc_gain=[400.0],
        baseline=[0],
        write_dir=str(folder),
    )
