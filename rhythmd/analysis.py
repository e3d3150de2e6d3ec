"""One recording through the pipeline that the daemon runs, and what comes out of it as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.alerts import AlertEvent
from daemon.clock import BRIDGED_S
from daemon.config import Alerts
from daemon.episodes import Episode
from daemon.history import JudgedBeat
from daemon.judge import Condition, Infer, Judge
from daemon.kinds import rhythm_of
from daemon.reporting import TimeLine, alert_message, topic_of
from dsp.chain import Chain
from dsp.signal import Beat, Block, Quality, Window
from engines.model import Head
from rhythmd.recording import Recording

BLOCK_S = 10


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the daemon would have said of a recording; sample indices at 250 Hz."""

    beats: tuple[JudgedBeat, ...]
    alerts: tuple[AlertEvent, ...]  # as they opened, each with its end if it has one
    episodes: tuple[Episode, ...]  # likewise: what names the rhythm, though no one may have been alerted
    detections: tuple[Beat, ...]  # as the detector gave them, before anything was judged


def analyze(recording: Recording, infer: Infer, heads: tuple[Head, ...], alerts: Alerts) -> Analysis:
    """The pipeline of the daemon's rooms, one after the other."""
    judge = Judge(infer, heads, alerts, origin=recording.name)
    beats: list[JudgedBeat] = []
    alerts_by_id: dict[str, AlertEvent] = {}
    episodes: dict[tuple[str, int], Episode] = {}
    detections: list[Beat] = []
    for out in judged(recording, judge):
        if isinstance(out, AlertEvent):
            alerts_by_id[out.id] = out
        elif isinstance(out, Episode):
            episodes[out.kind, out.onset] = out
        elif isinstance(out, Beat):
            detections.append(out)
        else:
            beats.append(out)
    return Analysis(tuple(beats), tuple(alerts_by_id.values()), tuple(episodes.values()), tuple(detections))


def judged(recording: Recording, judge: Judge) -> Iterator[Beat | JudgedBeat | AlertEvent | Episode]:
    """All that the detector and the judge say, session by session: as live, a chain begins anew after a long loss."""
    ecg_mv, saturated = recording.ecg_mv, recording.saturated
    size = int(BLOCK_S * recording.rate_hz)
    end = 0  # of what was judged, at 250 Hz
    last = 0
    for first, last in _sessions(np.isfinite(ecg_mv), longest_loss=int(BRIDGED_S * recording.rate_hz)):
        chain = Chain(recording.rate_hz)
        for start in range(first, last, size):
            part = slice(start, min(start + size, last))
            clean, events = chain(Block.of(start, ecg_mv[part], saturated=saturated[part]))
            if start == first:
                yield from judge.skipped(end, clean.start)
            end = clean.end
            for event in events:
                if isinstance(event, Window) and event.beat:
                    yield event.beat
                yield from judge.quality(event) if isinstance(event, Quality) else judge.window(event)
        for window in chain.finish():
            yield from judge.window(window)
    if last < len(ecg_mv):
        yield from judge.condition(Condition.SILENT, holds=True, at=end)


def _sessions(present: NDArray[np.bool_], longest_loss: int) -> list[tuple[int, int]]:
    """(first, last): the stretches between losses that are too long to bridge."""
    there = np.flatnonzero(present)
    if not len(there):
        return []
    breaks = np.flatnonzero(np.diff(there) - 1 > longest_loss)
    firsts, lasts = [there[0], *there[breaks + 1]], [*there[breaks], there[-1]]
    if len(present) - 1 - lasts[-1] <= longest_loss:
        lasts[-1] = len(present) - 1  # too short a loss to know that nothing follows
    return [(int(first), int(last) + 1) for first, last in zip(firsts, lasts, strict=True)]


def rhythm_changes(episodes: Sequence[Episode]) -> list[tuple[int, str]]:
    """(sample, label) wherever the rhythm changes: of the episodes that last, the gravest names it."""
    edges = sorted({edge for each in episodes for edge in (max(0, each.onset), each.end) if edge is not None} | {0})
    changes: list[tuple[int, str]] = []
    for edge in edges:
        kinds = {each.kind for each in episodes if each.onset <= edge and (each.end is None or edge < each.end)}
        label = rhythm_of(kinds)
        if not changes or changes[-1][1] != label:
            changes.append((edge, label))
    return changes


def write_annotations(analysis: Analysis, recording: Recording, directory: Path) -> None:
    """`<record>.rhy`: beats and rhythm changes, as WFDB annotations at the record's own rate."""
    import wfdb

    rates = TimeLine(recording.rate_hz, recording.begins).rates
    last = len(recording.counts) - 1
    marks = [
        (min(rates.source_index(at), last), 0, "+", f"({label}") for at, label in rhythm_changes(analysis.episodes)
    ]
    marks += [(max(0, rates.source_index(beat.r_peak)), 1, beat.beat, "") for beat in analysis.beats]
    marks.sort()
    wfdb.wrann(
        recording.name,
        "rhy",
        sample=np.array([mark[0] for mark in marks]),
        symbol=[mark[2] for mark in marks],
        aux_note=[mark[3] for mark in marks],
        fs=recording.rate_hz,
        write_dir=str(directory),
    )


def write_alerts(analysis: Analysis, recording: Recording, directory: Path) -> None:
    """`<record>.alerts.jsonl`: one object per alert, the fields of the published one."""
    line = TimeLine(recording.rate_hz, recording.begins)
    encode = msgspec.json.Encoder().encode
    numbers: dict[str, int] = {}
    lines = []
    for event in analysis.alerts:
        topic = topic_of(event)
        numbers[topic] = numbers.get(topic, 0) + 1
        lines.append(encode(alert_message(event, patch=recording.name, seq=numbers[topic], line=line)))
    (directory / f"{recording.name}.alerts.jsonl").write_bytes(b"".join(each + b"\n" for each in lines))
