"""Hours of signal: the one that grows, those that are finished, and how the first becomes one of the second.

While it grows, an hour is a header without a length, a `.dat` that is only ever appended to, and `.notes`, a line of
text for each annotation. Finishing writes `.rhy` and the whole header, and removes `.notes`: so an hour that has notes
is one whose writer still lives or died, and the next start finishes it, as often as it takes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
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


class GrowingHour:
    """Appends. What was appended survives the process at once, and the power after `sync`."""

    def __init__(self, folder: Path, about: About, counts: bytes) -> None:
        """`counts` are its first samples: the header, which makes the record, comes after them, for readers such as
        wfdb take none that is empty.
        """
        self.about = about
        self.path = folder / about.name
        self.length = 0
        self._noted = 0  # bytes
        self._signal = _appending(self.path.with_suffix(".dat"))
        self._notes = _appending(self.path.with_suffix(NOTES))
        try:
            self.add(counts, 0)
            self.sync()
            write_whole(self.path.with_suffix(".hea"), form.header(about))
        except OSError:
            self.close()
            raise

    @property
    def end_sample(self) -> int:
        """One past its last, as the patch counts."""
        return self.about.first_sample + round(self.length * self.about.patch_rate_hz / RATE_HZ)

    def add(self, counts: bytes, at: int) -> None:
        """Samples for position `at`, which is at its end or beyond: what lies between is missing."""
        gap = at - self.length
        data = np.full(gap, MISSING, "<i2").tobytes() + counts if gap else counts
        _append(self._signal, data, COUNT_BYTES * self.length)
        self.length += len(data) // COUNT_BYTES

    def note(self, at: int, symbol: str, aux: str = "") -> None:
        line = f"{at}\t{symbol}\t{' '.join(aux.split())}\n".encode()
        _append(self._notes, line, self._noted)
        self._noted += len(line)

    def sync(self) -> None:
        os.fdatasync(self._signal)
        os.fdatasync(self._notes)

    def close(self) -> None:
        """It is left as it is; `finish` does the rest."""
        os.close(self._signal)
        os.close(self._notes)


def _appending(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o640)


def _append(file: int, data: bytes, size: int) -> None:
    """All of `data` or, with an error, nothing: `size` is what the file has."""
    try:
        written = os.write(file, data)
        if written < len(data):  # a disk that fills up takes a part, and says so the next time
            written += os.write(file, data[written:])
        if written < len(data):
            raise OSError(28, os.strerror(28))
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise


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
    """Up to the first line that a power cut spoiled."""
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            at, symbol, aux = line.decode().split("\t")
            yield Annotation(int(at), symbol, -1 if symbol == "~" and aux else 0, aux=aux)
        except ValueError:
            return


def hours(folder: Path) -> list[Hour]:
    """Those that can be read, by the time at which they begin."""
    found = []
    for path in folder.glob("*.hea"):
        with suppress(OSError, ValueError):  # removed meanwhile, or none of ours
            found.append(_hour(path.with_suffix("")))
    return sorted(found, key=lambda hour: hour.about.begins)


def _hour(path: Path) -> Hour:
    about, signals, length = form.read_about(path.with_suffix(".hea"))
    if length is None:
        length = path.with_suffix(".dat").stat().st_size // COUNT_BYTES
    return Hour(path, about, length, bool(signals))


def finish(path: Path) -> None:
    """Give a grown hour its annotation file, its length and its time. It may be done again where it was cut short."""
    try:
        about, _, _ = form.read_about(path.with_suffix(".hea"))
        counts = np.fromfile(path.with_suffix(".dat"), "<i2")
    except (OSError, ValueError):  # died before it had a header: a tenth of a second that nobody can date
        counts = np.zeros(0, "<i2")
    if not len(counts):
        for suffix in (".hea", ".dat", NOTES):
            path.with_suffix(suffix).unlink(missing_ok=True)
        return
    marks = [*_read_notes(path.with_suffix(NOTES)), *form.gap_notes(counts)]
    write_whole(path.with_suffix(f".{form.ANNOTATOR}"), form.annotation_bytes(marks, len(counts)))
    os.truncate(path.with_suffix(".dat"), COUNT_BYTES * len(counts))
    write_whole(path.with_suffix(".hea"), form.header(about, counts))
    path.with_suffix(NOTES).unlink()
    sync_folder(path.parent)


def thin(hour: Hour) -> None:
    """Give up its signal, keep what was decided: the header goes first, so that it never names what is not there."""
    write_whole(hour.path.with_suffix(".hea"), form.header(hour.about, length=hour.length))
    hour.path.with_suffix(".dat").unlink(missing_ok=True)
