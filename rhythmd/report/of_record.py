"""A WFDB record, judged as `rhythmd analyze` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import numpy as np

from daemon.alerts import AlertEvent
from daemon.app import find_model
from daemon.config import Config
from daemon.episodes import Episode
from daemon.history import JudgedBeat
from daemon.judge import Judge
from daemon.reporting import TimeLine, alert_message
from dsp.filters import Bandpass
from dsp.gaps import Bridge
from dsp.resample import Resampler
from dsp.signal import RATE_HZ, Beat, Block
from ec57.annotations import Annotation
from engines.backend import open_backend
from rhythmd import __version__
from rhythmd.analysis import Analysis, collected, judged, rhythm_changes
from rhythmd.recording import NO_DATE, Recording, Stored, find
from rhythmd.records.cutting import Strip
from rhythmd.records.form import MISSING, About
from rhythmd.report.observed import Event, Observed, Span

COUNTS_PER_MV = 1000
SETTLE_S = 5.0
"""Before a strip, for the filters."""

READ_S = 600

Said = Beat | JudgedBeat | AlertEvent | Episode


def observe(path: str, lead: str | None, config: Config, progress: Callable[[float], None]) -> Observed:
    """`progress` hears how far the judging has come, in seconds of the record."""
    recording = find(path, lead)
    model = find_model(config.engine.model)
    with open_backend(config.engine.backend, model) as backend:
        judge = Judge(backend, model.manifest.heads, config.alerts, origin=recording.name)
        analysis = collected(_watched(judged(recording, judge), progress))
    rhythms = [(at / RATE_HZ, label) for at, label in rhythm_changes(analysis.episodes)]
    dated = recording.begins != NO_DATE
    return Observed(
        title=f"Record {recording.name}",
        begins=recording.begins,
        dated=dated,
        duration_s=recording.samples / recording.rate_hz,
        beat_s=np.array([beat.r_peak / RATE_HZ for beat in analysis.beats]),
        beat_kind=np.array([beat.beat for beat in analysis.beats], dtype=str),
        rhythms=tuple(rhythms),
        events=tuple(_events(analysis, recording)),
        received=tuple(_received(recording)),
        strip=lambda span: _strip(recording, analysis, rhythms, span),
        facts={
            "Source": f"WFDB record {recording.name}, lead {recording.lead}, {recording.rate_hz:g} samples/s",
            "Judged by": f"rhythmd {__version__}",
            "Engine": config.engine.backend,
            "Model": model.id,
            "Filter": "causal band-pass, 0.5 to 40 Hz",
        },
    )


def _watched(said: Iterator[Said], progress: Callable[[float], None]) -> Iterator[Said]:
    for one in said:
        if isinstance(one, JudgedBeat):
            progress(one.r_peak / RATE_HZ)
        yield one


def _events(analysis: Analysis, recording: Recording | Stored) -> Iterator[Event]:
    line = TimeLine(recording.rate_hz, recording.begins)
    for seq, event in enumerate(analysis.alerts, 1):
        alert = alert_message(event, patch=recording.name, seq=seq, line=line)
        yield Event(alert, event.onset / RATE_HZ, None if event.end is None else event.end / RATE_HZ)


def _received(recording: Recording | Stored) -> Iterator[Span]:
    """Stretches without a loss of a second or more."""
    rate_hz, size = recording.rate_hz, round(READ_S * recording.rate_hz)
    begin = end = -1  # none yet
    for first in range(0, recording.samples, size):
        there = first + np.flatnonzero(np.isfinite(recording.piece(first, min(first + size, recording.samples)).counts))
        if not len(there):
            continue
        for piece in np.split(there, np.flatnonzero(np.diff(there) > rate_hz) + 1):
            if begin >= 0 and piece[0] - end > rate_hz:
                yield Span(begin / rate_hz, (end + 1) / rate_hz)
                begin = -1
            begin, end = int(piece[0]) if begin < 0 else begin, int(piece[-1])
    if begin >= 0:
        yield Span(begin / rate_hz, (end + 1) / rate_hz)


def _strip(
    recording: Recording | Stored, analysis: Analysis, rhythms: list[tuple[float, str]], span: Span
) -> Strip | None:
    """The signal as it was judged: resampled and filtered as the daemon does."""
    rate_hz = recording.rate_hz
    first = max(0, round((span.begin_s - SETTLE_S) * rate_hz))
    piece = recording.piece(first, min(recording.samples, round(span.end_s * rate_hz) + round(rate_hz)))
    clean = Bandpass()(Resampler(rate_hz)(Bridge()(Block.of(first, piece.ecg_mv))))
    begin, end = max(clean.start, round(span.begin_s * RATE_HZ)), min(clean.end, round(span.end_s * RATE_HZ))
    if begin >= end:
        return None
    inside = slice(begin - clean.start, end - clean.start)
    counts = np.clip(np.rint(clean.ecg_mv[inside] * COUNTS_PER_MV), MISSING + 1, -MISSING - 1)
    counts[clean.missing[inside]] = MISSING
    held = next((label for at, label in reversed(rhythms) if at * RATE_HZ <= begin), "N")
    marks = [Annotation(0, "+", aux=f"({held}")]
    marks += [
        Annotation(round(at * RATE_HZ) - begin, "+", aux=f"({label}")
        for at, label in rhythms
        if begin < at * RATE_HZ < end
    ]
    marks += [Annotation(beat.r_peak - begin, beat.beat) for beat in analysis.beats if begin <= beat.r_peak < end]
    marks.sort(key=lambda mark: mark.sample)
    begins = recording.begins + timedelta(seconds=begin / RATE_HZ)
    about = About(recording.name, begins, recording.name, begin, float(RATE_HZ), "", COUNTS_PER_MV, "rhythmd")
    return Strip(about, counts.astype(np.int16), tuple(marks))
