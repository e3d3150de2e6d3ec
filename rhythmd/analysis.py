"""One recording through the pipeline that the daemon runs, and what comes out of it as files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
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
from ec57.annotations import Annotation, encoded
from engines.backend import Backend
from engines.model import Head
from rhythmd.quick import Quick
from rhythmd.recording import Recording, Stored

BLOCK_S = 60
"""The detector hears a minute at once at four fifths of what it costs by tens of seconds; more gains nothing."""

PIECE_BLOCKS = 10
"""Read at once: ten minutes. So memory does not grow with the recording, but for what was found in it."""

Source = Recording | Stored
Said = Beat | JudgedBeat | AlertEvent | Episode


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


def collected(said: Iterable[Said]) -> Analysis:
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


def judged(recording: Source, judge: Judge) -> Iterator[Said]:
    """All that the detector and the judge say."""
    hearing = Hearing(recording.rate_hz, judge)
    for block in blocks(recording):
        yield from hearing.block(*block)
    yield from hearing.finish(recording.samples)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A session begins: samples from `gone` to before `to`, at 250 Hz, never came."""

    gone: int
    to: int


@dataclass(frozen=True, slots=True)
class Silence:
    """From `at` on nothing came any more."""

    at: int


Heard = Beat | Window | Quality | Skipped | Silence
"""What the dsp room passes on; of a beat, that it was found."""


class Hearing:
    """One recording's way through the rooms, session by session: as live, a chain begins anew after a long loss.

    Between two blocks it can be pickled, judge included; taken up again it goes on as if nothing had been.
    """

    def __init__(self, rate_hz: float, judge: Judge) -> None:
        self._rate_hz = rate_hz
        self._judge = judge
        self._losses = Losses(rate_hz)
        self._chain: Chain | None = None
        self._end = self._judged_end = 0  # of what the chain has had, and likewise at 250 Hz

    def block(self, start: int, ecg_mv: np.ndarray, saturated: np.ndarray) -> Iterator[Said]:
        return self.judge(self.listen(start, ecg_mv, saturated))

    def finish(self, samples: int) -> Iterator[Said]:
        """The recording is over, after so many samples."""
        return self.judge(self.listen_to_end(samples))

    def listen(self, start: int, ecg_mv: np.ndarray, saturated: np.ndarray) -> Iterator[Heard]:
        """The half of it that asks no network, and so can be ahead of the other."""
        for block in self._losses(start, ecg_mv, saturated):
            yield from self._hear(block)

    def listen_to_end(self, samples: int) -> Iterator[Heard]:
        for block in self._losses.finish(samples):
            yield from self._hear(block)
        yield from self._finish_session()
        if self._end < samples:
            yield Silence(self._judged_end)

    def judge(self, heard: Iterable[Heard]) -> Iterator[Said]:
        for each in heard:
            if isinstance(each, Beat):
                yield each
            elif isinstance(each, Window):
                yield from self._judge.window(each)
            elif isinstance(each, Quality):
                yield from self._judge.quality(each)
            elif isinstance(each, Skipped):
                yield from self._judge.skipped(each.gone, each.to)
            else:
                yield from self._judge.condition(Condition.SILENT, holds=True, at=each.at)

    def _hear(self, block: Block) -> Iterator[Heard]:
        jumped = self._chain is None or block.start != self._end
        if jumped:
            yield from self._finish_session()
            self._chain = Chain(self._rate_hz, Quick())
        assert self._chain is not None
        clean, events = self._chain(block)
        if jumped:
            yield Skipped(self._judged_end, clean.start)
        self._end, self._judged_end = block.end, clean.end
        for event in events:
            if isinstance(event, Window) and event.beat:
                yield event.beat
            yield event

    def _finish_session(self) -> list[Window]:
        return self._chain.finish() if self._chain else []


class Losses:
    """Leaves out the losses that are too long to bridge: after one, the next block starts later."""

    def __init__(self, rate_hz: float) -> None:
        self._longest = int(BRIDGED_S * rate_hz)
        self._lost = self._longest + 1  # samples since the last one that is there

    def __call__(self, start: int, ecg_mv: np.ndarray, saturated: np.ndarray) -> Iterator[Block]:
        there = np.flatnonzero(np.isfinite(ecg_mv))
        if not len(there):
            self._lost += len(ecg_mv)
            return
        breaks = np.flatnonzero(np.diff(there) - 1 > self._longest)
        firsts, ends = there[[0, *breaks + 1]].tolist(), (there[[*breaks, -1]] + 1).tolist()
        if self._lost + firsts[0] <= self._longest:
            yield from _missing(start - self._lost, start)
            firsts[0] = 0
        for first, end in zip(firsts, ends, strict=True):
            yield Block.of(start + first, ecg_mv[first:end], saturated=saturated[first:end])
        self._lost = len(ecg_mv) - ends[-1]

    def finish(self, samples: int) -> list[Block]:
        """What is left when the recording ends there: too short a loss to know that nothing follows."""
        return _missing(samples - self._lost, samples) if self._lost <= self._longest else []


def _missing(start: int, end: int) -> list[Block]:
    return [Block.of(start, np.full(end - start, np.nan))] if end > start else []


def blocks(recording: Source, begin: int = 0) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(index of the first sample, millivolts, whether saturated), block by block, from one that began at `begin`."""
    size = int(BLOCK_S * recording.rate_hz)
    for start in range(begin, recording.samples, PIECE_BLOCKS * size):
        piece = recording.piece(start, min(start + PIECE_BLOCKS * size, recording.samples))
        ecg_mv, saturated = piece.ecg_mv, piece.saturated
        for first in range(0, piece.samples, size):
            yield start + first, ecg_mv[first : first + size], saturated[first : first + size]


def rhythm_changes(episodes: Iterable[Episode]) -> list[tuple[int, str]]:
    """(sample, label) wherever the rhythm changes: of the episodes that last, the gravest names it."""
    edges: dict[int, list[tuple[str, int]]] = {0: []}
    for each in episodes:
        edges.setdefault(max(0, each.onset), []).append((each.kind, 1))
        if each.end is not None:
            edges.setdefault(each.end, []).append((each.kind, -1))
    lasting: Counter[str] = Counter()
    changes: list[tuple[int, str]] = []
    for edge in sorted(edges):
        for kind, step in edges[edge]:
            lasting[kind] += step
        label = rhythm_of({kind for kind, count in lasting.items() if count > 0})
        if not changes or changes[-1][1] != label:
            changes.append((edge, label))
    return changes


def write_annotations(
    beats: Iterable[tuple[int, str]], episodes: Iterable[Episode], recording: Source, directory: Path
) -> None:
    """`<record>.rhy`: beats (R peak, letter) and rhythm changes, as WFDB annotations at the record's own rate."""
    rates = TimeLine(recording.rate_hz, recording.begins).rates
    last = recording.samples - 1
    changes = (
        Annotation(min(rates.source_index(at), last), "+", aux=f"({label}") for at, label in rhythm_changes(episodes)
    )
    marks = (Annotation(max(0, rates.source_index(r_peak)), letter) for r_peak, letter in beats)
    merged = merge(changes, marks, key=lambda mark: mark.sample)  # at one sample the rhythm first
    write_whole(directory / f"{recording.name}.rhy", encoded(merged, rate_hz=recording.rate_hz))


def write_alerts(alerts: Iterable[AlertEvent], recording: Source, directory: Path) -> None:
    """`<record>.alerts.jsonl`: one object per alert, the fields of the published one."""
    line = TimeLine(recording.rate_hz, recording.begins)
    encode = msgspec.json.Encoder().encode
    numbers: Counter[str] = Counter()
    lines = bytearray()
    for event in alerts:
        topic = topic_of(event)
        numbers[topic] += 1
        lines += encode(alert_message(event, patch=recording.name, seq=numbers[topic], line=line)) + b"\n"
    write_whole(directory / f"{recording.name}.alerts.jsonl", lines)


def write_whole(path: Path, data: bytes | bytearray) -> None:
    """Whole or not at all: who is interrupted leaves no half."""
    new = path.with_name(f".{path.name}.new")
    new.write_bytes(data)
    new.replace(path)
