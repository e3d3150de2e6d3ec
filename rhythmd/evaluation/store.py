"""Results of `analyze` in a folder, and what made them: done again when anything that made them has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

import daemon
import dsp
import engines
import rhythmd
from daemon.app import find_model
from daemon.config import Config
from daemon.history import JudgedBeat
from dsp.resample import Rates
from dsp.signal import Beat
from engines.backend import open_backend
from rhythmd import analysis
from rhythmd.ahead import analyze
from rhythmd.recording import RecordError, duration_s, read
from rhythmd.together import Bulk

SIGNALS = {".hea", ".dat", ".mat"}

Task = TypeVar("Task")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Maker:
    """What a result depends on besides its recording. Another one would have judged otherwise."""

    model: str
    rhythmd: str
    config: str  # sha256, first digits, of the sections that judge
    code: str  # likewise of the sources and weights that judge: a version number stands still while one works on them

    @classmethod
    def of(cls, config: Config) -> Maker:
        judging = msgspec.json.encode([config.engine, config.alerts])
        return cls(find_model(config.engine.model).id, rhythmd.__version__, _digest(judging), _code())


@dataclass(frozen=True, slots=True)
class Run:
    """How one analysis went, beside its annotations and alerts: `<record>.run.json`."""

    made_by: dict[str, str]
    source: dict[str, list[int]]  # size and time of each file of the recording
    lead: str
    rate_hz: float
    samples: int
    detected_ms: list[int]  # of each beat, from its R peak to the newest sample that the detector needed
    decided_ms: list[int]  # and to the newest one that the judgement of the beat needed

    @property
    def duration_s(self) -> float:
        return self.samples / self.rate_hz


def load(folder: Path, record: str) -> Run:
    """How the analysis of `record` went; it must be there."""
    return Run(**json.loads((folder / f"{record}.run.json").read_text()))


def refresh(records: Sequence[Path], folder: Path, config: Config, *, jobs: int) -> dict[str, str]:
    """Analyse the records whose results in `folder` are missing or stale; returns what was wrong with which."""
    maker = Maker.of(config)
    todo = [record for record in records if not is_fresh(record, folder, maker)]
    if not todo:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    tasks = [(record, folder, config, maker) for record in todo]
    wrong = {}
    with progress(sum(duration_s(str(record)) for record in todo)) as bar:
        for (record, *_), reason in spread(_analyze, tasks, jobs):
            bar.update(round(duration_s(str(record)) / 60, 1))
            if reason:
                wrong[record.name] = reason
    return wrong


def is_fresh(record: Path, folder: Path, maker: Maker) -> bool:
    try:
        run = load(folder, record.name)
    except (OSError, ValueError, TypeError):  # none, cut short, or of another version
        return False
    outputs = [folder / f"{record.name}.rhy", folder / f"{record.name}.alerts.jsonl"]
    return run.made_by == asdict(maker) and run.source == source_of(record) and all(path.exists() for path in outputs)


def spread(work: Callable[[Task], Answer], tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Answer]]:
    """Each task with its answer, as they are done, on as many processes as there are jobs."""
    if min(jobs, len(tasks)) <= 1:
        for task in tasks:
            yield task, work(task)
        return
    with ProcessPoolExecutor(min(jobs, len(tasks))) as pool:
        futures = {pool.submit(work, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()


def progress(total_s: float) -> Any:
    from tqdm import tqdm

    return tqdm(desc="analyze", total=round(total_s / 60, 1), unit=" min of ECG", smoothing=0.05, disable=None)


def _analyze(task: tuple[Path, Path, Config, Maker]) -> str | None:
    record, folder, config, maker = task
    source = source_of(record)
    try:
        recording = read(str(record))
    except RecordError as error:
        return str(error)
    model = find_model(config.engine.model)
    with open_backend(config.engine.backend, model) as backend:
        found = analyze(recording, Bulk(backend, model), model.manifest.heads, config.alerts)
    beats = ((beat.r_peak, beat.beat) for beat in found.beats)
    analysis.write_annotations(beats, found.episodes, recording, folder)
    analysis.write_alerts(found.alerts, recording, folder)
    run = Run(
        asdict(maker),
        source,
        recording.lead,
        recording.rate_hz,
        len(recording.counts),
        _delays_ms(found.detections, recording.rate_hz),
        _delays_ms(found.beats, recording.rate_hz),
    )
    unfinished = folder / f"{record.name}.run.json.part"  # last and at once: an analysis cut short counts for none
    unfinished.write_text(json.dumps(asdict(run)))
    unfinished.replace(folder / f"{record.name}.run.json")
    return None


def _delays_ms(beats: Sequence[Beat | JudgedBeat], rate_hz: float) -> list[int]:
    """From each R peak to the newest sample that was needed, by the recording's own count.

    What the resampler waits for is part of the delay.
    """
    rates = Rates.of(rate_hz)
    return [round(1000 * (rates.newest_input(beat.at) - rates.source_index(beat.r_peak)) / rate_hz) for beat in beats]


def source_of(record: Path) -> dict[str, list[int]]:
    files = sorted(path for path in record.parent.glob(f"{record.name}.*") if path.suffix in SIGNALS)
    return {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in files}


def _code() -> str:
    rooms = [Path(room.__path__[0]) for room in (daemon, dsp, engines)]
    files = [path for room in rooms for path in sorted(room.rglob("*")) if path.suffix in {".py", ".npz", ".onnx"}]
    files += [
        Path(rhythmd.__path__[0]) / name
        for name in ("ahead.py", "analysis.py", "archive.py", "recording.py", "batch/figures.py", "evaluation/store.py")
    ]
    return _digest(b"".join(path.read_bytes() for path in files))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
