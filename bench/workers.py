"""What many recordings cost: `python -m bench.workers`, or as a part of `make bench-scale`.

python -m bench.workers --workers 1 2 --records 16 --minutes 15     the table of docs/scale.md
python -m bench.workers --records 500 --minutes 0.2                 what a record costs whose ECG costs nothing

Each line is the real command on pieces of the shipped recording, by processes (`--jobs`) or by a Ray cluster that this
machine has for itself (`--ray local`, its start included), and once more when nothing is left to do.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench.hours import used_by, write_long

BY = ("--jobs", "--ray")


@dataclass(frozen=True)
class Run:
    by: str
    workers: int
    wall_s: float
    again_s: float  # the same command once more
    hours: float  # of ECG, in all


def measure(by: str, workers: int, archive: Path, hours: float) -> Run:
    with tempfile.TemporaryDirectory(prefix="rhythmd-") as output:
        ray = ("--ray", "local") if by == "--ray" else ()
        command = ("analyze", str(archive), "--output-dir", output, "--jobs", str(workers), *ray)
        first, again = used_by(*command), used_by(*command)
        return Run(by, workers, first.wall_s, again.wall_s, hours)


def table(runs: list[Run]) -> str:
    """In Markdown; how many times as fast as the first line."""
    lines = ["| by | workers | wall, s | hours of ECG a second | times as fast | once more, s |", f"|---|{'---:|' * 5}"]
    for one in runs:
        faster = runs[0].wall_s / one.wall_s
        cells = (f"`{one.by}`", one.workers, f"{one.wall_s:.1f}", f"{one.hours / one.wall_s:.3f}", f"{faster:.2f}")
        lines.append(f"| {' | '.join(map(str, cells))} | {one.again_s:.1f} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="default: 1 2")
    parser.add_argument("--records", type=int, default=16, metavar="N", help="default: %(default)s")
    parser.add_argument("--minutes", type=float, default=15.0, metavar="M", help="of each (default: %(default)s)")
    args = parser.parse_args(argv)
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}", flush=True
    )
    kinds = [by for by in BY if by != "--ray" or find_spec("ray")]
    runs = []
    with tempfile.TemporaryDirectory(prefix="rhythmd-") as archive:
        for place in range(args.records):
            write_long(Path(archive), f"r{place}", args.minutes / 60)
        for by in kinds:
            for workers in args.workers:
                runs.append(measure(by, workers, Path(archive), args.records * args.minutes / 60))
                print(table(runs).splitlines()[-1], flush=True)
    print(f"\n{table(runs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
