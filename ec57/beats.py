"""What bxb takes from an annotator: beats with their AAMI class, fibrillation, and shutdown.

Counting depends on what was known when: bxb reads one beat ahead and remembers the last two intervals of fibrillation
and of shutdown. `_Reader` keeps exactly that, so that each beat can carry it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from ec57.annotations import BEATS, Annotation, Annotations

if TYPE_CHECKING:
    from collections.abc import Mapping

_CLASS_MEMBERS = {
    "N": "NLRB",  # normal and bundle branch block
    "S": "AaJSejn",  # supraventricular ectopic, escape beats of atrium and node among them
    "V": "VEr",  # ventricular ectopic
    "F": "F",  # fusion of ventricular and normal
    "Q": "Q/f?",  # unclassifiable, paced, fusion with a paced beat, not yet learned
}
AAMI_CLASS: Mapping[str, str] = {symbol: label for label, symbols in _CLASS_MEMBERS.items() for symbol in symbols}
"""The class of each beat symbol, as in bxb. A flutter wave `!` has none."""

ESCAPES_NORMAL: Mapping[str, str] = {**AAMI_CLASS, **dict.fromkeys("ejn", "N")}
"""The classes of most papers on beat classification: supraventricular escape beats are normal.

It is no detail: of the 1,821 S beats that bxb counts in DS2 of mitdb, 213 are escapes, 212 of them in record 222.
"""

NOTHING = "O"
"""In the place of a label: no beat."""
UNREADABLE = "X"
"""In the place of a label: no beat, and the annotator had declared the signal unreadable."""
UNCOUNTED = "*"

FOREVER = 2**63 - 1

_EVER = -1  # a beginning or end that has not been read


class Spans(NamedTuple):
    """The latest two intervals of a kind that have been read."""

    on: int = _EVER
    off: int = _EVER  # of an interval that never ends, this stays the end of the one before
    earlier_on: int = _EVER
    earlier_off: int = _EVER

    def begun(self, on: int) -> Spans:
        return Spans(on, self.off, self.on, self.off)

    def hold(self, sample: int) -> bool:
        latest = self.on != _EVER and self.on <= sample and (sample <= self.off or self.off == _EVER)
        return latest or (self.earlier_on != _EVER and self.earlier_on <= sample <= self.earlier_off)

    def began_within(self, first: int, last: int) -> bool:
        return first <= self.on < last or first <= self.earlier_on < last


@dataclass(frozen=True, slots=True)
class Beat:
    """A beat, and what its annotator had said by the time the next beat was read."""

    sample: int
    label: str
    rr: int  # samples since the beat before; 0 where there is none, or fibrillation or shutdown began in between
    fibrillation: Spans
    shutdown: Spans
    shutdown_ticks: int  # in all so far


def beats(
    annotations: Annotations, window: int, end: int | None, classes: Mapping[str, str], *, is_reference: bool
) -> list[Beat]:
    """The beats, after one of no class at sample 0 and before one of no class at the end of time.

    Beats within ventricular fibrillation are not beats. A reference that ends in shutdown is unreadable forever; of a
    test that does, the shutdown is counted up to the record's `end`, where that is known.
    """
    reader = _Reader(annotations, window)
    found: list[Beat] = []
    sample, label, rr = 0, "", 0
    while (item := reader.next_beat()) is not None:
        found.append(reader.beat(sample, label, rr))
        rr = reader.interval(sample, item.sample)
        sample, label = item.sample, classes.get(item.symbol, NOTHING)
    if reader.ended_in_shutdown and is_reference:
        reader.shutdown = reader.shutdown._replace(off=FOREVER)
    elif reader.ended_in_shutdown and end is not None:
        reader.shutdown_ticks += end - reader.shutdown.on
    found.append(reader.beat(sample, label, rr))
    found.append(replace(found[-1], sample=FOREVER, label=UNCOUNTED, rr=0))
    return found


class _Reader:
    """A place in the annotations and what has been read up to it."""

    def __init__(self, annotations: Annotations, window: int) -> None:
        self._items = annotations.items
        self._window = window
        self._at = 0
        self._beat = 0  # sample of the latest beat
        self.fibrillation, self.shutdown = Spans(), Spans()
        self.shutdown_ticks = 0
        self.ended_in_shutdown = False

    def beat(self, sample: int, label: str, rr: int) -> Beat:
        return Beat(sample, label, rr, self.fibrillation, self.shutdown, self.shutdown_ticks)

    def interval(self, earlier: int, later: int) -> int:
        interrupted = any(spans.began_within(earlier, later) for spans in (self.fibrillation, self.shutdown))
        return 0 if earlier == 0 or interrupted else later - earlier

    def next_beat(self) -> Annotation | None:
        while self._at < len(self._items):
            item = self._items[self._at]
            self._at += 1
            if item.symbol in BEATS:
                self._beat = item.sample
                return item
            if _is_unreadable(item):
                self._read_shutdown(item)
            elif item.symbol == "[":
                self._skip_fibrillation(item)
        return None

    def _read_shutdown(self, item: Annotation) -> None:
        """To the next noise mark; without one, to the window before whatever comes next.

        The second form is that of the AHA database, where one mark stands somewhere in the middle of a shutdown; such
        a shutdown also begins earlier, the window after the latest beat or fibrillation.
        """
        self.shutdown = self.shutdown.begun(item.sample)
        if self._at == len(self._items):
            self.ended_in_shutdown = True
            return
        following = self._items[self._at]
        if following.symbol == "~" and not _is_unreadable(following):
            self.shutdown = self.shutdown._replace(off=following.sample)
            self._at += 1
        else:
            off = following.sample - self._window
            on = (self.fibrillation.off if self.fibrillation.off > self._beat else self._beat) + self._window
            self.shutdown = self.shutdown._replace(on=min(on, off), off=off)
        self.shutdown_ticks += self.shutdown.off - self.shutdown.on

    def _skip_fibrillation(self, item: Annotation) -> None:
        self.fibrillation = self.fibrillation.begun(item.sample)
        while self._at < len(self._items) and self._items[self._at].symbol != "]":
            self._at += 1
        if self._at < len(self._items):
            self.fibrillation = self.fibrillation._replace(off=self._items[self._at].sample)
            self._at += 1


def _is_unreadable(item: Annotation) -> bool:
    return item.symbol == "~" and item.subtype & 0x30 == 0x30  # bits 4 and 5: neither signal is readable
