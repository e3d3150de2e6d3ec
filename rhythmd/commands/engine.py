"""Build the TensorRT engine on this device, or show which engines this machine has.

A TensorRT plan works only on the GPU and with the TensorRT version that it was built with, so it is built where it
runs, once after installing and again after each upgrade of either. The daemon (engine.backend = "tensorrt") takes the
plan that was built last.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engines.backend import BACKENDS
from engines.build import PRECISIONS, build_plan, cache_directory, cached_plans, here
from engines.errors import EngineError
from engines.model import SHIPPED, load

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="turn the model into a TensorRT plan for this device")
    build.add_argument(
        "--model", metavar="FILE", type=Path, default=SHIPPED / "ecg1.onnx", help="the shipped one if not given"
    )
    build.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="fp32 (with TF32 where the GPU has it) or fp16; %(default)s",
    )
    info = actions.add_parser("info", help="engines, versions, GPU and cached plans of this machine")
    info.add_argument("--json", action="store_true", help="one JSON object")


def run(args: argparse.Namespace) -> int:
    return {"build": _build, "info": _info}[args.action](args)


def _build(args: argparse.Namespace) -> int:
    model = load(args.model)
    device = here()
    print(f"{model.id}, {args.precision}, for {device}: this takes seconds to minutes", file=sys.stderr)
    plan = build_plan(model, args.precision)
    print(f"{plan.path}: {plan.path.stat().st_size / 1e6:.1f} MB, built in {plan.sidecar.took_s:.0f} s")
    return 0


def _info(args: argparse.Namespace) -> int:
    backends = {name: _backend(name) for name in BACKENDS}
    plans = cached_plans()
    device, missing = None, None
    try:
        device = here()
    except EngineError as error:
        missing = str(error)
    if args.json:
        found = {
            "backends": backends,
            "device": device,
            "device_missing": missing,
            "cache_directory": str(cache_directory()),
            "plans": [{"path": str(plan.path), "sidecar": plan.sidecar} for plan in plans],
        }
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
        return 0
    for name, backend in backends.items():
        print(f"{name}: {backend['version'] or backend['missing']}")
    print(f"device: {device or missing}")
    print(f"plans in {cache_directory()}:{'' if plans else ' none'}")
    for plan in plans:
        built = f"built {plan.sidecar.built:%Y-%m-%d %H:%M} UTC on {plan.sidecar.facts.device}"
        print(f"  {plan.path.name} {built}{'' if plan.sidecar.facts.device == device else ': not for this device'}")
    return 0


def _backend(name: str) -> dict[str, str | None]:
    """Its version, or what it lacks here."""
    try:
        import_module(BACKENDS[name])
    except (EngineError, ImportError) as error:
        return {"version": None, "missing": str(error)}
    return {"version": import_module(name).__version__, "missing": None}  # each is named after the package it runs on
