"""`rhythmd engine bench`: the engines side by side in one run, as text, JSON and picture."""

from __future__ import annotations

import argparse
import platform
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec

from engines import plans, shelf
from engines.backend import open_backend
from engines.build import build_plan
from engines.energy import conditions
from engines.errors import EngineError
from engines.model import Model
from engines.timing import Timing, measure, pytorch, random_inputs, timed
from rhythmd.engine.progress import Progress, shown

COLUMNS = {
    "p50_us": "p50 us",
    "p99_us": "p99 us",
    "p999_us": "p99.9 us",
    "cold_us": "cold us",
    "first_us": "first us",
    "load_ms": "load ms",
    "size_mb": "size MB",
    "gpu_mb": "GPU MB",
    "energy_mj": "mJ",
}
"""Field of a Timing -> head of its column."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, and where."""

    model: str
    parameters_mb: float  # of the ONNX file
    device: plans.Device | None
    device_missing: str | None
    machine: str
    conditions: dict[str, str]
    calls: int
    pause_s: float
    made: Annotated[datetime, msgspec.Meta(tz=True)]
    timings: list[Timing]


def run(model: Model, args: argparse.Namespace) -> int:
    figure = _figure() if args.png else None
    with shown() as progress:
        report = _report(model, args)
        if not args.json:
            print("\n".join(head(report)), flush=True)
        for timing in _timings(model, args, report.device, progress):
            report.timings.append(timing)
            if args.output:
                shelf.write(args.output, msgspec.json.format(msgspec.json.encode(report)) + b"\n")
            if not args.json:
                progress.done()
                print(row(timing), flush=True)
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
    if figure is not None:
        draw(report, figure, args.png)
    return 0


def _report(model: Model, args: argparse.Namespace) -> Report:
    """With no timings yet: they are added as measured, so that a run that is cut off has told what it could."""
    device, missing = None, None
    try:
        device = plans.here()
    except EngineError as error:
        missing = str(error)
    return Report(
        model=model.id,
        parameters_mb=model.onnx.stat().st_size / 1e6,
        device=device,
        device_missing=missing,
        machine=f"{platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}",
        conditions=conditions(),
        calls=args.calls,
        pause_s=args.pause_s,
        made=datetime.now(timezone.utc),
        timings=[],
    )


def _timings(
    model: Model, args: argparse.Namespace, device: plans.Device | None, progress: Progress
) -> Iterator[Timing]:
    if device:
        yield from _tensorrt(model, args, device, progress)
    inputs, fewer = random_inputs(model.manifest), max(100, args.calls // 10)
    name = "ONNX Runtime CPU FP32, 1 thread"
    progress.doing(name)
    on_cpu = partial(open_backend, "onnxruntime", model)
    size_mb = model.onnx.stat().st_size / 1e6
    yield measure(name, on_cpu, inputs, calls=fewer, pause_s=args.pause_s, size_mb=size_mb)
    if args.torch_python:
        progress.doing(f"PyTorch by {args.torch_python}")
        limits = {"calls": max(1000, args.calls // 5), "pause_s": args.pause_s, "limit_s": args.compile_s}
        yield from pytorch(model, args.torch_python, **limits)


def _tensorrt(model: Model, args: argparse.Namespace, device: plans.Device, progress: Progress) -> Iterator[Timing]:
    """Each precision as it is fastest; and of the last one what graph, copies and waiting are worth."""
    from engines import cuda
    from engines.tensorrt_backend import open_engine

    inputs = random_inputs(model.manifest)
    with tempfile.TemporaryDirectory(prefix="rhythmd-") as folder:
        for index, precision in enumerate(args.precisions):
            last = index == len(args.precisions) - 1
            label = f"TensorRT {precision.upper()}"
            try:
                progress.doing(f"building {precision}")
                options = plans.Options(level=args.level, streams=args.streams)
                plan = _plan(model, precision, device, Path(folder), options, progress)
            except EngineError as error:
                yield Timing(name=label, missing=str(error))
                continue
            ways: dict[str, dict[str, Any]] = {"graph, spin": {"wait": "spin"}, "graph, block": {"wait": "block"}}
            if last:
                ways |= {
                    "graph, copies, spin": {"wait": "spin", "mapped": False},
                    "no graph, spin": {"wait": "spin", "graph": False},
                    "no graph, block": {"wait": "block", "graph": False},
                }
            for way, how in ways.items():
                name = f"{label}, {way}"
                progress.doing(name)
                measuring = partial(
                    measure,
                    name,
                    partial(open_engine, model, plan=plan, **how),
                    inputs,
                    calls=args.calls,
                    pause_s=args.pause_s,
                    free_bytes=cuda.free_bytes,
                    size_mb=plan.path.stat().st_size / 1e6,
                )
                yield timed(name, measuring)


def _plan(
    model: Model, precision: str, device: plans.Device, folder: Path, options: plans.Options, progress: Progress
) -> plans.Plan:
    """The cached one of this precision, else one that is built for the occasion."""
    for plan in plans.cached_plans():
        facts = plan.sidecar.facts
        if (facts.model_sha256, facts.device, facts.precision) == (model.manifest.sha256, device, precision):
            return plan
    return build_plan(model, precision, options=options, folder=folder, tell=progress.share)


def head(report: Report) -> list[str]:
    """What stands above the rows."""
    where = str(report.device or report.device_missing)
    told = ", ".join(f"{name} {value}" for name, value in report.conditions.items())
    return [
        f"{report.model}, {report.parameters_mb:.1f} MB in FP32, batch 1, host to host; {report.made:%F %R} UTC",
        where,
        f"{report.machine}{'; ' if told else ''}{told}",
        f"{report.calls} calls each (a tenth on the CPU, a fifth in PyTorch); cold: after {report.pause_s:g} s of rest",
        "",
        f"{'':<34}" + "".join(f"{column:>10}" for column in COLUMNS.values()),
    ]


def row(timing: Timing) -> str:
    """A figure that could not be had is a dash."""
    if timing.missing:
        return f"{timing.name:<34}  {timing.missing}"
    return f"{timing.name:<34}" + "".join(f"{_cell(getattr(timing, name)):>10}" for name in COLUMNS)


def table(report: Report) -> list[str]:
    """As text."""
    return [*head(report), *map(row, report.timings)]


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _figure() -> object:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EngineError(f"--png needs matplotlib ({error}): pip install 'rhythmd[bench]'") from error
    return Figure(figsize=(9, 4.5), layout="constrained")


def draw(report: Report, figure: object, path: Path) -> None:
    """p50 as bars, p99 as marks, on a logarithmic scale: they lie two orders of magnitude apart."""
    rows: Sequence[Timing] = [timing for timing in report.timings if not timing.missing][::-1]
    axes = figure.subplots()  # type: ignore[attr-defined]
    names = [timing.name for timing in rows]
    bars = axes.barh(names, [timing.p50_us for timing in rows], color="#4c78a8", label="p50")
    axes.bar_label(bars, [_cell(timing.p50_us) for timing in rows], padding=12, fontsize="small")
    axes.plot([timing.p99_us for timing in rows], names, "k|", markersize=10, label="p99")
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set(xlabel="microseconds a window, host to host", title=f"{report.model} on {report.device or report.machine}")
    axes.legend()
    try:
        figure.savefig(path, dpi=120)  # type: ignore[attr-defined]
    except OSError as error:
        raise EngineError(f"--png {path}: {error.strerror}") from error
