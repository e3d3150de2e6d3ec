"""Hours of signal: the one that grows, those that are finished, and how the first becomes one of the second.

While it grows, an hour is a header without a length, a `.dat`, and `.notes`, a line of text for each annotation.
Finishing writes `.rhy` and the whole header, and removes `.notes`: so an hour that has notes is one whose writer still
lives or died, and the next start finishes it, as often as it takes.

The `.dat` is always a minute ahead, filled with the mark of missing samples, and signal is written over these. Appended
to, it would after a power cut end in zeros where its length had reached the disk and its last samples had not (seen on
ext4): a flat line that never was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from dsp.signal import RATE_HZ
from ec57.annotations import Annotation, AnnotationError, decode
from rhythmd.records import form
from rhythmd.records.durable import sync_folder, write_whole
from rhythmd.records.form import COUNT_BYTES, MISSING, About, Counts

NOTES = ".notes"


AHEAD_BYTES = 8 * 4096
"""Whole blocks of the file system: those it allocates anew are written before the length that includes them is."""

_NOTHING = np.full(AHEAD_BYTES // COUNT_BYTES, MISSING, "<i2").tobytes()


class GrowingHour:
    """What was added survives the process at once, and the power after `sync`."""

    def __init__(self, folder: Path, about: About, counts: bytes) -> None:
        """`counts` are its first samples. The header, which makes the record, comes last."""
        self.about = about
        self.path = folder / about.name
        self.length = 0
        self._noted = 0  # bytes
        with ExitStack() as undo:  # a full disk is tried ten times a second: nothing of a failure may stay
            self._signal = _opened(self.path.with_suffix(".dat"), _NOTHING, undo)
            self._notes = _opened(self.path.with_suffix(NOTES), b"\n" * AHEAD_BYTES, undo)
            self.add(counts, 0)
            self.sync()
            header = self.path.with_suffix(".hea")
            undo.callback(header.unlink, missing_ok=True)
            write_whole(header, form.header(about))
            undo.pop_all()

    @property
    def end_sample(self) -> int:
        """One past its last, as the patch counts."""
        return self.about.first_sample + round(self.length * self.about.patch_rate_hz / RATE_HZ)

    def add(self, counts: bytes, at: int) -> None:
        """Samples for position `at`, which is at its end or beyond: what lies between is missing."""
        self._signal.write(counts, COUNT_BYTES * at)
        self.length = at + len(counts) // COUNT_BYTES

    def note(self, at: int, symbol: str, aux: str = "") -> None:
        line = f"{at}\t{symbol}\t{' '.join(aux.split())}\n".encode()
        self._notes.write(line, self._noted)
        self._noted += len(line)

    def sync(self) -> None:
        self._signal.sync()
        self._notes.sync()

    def close(self) -> None:
        """It is left as it is; `finish` does the rest."""
        self._signal.close()
        self._notes.close()


class _Ahead:
    """A file that is some blocks ahead of what was written to it, with something that says nothing.

    So forcing it to the disk costs the blocks that were written to, and no change of the file system's own books.
    """

    def __init__(self, path: Path, filling: bytes) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640)
        self._filling = filling
        self._room = 0  # bytes that it has
        self._changed = False

    def write(self, data: bytes, at: int) -> None:
        while at + len(data) > self._room:
            _write(self._file, self._filling, self._room)
            os.fdatasync(self._file)
            self._room += len(self._filling)
        _write(self._file, data, at)
        self._changed = True

    def sync(self) -> None:
        if self._changed:
            os.fdatasync(self._file)
            self._changed = False

    def close(self) -> None:
        os.close(self._file)


def _opened(path: Path, filling: bytes, undo: ExitStack) -> _Ahead:
    file = _Ahead(path, filling)
    undo.callback(path.unlink, missing_ok=True)
    undo.callback(file.close)
    return file


def _write(file: int, data: bytes, at: int) -> None:
    """All of `data`; what an error leaves of it is written over the next time."""
    while data:
        written = os.pwrite(file, data, at)
        data, at = data[written:], at + written


@dataclass(frozen=True, slots=True)
class Hour:
    """One that is on disk, growing or not."""

    path: Path  # without suffix
    about: About
    length: int
    has_signal: bool

    @property
    def growing(self) -> bool:
        return self.path.with_suffix(NOTES).exists()

    @property
    def ends(self) -> datetime:
        return self.about.begins + timedelta(seconds=self.length / RATE_HZ)

    def counts(self, first: int = 0, last: int | None = None) -> Counts:
        """(n,) from position `first` to before `last`."""
        last = self.length if last is None else min(last, self.length)
        if not self.has_signal:
            return np.full(max(0, last - first), MISSING, np.int16)
        with self.path.with_suffix(".dat").open("rb") as file:
            file.seek(COUNT_BYTES * first)
            data = file.read(COUNT_BYTES * max(0, last - first))
        return np.frombuffer(data[: len(data) // COUNT_BYTES * COUNT_BYTES], "<i2").astype(np.int16)

    def marks(self) -> list[Annotation]:
        """In the order in which they were decided while it grows, of time afterwards."""
        with suppress(FileNotFoundError):
            return list(_read_notes(self.path.with_suffix(NOTES)))
        try:
            return list(decode(self.path.with_suffix(f".{form.ANNOTATOR}").read_bytes()))
        except (FileNotFoundError, AnnotationError):
            return []


def _read_notes(path: Path) -> Iterator[Annotation]:
    """Those lines that a power cut did not spoil."""
    for line in path.read_bytes().split(b"\n")[:-1]:
        with suppress(ValueError):
            at, symbol, aux = line.decode().split("\t")
            yield Annotation(int(at), symbol, -1 if symbol == "~" and aux else 0, aux=aux)


def hours(folder: Path, *, signal: bool = False) -> list[Hour]:
    """Those that can be read, by the time at which they begin; or those alone that have signal, which are few."""
    found = []
    for path in folder.glob("*.dat" if signal else "*.hea"):
        with suppress(OSError, ValueError):  # removed meanwhile, or none of ours
            found.append(_hour(path.with_suffix("")))
    return sorted(found, key=lambda hour: hour.about.begins)


def _hour(path: Path) -> Hour:
    about, signals, length = form.read_about(path.with_suffix(".hea"))
    if length is None:
        length = len(_trimmed(_read(path.with_suffix(".dat"))))
    return Hour(path, about, length, bool(signals))


def _read(path: Path) -> Counts:
    data = path.read_bytes()
    return np.frombuffer(data[: len(data) // COUNT_BYTES * COUNT_BYTES], "<i2").astype(np.int16)


def _trimmed(counts: Counts) -> Counts:
    """Up to the last sample that is there: of one that grows, the rest is yet to come."""
    there = np.flatnonzero(counts != MISSING)
    return counts[: there[-1] + 1 if len(there) else 0]


def finish(path: Path) -> None:
    """Give a grown hour its annotation file, its length and its time. It may be done again where it was cut short.

    An hour that cannot be read now, for want of memory or files say, raises OSError and stays as it is.
    """
    try:
        about, _, _ = form.read_about(path.with_suffix(".hea"))
        counts = _trimmed(_read(path.with_suffix(".dat")))
    except (FileNotFoundError, ValueError):  # died before it had a header: a tenth of a second that nobody can date
        counts = np.zeros(0, np.int16)
    if not len(counts):
        for suffix in (".hea", ".dat", NOTES):
            path.with_suffix(suffix).unlink(missing_ok=True)
        return
    marks = [*_read_notes(path.with_suffix(NOTES)), *form.gap_notes(counts)]
    os.truncate(path.with_suffix(".dat"), COUNT_BYTES * len(counts))
    write_whole(path.with_suffix(f".{form.ANNOTATOR}"), form.annotation_bytes(marks, len(counts)))
    write_whole(path.with_suffix(".hea"), form.header(about, counts))
    path.with_suffix(NOTES).unlink()
    sync_folder(path.parent)


def thin(hour: Hour) -> None:
    """Give up its signal, keep what was decided: the header goes first, so that it never names what is not there."""
    write_whole(hour.path.with_suffix(".hea"), form.header(hour.about, length=hour.length))
    hour.path.with_suffix(".dat").unlink(missing_ok=True)
