"""One recording from its file to its results, however long it is, and however often it was interrupted."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from daemon.alerts import AlertEvent
from daemon.app import find_model
from daemon.config import Config
from daemon.episodes import Episode
from daemon.history import JudgedBeat
from daemon.judge import Judge
from engines.backend import open_backend
from rhythmd import unfinished
from rhythmd.ahead import Ahead, Beforehand, Pace
from rhythmd.ahead import opened as opened_ahead
from rhythmd.analysis import Hearing, Said, Source, blocks, write_alerts, write_annotations, write_whole
from rhythmd.batch.figures import figures
from rhythmd.batch.files import Files, files_of
from rhythmd.evaluation.store import Maker
from rhythmd.recording import RecordError, Recording, find
from rhythmd.together import Bulk
from rhythmd.unfinished import Unfinished

PUT_AWAY_S = 10.0
"""So much work is lost at most when the power fails; to put away costs some milliseconds."""

LONG_S = 3600.0
"""A shorter recording is done before another process has begun."""

FACTS = ".analysis.json"
SCHEMA = 2  # of these
RESULTS = (".rhy", ".alerts.jsonl", FACTS)
"""What a record's name is followed by."""

Outcome = Literal["done", "there already", "stopped"]


@dataclass(slots=True)
class Findings:
    """What comes out of a recording: 9 bytes a beat, so that a week of them is some megabytes."""

    r_peaks: array[int] = field(default_factory=lambda: array("q"))  # at 250 Hz
    letters: bytearray = field(default_factory=bytearray)
    alerts: dict[str, AlertEvent] = field(default_factory=dict)  # by id, as they opened
    episodes: dict[tuple[str, int], Episode] = field(default_factory=dict)

    def note(self, said: Said) -> None:
        if isinstance(said, JudgedBeat):
            self.r_peaks.append(said.r_peak)
            self.letters += said.beat.encode()
        elif isinstance(said, AlertEvent):
            self.alerts[said.id] = said
        elif isinstance(said, Episode):
            self.episodes[said.kind, said.onset] = said

    @property
    def beats(self) -> Iterator[tuple[int, str]]:
        return zip(self.r_peaks, self.letters.decode(), strict=True)


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked for of one recording."""

    record: str
    lead: str | None
    directory: Path
    config: Config
    again: bool = False  # though it is there already
    known: dict[str, Any] | None = None  # what made the results that are there, where these are not in `directory`
    ahead: bool = False  # if it is long, the network runs in a process of its own: there is a core for it
    as_good: tuple[Config, ...] = ()  # what was made by one of these need not be made again


@dataclass(frozen=True, slots=True)
class Watch:
    """Who wants to know how it goes, and may stop it between two blocks."""

    heard: Callable[[float], object] = lambda _hours: None  # of ECG, since it was last called
    stop: Callable[[], bool] = lambda: False


class Held:
    """An engine that is opened when it is first needed, and kept for the next recording."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stack = ExitStack()
        self._engine: Bulk | None = None

    def engine(self) -> Bulk:
        """One that remembers nothing. Raises EngineError."""
        if self._engine is None:
            self._engine = self._stack.enter_context(_opened(self._config))
        self._engine.forget()
        return self._engine

    def close(self) -> None:
        self._stack.close()


def do(job: Job, watch: Watch | None = None, held: Held | None = None) -> Outcome:
    """Analyse, from where it was left, and write the results. Raises RecordError.

    The results are those of an analysis that was never interrupted, byte for byte. `<record>.analysis.json`, written
    last, says what made them: with the same record, model, configuration and program there is nothing to do. An
    engine that is `held` must be the configuration's.
    """
    watch = watch or Watch()
    with files_of(job.record) as files:
        recording = find(files.record, job.lead)
        key = _key(job.config, recording, files)
        duration_s = recording.samples / recording.rate_hz
        if not job.again and _is_there(job, recording, key):
            watch.heard(duration_s / 3600)
            return "there already"
        files.fetch()
        findings = _found(job, recording, key, watch, held)
    if findings is None:
        return "stopped"
    said = figures(findings.letters, findings.alerts.values(), findings.episodes.values(), duration_s)
    facts = job.directory / f"{recording.name}{FACTS}"
    try:
        facts.unlink(missing_ok=True)  # until the new ones are whole, nothing may vouch for the old ones
        write_annotations(findings.beats, findings.episodes.values(), recording, job.directory)
        write_alerts(findings.alerts.values(), recording, job.directory)
        facts.write_text(json.dumps(key | {"engine": job.config.engine.backend} | said, indent=1) + "\n")
        (job.directory / f".{recording.name}.unfinished").unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(job, error) from None
    return "done"


def facts_of(directory: Path, name: str) -> dict[str, Any] | None:
    """What made the results that are there, and their figures; None if they are not whole."""
    try:
        found: dict[str, Any] = json.loads((directory / f"{name}{FACTS}").read_text())
    except (OSError, ValueError):
        return None
    whole = found.get("schema") == SCHEMA and all((directory / f"{name}{suffix}").exists() for suffix in RESULTS)
    return found if whole else None


def place(job: Job, name: str, results: Sequence[bytes]) -> None:
    """Put results that were made elsewhere where `do` would have put them. Raises RecordError."""
    facts = job.directory / f"{name}{FACTS}"
    try:
        facts.unlink(missing_ok=True)  # as in `do`
        for suffix, data in zip(RESULTS, results, strict=True):
            write_whole(job.directory / f"{name}{suffix}", data)
        (job.directory / f".{name}.unfinished").unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(job, error) from None


def _found(job: Job, recording: Source, key: dict[str, Any], watch: Watch, held: Held | None) -> Findings | None:
    model = find_model(job.config.engine.model)
    ahead = job.ahead and recording.samples / recording.rate_hz >= LONG_S
    with opened_ahead(job.config.engine) if ahead else _beforehand(job.config, held) as engine:
        name = recording.name
        judge = Judge(engine, model.manifest.heads, job.config.alerts, origin=name, follower=engine.follower)
        begun = Unfinished(0, Hearing(recording.rate_hz, judge), Findings())
        try:
            return _hear(recording, begun, engine, job.directory / f".{recording.name}.unfinished", key, watch)
        except OSError as error:
            raise _unwritable(job, error) from None


@contextmanager
def _opened(config: Config) -> Iterator[Bulk]:
    model = find_model(config.engine.model)
    with open_backend(config.engine.backend, model) as engine:
        yield Bulk(engine, model)


@contextmanager
def _beforehand(config: Config, held: Held | None) -> Iterator[Beforehand]:
    with nullcontext(held.engine()) if held else _opened(config) as bulk:
        yield Beforehand(bulk)


def _unwritable(job: Job, error: OSError) -> RecordError:
    return RecordError(f"{job.record}: cannot write to {job.directory}: {error.strerror or error}")


def _hear(
    recording: Source, begun: Unfinished, engine: Ahead | Beforehand, path: Path, key: dict[str, Any], watch: Watch
) -> Findings | None:
    """All of it, from what was put away or from the beginning; None if it was stopped."""
    at = unfinished.load(path, key, engine) or begun
    findings = at.findings
    pace = Pace(at.hearing, engine)
    hour_samples = 3600 * recording.rate_hz
    watch.heard(at.next / hour_samples)
    put_away_s = monotonic()
    for start, ecg_mv, saturated in blocks(recording, at.next):
        stopped = watch.stop()
        if start > at.next and (stopped or monotonic() - put_away_s > PUT_AWAY_S):
            for said in pace.catch_up():
                findings.note(said)
            unfinished.save(path, key, Unfinished(start, at.hearing, findings), engine)
            put_away_s = monotonic()
        if stopped:
            return None
        for said in pace.block(start, ecg_mv, saturated):
            findings.note(said)
        watch.heard(len(ecg_mv) / hour_samples)
    for said in pace.finish(recording.samples):
        findings.note(said)
    assert isinstance(findings, Findings)
    return findings


def _key(config: Config, recording: Source, files: Files) -> dict[str, Any]:
    """What the results depend on. Another key, other results."""
    if isinstance(recording, Recording):  # it has no length in its header, or no file
        source: dict[str, Any] = {"sha256": sha256(recording.counts.tobytes()).hexdigest()}
    else:
        source = files.source()
    return {"schema": SCHEMA, "lead": recording.lead, "made_by": asdict(Maker.of(config)), "source": source}


def _is_there(job: Job, recording: Source, key: dict[str, Any]) -> bool:
    found = job.known or facts_of(job.directory, recording.name)
    if found is None:
        return False
    as_good = (key | {"made_by": asdict(Maker.of(config))} for config in job.as_good)  # looked at when needed
    return any(found.items() >= json.loads(json.dumps(each)).items() for each in chain([key], as_good))
