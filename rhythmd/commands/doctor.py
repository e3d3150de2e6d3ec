"""What is wrong with this machine, and what to do: port, wire format, permissions, engine, GPU, versions, a daemon.

rhythmd doctor [--config FILE] [--port PORT] [--json]

Each line is ok, note (nothing to mend) or FAIL with the remedy; exit code 1 when something failed.

It listens to the port for some seconds, at every speed that a wire format has, and says which one it hears and what to
write into the configuration. To a port that is silent it sends the start commands that some formats have: name no port
to which something else than a patch is attached.
"""

from __future__ import annotations

import argparse
import errno
import os
import platform
import sys
import termios
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Literal

import msgspec
import numpy as np
from msgspec.structs import replace

from daemon.app import find_model
from daemon.config import Config, ConfigError, check, load
from daemon.links import LINKS
from daemon.messages import Status
from daemon.port import PortError
from daemon.publish import reachable
from engines.backend import BACKENDS, open_backend
from engines.errors import EngineError
from rhythmd.guess import Overheard, overhear
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
    write: str = ""  # lines for the configuration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="the daemon's configuration")
    parser.add_argument("--port", help="listen to this port, instead of the file's patch.port: which format is it?")
    parser.add_argument("--json", action="store_true", help="a list of objects, for programs")


def run(args: argparse.Namespace) -> int:
    findings = []
    for finding in _examine(args.config, args.port, quiet=args.json):
        findings.append(finding)
        if not args.json:
            print(f"{finding.verdict:<5} {finding.of:<14} {finding.says}", flush=True)
            for line in finding.write.splitlines():
                print(f"{'':20} {line}")
    if args.json:
        print(msgspec.json.encode([asdict(finding) for finding in findings]).decode())
    return int(any(finding.verdict == "FAIL" for finding in findings))


def _examine(config_file: Path | None, port: str | None, *, quiet: bool) -> Iterator[Finding]:
    yield from _versions()
    try:
        config = load(config_file) if config_file else Config()
        if port:
            config = replace(config, patch=replace(config.patch, port=port), patches=())
            check(config, "command line")
    except ConfigError as error:
        yield Finding("FAIL", "config", str(error))
        return
    yield Finding("ok", "config", str(config_file or "defaults; --config FILE examines yours"))
    for wearer in config.wearers:
        one = replace(config, patch=wearer.patch, patches=())
        yield from _port(one)
        yield from _link(one, as_configured=config_file is not None, quiet=quiet)
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
        yield Finding("FAIL", "port", f"{port}: no permission; {_permission(Path(port))}")
    else:
        yield Finding("ok", "port", f"{port} -> {Path(port).resolve()}")


def _permission(port: Path) -> str:
    """How to get it."""
    try:
        return f"sudo usermod -aG {port.group()} $USER, then log in again"
    except KeyError:  # as in a container, which has groups of its own
        number = port.stat().st_gid
        named = f"sudo groupadd --gid {number} serial && sudo usermod -aG serial $USER, then log in again"
        return f"its group {number} has no name here: {named}; in a container: --group-add {number}"


def _link(config: Config, *, as_configured: bool, quiet: bool) -> Iterator[Finding]:
    """What the port speaks, beside what the configuration says."""
    patch = config.patch
    if not patch.port or ("://" not in patch.port and not os.access(patch.port, os.R_OK | os.W_OK)):
        return
    try:
        heard = overhear(patch, (lambda _: None) if quiet else _tell)
    except (OSError, PortError, termios.error) as error:
        if getattr(error, "errno", None) == errno.EWOULDBLOCK:  # somebody has it for himself
            yield Finding("note", "link", f"{patch.port}: cannot be listened to ({error}); is the daemon reading it?")
        else:
            yield Finding("FAIL", "link", f"{patch.port}: cannot be listened to ({error}); is it a serial port?")
        return
    if not heard.guess:
        yield Finding("FAIL", "link", f"{patch.port}: {_nothing_known(heard)}")
        return
    found, link = heard.guess, LINKS[heard.guess.link]
    says = f"{patch.port}: {found.link}, {found.samples_hz:.0f} samples a second at {found.baud} baud"
    write = "\n".join(found.lines(patch.port))
    if (found.link, found.baud) == (patch.link, patch.wire.baud) and found.is_close_to(patch.rate_hz):
        yield Finding("ok", "link", f"{says}, as configured")
    elif found.rate_hz is None:
        remedy = f"let its program sample by a timer, at {link.rate_hz:g} Hz, and send at {link.baud} baud"
        yield Finding("FAIL", "link", f"{says}, a rate that no board is set to: {remedy}; docs/quickstart.md", write)
    elif as_configured:
        yield Finding("FAIL", "link", f"{says}, not {patch.link} at {patch.rate_hz:g} Hz; write into the file:", write)
    else:
        yield Finding("ok", "link", f"{says}; for the configuration:", write)


def _tell(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


def _nothing_known(heard: Overheard) -> str:
    if heard.bytes_came:
        known = ", ".join(LINKS)
        return f"{heard.bytes_came} bytes came, of no format that is known ({known}); docs/extending.md adds one"
    return "nothing comes, also after the start commands that some patches want: is it on, and is this its port?"


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
