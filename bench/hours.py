"""What one long recording costs: `python -m bench.hours`, or as a part of `make bench-scale`.

python -m bench.hours --hours 1 10 100 --jobs 1 2     the table of docs/scale.md
python -m bench.hours --hours 168                     a week: 151 million samples

Each line is the real command, with the real network, on the shipped recording played over and over. With two jobs the
network has a process of its own. CPU time says what it costs, wall time what else the machine did meanwhile.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import numpy as np

from rhythmd.recording import shipped

LOOK_S = 0.2
RATE_HZ = 250
PER_MV = 400


@dataclass(frozen=True)
class Used:
    """By a command, all its processes together."""

    wall_s: float
    cpu_s: float
    memory_mb: float  # at the most


@dataclass(frozen=True)
class Cost(Used):
    hours: float
    jobs: int

    @property
    def hour_s(self) -> float:
        return self.cpu_s / self.hours


def write_long(folder: Path, name: str, hours: float) -> Path:
    """The shipped recording over and over, as a WFDB record, written by hand so that it need not fit into memory."""
    recording = shipped()
    once = np.clip(np.round(recording.ecg_mv * PER_MV), -32767, 32767).astype("<i2")
    samples = round(hours * 3600 * RATE_HZ)
    with (folder / f"{name}.dat").open("wb") as file:
        for start in range(0, samples, len(once)):
            file.write(once[: samples - start].tobytes())
    (folder / f"{name}.hea").write_text(f"{name} 1 {RATE_HZ} {samples}\n{name}.dat 16 {PER_MV}/mV 16 0 0 0 0 ECG\n")
    return folder / name


def measure(hours: float, jobs: int) -> Cost:
    with tempfile.TemporaryDirectory(prefix="rhythmd-") as folder:
        record = write_long(Path(folder), "long", hours)
        used = used_by("analyze", str(record), "--output-dir", folder, "--jobs", str(jobs))
        return Cost(**vars(used), hours=hours, jobs=jobs)


def used_by(*arguments: str) -> Used:
    """What `rhythmd ARGUMENTS` takes."""
    before, began_s, most_mb = os.times(), monotonic(), 0.0
    process = subprocess.Popen([sys.executable, "-m", "rhythmd", *arguments])
    while process.poll() is None:
        most_mb = max(most_mb, sum(map(_memory_mb, _family(process.pid))))
        sleep(LOOK_S)
    if process.returncode:
        raise SystemExit(process.returncode)
    wall_s, after = monotonic() - began_s, os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return Used(wall_s, cpu_s, most_mb)


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # gone meanwhile
            continue
        for child in children:
            yield from _family(int(child))


def _memory_mb(pid: int) -> float:
    """Resident. What processes share counts for each of them."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # gone meanwhile
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def table(costs: list[Cost]) -> str:
    """In Markdown; the ratios are to the first line."""
    lines = ["| hours of ECG | jobs | wall, s | CPU, s | CPU s an hour | ratio | memory, MB |", f"|{'---:|' * 7}"]
    for one in costs:
        cells = (f"{one.hours:g}", one.jobs, f"{one.wall_s:.0f}", f"{one.cpu_s:.0f}", f"{one.hour_s:.2f}")
        lines.append(f"| {' | '.join(map(str, cells))} | {one.hour_s / costs[0].hour_s:.2f} | {one.memory_mb:.0f} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, nargs="+", default=[1, 10, 100], metavar="H", help="default: 1 10 100")
    parser.add_argument("--jobs", type=int, nargs="+", default=[2], metavar="N", help="default: 2")
    args = parser.parse_args(argv)
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}", flush=True
    )
    costs = []
    for hours in args.hours:
        for jobs in args.jobs:
            costs.append(measure(hours, jobs))
            print(table(costs).splitlines()[-1], flush=True)
    print(f"\n{table(costs)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
