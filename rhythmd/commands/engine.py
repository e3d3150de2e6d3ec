"""Build, verify and measure the TensorRT engine of this device, or show which engines this machine has.

rhythmd engine build [--precision auto] [--data DIR]     turn the model into a plan for this device, and verify it
rhythmd engine verify [--data DIR]                       compare the plan with its FP32 reference on real windows
rhythmd engine bench [--torch-python PYTHON]             how long a window takes, by every engine that is here
rhythmd engine info                                      engines, versions, GPU and plans

A TensorRT plan works only on the GPU and with the TensorRT version that it was built with, so it is built where it
runs, once after installing and again after each upgrade of either. The daemon (engine.backend = "tensorrt") takes the
plan that was built last of those that passed verification. docs/engine.md says more.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from engines.build import PRECISIONS
from engines.model import SHIPPED, load
from rhythmd.engine import bench, building, info, verifying


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = actions.add_parser("build", help="turn the model into a plan for this device, and verify it")
    verify = actions.add_parser("verify", help="compare the plan with its FP32 reference on real windows")
    measure = actions.add_parser("bench", help="how long a window takes, by every engine that is here")
    show = actions.add_parser("info", help="engines, versions, GPU and plans of this machine")
    for each in (build, verify, measure):
        each.add_argument(
            "--model", metavar="FILE", type=Path, default=SHIPPED / "ecg1.onnx", help="the shipped one if not given"
        )
    for each in (build, verify):
        each.add_argument("--data", metavar="DIR", type=Path, help="folder of annotated WFDB records (needs wfdb)")
        each.add_argument("--records", metavar="NAME", nargs="+", help="of --data; default: all")
        each.add_argument(
            "--windows",
            metavar="N",
            type=int,
            default=200,
            help="of each class and record, about (%(default)s)",
        )
    for each in (build, measure):
        each.add_argument(
            "--level", type=int, default=3, choices=range(6), help="of optimisation; 5 searches longest (%(default)s)"
        )
        each.add_argument(
            "--streams",
            type=int,
            default=2,
            choices=range(32),
            metavar="N",
            help="beside the main one, for branches of the network at the same time; 0: none (%(default)s)",
        )
    for each in (build, verify, measure, show):
        each.add_argument("--json", action="store_true", help="one JSON object")
    _build_arguments(build)
    _bench_arguments(measure)


def _build_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--precision",
        choices=(*PRECISIONS, "auto"),
        default="fp32",
        help="fp32 (TF32 where the GPU has it), fp16, int8, or auto: all three, of which the fastest that passes "
        "verification serves; %(default)s",
    )
    parser.add_argument(
        "--classic", action="store_true", help="INT8 by TensorRT's own calibrator (TensorRT 8 and 10), not by Q/DQ"
    )
    parser.add_argument(
        "--recalibrate", action="store_true", help="find the scales of INT8 anew, on --data, though there are some"
    )
    parser.add_argument("--sparsity", action="store_true", help="use 2:4 sparse weights where the model has them")
    parser.add_argument(
        "--workspace-mb", type=int, default=1024, metavar="MB", help="scratch for a kernel (%(default)s)"
    )


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="default: all")
    parser.add_argument("--calls", type=int, default=10_000, metavar="N", help="of each kind (%(default)s)")
    parser.add_argument("--pause-s", type=float, default=1.0, metavar="S", help="before each cold call (%(default)s)")
    parser.add_argument("--torch-python", metavar="PYTHON", help="an interpreter that has PyTorch, to compare with")
    parser.add_argument("--compile-s", type=float, default=120.0, metavar="S", help="for torch.compile (%(default)s)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON, written anew with each line measured")
    parser.add_argument("--png", type=Path, metavar="FILE", help="the table as a picture too (needs matplotlib)")


def run(args: argparse.Namespace) -> int:
    if args.action == "info":
        return info.run(as_json=args.json)
    model = load(args.model)
    return {"build": building.run, "verify": verifying.run, "bench": bench.run}[args.action](model, args)
