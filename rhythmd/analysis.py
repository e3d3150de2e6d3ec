"""One recording through the pipeline that the daemon runs, and what comes out of it as files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from daemon.alerts import AlertEvent
from daemon.clock import BRIDGED_S
from daemon.config import Alerts
from daemon.episodes import Episode
from daemon.history import JudgedBeat
from daemon.judge import Condition, Judge
from daemon.kinds import rhythm_of
from daemon.reporting import TimeLine, alert_message, topic_of
from dsp.chain import Chain
from dsp.signal import Beat, Block, Quality, Window
from engines.backend import Backend
from engines.model import Head
from rhythmd.recording import Recording, Stored

BLOCK_S = 10
PIECE_BLOCKS = 60
"""Read at once: ten minutes. So memory does not grow with the recording, but for what was found in it."""

Source = Recording | Stored


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the daemon would have said of a recording; sample indices at 250 Hz."""

    beats: tuple[JudgedBeat, ...]
    alerts: tuple[AlertEvent, ...]  # as they opened, each with its end if it has one
    episodes: tuple[Episode, ...]  # likewise: what names the rhythm, though no one may have been alerted
    detections: tuple[Beat, ...]  # as the detector gave them, before anything was judged


def analyze(recording: Source, engine: Backend, heads: tuple[Head, ...], alerts: Alerts) -> Analysis:
    """The pipeline of the daemon's rooms, one after the other."""
    return collected(judged(recording, Judge(engine, heads, alerts, origin=recording.name)))


def collected(said: Iterable[Beat | JudgedBeat | AlertEvent | Episode]) -> Analysis:
    """Each kind of what detector and judge say, by itself."""
    beats: list[JudgedBeat] = []
    alerts_by_id: dict[str, AlertEvent] = {}
    episodes: dict[tuple[str, int], Episode] = {}
    detections: list[Beat] = []
    for out in said:
        if isinstance(out, AlertEvent):
            alerts_by_id[out.id] = out
        elif isinstance(out, Episode):
            episodes[out.kind, out.onset] = out
        elif isinstance(out, Beat):
            detections.append(out)
        else:
            beats.append(out)
    return Analysis(tuple(beats), tuple(alerts_by_id.values()), tuple(episodes.values()), tuple(detections))


def judged(recording: Source, judge: Judge) -> Iterator[Beat | JudgedBeat | AlertEvent | Episode]:
    """All that the detector and the judge say, session by session: as live, a chain begins anew after a long loss."""
    chain: Chain | None = None
    end = judged_end = 0  # of what the chain has had, and likewise at 250 Hz
    for block in _bridgeable(recording):
        jumped = chain is None or block.start != end
        if jumped:
            yield from _finished(chain, judge)
            chain = Chain(recording.rate_hz)
        assert chain is not None
        clean, events = chain(block)
        if jumped:
            yield from judge.skipped(judged_end, clean.start)
        end, judged_end = block.end, clean.end
        for event in events:
            if isinstance(event, Window) and event.beat:
                yield event.beat
            yield from judge.quality(event) if isinstance(event, Quality) else judge.window(event)
    yield from _finished(chain, judge)
    if end < recording.samples:
        yield from judge.condition(Condition.SILENT, holds=True, at=judged_end)


def _finished(chain: Chain | None, judge: Judge) -> Iterator[JudgedBeat | AlertEvent | Episode]:
    for window in chain.finish() if chain else []:
        yield from judge.window(window)


def _bridgeable(recording: Source) -> Iterator[Block]:
    """The recording without the losses that are too long to bridge: after one, the next block starts later."""
    longest_loss = int(BRIDGED_S * recording.rate_hz)
    lost = longest_loss + 1  # samples since the last one that is there
    for start, ecg_mv, saturated in _blocks(recording):
        there = np.flatnonzero(np.isfinite(ecg_mv))
        if not len(there):
            lost += len(ecg_mv)
            continue
        breaks = np.flatnonzero(np.diff(there) - 1 > longest_loss)
        firsts, ends = there[[0, *breaks + 1]].tolist(), (there[[*breaks, -1]] + 1).tolist()
        if lost + firsts[0] <= longest_loss:
            yield from _missing(start - lost, start)
            firsts[0] = 0
        for first, end in zip(firsts, ends, strict=True):
            yield Block.of(start + first, ecg_mv[first:end], saturated=saturated[first:end])
        lost = len(ecg_mv) - ends[-1]
    if lost <= longest_loss:  # too short a loss to know that nothing follows
        yield from _missing(recording.samples - lost, recording.samples)


def _missing(start: int, end: int) -> list[Block]:
    return [Block.of(start, np.full(end - start, np.nan))] if end > start else []


def _blocks(recording: Source) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(index of the first sample, millivolts, whether saturated), block by block."""
    size = int(BLOCK_S * recording.rate_hz)
    for begin in range(0, recording.samples, PIECE_BLOCKS * size):
        piece = recording.piece(begin, min(begin + PIECE_BLOCKS * size, recording.samples))
        ecg_mv, saturated = piece.ecg_mv, piece.saturated
        for first in range(0, piece.samples, size):
            yield begin + first, ecg_mv[first : first + size], saturated[first : first + size]


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


def write_annotations(analysis: Analysis, recording: Source, directory: Path) -> None:
    """`<record>.rhy`: beats and rhythm changes, as WFDB annotations at the record's own rate."""
    import wfdb

    rates = TimeLine(recording.rate_hz, recording.begins).rates
    last = recording.samples - 1
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


def write_alerts(analysis: Analysis, recording: Source, directory: Path) -> None:
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
