"""What a training is: `config.toml`, or another file beside it, with changes from the command line."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

from training.layout import Layout

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT = Path(__file__).with_name("config.toml")


def read(path: Path, changes: list[str]) -> dict[str, Any]:
    """The file with `section.key=value` changes in it.

    What it does not say of the training is as in the default file; its other sections stand for themselves, whole.
    """
    default, given = tomllib.loads(DEFAULT.read_text()), tomllib.loads(path.read_text())
    if unknown := sorted(given.keys() - default.keys() | given.get("training", {}).keys() - default["training"].keys()):
        raise SystemExit(f"{path}: {', '.join(unknown)}: {DEFAULT} knows no such key")
    config: dict[str, Any] = default | given | {"training": default["training"] | given.get("training", {})}
    for change in changes:
        key, _, value = change.partition("=")
        section, _, name = key.partition(".")
        if name not in config.get(section, {}):
            raise SystemExit(f"--set {change}: {path} has no key {key}")
        config[section][name] = ast.literal_eval(value)
    return config


def shape_of(config: dict[str, Any]) -> tuple[Layout, float]:
    """The network's layout, and its dropout in training."""
    shape: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in config["network"].items()
    }
    dropout = shape.pop("dropout")
    return Layout(**shape), dropout
