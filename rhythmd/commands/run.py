"""The daemon: reads the patch, judges every beat, publishes alerts, until SIGINT or SIGTERM.

rhythmd run --config rhythmd.toml
rhythmd run --port /dev/serial/by-id/usb-...    no file needed for a first try

A patch that is away is waited for, and said so once. Exit codes: 0 stopped as asked, 1 a bug, 2 something to mend.
"""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from msgspec.structs import replace

from daemon import app
from daemon.config import Config, ConfigError, check, load
from rhythmd.journal import log_to_stderr


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML; `rhythmd config` prints one to start from")
    parser.add_argument("--port", help="the patch's port, instead of the file's patch.port")
    parser.add_argument("--link", help="its wire format, instead of the file's patch.link")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))


def run(args: argparse.Namespace) -> int:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the daemon listens for it: an exception may still be lost
    log_to_stderr(args.log_level)
    config = load(args.config) if args.config else Config()
    given = {key: value for key in ("port", "link") if (value := getattr(args, key)) is not None}
    if given and config.patches:
        raise ConfigError(f"--{next(iter(given))} is for one patch, and {args.config} has [[patches]]: write it there")
    config = replace(config, patch=replace(config.patch, **given))
    check(config, str(args.config or "command line"))
    return app.run(config)
