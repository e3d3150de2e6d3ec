"""`python -m ec57 REFERENCE_DIR TEST_DIR`: score a folder of annotation files, print the standard's tables."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ec57 import epicmp, record
from ec57.annotations import AnnotationError
from ec57.beats import AAMI_CLASS, ESCAPES_NORMAL
from ec57.bxb import LEARNING_S
from ec57.sumstats import average, format_matrix, format_table, gross

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TABLES = {
    "beats": "Beats",
    "ventricular_runs": "Ventricular runs",
    "supraventricular_runs": "Supraventricular runs",
    "af": "Atrial fibrillation (durations in seconds)",
    "vf": "Ventricular fibrillation (durations in seconds)",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _parser().parse_args(arguments)
    names = options.records or sorted(path.stem for path in options.test_dir.glob(f"*.{options.test}"))
    if not names:
        print(f"ec57: no *.{options.test} in {options.test_dir}", file=sys.stderr)
        return 1
    if options.start_s != LEARNING_S:
        print(f"ec57: not the standard's comparison: it starts at {options.start_s:g} s", file=sys.stderr)
    if options.escapes_normal:
        print("ec57: not bxb's classes: supraventricular escape beats count as normal", file=sys.stderr)
    try:
        scores = {
            name: record.compare(
                options.reference_dir / name,
                options.test_dir / name,
                reference_extension=options.reference,
                test_extension=options.test,
                start_s=options.start_s,
                vf=epicmp.VF_RHYTHM if options.vf_rhythm else epicmp.VF,
                classes=ESCAPES_NORMAL if options.escapes_normal else AAMI_CLASS,
            )
            for name in names
        }
    except (OSError, AnnotationError, ValueError) as error:
        print(f"ec57: {error}", file=sys.stderr)
        return 1
    print(json.dumps(as_json(scores), indent=1) if options.json else as_markdown(scores))
    return 0


def as_markdown(scores: Mapping[str, record.RecordScore]) -> str:
    """Every table, and the matrix of all beats."""
    parts = []
    for name, title in TABLES.items():
        parts += [f"## {title}", format_table(_column(scores, name))]
        if name == "beats":
            total = gross(_column(scores, name).values())
            error = "-" if total.rr_error_ms is None else f"{total.rr_error_ms:.2f} ms"
            parts += [format_matrix(total), f"RR error {error}; shutdown {total.shutdown_s} s; {len(scores)} records."]
    return "\n\n".join(parts)


def as_json(scores: Mapping[str, record.RecordScore]) -> dict[str, Any]:
    """Every table: each record's score and figures, then gross and average."""
    tables: dict[str, Any] = {}
    for name in TABLES:
        column = _column(scores, name)
        tables[name] = {
            "records": {key: _with_figures(score) for key, score in column.items()},
            "gross": _with_figures(gross(column.values())),
            "average": average(column.values()),
        }
    return tables


def _column(scores: Mapping[str, record.RecordScore], name: str) -> dict[str, Any]:
    return {key: getattr(score, name) for key, score in scores.items()}


def _with_figures(score: Any) -> dict[str, Any]:
    figures = {
        name: {"part": ratio.part, "whole": ratio.whole, "percent": ratio.percent}
        for name, ratio in score.statistics().items()
    }
    return {**asdict(score), "figures": figures}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ec57", description=__doc__)
    parser.add_argument("reference_dir", type=Path, help="folder of headers and reference annotations")
    parser.add_argument("test_dir", type=Path, help="folder of the annotations to score")
    parser.add_argument("--reference", default="atr", metavar="EXT", help="extension of the reference (%(default)s)")
    parser.add_argument("--test", default="rhy", metavar="EXT", help="extension of the test (%(default)s)")
    parser.add_argument("--records", nargs="+", metavar="NAME", help="default: all that the test has")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    parser.add_argument(
        "--vf-rhythm", action="store_true", help="fibrillation is marked by rhythms (VF..., not by [ and ]"
    )
    parser.add_argument(
        "--escapes-normal", action="store_true", help="count e, j and n as normal, as papers do, not as S, as bxb does"
    )
    parser.add_argument(
        "--start-s", type=float, default=LEARNING_S, metavar="S", help="learning time; the standard's is %(default)s"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
