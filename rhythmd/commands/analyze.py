"""Judge recordings as the daemon would have, as fast as the machine goes.

rhythmd analyze RECORD... --output-dir DIR [--lead NAME|INDEX] [--jobs N]

RECORD is a WFDB record's path without suffix, or `shipped` for the one that comes along. For each, DIR gets at the
record's own sampling frequency:
  <record>.rhy            WFDB annotations: beats N S V Q, rhythm changes (N (AFIB (SVTA (VT (VF (ASYS (NOISE
  <record>.alerts.jsonl   one object per alert, the fields of the published one; `raised_sample` is when the daemon
                          would have published it, `end_sample` is null while it is open
A record that cannot be read is named, the others are done, and the exit code is 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from daemon.app import find_model
from daemon.config import Config, ConfigError, load
from engines.backend import open_backend
from rhythmd.analysis import analyze, write_alerts, write_annotations
from rhythmd.recording import RecordError, duration_s, find, stem


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("records", nargs="+", metavar="RECORD")
    parser.add_argument("--output-dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--lead", help="by name, or by index from 0 (default: the first ECG lead)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="default: %(default)s")
    parser.add_argument("--config", type=Path, metavar="FILE", help="thresholds and engine, as for `rhythmd run`")


def run(args: argparse.Namespace) -> int:
    config = load(args.config) if args.config else Config()
    find_model(config.engine.model)  # a bad model is one error, not one for each record
    names = [Path(stem(record)).name for record in args.records]
    if twice := {name for name in names if names.count(name) > 1}:
        raise RecordError(f"{', '.join(sorted(twice))}: given twice; results are named after the record")
    try:
        args.output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output-dir {args.output_dir}: {error.strerror}") from None
    failed = 0
    with _progress(args.records) as bar:
        for record, wrong in _all_done(args, config):
            if wrong is None:
                bar.update(round(duration_s(record) / 60, 1))
            else:
                failed += 1
                bar.write(f"rhythmd: {wrong}", file=sys.stderr)
    return 2 if failed else 0


def _all_done(args: argparse.Namespace, config: Config) -> Iterator[tuple[str, RecordError | None]]:
    """(record, what was wrong with it), in the order in which they are done."""
    tasks = [(record, args.lead, args.output_dir, config) for record in args.records]
    if min(args.jobs, len(tasks)) <= 1:
        for task in tasks:
            yield task[0], _one(*task)
        return
    with ProcessPoolExecutor(min(args.jobs, len(tasks))) as pool:
        futures = {pool.submit(_one, *task): task[0] for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _one(record: str, lead: str | None, directory: Path, config: Config) -> RecordError | None:
    model = find_model(config.engine.model)
    try:
        recording = find(record, lead)
        with open_backend(config.engine.backend, model) as backend:
            analysis = analyze(recording, backend, model.manifest.heads, config.alerts)
    except RecordError as error:
        return error
    try:
        write_annotations(analysis, recording, directory)
        write_alerts(analysis, recording, directory)
    except OSError as error:
        return RecordError(f"{record}: cannot write to {directory}: {error.strerror or error}")
    return None


def _progress(records: list[str]) -> Any:
    from tqdm import tqdm

    total = round(sum(duration_s(record) for record in records) / 60, 1)
    return tqdm(total=total, unit=" min of ECG", smoothing=0.05, disable=None)
