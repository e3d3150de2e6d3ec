"""Score rhythmd on recordings whose truth is known, by the rules of ANSI/AAMI EC57; write a report.

rhythmd evaluate DIR [--records A B ...] [--reference atr] [--jobs N] [--output report.html] [--analysis DIR]
                     [--config FILE] [--groups ds1,ds2]

DIR holds WFDB records with reference annotations, or is a challenge's folder: with `labels.csv` (PhysioNet/CinC 2015,
ICU alarms) or `train.npz` (CinC 2017, atrial fibrillation). What has not been analysed yet, or by another model,
configuration or version, is analysed first. Written, beside one another: the page, the same in Markdown (.md) and
everything for programs (.json). A record that cannot be scored is named, the others are scored, and the exit code is 2.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from daemon.config import Config, ConfigError, load
from rhythmd.evaluation.job import Job
from rhythmd.evaluation.report import Report, as_lines, as_markdown

LEARNING_S = 300.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--records", nargs="+", metavar="NAME", help="default: all that have a reference")
    parser.add_argument("--reference", default="atr", metavar="EXT", help="its annotations' suffix (%(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="default: %(default)s")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the page (default: evaluation/<DIR's name>.html)")
    parser.add_argument("--analysis", type=Path, metavar="DIR", help="keeps the analyses (default: beside the page)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="thresholds and engine, as for `rhythmd run`")
    parser.add_argument("--groups", metavar="A,B", help="sets of records told apart (default: those known for DIR)")
    parser.add_argument(
        "--start-s", type=float, default=LEARNING_S, metavar="S", help="learning time; the standard's is %(default)s"
    )


def run(args: argparse.Namespace) -> int:
    if not args.folder.is_dir():
        raise ConfigError(f"{args.folder}: no such folder")
    output = args.output or Path("evaluation") / f"{args.folder.resolve().name}.html"
    job = Job(
        args.folder,
        args.analysis or output.with_suffix(".analysis"),
        args.records,
        args.reference,
        args.groups.split(",") if args.groups else None,
        args.start_s,
        args.jobs,
        load(args.config) if args.config else Config(),
        args.config,
    )
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        job.results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output {output}: {error.strerror}") from None
    report = _scorer(args.folder)(job)
    _write(report, output)
    for reason in report.failures.values():
        print(f"rhythmd: {reason}", file=sys.stderr)
    print(f"{report.title}, {report.facts['model']}\n\n{as_lines(report.headline)}\n")
    print(f"{output} (also {output.with_suffix('.md').name}, {output.with_suffix('.json').name})")
    return 2 if report.failures else 0


def _scorer(folder: Path) -> Callable[[Job], Report]:
    """By what stands beside the records."""
    from rhythmd.evaluation import annotated, challenge2015, cinc2017

    scorers = {"labels.csv": challenge2015.evaluate, "train.npz": cinc2017.evaluate}
    return next((scorer for file, scorer in scorers.items() if (folder / file).exists()), annotated.evaluate)


def _write(report: Report, output: Path) -> None:
    from rhythmd.evaluation.page import as_html

    output.write_text(as_html(report), encoding="utf-8")
    output.with_suffix(".md").write_text(as_markdown(report), encoding="utf-8")
    output.with_suffix(".json").write_text(json.dumps(report.data, indent=1) + "\n", encoding="utf-8")
