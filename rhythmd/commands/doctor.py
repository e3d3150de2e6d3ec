"""What is wrong with this machine, and what to do: port, permissions, engine, GPU, versions, a daemon that runs.

rhythmd doctor [--config FILE] [--json]

Each line is ok, note (nothing to mend) or FAIL with the remedy; exit code 1 when something failed.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Literal

import msgspec
import numpy as np

from daemon.app import find_model
from daemon.config import Config, ConfigError, load
from daemon.messages import Status
from daemon.publish import reachable
from engines.backend import BACKENDS, open_backend
from engines.errors import EngineError
from rhythmd.subscriber import Subscriber

PACKAGES = (
    "rhythmd",
    "numpy",
    "scipy",
    "pyserial",
    "pyzmq",
    "msgspec",
    "onnxruntime",
    "prometheus-client",
    "wfdb",
    "tensorrt",
    "cuda-python",
)
NEEDED = PACKAGES[:8]
LISTEN_S = 3.0  # three times what a healthy daemon needs between two statuses


@dataclass(frozen=True, slots=True)
class Finding:
    verdict: Literal["ok", "note", "FAIL"]
    of: str
    says: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="the daemon's configuration")
    parser.add_argument("--json", action="store_true", help="a list of objects, for programs")


def run(args: argparse.Namespace) -> int:
    findings = list(_examine(args.config))
    if args.json:
        print(msgspec.json.encode([asdict(finding) for finding in findings]).decode())
    else:
        for finding in findings:
            print(f"{finding.verdict:<5} {finding.of:<14} {finding.says}")
    return int(any(finding.verdict == "FAIL" for finding in findings))


def _examine(config_file: Path | None) -> Iterator[Finding]:
    yield from _versions()
    try:
        config = load(config_file) if config_file else Config()
    except ConfigError as error:
        yield Finding("FAIL", "config", str(error))
        return
    yield Finding("ok", "config", str(config_file or "defaults; --config FILE examines yours"))
    yield from _port(config)
    yield from _engines(config)
    yield from _daemon(config)


def _versions() -> Iterator[Finding]:
    yield Finding(
        "ok", "machine", f"{platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"
    )
    for package in PACKAGES:
        try:
            yield Finding("ok", package, metadata.version(package))
        except metadata.PackageNotFoundError:
            needed = package in NEEDED
            yield Finding("FAIL" if needed else "note", package, "not installed" + "; pip install rhythmd" * needed)


def _port(config: Config) -> Iterator[Finding]:
    from serial.tools import list_ports

    there = ", ".join(f"{port.device} ({port.description})" for port in list_ports.comports()) or "none"
    port = config.patch.port
    if not port:
        yield Finding("note", "port", f"none configured (patch.port); serial ports here: {there}")
    elif "://" in port:
        yield Finding("note", "port", f"{port}: a URL; opened when the daemon runs")
    elif not Path(port).exists():
        yield Finding("FAIL", "port", f"{port} is not there: is the patch plugged in? Serial ports here: {there}")
    elif not os.access(port, os.R_OK | os.W_OK):
        group = Path(port).group()
        remedy = f"sudo usermod -aG {group} $USER, then log in again"
        yield Finding("FAIL", "port", f"{port}: no permission; {remedy}")
    else:
        yield Finding("ok", "port", f"{port} -> {Path(port).resolve()}")


def _engines(config: Config) -> Iterator[Finding]:
    try:
        model = find_model(config.engine.model)
    except EngineError as error:
        yield Finding("FAIL", "model", str(error))
        return
    yield Finding("ok", "model", model.id)
    for name in BACKENDS:
        chosen = name == config.engine.backend
        try:
            with open_backend(name, model) as backend:
                inputs = [np.zeros(each.shape, np.float32) for each in model.manifest.inputs]
                backend.infer(*inputs)
                began = perf_counter()
                backend.infer(*inputs)
                took_ms = 1e3 * (perf_counter() - began)
        except EngineError as error:
            yield Finding("FAIL" if chosen else "note", name, str(error))
        else:
            yield Finding("ok", name, f"{took_ms:.2f} ms a window" + ", in use" * chosen)
    if Path("/etc/nv_tegra_release").exists() and not find_spec("tensorrt"):
        yield Finding(
            "note", "jetson", "TensorRT is not visible here: apt install python3-libnvinfer; docs/operations.md"
        )


def _daemon(config: Config) -> Iterator[Finding]:
    for address in config.publish.bind:
        place = reachable(address)
        if place.startswith("ipc://") and not Path(place.removeprefix("ipc://")).exists():
            yield Finding("note", "daemon", f"{place}: nothing there")
            continue
        with Subscriber(place, ("status",)) as subscriber:
            received = subscriber.receive(LISTEN_S)
        if received is None:
            yield Finding("note", "daemon", f"{place}: no daemon answers")
        elif isinstance(status := received.message, Status):
            yield Finding(
                "ok", "daemon", f"{place}: port {status.port}, quality {status.quality}, rhythm {status.rhythm}"
            )
    if sys.platform != "linux":
        yield Finding("note", "system", "rhythmd is built for Linux")
