"""A strip in the formats of other programs: each a function that gives the bytes of one file."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import datetime, timedelta
from io import BytesIO, StringIO
from typing import Any

import msgspec
import numpy as np

from dsp.signal import RATE_HZ
from rhythmd.records.cutting import Strip
from rhythmd.records.form import MISSING
from rhythmd.records.layout import gaps
from rhythmd.records.paper import as_pdf, as_png

WARNING = "Not a medical device. Annotations were decided by a program and reviewed by nobody."


def as_csv(strip: Strip) -> bytes:
    """A line for each sample: UTC, seconds, millivolts (empty where missing), and what was said of it."""
    said: dict[int, list[str]] = {}
    for mark in strip.marks:
        said.setdefault(mark.sample, []).append(f"{mark.symbol} {mark.aux}".strip())
    with StringIO(newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("utc", "seconds", "ecg_mv", "annotation"))
        for at, value in enumerate(strip.ecg_mv.tolist()):
            utc = strip.begins + timedelta(seconds=at / RATE_HZ)
            shown = "" if np.isnan(value) else f"{value:.3f}"
            table.writerow(
                (utc.isoformat(timespec="milliseconds"), f"{at / RATE_HZ:.3f}", shown, "; ".join(said.get(at, [])))
            )
        return file.getvalue().encode()


def as_edf(strip: Strip) -> bytes:
    """EDF+C. It has no mark for what is missing: there the signal stands at its lower rail, and an annotation tells."""
    from edfio import Edf, EdfAnnotation, EdfSignal, Recording

    size = -(-len(strip.counts) // RATE_HZ) * RATE_HZ  # whole seconds, as most readers expect of a data record
    counts = np.full(size, MISSING, np.int16)
    counts[: len(strip.counts)] = strip.counts
    per_uv = strip.about.counts_per_mv / 1000  # in mV edfio rounds the range, and all samples with it
    signal = EdfSignal.from_digital(
        counts,
        RATE_HZ,
        label="ECG",
        physical_dimension="uV",
        physical_range=(MISSING / per_uv, (-MISSING - 1) / per_uv),
        digital_range=(MISSING, -MISSING - 1),
        prefiltering="HP:0.5Hz LP:40Hz",
    )
    said = [EdfAnnotation(mark.sample / RATE_HZ, None, f"{mark.symbol} {mark.aux}".strip()) for mark in strip.marks]
    missing = [
        EdfAnnotation(begin, end - begin, "no signal: the values here are none")
        for begin, end in gaps(counts == MISSING, RATE_HZ)
    ]
    begins = strip.begins
    equipment = strip.about.made_by.split(",")[0].replace(" ", "_")[:30]
    recording = Recording(startdate=begins.date(), equipment_code=equipment, additional=("not_a_medical_device",))
    edf = Edf(
        [signal],
        recording=recording,
        starttime=begins.time().replace(tzinfo=None),
        data_record_duration=1,
        annotations=sorted((EdfAnnotation(0.0, None, f"{strip.about.made_by}. {WARNING}"), *said, *missing)),
    )
    with BytesIO() as file:
        edf.write(file)
        return file.getvalue()


def as_fhir(strip: Strip) -> bytes:
    """A FHIR R4 Observation whose value is SampledData, as HL7's own example of an ECG has it; `E` where missing.

    The subject is the patch, by its name: who wears it is not known here.
    """
    about = strip.about
    data = " ".join("E" if value == MISSING else str(value) for value in strip.counts.tolist())
    ends = strip.begins + timedelta(seconds=(len(strip.counts) - 1) / RATE_HZ)
    observation: dict[str, Any] = {
        "resourceType": "Observation",
        "id": about.name.replace("_", "-")[-64:],
        "status": "preliminary",  # nobody has reviewed it
        "category": [{"coding": [_coding(_CATEGORY, "procedure", "Procedure")]}],
        "code": {"coding": [_coding(_MDC, "131328", "MDC_ECG_ELEC_POTL")], "text": "Single-lead ECG"},
        "effectivePeriod": {"start": _instant(strip.begins), "end": _instant(ends)},
        "device": {"display": f"patch {about.patch}; {about.made_by}"},
        "note": [{"text": WARNING}],
        "valueSampledData": {
            "origin": {"value": 0, "unit": "mV", "system": "http://unitsofmeasure.org", "code": "mV"},
            "period": 1000 / RATE_HZ,
            "factor": 1 / about.counts_per_mv,
            "lowerLimit": MISSING + 1,
            "upperLimit": -MISSING - 1,
            "dimensions": 1,
            "data": data,
        },
    }
    if strip.alert:
        said = f"{strip.alert.action} {strip.alert.kind.replace('_', ' ')}, priority {strip.alert.priority}"
        observation["interpretation"] = [{"text": f"{said}, by a program"}]
        observation["identifier"] = [{"value": strip.alert.id}]
    return msgspec.json.format(msgspec.json.encode(observation), indent=1) + b"\n"


_MDC = "urn:oid:2.16.840.1.113883.6.24"  # IEEE 11073-10101
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"


def _coding(system: str, code: str, display: str) -> dict[str, str]:
    return {"system": system, "code": code, "display": display}


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


FORMATS: dict[str, Callable[[Strip], bytes]] = {
    "csv": as_csv,
    "edf": as_edf,
    "fhir": as_fhir,
    "pdf": as_pdf,
    "png": as_png,
}
"""Of one file each; `wfdb` is three, which rhythmd.records.keeping writes."""
