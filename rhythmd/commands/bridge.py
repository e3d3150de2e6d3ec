"""Publish alerts, status and strips to an MQTT broker. A program beside the daemon, until SIGTERM.

rhythmd config bridge > bridge.toml     the file: broker, topics, daemons, every key explained
rhythmd bridge --config bridge.toml     at work: what the broker has not confirmed is kept on disk

Topics and messages: docs/asyncapi.yaml. Exit codes: 0 stopped as asked, 1 a bug, 2 something to mend.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rhythmd.bridge.config import load
from rhythmd.journal import log_to_stderr
from rhythmd.settings import installed_file, warn_if_others_can_read


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: /etc/rhythmd/bridge.toml")
    parser.add_argument("--state", type=Path, metavar="FOLDER", help="for the outbox (default: the state directory)")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))


def run(args: argparse.Namespace) -> int:
    log_to_stderr(args.log_level, ours_alone=True)
    settings = load(args.config or installed_file("bridge"))
    for secret in (settings.broker.password_file, settings.broker.key):
        if secret:
            warn_if_others_can_read(Path(secret))
    from rhythmd.bridge.app import run as work

    return work(settings, args.state)
