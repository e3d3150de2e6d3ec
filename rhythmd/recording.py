"""Reads recordings: any WFDB record, through the wfdb package, and the one that rhythmd brings along."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

SHIPPED = Path(__file__).parent / "aha0201.npz"
"""AHA sample record 0201 (250 Hz, ventricular ectopy), (c) AHA, by way of PhysioNet, ODC-By 1.0. From the source
archive of wfdb 4.3.0, `tmp_dl_dir/`, first signal and `.atr`; the file itself says so too."""

_SHIPPED_NAME = "0201"

NO_DATE = datetime(1970, 1, 1, tzinfo=timezone.utc)
"""Where a recording without a date begins; WFDB knows no time zone, so dates are taken as UTC."""


LEAST_RATE_HZ, MOST_RATE_HZ = 10.0, 100_000.0
"""Archives hold records of a monitor's numbers, one a second or a minute, beside those of its signals. Nothing that
records ECG is faster than the other: such a number is a slip."""


class RecordError(Exception):
    """A recording cannot be read. The message names it and the remedy."""


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One lead of one recording."""

    name: str
    lead: str
    rate_hz: float
    counts: np.ndarray  # (n,) ADC counts less the baseline, float64; NaN where the recording has no sample
    counts_per_mv: float
    rails: tuple[float, float] = (-np.inf, np.inf)  # the least and the greatest count that the converter gives
    begins: datetime = NO_DATE

    @property
    def samples(self) -> int:
        return len(self.counts)

    def piece(self, first: int, last: int) -> Recording:
        """Its samples from `first` to before `last`."""
        return replace(self, counts=self.counts[first:last])

    @property
    def ecg_mv(self) -> np.ndarray:
        """(n,) millivolts."""
        return self.counts / self.counts_per_mv

    @property
    def saturated(self) -> np.ndarray:
        """(n,) true where the converter was at a rail."""
        low, high = self.rails
        at_rail: np.ndarray = (self.counts <= low) | (self.counts >= high)
        return at_rail


def shipped() -> Recording:
    """AHA 0201, for the demonstration: needs no wfdb."""
    with np.load(SHIPPED) as file:
        gain = float(file["counts_per_mv"])
        return Recording(_SHIPPED_NAME, "ECG", float(file["rate_hz"]), file["counts"].astype(float), gain)


def shipped_beats() -> tuple[list[int], list[str]]:
    """Its annotated beats: samples and symbols. The first five minutes have none."""
    with np.load(SHIPPED) as file:
        return file["beat_samples"].tolist(), file["beat_symbols"].tolist()


@dataclass(frozen=True, slots=True)
class Stored:
    """One lead of a WFDB record, in its file: a week of ECG need not fit into memory."""

    path: str
    index: int  # of the signal
    name: str
    lead: str
    rate_hz: float
    samples: int
    segmented: bool
    begins: datetime = NO_DATE

    def piece(self, first: int, last: int | None) -> Recording:
        """Its samples from `first` to before `last` or the end, read from the file."""
        try:
            record = _wfdb().rdrecord(
                self.path,
                sampfrom=first,
                sampto=last,
                channels=[self.index],
                physical=self.segmented,
                smooth_frames=True,
            )
            signal = (record.p_signal if self.segmented else record.d_signal)[:, 0].astype(float)
        except Exception as error:  # wfdb raises whatever its parser stumbles over
            raise RecordError(f"{self.path}: wfdb cannot read its signals ({error}); is the file whole?") from error
        per_mv = _PER_MV.get((record.units[0] or "mV").lower(), 1.0)
        recording = partial(Recording, self.name, self.lead, self.rate_hz, begins=self.begins)
        if self.segmented:  # each segment has a scale of its own: wfdb has brought them to physical units
            return recording(counts=signal, counts_per_mv=per_mv)
        signal[signal == _LOST.get(record.fmt[0], -(2.0**15))] = np.nan
        zero, bits = record.adc_zero[0] or 0, record.adc_res[0] or 16
        baseline = zero if record.baseline[0] is None else record.baseline[0]
        return recording(
            counts=signal - baseline,
            counts_per_mv=float(record.adc_gain[0]) * per_mv,
            rails=(zero - 2.0 ** (bits - 1) - baseline, zero + 2.0 ** (bits - 1) - 1 - baseline),
        )


def read(path: str, lead: str | None = None) -> Recording:
    """The whole of what `find` finds."""
    found = find(path, lead)
    return found.piece(0, found.samples)


def find(path: str, lead: str | None = None) -> Recording | Stored:
    """Record `path` (no suffix, as wfdb takes it; or `shipped`), one lead: by name, by index from 0, or the first ECG.

    It is read when a piece is asked for; one whose header does not say how long it is, at once.
    """
    if path == "shipped":
        found = shipped()
        _lead_index([found.lead], lead, path)
        return found
    wfdb, path = _wfdb(), stem(path)
    header = header_of(path)
    names = [name or f"signal {place}" for place, name in enumerate(_signal_names(header))]
    index = _lead_index(names, lead, path)
    stored = Stored(
        path,
        index,
        Path(path).name,
        names[index],
        float(header.fs),
        header.sig_len or 0,
        isinstance(header, wfdb.MultiRecord),
        header.base_datetime.replace(tzinfo=timezone.utc) if header.base_datetime else NO_DATE,
    )
    return stored if stored.samples else stored.piece(0, None)


def _signal_names(header: Any) -> list[str | None]:
    if hasattr(header, "get_sig_name"):  # of several segments
        return list(header.get_sig_name() or [])
    return list(header.sig_name or [])


def stem(path: str) -> str:
    """The record of a file: a shell's `*` gives files."""
    return path.removesuffix(".hea").removesuffix(".dat").removesuffix(".mat")


def name_of(path: str) -> str:
    """What a record's results are called."""
    return _SHIPPED_NAME if path == "shipped" else PurePosixPath(stem(path)).name


def duration_s(path: str) -> float:
    """How long a record is by its header; 0 for one that cannot be read."""
    if path == "shipped":
        return shipped().samples / shipped().rate_hz
    try:
        header = header_of(stem(path))
    except RecordError:
        return 0.0
    return float((header.sig_len or 0) / header.fs)


def header_of(path: str, *, segments: bool = True) -> Any:
    """What wfdb makes of it; with the headers of its segments, if it has some. Raises RecordError."""
    wfdb = _wfdb()
    try:
        header = wfdb.rdheader(path, rd_segments=segments)
    except FileNotFoundError:
        raise RecordError(f"{path}: no such record (no {path}.hea)") from None
    except Exception as error:  # wfdb raises whatever its parser stumbles over
        raise RecordError(f"{path}: wfdb cannot read its header ({error}); is it a WFDB header?") from error
    if not header.fs or header.fs <= 0:
        raise RecordError(f"{path}: its header gives no sampling frequency; add it after the number of signals")
    if header.fs < LEAST_RATE_HZ:
        raise RecordError(f"{path}: {header.fs:g} samples a second are no ECG, but perhaps a monitor's numbers")
    if header.fs > MOST_RATE_HZ:
        raise RecordError(f"{path}: {header.fs:g} samples a second are no ECG; correct the number in {path}.hea")
    return header


def _wfdb() -> Any:
    try:
        import wfdb
    except ImportError:
        raise RecordError("reading WFDB records needs the wfdb package: pip install 'rhythmd[evaluate]'") from None
    return wfdb


def _lead_index(names: list[str], lead: str | None, path: str) -> int:
    if not names:
        raise RecordError(f"{path}: has no signals, only a header")
    if lead is None:
        return next((i for i, name in enumerate(names) if not _is_other(name)), 0)
    if lead in names:
        return names.index(lead)
    if lead.isdecimal() and int(lead) < len(names):
        return int(lead)
    raise RecordError(f"{path}: no lead {lead!r}; it has {', '.join(f'{i} {name}' for i, name in enumerate(names))}")


_OTHER = ("RESP", "PLETH", "ABP", "ART", "PAP", "CVP", "BP", "CO2", "SPO2", "EEG", "EMG", "EOG", "GSR", "ACC")


def _is_other(name: str) -> bool:
    return name.upper().startswith(_OTHER)


_LOST = {"8": -128.0, "80": -128.0, "310": -512.0, "311": -512.0, "212": -2048.0, "24": -(2.0**23), "32": -(2.0**31)}
"""The value by which each format marks a lost sample; -32768 for the others."""

_PER_MV = {"v": 1e-3, "uv": 1e3, "μv": 1e3, "µv": 1e3}
"""How many of a header's units are one mV; 1 for those that are not here, mV among them."""
