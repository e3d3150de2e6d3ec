"""Windows of annotated records as the daemon cuts and feeds them, with their true classes, to try engines on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from daemon.alerts import AlertEvent
from daemon.config import Alerts
from daemon.episodes import Episode
from daemon.history import JudgedBeat
from daemon.judge import LETTERS, Judge
from daemon.judge import RHYTHMS as ASKED_RHYTHMS
from daemon.reporting import TimeLine
from dsp.signal import RATE_HZ, WINDOW_SAMPLES, Window
from ec57.annotations import Annotations
from ec57.annotations import read as read_annotations
from engines.errors import EngineError
from engines.examples import UNKNOWN, Example, counts, spread
from engines.model import Head, Manifest, Model
from rhythmd import recording
from rhythmd.analysis import judged
from rhythmd.recording import RecordError, Recording

SHIPPED = "AHA 0201, which rhythmd brings along"

EACH_SHIPPED = 100
"""Windows of each class that are taken of it."""

SAME_BEAT_S = 0.15
"""EC57: so near, an annotated beat and a detected one are the same."""

OF_RHYTHM = 3 * WINDOW_SAMPLES // 4
"""A window has a rhythm when at least this much of it, its end included, does: as in training."""

BEATS = {
    **dict.fromkeys("NLRB", "normal"),
    **dict.fromkeys("AaJSejn", "supraventricular"),
    **dict.fromkeys("VE", "ventricular"),
}
"""Fusions, paced and unclassifiable beats stay out: their class is a convention."""

RHYTHMS = {
    "AFIB": "atrial_fibrillation",
    **dict.fromkeys(["VF", "VFIB", "VFL"], "ventricular_fibrillation"),
    "VT": "ventricular_tachycardia",
    "NOISE": "noise",
    **dict.fromkeys(
        ["N", "NSR", "B", "BI", "T", "SVTA", "NOD", "IVR", "AB", "PREX", "BII", "SBR", "SAB", "ASYS"], "other"
    ),
}
"""By the names of WFDB's rhythm annotations. Atrial flutter stays out: nobody agrees on it."""


STRETCH = 50
"""Windows that a network with states is tried on together: most of a minute, longer than it looks back."""

_ASKED = (Head("beat", tuple(LETTERS)), Head("rhythm", (*sorted(ASKED_RHYTHMS), "other")))
"""What the judge asks of a model; it need not be the one that is tried here."""


def of_folder(
    folder: Path, names: Sequence[str] | None, model: Model, each: int, tell: Callable[[str], None]
) -> list[Example]:
    """Of every annotated WFDB record in and under `folder` (or those named) up to `each` windows of every class.

    Raises EngineError when there is none.
    """
    paths = sorted(path for path in folder.rglob("*.hea") if path.with_suffix(".atr").exists())
    chosen = [path for path in paths if names is None or path.stem in names]
    if names and (missing := set(names) - {path.stem for path in chosen}):
        raise EngineError(f"--data {folder}: no annotated record {', '.join(sorted(missing))}")
    if not chosen:
        raise EngineError(f"--data {folder}: no WFDB records with annotations (.hea and .atr) in it")
    found = []
    for count, path in enumerate(chosen, 1):
        tell(f"windows of {path.stem}, {count} of {len(chosen)}")
        try:
            one = recording.read(str(path.with_suffix("")))
            notes = read_annotations(path.with_suffix(""), "atr")
        except (RecordError, ValueError, OSError) as error:
            raise EngineError(f"{path}: {error}") from error
        found += thinned(list(of_recording(one, notes.at(one.rate_hz), model)), model.manifest, each)
    return found


def shipped(model: Model) -> list[Example]:
    """Of the recording that is always there. It has normal and ventricular beats, and no rhythm is annotated."""
    notes = Annotations.of(*recording.shipped_beats(), rate_hz=recording.shipped().rate_hz)
    return thinned(list(of_recording(recording.shipped(), notes, model)), model.manifest, EACH_SHIPPED)


def thinned(examples: list[Example], manifest: Manifest, each: int) -> list[Example]:
    """About `each` of every class, evenly spread, and as many whose class is unknown.

    For a network with states whole stretches, each a session of its own: single windows would have another past.
    """
    if manifest.states:
        return _stretches(examples, manifest, each)
    unknown = [index for index, example in enumerate(examples) if set(example.labels) == {UNKNOWN}]
    chosen = {unknown[int(step)] for step in np.linspace(0, len(unknown) - 1, min(each, len(unknown)))}
    return [examples[index] for index in sorted(chosen | set(spread(examples, manifest, each)))]


def _stretches(examples: list[Example], manifest: Manifest, each: int) -> list[Example]:
    """As few as hold `each` windows of every class, or all that there are of it; the rarest class chooses first."""
    having = counts(examples, manifest)
    classes = [
        (having[head.name][label], place, index)
        for place, head in enumerate(manifest.heads)
        for index, label in enumerate(head.labels)
        if having[head.name][label]
    ]
    starts = range(0, len(examples), STRETCH)
    inside = {start: [example.labels for example in examples[start : start + STRETCH]] for start in starts}
    chosen: set[int] = set()
    for _, place, index in sorted(classes):
        of_class = {start: sum(labels[place] == index for labels in inside[start]) for start in starts}
        found = sum(of_class[start] for start in chosen)
        for start in sorted(starts, key=lambda start: -of_class[start]):
            if found >= each or not of_class[start]:
                break
            if start not in chosen:
                chosen.add(start)
                found += of_class[start]
    return [
        replace(example, begins=place == 0)
        for start in sorted(chosen)
        for place, example in enumerate(examples[start : start + STRETCH])
    ]


def of_recording(one: Recording, notes: Annotations, model: Model) -> Iterator[Example]:
    """One lead through the daemon's rooms. No network is run: what one reads depends on the signal alone."""
    truth = Truth(notes, one.rate_hz, model.manifest)
    watching = _Watching()
    for _ in judged(one, watching):
        pass
    line = TimeLine(one.rate_hz, one.begins)
    for index, (window, inputs) in enumerate(watching.seen):
        yield Example(inputs[: len(model.manifest.inputs)], truth.of(window, line), begins=index == 0)


class _Watching(Judge):
    """A judge that notes what it asks an engine for each window, and is never told anything."""

    def __init__(self) -> None:
        super().__init__(self, _ASKED, Alerts(), origin="")
        self.seen: list[tuple[Window, tuple[np.ndarray, ...]]] = []
        self._undecided = tuple(np.full((1, len(head.labels)), 1 / len(head.labels)) for head in _ASKED)
        self._asking: Window | None = None

    def window(self, window: Window) -> list[JudgedBeat | AlertEvent | Episode]:
        self._asking = window
        return super().window(window)

    def infer(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        assert self._asking is not None
        self.seen.append((self._asking, inputs))
        return self._undecided

    def forget(self) -> None:
        """Nothing is remembered."""


class Truth:
    """What the annotations say of any window."""

    def __init__(self, notes: Annotations, rate_hz: float, manifest: Manifest) -> None:
        beats = [note for note in notes if note.symbol in BEATS]
        changes = [note for note in notes if note.aux.startswith("(")]
        self._rate_hz = rate_hz
        self._heads = manifest.heads
        self._at = np.array([note.sample for note in beats])
        self._beats = [BEATS[note.symbol] for note in beats]
        self._changes_at = np.array([note.sample for note in changes])
        self._rhythms = [RHYTHMS.get(note.aux.strip("\0 (")) for note in changes]

    def of(self, window: Window, line: TimeLine) -> tuple[int, ...]:
        """Its label for each head, or UNKNOWN."""
        known = {self._rhythm(line.rates.source_index(window.at))}
        if window.beat is not None:
            known.add(self._beat(line.rates.source_index(window.beat.r_peak)))
        return tuple(
            next((index for index, label in enumerate(head.labels) if label in known), UNKNOWN) for head in self._heads
        )

    def _beat(self, sample: int) -> str | None:
        if not len(self._at):
            return None
        nearest = int(np.argmin(np.abs(self._at - sample)))
        near = abs(int(self._at[nearest]) - sample) <= SAME_BEAT_S * self._rate_hz
        return self._beats[nearest] if near else None

    def _rhythm(self, end: int) -> str | None:
        last = int(np.searchsorted(self._changes_at, end, side="right")) - 1
        if last < 0 or self._changes_at[last] > end - OF_RHYTHM * self._rate_hz / RATE_HZ:
            return None
        return self._rhythms[last]
