"""Judge recordings as the daemon would have, as fast as the machine goes.

rhythmd analyze RECORD... --output-dir DIR [--lead NAME|INDEX] [--jobs N | --ray ADDRESS]

RECORD is a WFDB record's path without suffix, `shipped` for the one that comes along, a folder (all records beneath it)
or a list (a file with one record a line, as PhysioNet's RECORDS). Each may be a URL that fsspec knows:
  rhythmd analyze mitdb/100 mitdb/101 --output-dir out     two records
  rhythmd analyze mitdb --output-dir out                   a folder; the results lie in out/ as the records do in mitdb/
  rhythmd analyze s3://bucket/study --output-dir out       the same at a URL: pip install s3fs (gcsfs, adlfs, ...)
For each, DIR gets at the record's own sampling frequency:
  <record>.rhy            WFDB annotations: beats N S V Q, rhythm changes (N (AFIB (SVTA (VT (VF (ASYS (NOISE
  <record>.alerts.jsonl   one object per alert, the fields of the published one; `raised_sample` is when the daemon
                          would have published it, `end_sample` is null while it is open
  <record>.analysis.json  what made them: record, model, configuration, program; and the figures for the summary
and for all of them:
  summary.csv             one row a record: hours, beats by class, count of each arrhythmia and its share of the time,
                          the share that was unfit to judge, versions. With pyarrow installed also summary.parquet
Interrupted, the same command goes on where it stopped, also within a recording; what is there already and was made by
the same is left. A record that cannot be read is named, also in DIR/failed.jsonl (record, why); the others are done.

With --ray they are done by a Ray cluster, to the same bytes (pip install 'rhythmd[ray]', here and on each node):
  rhythmd analyze s3://bucket/study --output-dir out --ray auto              the cluster that this machine is a node of
  rhythmd analyze /nfs/study --output-dir out --ray 10.0.0.1:6379            the same, by the address of its head
  rhythmd analyze study --output-dir out --ray local                         one for this run, of --jobs CPUs
Each node must see the records at the same path, or RECORD is a URL; results come back to DIR here. A record whose
worker is lost is done again by another, from its beginning.

Exit codes: 0 all done, 3 some records failed, 2 something to mend before any can be done, 130 stopped.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon.app import find_model
from daemon.config import Config, ConfigError, load
from rhythmd.archive import Job, Outcome
from rhythmd.batch import processes
from rhythmd.batch.files import is_url
from rhythmd.batch.records import Asked, asked
from rhythmd.batch.summary import write_summary
from rhythmd.batch.temporary import remove_left
from rhythmd.recording import duration_s

SOME_FAILED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("records", nargs="+", metavar="RECORD", help="a record, a folder or a list, here or at a URL")
    parser.add_argument("--output-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--lead", help="by name, or by index from 0 (default: the first ECG lead)")
    parser.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes on this machine (default: %(default)s)",
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="of a Ray cluster: auto, HOST:PORT, or local")
    parser.add_argument("--config", type=Path, metavar="FILE", help="thresholds and engine, as for `rhythmd run`")
    parser.add_argument("--again", action="store_true", help="also what is there already")


def run(args: argparse.Namespace) -> int:
    config = load(args.config) if args.config else Config()
    find_model(config.engine.model)  # a bad model is one error, not one for each record
    records = asked(args.records)
    idle = args.ray is None and args.jobs >= 2 * len(records)  # a core beside each record's own
    jobs = [
        Job(each.record, args.lead, args.output_dir / each.under, config, args.again, ahead=idle) for each in records
    ]
    try:
        for directory in {args.output_dir, *(job.directory for job in jobs)}:
            directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output-dir {args.output_dir}: {error.strerror}") from None
    remove_left()
    gc.freeze()  # what was imported stays: to look through it again and again takes a tenth of the time
    shared = processes.Shared()
    outcomes: Counter[Outcome | None] = Counter()
    failed: dict[str, str] = {}
    with _bar(records) as bar, _doing(args, jobs, shared, bar) as all_done:
        for job, outcome, wrong in all_done:
            outcomes[outcome] += 1
            if wrong:
                failed[job.record] = wrong
                bar.write(f"rhythmd: {wrong}", file=sys.stderr)
    _list(args.output_dir / "failed.jsonl", failed)
    _summarise(args.output_dir, records)
    if left := outcomes["there already"]:
        print(f"{left} there already, made by the same; --again does them again", file=sys.stderr)
    if shared.stop.value:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    if len(failed) == len(jobs):
        return 2
    return SOME_FAILED if failed else 0


@contextmanager
def _doing(
    args: argparse.Namespace, jobs: list[Job], shared: processes.Shared, bar: Any
) -> Iterator[Iterator[processes.Done]]:
    if args.ray is None:
        with processes.interrupts(shared):
            yield processes.all_done(jobs, args.jobs, shared, _showing(bar))
        return
    from rhythmd.batch import cluster

    def tell(line: str) -> None:
        bar.write(f"rhythmd: {line}", file=sys.stderr)

    with cluster.connected(args.ray, args.jobs), processes.interrupts(shared):  # in this order: Ray sets handlers too
        yield cluster.all_done(jobs, shared, _showing(bar), tell)


def _list(path: Path, failed: dict[str, str]) -> None:
    """Those of this run; no file where there are none."""
    lines = [json.dumps({"record": record, "why": why}) + "\n" for record, why in sorted(failed.items())]
    try:
        path.write_text("".join(lines)) if lines else path.unlink(missing_ok=True)
    except OSError as error:
        print(f"rhythmd: {path}: {error.strerror}; what failed is not listed there", file=sys.stderr)


def _summarise(directory: Path, records: list[Asked]) -> None:
    try:
        write_summary(directory, records)
    except OSError as error:
        print(f"rhythmd: {directory}/summary.csv: {error.strerror}; there is no summary", file=sys.stderr)


def _showing(bar: Any) -> Callable[[float], None]:
    shown = 0.0

    def show(hours: float) -> None:
        nonlocal shown
        bar.update(hours - shown)
        shown = hours

    return show


def _bar(records: list[Asked]) -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        raise ConfigError("rhythmd analyze needs tqdm: pip install 'rhythmd[evaluate]'") from None
    away = any(is_url(each.record) for each in records)  # how long those are is not asked: ten thousand are a long wait
    total = None if away else sum(duration_s(each.record) for each in records) / 3600
    of = "" if away else " of {total:.1f}"
    form = "{l_bar}{bar}| {n:.1f}" + of + " h of ECG [{elapsed}<{remaining}, {rate_fmt}]"
    return tqdm(total=total, unit="h", smoothing=0.05, disable=None, bar_format=form)
