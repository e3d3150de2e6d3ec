"""What was recorded, in the format of another program: a strip around an alert, or a stretch of time.

rhythmd export                                        lists what there is; --json for programs
rhythmd export patch0-19a2b3c4d5e-7 --format pdf      the strip of an alert, by its id
rhythmd export 2026-03-01T12:00:2026-03-01T12:30 --format edf     FROM:TO, in UTC unless they name another zone

  wfdb   .hea .dat .rhy     edf   EDF+ with annotations     csv    one line a sample
  png    ECG paper          pdf   ECG paper, pages          fhir   R4 Observation with SampledData
Paper is 25 mm/s and 10 mm/mV where it is printed at 100 %. Needs pip install 'rhythmd[records]' for edf, pdf and png.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timezone
from pathlib import Path

import msgspec

from daemon.config import ConfigError, load
from rhythmd.recording import RecordError
from rhythmd.records import find_records, strip
from rhythmd.records.cutting import Strip, between
from rhythmd.records.exports import FORMATS
from rhythmd.records.form import record_name
from rhythmd.records.hour import hours
from rhythmd.records.keeping import read_all, read_kept, what_is_spoiled, write_record
from rhythmd.records.times import times

STDOUT = Path("-")
LONGEST_S = 86_400.0
SUFFIXES = {"fhir": "fhir.json"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="?", metavar="EVENT|FROM:TO", help="an alert's id, or two times")
    parser.add_argument("--format", default="wfdb", choices=("wfdb", *FORMATS))
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: here, named after the alert; - is stdout")
    parser.add_argument("--config", type=Path, metavar="FILE", help="as for `rhythmd record`")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="of the recorder, instead of records.directory")
    parser.add_argument("--json", action="store_true", help="of the list")


def run(args: argparse.Namespace) -> int:
    folder = args.directory or find_records(load(args.config) if args.config else None)
    if not (folder / "strips").is_dir():
        raise ConfigError(f"{folder}: nothing is recorded there; `rhythmd record` does it, --directory names a place")
    if args.what is None:
        return _list(folder, as_json=args.json)
    found = _found(folder, args.what)
    if args.format == "wfdb":
        if args.output and args.output.name in {"", STDOUT.name}:
            raise RecordError(
                f"--output {args.output}: wfdb is three files; name them all, as in --output {found.about.name}"
            )
        path = args.output or Path(found.about.name)
        path = path.with_name(record_name(path.name.removesuffix(".hea")))
        _write(path, lambda: write_record(path, found))
        print(f"{path}.hea")
        return 0
    data = _made(found, args.format)
    if args.output == STDOUT:
        sys.stdout.buffer.write(data)
        return 0
    path = args.output or Path(f"{found.about.name}.{SUFFIXES.get(args.format, args.format)}")
    _write(path, lambda: path.write_bytes(data))
    print(path)
    return 0


def _found(folder: Path, what: str) -> Strip:
    """The strip of an alert, or what there is between two times."""
    if span := times(what):
        begin, end = span
        if end <= begin:
            raise RecordError(f"{what}: ends before it begins")
        if (end - begin).total_seconds() > LONGEST_S:
            raise RecordError(f"{what}: longer than a day; export a day at a time")
        if found := between(begin, end, hours(folder / "hours")):
            return replace(found, about=replace(found.about, name=f"{begin.astimezone(timezone.utc):%Y%m%dT%H%M%SZ}"))
        raise RecordError(f"{what}: no signal of that time in {folder / 'hours'}{_kept_between(folder)}")
    kept = read_kept(folder / "strips", what)
    if kept is None:
        raise RecordError(f"{what}: neither an alert in {folder / 'strips'} nor FROM:TO; `rhythmd export` lists both")
    found = strip(what, folder)
    if found is None and kept.signal in {"whole", "part"}:
        spoiled = what_is_spoiled(folder / "strips" / kept.name)
        raise RecordError(f"{spoiled}; restore it from a copy, or export its time as FROM:TO")
    if found is None:
        raise RecordError(f"{what}: noted, but without signal: the recorder was not running, or nothing came to it")
    return replace(found, about=replace(found.about, name=kept.name))


def _kept_between(folder: Path) -> str:
    whole = [hour for hour in hours(folder / "hours") if hour.has_signal]
    if not whole:
        return "; without full disclosure only the last hour or so is kept"
    return f"; it begins {whole[0].about.begins:%Y-%m-%dT%H:%M:%S} and ends {whole[-1].ends:%Y-%m-%dT%H:%M:%S}"


def _made(found: Strip, form: str) -> bytes:
    try:
        return FORMATS[form](found)
    except ModuleNotFoundError as error:
        raise RecordError(f"--format {form} needs {error.name}: pip install 'rhythmd[records]'") from None


def _write(path: Path, write: Callable[[], object]) -> None:
    try:
        write()
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror or error}") from None


def _list(folder: Path, *, as_json: bool) -> int:
    """What there is, oldest first."""
    for kept in sorted(read_all(folder / "strips"), key=lambda one: one.opened.utc):
        alert = kept.opened
        if as_json:
            print(msgspec.json.encode({"id": alert.id, "signal": kept.signal, "alert": kept.newest}).decode())
        else:
            print(f"{alert.utc:%Y-%m-%dT%H:%M:%S}  {alert.id:<32} {alert.action:<7} {alert.kind:<26} {kept.signal}")
    for hour in hours(folder / "hours"):
        begins, ends = f"{hour.about.begins:%Y-%m-%dT%H:%M:%S}", f"{hour.ends:%Y-%m-%dT%H:%M:%S}"
        if as_json:
            print(msgspec.json.encode({"from": begins, "to": ends, "signal": hour.has_signal}).decode())
        elif hour.has_signal:
            print(f"{begins}:{ends}")
    return 0
