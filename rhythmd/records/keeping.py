"""The strips on disk: `<name>.json` as soon as an alert is heard, the WFDB files beside it once its signal is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from daemon.messages import Alert
from ec57.annotations import decode
from rhythmd.records import form
from rhythmd.records.cutting import Strip, around
from rhythmd.records.durable import write_whole
from rhythmd.records.form import record_name
from rhythmd.records.hour import hours

FILES = (".hea", ".dat", f".{form.ANNOTATOR}", ".json")

Signal = Literal["awaited", "whole", "part", "none"]


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an alert beside its strip."""

    opened: Alert  # as it was first heard
    closed: Alert | None = None
    signal: Signal = "awaited"  # none: the recorder was not there, or had nothing to write
    heard_s: float  # host time, seconds since 1970

    @property
    def newest(self) -> Alert:
        return self.closed or self.opened

    @property
    def name(self) -> str:
        return record_name(self.opened.id)


class Strips:
    """The folder of strips, and which of them wait for signal. One process writes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.awaited = {kept.name: kept for kept in read_all(folder) if kept.signal == "awaited"}

    def heard(self, alert: Alert, heard_s: float) -> Kept:
        """Note an alert, or its end; one that is noted already is not noted twice."""
        known = read_kept(self.folder, alert.id)
        if known is None:
            kept = Kept(opened=alert, closed=alert if alert.state == "closed" else None, heard_s=heard_s)
        elif alert.state == "closed" and known.closed is None:
            kept = msgspec.structs.replace(known, closed=alert)
        else:
            return known
        self.write(kept)
        return kept

    def write(self, kept: Kept) -> None:
        write_whole(self.folder / f"{kept.name}.json", msgspec.json.encode(kept))
        if kept.signal == "awaited":
            self.awaited[kept.name] = kept
        else:
            self.awaited.pop(kept.name, None)

    def cut(self, kept: Kept, folder_of_hours: Path, *, last: bool = True) -> Kept:
        """Write its strip, as far as there is signal. Where more may come it goes on being awaited."""
        strip = around(kept.opened, kept.closed, hours(folder_of_hours, signal=True))
        if strip is None:
            signal: Signal = "none"
        else:
            write_record(self.folder / kept.name, strip)
            signal = "whole" if strip.whole else "part"
        done = msgspec.structs.replace(kept, signal=signal if last else "awaited")
        self.write(done)
        return done


def write_record(path: Path, strip: Strip) -> None:
    """`path` is without suffix. The header comes last: it makes the record."""
    about = replace(strip.about, name=path.name)
    says = [f"{strip.alert.action} {strip.alert.kind}, {strip.alert.id}"] if strip.alert else []
    for suffix, data in (
        (".dat", strip.counts.astype("<i2").tobytes()),
        (f".{form.ANNOTATOR}", form.annotation_bytes(strip.marks, len(strip.counts))),
        (".hea", form.header(about, strip.counts, says=says)),
    ):
        write_whole(path.with_name(path.name + suffix), data)


def read_record(path: Path, kept: Kept | None = None) -> Strip | None:
    """A strip that is on disk; None where none is, or not all of it can be read."""
    try:
        about, counts, marks = (read(path.with_name(f"{path.name}{suffix}")) for suffix, read in _PARTS.items())
    except (OSError, ValueError):  # AnnotationError is a ValueError
        return None
    return Strip(
        about, counts, tuple(marks), kept.newest if kept else None, whole=kept is None or kept.signal == "whole"
    )


def what_is_spoiled(path: Path) -> str | None:
    """The file for which a strip cannot be read, and why; None where it can."""
    for suffix, read in _PARTS.items():
        part = path.with_name(f"{path.name}{suffix}")
        try:
            read(part)
        except OSError as error:
            return f"{part}: {error.strerror}"
        except ValueError as error:
            return f"{part}: cannot be read ({error})"
    return None


_PARTS: dict[str, Callable[[Path], Any]] = {
    ".hea": lambda file: form.read_about(file)[0],
    ".dat": lambda file: np.fromfile(file, "<i2").astype(np.int16),
    f".{form.ANNOTATOR}": lambda file: decode(file.read_bytes()),
}
"""What a strip is read from."""


def index(folder: Path) -> None:
    """RECORDS and ANNOTATORS, by which LightWAVE and wfdb list a folder. They can be made again: no need to sync."""
    names = sorted(path.stem for path in folder.glob("*.hea"))
    for name, text in (("RECORDS", "".join(f"{each}\n" for each in names)), ("ANNOTATORS", _ANNOTATORS)):
        new = folder / f".{name}.new"
        new.write_text(text)
        new.replace(folder / name)


_ANNOTATORS = f"{form.ANNOTATOR}\tdecided by rhythmd, not reviewed by anyone\n"


def read_kept(folder: Path, alert_id: str) -> Kept | None:
    """What is kept of this alert; None where nothing is."""
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode((folder / f"{record_name(alert_id)}.json").read_bytes(), type=Kept)
    return None


def read_all(folder: Path) -> Iterator[Kept]:
    for path in sorted(folder.glob("*.json")):
        with suppress(OSError, msgspec.DecodeError):
            yield msgspec.json.decode(path.read_bytes(), type=Kept)
