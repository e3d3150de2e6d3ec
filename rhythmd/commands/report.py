"""A report for a clinician, as one HTML file that prints on A4 at the scale of ECG paper.

rhythmd report RECORD --output report.html       any WFDB record, judged as `rhythmd analyze` does
rhythmd report FOLDER --output report.html       what `rhythmd record` kept there: the last day, or --period FROM:TO
rhythmd report --output report.html              the same of the installed recorder

Rates, atrial fibrillation, ectopic beats by the hour, pauses, strips, all events, signal and program. Times are UTC. To
make a PDF, print the page. Not a medical device: it is no diagnosis, and nobody has reviewed it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.config import Config, ConfigError, load
from rhythmd.recording import RecordError, duration_s
from rhythmd.records import find_records
from rhythmd.records.times import times
from rhythmd.report import of_folder
from rhythmd.report.findings import find
from rhythmd.report.observed import Observed
from rhythmd.report.page import Wish, as_html


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", nargs="?", metavar="RECORD|FOLDER")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the page, report.html say")
    parser.add_argument("--period", metavar="FROM:TO", help="of a folder; UTC (default: the last day that there is)")
    parser.add_argument("--patient", default="", metavar="TEXT", help="printed at the top; empty: a line to write on")
    parser.add_argument(
        "--strips", type=int, default=3, metavar="N", help="of each kind of event (default: %(default)s)"
    )
    parser.add_argument("--lead", help="of a record: by name, or by index from 0 (default: the first ECG lead)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="thresholds and engine, as for `rhythmd run`")


def run(args: argparse.Namespace) -> int:
    config = load(args.config) if args.config else None
    seen = _observed(args, config)
    page = as_html(seen, find(seen), Wish(patient=args.patient, strips_of_a_kind=max(0, args.strips)))
    try:
        args.output.write_text(page)
    except OSError as error:
        raise ConfigError(f"--output {args.output}: {error.strerror}") from None
    print(args.output)
    return 0


def _observed(args: argparse.Namespace, config: Config | None) -> Observed:
    folder = Path(args.source) if args.source else find_records(config)
    if args.source and not folder.is_dir():
        if args.period:
            raise RecordError("--period is for a folder; a record is reported whole")
        from rhythmd.report import of_record  # the engine: not needed for what is judged already

        with _progress(args.source) as progress:
            return of_record.observe(args.source, args.lead, config or Config(), progress)
    inner = folder / "records"
    period = times(args.period) if args.period else None
    if args.period and period is None:
        raise RecordError(f"--period {args.period!r} is not FROM:TO; 2026-03-01T12:00:2026-03-02T12:00 is")
    return of_folder.observe(inner if (inner / "hours").is_dir() else folder, period)


@contextmanager
def _progress(record: str) -> Iterator[Callable[[float], None]]:
    try:
        from tqdm import tqdm
    except ImportError:
        raise RecordError("reading WFDB records needs wfdb and tqdm: pip install 'rhythmd[evaluate]'") from None
    with tqdm(total=round(duration_s(record) / 60, 1), unit=" min of ECG", disable=None) as bar:
        yield lambda at_s: bar.update(round(at_s / 60, 1) - bar.n)
