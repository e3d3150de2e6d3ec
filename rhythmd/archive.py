"""One recording from its file to its results, however long it is, and however often it was interrupted."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any, Literal

from daemon.alerts import AlertEvent
from daemon.app import find_model
from daemon.config import Config
from daemon.episodes import Episode
from daemon.history import JudgedBeat
from daemon.judge import Judge
from engines.backend import Backend, open_backend
from rhythmd import unfinished
from rhythmd.analysis import Hearing, Said, Source, blocks, write_alerts, write_annotations
from rhythmd.evaluation.store import Maker, source_of
from rhythmd.recording import RecordError, Recording, find
from rhythmd.unfinished import Unfinished

PUT_AWAY_S = 10.0
"""So much work is lost at most when the power fails; to put away costs some milliseconds."""

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


@dataclass(frozen=True, slots=True)
class Watch:
    """Who wants to know how it goes, and may stop it between two blocks."""

    heard: Callable[[float], object] = lambda _hours: None  # of ECG, since it was last called
    stop: Callable[[], bool] = lambda: False


def do(job: Job, watch: Watch | None = None) -> Outcome:
    """Analyse, from where it was left, and write the results. Raises RecordError.

    The results are those of an analysis that was never interrupted, byte for byte. `<record>.analysis.json`, written
    last, says what made them: with the same record, model, configuration and program there is nothing to do.
    """
    watch = watch or Watch()
    recording = find(job.record, job.lead)
    key = _key(job, recording)
    hours = recording.samples / recording.rate_hz / 3600
    facts = job.directory / f"{recording.name}.analysis.json"
    if not job.again and _is_there(facts, key, job.directory / recording.name):
        watch.heard(hours)
        return "there already"
    model = find_model(job.config.engine.model)
    with open_backend(job.config.engine.backend, model) as engine:
        judge = Judge(engine, model.manifest.heads, job.config.alerts, origin=recording.name)
        begun = Unfinished(0, Hearing(recording.rate_hz, judge), Findings())
        try:
            findings = _hear(recording, begun, engine, job.directory / f".{recording.name}.unfinished", key, watch)
        except OSError as error:
            raise _unwritable(job, error) from None
    if findings is None:
        return "stopped"
    try:
        facts.unlink(missing_ok=True)  # until the new ones are whole, nothing may vouch for the old ones
        write_annotations(findings.beats, findings.episodes.values(), recording, job.directory)
        write_alerts(findings.alerts.values(), recording, job.directory)
        facts.write_text(json.dumps(key | {"hours": round(hours, 3), "beats": len(findings.r_peaks)}, indent=1) + "\n")
        (job.directory / f".{recording.name}.unfinished").unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(job, error) from None
    return "done"


def _unwritable(job: Job, error: OSError) -> RecordError:
    return RecordError(f"{job.record}: cannot write to {job.directory}: {error.strerror or error}")


def _hear(
    recording: Source, begun: Unfinished, engine: Backend, path: Path, key: dict[str, Any], watch: Watch
) -> Findings | None:
    """All of it, from what was put away or from the beginning; None if it was stopped."""
    at = unfinished.load(path, key, engine) or begun
    hearing, findings = at.hearing, at.findings
    hour_samples = 3600 * recording.rate_hz
    watch.heard(at.next / hour_samples)
    put_away_s = monotonic()
    for start, ecg_mv, saturated in blocks(recording, at.next):
        stopped = watch.stop()
        if start > at.next and (stopped or monotonic() - put_away_s > PUT_AWAY_S):
            unfinished.save(path, key, Unfinished(start, hearing, findings), engine)
            put_away_s = monotonic()
        if stopped:
            return None
        for said in hearing.block(start, ecg_mv, saturated):
            findings.note(said)
        watch.heard(len(ecg_mv) / hour_samples)
    for said in hearing.finish(recording.samples):
        findings.note(said)
    assert isinstance(findings, Findings)
    return findings


def _key(job: Job, recording: Source) -> dict[str, Any]:
    """What the results depend on. Another key, other results."""
    made_by = asdict(Maker.of(job.config))
    if isinstance(recording, Recording):  # it has no length in its header, or no file
        source: dict[str, Any] = {"sha256": sha256(recording.counts.tobytes()).hexdigest()}
    else:
        source = source_of(Path(recording.path))
    return {"schema": 1, "lead": recording.lead, "made_by": made_by, "source": source}


def _is_there(facts: Path, key: dict[str, Any], prefix: Path) -> bool:
    try:
        found = json.loads(facts.read_text())
    except (OSError, ValueError):
        return False
    outputs = [prefix.with_name(f"{prefix.name}{suffix}") for suffix in (".rhy", ".alerts.jsonl")]
    return found.items() >= json.loads(json.dumps(key)).items() and all(path.exists() for path in outputs)
