"""Reads recordings: any WFDB record, through the wfdb package, and the one that rhythmd brings along."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

SHIPPED = Path(__file__).parent / "aha0201.npz"
"""AHA sample record 0201 (250 Hz, ventricular ectopy), (c) AHA / PhysioNet, ODC-By 1.0; docs/decisions.md says from where."""


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

    @property
    def ecg_mv(self) -> np.ndarray:
        """(n,) millivolts."""
        return self.counts / self.counts_per_mv


def shipped() -> Recording:
    """AHA 0201, for the demonstration: needs no wfdb."""
    with np.load(SHIPPED) as file:
        return Recording("0201", "ECG0", float(file["rate_hz"]), file["counts"].astype(float), float(file["counts_per_mv"]))


def read(path: str, lead: str | None = None) -> Recording:
    """Record `path` (no suffix, as wfdb takes it), one lead: by name, by index from 0, or the first ECG lead."""
    try:
        import wfdb
    except ImportError:
        raise RecordError("reading WFDB records needs the wfdb package: pip install 'rhythmd[evaluate]'") from None
    if Path(path).suffix in (".hea", ".dat", ".mat"):
        path = str(Path(path).with_suffix(""))
    try:
        header = wfdb.rdheader(path)
        index = _lead_index(header.sig_name or [], lead, path)
        record = wfdb.rdrecord(path, channels=[index], physical=False)
    except FileNotFoundError as error:
        raise RecordError(f"{path}: no such record ({error.filename or error}); give its path without .hea or .dat") from None
    except RecordError:
        raise
    except Exception as error:  # wfdb raises what its parser stumbles over
        raise RecordError(f"{path}: wfdb cannot read it: {error}") from error
    digital = record.d_signal[:, 0].astype(float)
    bits = 2.0 ** (_resolution_bits(record.fmt[0]) - 1)
    digital[digital == -bits] = np.nan  # WFDB's mark for a lost sample
    return Recording(Path(path).name, header.sig_name[index], float(header.fs), digital - record.baseline[0], record.adc_gain[0])


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


def _resolution_bits(fmt: str) -> int:
    return {"8": 8, "80": 8, "160": 16, "212": 12, "310": 10, "311": 10, "61": 16, "24": 24, "32": 32}.get(fmt, 16)
