"""Print the configuration file with every key, its default and what it means: the manual.

rhythmd config > rhythmd.toml       a file to start from; keys that you delete keep their defaults
rhythmd config --check FILE         is this file good? One line says what is wrong, exit code 2.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from daemon.config import DEFAULT_FILE, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", type=Path, metavar="FILE", help="read this file and say whether it is good")


def run(args: argparse.Namespace) -> int:
    if args.check:
        load(args.check)
        print(f"{args.check}: good")
    else:
        print(DEFAULT_FILE.read_text(encoding="utf-8"), end="")
    return 0
