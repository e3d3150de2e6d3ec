"""Print a configuration file with every key, its default and what it means: the manual.

rhythmd config > rhythmd.toml           of the daemon: a file to start from; keys that you delete keep their defaults
rhythmd config notify > notify.toml     of `rhythmd notify`
rhythmd config bridge > bridge.toml     of `rhythmd bridge`
rhythmd config --check FILE             is this file good? One line says what is wrong, exit code 2.
rhythmd config notify --check FILE
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

PROGRAMS = {"run": "daemon.config", "notify": "rhythmd.notify.config", "bridge": "rhythmd.bridge.config"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("program", nargs="?", default="run", choices=PROGRAMS, help="whose (default: the daemon's)")
    parser.add_argument("--check", type=Path, metavar="FILE", help="read this file and say whether it is good")


def run(args: argparse.Namespace) -> int:
    module = import_module(PROGRAMS[args.program])
    if args.check:
        module.load(args.check)
        print(f"{args.check}: good")
    else:
        print(module.DEFAULT_FILE.read_text(encoding="utf-8"), end="")
    return 0
