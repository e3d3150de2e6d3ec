"""From what the judge decides to what is published: sample indices at the patch's own rate, and UTC beside them."""

from __future__ import annotations

from datetime import datetime, timedelta

from daemon.alerts import AlertEvent
from daemon.history import JudgedBeat
from daemon.kinds import KINDS
from daemon.messages import Alert, Beat
from dsp.resample import Rates


class TimeLine:
    """The patch's samples and UTC. The sample count is the clock; UTC is a mapping for people."""

    def __init__(self, rate_hz: float, utc_of_first: datetime) -> None:
        self.rates = Rates.of(rate_hz)
        self.rate_hz = rate_hz
        self._anchor = (0, utc_of_first)

    def anchor(self, sample: int, utc: datetime) -> None:
        """Sample `sample` was received at `utc`."""
        self._anchor = (sample, utc)

    def utc(self, sample: int) -> datetime:
        anchored, utc = self._anchor
        return utc + timedelta(seconds=(sample - anchored) / self.rate_hz)


def topic_of(event: AlertEvent) -> str:
    return f"{'alert' if event.action == 'alarm' else 'event'}.{event.kind}"


def alert_message(event: AlertEvent, *, patch: str, seq: int, line: TimeLine) -> Alert:
    kind = KINDS[event.kind]
    raised = line.rates.newest_input(event.raised)
    end = None if event.end is None else line.rates.source_index(event.end)
    sample = raised if end is None else end
    return Alert(
        seq=seq,
        patch=patch,
        sample=sample,
        utc=line.utc(sample),
        id=event.id,
        kind=event.kind,
        category=kind.category,
        priority=kind.priority,
        action=event.action,
        state="open" if event.end is None else "closed",
        latching=kind.latching,
        onset_sample=line.rates.source_index(event.onset),
        raised_sample=raised,
        end_sample=end,
        ended_by=event.ended_by,
        evidence=event.evidence,
    )


def beat_message(beat: JudgedBeat, *, patch: str, seq: int, line: TimeLine) -> Beat:
    sample = line.rates.source_index(beat.r_peak)
    return Beat(
        seq=seq,
        patch=patch,
        sample=sample,
        utc=line.utc(sample),
        beat=beat.beat,
        probability=round(beat.probability, 4),
        rr_s=beat.rr_s,
        heart_rate_bpm=None if beat.heart_rate_bpm is None else round(beat.heart_rate_bpm, 1),
        decided_sample=line.rates.newest_input(beat.at),
    )
