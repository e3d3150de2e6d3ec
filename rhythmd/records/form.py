"""The files of a record: WFDB, format 16, one signal, with what WFDB has no field for in the header's comments.

Written by hand because wfdb stays off the device. A record that is still growing has no length in its header; readers
then go by the size of the signal file. That leaves no room for its time, which stands in a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.messages import SCHEMA
from dsp.signal import RATE_HZ
from ec57.annotations import NOTE, Annotation, Annotations, encode

Counts = NDArray[np.int16]
COUNT_BYTES = 2
MISSING = -(2**15)
"""WFDB's mark of a sample that is not there, and that of the `wave` messages."""

ANNOTATOR = "rhy"


@dataclass(frozen=True, slots=True)
class About:
    """What a record is of."""

    name: str
    begins: datetime  # UTC of its first sample
    patch: str
    first_sample: int  # of its first sample, as the patch counts
    patch_rate_hz: float
    life: str  # the daemon's: sample counts of another say nothing here
    counts_per_mv: int
    made_by: str  # program, engine, model

    def position(self, sample: int) -> int:
        """Where the patch's sample is in the record, which is at 250 Hz; may lie outside it."""
        return round((sample - self.first_sample) * RATE_HZ / self.patch_rate_hz)

    def utc(self, sample: int) -> datetime:
        return self.begins + timedelta(seconds=(sample - self.first_sample) / self.patch_rate_hz)


def record_name(text: str) -> str:
    """As WFDB allows it: letters, digits, hyphens, underscores."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", text)


def header(about: About, counts: Counts | None = None, *, length: int | None = None, says: Iterable[str] = ()) -> bytes:
    """The header of a record that grows; of one that is finished, with its `counts`; or, with its length alone, of one
    whose signal was given up and whose annotations are kept.
    """
    size = length if counts is None else len(counts)
    line = f"{about.name} {0 if length is not None else 1} {RATE_HZ}"
    if size is not None:
        line += f" {size} {about.begins:%H:%M:%S}.{about.begins.microsecond // 1000:03d} {about.begins:%d/%m/%Y}"
    lines = [line]
    if length is None:
        first = 0 if counts is None or not len(counts) else int(counts[0])
        checksum = 0 if counts is None else int(np.sum(counts, dtype=np.int64).astype(np.int16))
        lines.append(f"{about.name}.dat 16 {about.counts_per_mv}/mV 16 0 {first} {checksum} 0 ECG")
    facts = {
        "begins": about.begins.isoformat(),
        "patch": about.patch,
        "first_sample": about.first_sample,
        "patch_rate_hz": f"{about.patch_rate_hz:g}",
        "life": about.life,
        "counts_per_mv": about.counts_per_mv,
        "schema": SCHEMA,
        "made_by": about.made_by,
    }
    lines += [f"# {name}: {value}" for name, value in facts.items()]
    lines += [f"# {line}" for line in (*says, "Cleaned by a causal band-pass, 0.5 to 40 Hz. NOT A MEDICAL DEVICE.")]
    return "".join(f"{line}\n" for line in lines).encode()


def read_about(path: Path) -> tuple[About, int, int | None]:
    """(what it is of, how many signals it has, its length where the header gives one). Raises ValueError."""
    lines = path.read_text().splitlines()
    facts = dict(line[2:].split(": ", 1) for line in lines if line.startswith("# ") and ": " in line)
    fields = lines[0].split() if lines else []
    try:
        about = About(
            fields[0],
            datetime.fromisoformat(facts["begins"]),
            facts["patch"],
            int(facts["first_sample"]),
            float(facts["patch_rate_hz"]),
            facts["life"],
            int(facts["counts_per_mv"]),
            facts["made_by"],
        )
        return about, int(fields[1]), int(fields[3]) if len(fields) > 3 else None
    except (KeyError, IndexError) as error:
        raise ValueError(f"{path}: lacks {error}; is it of rhythmd record?") from None


NO_SIGNAL = "no signal for "


def gap_notes(counts: Counts) -> list[Annotation]:
    """A note at each gap of a second or more: it outlives the signal."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], (counts == MISSING).astype(np.int8), [0]))))
    gaps = [(begin, end) for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]
    return [
        Annotation(begin, NOTE, aux=f"{NO_SIGNAL}{(end - begin) / RATE_HZ:.1f} s")
        for begin, end in gaps
        if end - begin >= RATE_HZ
    ]


def annotation_bytes(marks: Iterable[Annotation], length: int) -> bytes:
    """The bytes of an annotation file, of those marks that lie within the record, in the order of time."""
    inside = [mark for mark in marks if 0 <= mark.sample < length]
    inside.sort(key=lambda mark: (mark.sample, mark.symbol not in "+~"))  # what holds from here before what is here
    return encode(Annotations(tuple(inside)))
