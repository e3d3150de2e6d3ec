"""Alerts against what the reference annotations tell: found, false, and how late.

The reference's own episodes of each kind are found here by the kind's definition, with the thresholds of the
configuration, from the reference's beats; rhythms come from its rhythm marks. The daemon's rules are not asked, so that
their mistakes show.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from statistics import mean

from daemon.config import Alerts
from daemon.kinds import KINDS
from daemon.rules import PAUSE_APART
from ec57 import epicmp
from ec57.beats import AAMI_CLASS, Beat, beats
from ec57.bxb import MATCH_WINDOW_S, samples
from ec57.epicmp import Episode
from rhythmd.evaluation.scores import VF_BOTH, Reference

DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alert of a record, in its samples."""

    kind: str
    onset: int
    raised: int
    end: int | None


@dataclass(frozen=True, slots=True)
class KindScore:
    """One kind of alert over all records. Nothing of the learning time is left out: a wearer hears it too."""

    kind: str
    alerts: int
    alerts_per_day: float
    known_records: int  # whose reference tells whether the kind is there; the rest counts records of these
    known_s: float
    false: int  # alerts that meet no episode and are not neutral
    episodes: int
    found: int
    delays_s: tuple[float, ...]  # of the found ones: raised less onset; 0 where it stood open already
    true: int  # alerts that meet an episode
    neutral: int  # of those that do not: within fibrillation or flutter, where the reference has no beats
    free_records: int  # without an episode
    free_s: float
    false_in_free: int

    @property
    def all_false_per_day(self) -> float | None:
        """False alarms per patient-day in all records whose reference tells."""
        return self.false * DAY_S / self.known_s if self.known_s else None

    @property
    def false_per_day(self) -> float | None:
        """False alarms per patient-day in records without episodes."""
        return self.false_in_free * DAY_S / self.free_s if self.free_s else None


def read_alarms(folder: Path, record: str) -> list[Alarm]:
    """The alerts that `analyze` wrote for a record."""
    lines = (folder / f"{record}.alerts.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [Alarm(one["kind"], one["onset_sample"], one["raised_sample"], one["end_sample"]) for one in found]


def score(references: Sequence[Reference], alarms: Sequence[Sequence[Alarm]], limits: Alerts) -> dict[str, KindScore]:
    """Every kind of alert, over records and their alerts in the same order."""
    marked = {label for reference in references for label in reference.rhythms}
    truth = [episodes(reference, limits, marked) for reference in references]
    days = sum(reference.length / reference.rate_hz for reference in references) / DAY_S
    return {kind: _score(kind, list(zip(references, truth, alarms, strict=True)), days) for kind in KINDS}


def _score(
    kind: str, records: list[tuple[Reference, dict[str, list[Episode]], Sequence[Alarm]]], days: float
) -> KindScore:
    raised = sum(alarm.kind == kind for _, _, alarms in records for alarm in alarms)
    told = [
        _Told(reference, truth[kind], [alarm for alarm in alarms if alarm.kind == kind], _neutral_in(kind, truth))
        for reference, truth, alarms in records
        if kind in truth
    ]
    free = [one for one in told if not one.episodes]
    return KindScore(
        kind=kind,
        alerts=raised,
        alerts_per_day=raised / days if days else 0.0,
        known_records=len(told),
        known_s=sum(one.seconds for one in told),
        false=sum(len(one.false) for one in told),
        episodes=sum(len(one.episodes) for one in told),
        found=sum(len(one.delays_s) for one in told),
        delays_s=tuple(delay_s for one in told for delay_s in one.delays_s),
        true=sum(len(one.true) for one in told),
        neutral=sum(len(one.alarms) - len(one.true) - len(one.false) for one in told),
        free_records=len(free),
        free_s=sum(one.seconds for one in free),
        false_in_free=sum(len(one.false) for one in free),
    )


@dataclass(frozen=True, slots=True)
class _Told:
    """One kind in one record: what is true and what was raised."""

    reference: Reference
    episodes: list[Episode]
    alarms: list[Alarm]
    neutral: list[Episode]  # what is raised within these is neither true nor false

    @property
    def seconds(self) -> float:
        return self.reference.length / self.reference.rate_hz

    @property
    def true(self) -> list[Alarm]:
        return [alarm for alarm in self.alarms if self._meets(alarm, self.episodes)]

    @property
    def false(self) -> list[Alarm]:
        return [alarm for alarm in self.alarms if not self._meets(alarm, [*self.episodes, *self.neutral])]

    @property
    def delays_s(self) -> list[float]:
        """Of each episode that was found."""
        met = [(one, [alarm.raised for alarm in self.alarms if self._meets(alarm, [one])]) for one in self.episodes]
        return [max(0, min(raised) - one.start) / self.reference.rate_hz for one, raised in met if raised]

    def _meets(self, alarm: Alarm, episodes: list[Episode]) -> bool:
        slack = samples(MATCH_WINDOW_S, self.reference.rate_hz)
        end = self.reference.length if alarm.end is None else alarm.end
        return any(alarm.onset <= one.end + slack and end >= one.start - slack for one in episodes)


def _neutral_in(kind: str, truth: Mapping[str, list[Episode]]) -> list[Episode]:
    """Flutter is fast beats to one and fibrillation, without any, to another."""
    return truth.get("ventricular_fibrillation", []) if kind in BY_RATE else []


BY_RATE = {"ventricular_tachycardia", "ventricular_run", "extreme_tachycardia"}


def episodes(reference: Reference, limits: Alerts, marked: set[str]) -> dict[str, list[Episode]]:
    """Of each kind that the reference can tell of, its episodes.

    Beats tell of all but atrial fibrillation. A reference of rhythms alone tells of those kinds whose label is among
    `marked`, the labels that its database uses at all.
    """
    found: dict[str, list[Episode]] = {}
    if reference.rhythms:
        found["atrial_fibrillation"] = _rhythm(reference, epicmp.AF)
    if reference.has_beats:
        found["ventricular_fibrillation"] = _rhythm(reference, VF_BOTH)
        window = samples(MATCH_WINDOW_S, reference.rate_hz)
        heart = beats(reference.marks, window, reference.length, AAMI_CLASS, is_reference=True)[1:-1]
        found |= _of_beats(heart, limits, reference.rate_hz, found.get("atrial_fibrillation", []))
        return found
    for kind, prefix in _LABELS.items():
        if any(label.startswith(prefix) for label in marked):
            found[kind] = _rhythm(reference, epicmp.rhythm(prefix))
        else:
            found.pop(kind, None)
    return found


_LABELS = {
    "atrial_fibrillation": "(AFIB",
    "ventricular_fibrillation": "(VF",
    "ventricular_tachycardia": "(VT",
    "asystole": "(ASYS",
}


def _rhythm(reference: Reference, kind: epicmp.Kind) -> list[Episode]:
    return list(epicmp.episodes(reference.marks, kind, reference.length))


def _of_beats(heart: list[Beat], limits: Alerts, rate_hz: float, af: list[Episode]) -> dict[str, list[Episode]]:
    v_runs = list(_runs(heart, "V"))
    longest = limits.asystole.no_beat_s * rate_hz
    gaps = [(Episode(beat.sample - beat.rr, beat.sample), beat.rr / rate_hz) for beat in heart if beat.rr]
    outside_af = [beat for beat in heart if not any(one.start <= beat.sample <= one.end for one in af)]
    tachycardia, run = limits.ventricular_tachycardia, limits.ventricular_run
    slow, fast, often = limits.extreme_bradycardia, limits.extreme_tachycardia, limits.frequent_pvc
    ventricular = [beat.sample for beat in heart if beat.label == "V"]
    return {
        "ventricular_tachycardia": [
            Episode(run[0], run[-1])
            for run in v_runs
            if _bpm(run, tachycardia.beats, rate_hz, lambda bpm: bpm > tachycardia.rate_bpm)
        ],
        "ventricular_run": [Episode(one[0], one[-1]) for one in v_runs if len(one) >= run.beats],
        "ventricular_couplet": [Episode(one[0], one[-1]) for one in v_runs if len(one) == 2],
        "frequent_pvc": _merged(_spans(ventricular, often.per_minute, longest_span=60 * rate_hz)),
        "supraventricular_run": [
            Episode(one[0], one[-1]) for one in _runs(outside_af, "S") if len(one) >= limits.supraventricular_run.beats
        ],
        "extreme_bradycardia": _rates(heart, slow.beats, longest, rate_hz, lambda rr_s: _is_slow(rr_s, slow.rate_bpm)),
        "extreme_tachycardia": _rates(heart, fast.beats, longest, rate_hz, lambda rr: 60 / mean(rr) > fast.rate_bpm),
        "pause": [gap for gap, rr_s in gaps if rr_s >= limits.pause.rr_s],
        "asystole": [gap for gap, rr_s in gaps if rr_s >= limits.asystole.no_beat_s],
    }


def _runs(heart: Iterable[Beat], label: str) -> Iterator[list[int]]:
    """Samples of consecutive beats of this class; an interval that cannot be told breaks a run."""
    run: list[int] = []
    for beat in heart:
        if beat.label != label or not beat.rr:
            if run:
                yield run
            run = []
        if beat.label == label:
            run.append(beat.sample)
    if run:
        yield run


def _bpm(run: list[int], count: int, rate_hz: float, holds: Callable[[float], bool]) -> bool:
    """Whether the rate over any `count` beats in a row of the run is one that holds."""
    return any(
        holds(60 * rate_hz * (count - 1) / (last - first)) for first, last in zip(run, run[count - 1 :], strict=False)
    )


def _is_slow(rr_s: Sequence[float], limit_bpm: float) -> bool:
    """Below the limit, and not by one pause, which is a kind of its own."""
    others = sorted(rr_s)[:-1]
    return 60 / mean(rr_s) < limit_bpm and not (others and 60 / mean(others) > PAUSE_APART * limit_bpm)


def _rates(
    heart: list[Beat], count: int, longest: float, rate_hz: float, holds: Callable[[Sequence[float]], bool]
) -> list[Episode]:
    """Where it holds for the intervals, in s, of `count` beats in a row; none of `longest` samples is one of them."""
    found = []
    for _, stretch in groupby(_numbered(heart, longest), key=lambda numbered: numbered[0]):
        beats_ = [sample for _, sample in stretch]
        rr_s = [(after - before) / rate_hz for before, after in pairwise(beats_)]
        found += [
            Episode(beats_[first], beats_[first + count - 1])
            for first in range(len(beats_) - count + 1)
            if holds(rr_s[first : first + count - 1])
        ]
    return _merged(found)


def _numbered(heart: list[Beat], longest: float) -> Iterator[tuple[int, int]]:
    """(number of the stretch without such an interval, sample) of each beat."""
    number = 0
    for beat in heart:
        number += not 0 < beat.rr < longest
        yield number, beat.sample


def _spans(at: list[int], count: int, longest_span: float) -> list[Episode]:
    """`count` in a row within the span."""
    return [
        Episode(first, last) for first, last in zip(at, at[count - 1 :], strict=False) if last - first <= longest_span
    ]


def _merged(found: list[Episode]) -> list[Episode]:
    """Those that touch are one."""
    merged: list[Episode] = []
    for one in found:
        if merged and one.start <= merged[-1].end:
            merged[-1] = Episode(merged[-1].start, max(one.end, merged[-1].end))
        else:
            merged.append(one)
    return merged
