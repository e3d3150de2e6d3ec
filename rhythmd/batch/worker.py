"""What a node of a cluster runs: one engine, kept open, and the same function for a record as everywhere.

Knows nothing of Ray, which imports it on each node from the rhythmd that is installed there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from daemon.config import Config
from engines.errors import EngineError
from rhythmd.archive import RESULTS, Held, Job, Outcome, Watch, do
from rhythmd.batch.files import is_url
from rhythmd.batch.temporary import remove_left, temporary_folder
from rhythmd.evaluation.store import Maker
from rhythmd.recording import RecordError, name_of


@dataclass(frozen=True, slots=True)
class Opened:
    """What a worker judges with, or why it cannot."""

    maker: Maker | None
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a record. The results travel: a node need not see the output directory."""

    outcome: Outcome | None
    results: tuple[bytes, ...]  # of `archive.RESULTS`; none where nothing was done
    hours: float  # of ECG
    wrong: str = ""


class Worker:
    def __init__(self, config: Config, *, gpu: bool, host: str) -> None:
        remove_left()  # Ray kills workers, with a recording in their hands
        self._asked = config
        self._config = config if gpu else on_cpu(config)
        self._host = host
        self._held = Held(self._config)

    def open(self) -> Opened:
        try:
            self._held.engine()
        except EngineError as error:
            return Opened(None, str(error))
        return Opened(Maker.of(self._asked))

    def do(self, job: Job) -> Reply:
        heard: list[float] = []  # hours
        with temporary_folder() as folder:
            here = replace(job, directory=folder, config=self._config, as_good=(self._asked, on_cpu(self._asked)))
            try:
                outcome = do(here, Watch(heard.append), self._held)
            except RecordError as error:
                unseen = "" if is_url(job.record) else f" at {self._host}; each node must see it there, or give a URL"
                hint = unseen if "no such record" in str(error) else ""
                return Reply(None, (), sum(heard), f"{error}{hint}")
            paths = [folder / f"{name_of(job.record)}{suffix}" for suffix in RESULTS]
            results = tuple(path.read_bytes() for path in paths) if outcome == "done" else ()
        return Reply(outcome, results, sum(heard))


def on_cpu(config: Config) -> Config:
    """The same judgement where there is no GPU."""
    engine = msgspec.structs.replace(config.engine, backend="onnxruntime")
    return msgspec.structs.replace(config, engine=engine)
