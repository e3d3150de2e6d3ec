"""Puts plans, the facts beside them and the verdicts on them into the cache. The daemon only takes them out."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import msgspec

from engines.errors import EngineError
from engines.plans import Plan, Sidecar, cache_directory
from engines.verdict import Verdict


def store_plan(plan: bytes, sidecar: Sidecar, folder: Path | None = None) -> Plan:
    """Put a plan into the cache, whole or not at all."""
    name = f"{sidecar.model}-{sidecar.facts.precision}-{sidecar.facts.key}.plan"
    stored = Plan((folder or cache_directory()) / name, sidecar)
    write(stored.path, plan)
    return store_sidecar(stored.path, sidecar, sidecar.built)


def store_sidecar(path: Path, sidecar: Sidecar, built: datetime) -> Plan:
    """The facts beside the plan at `path`; of several plans the one with the latest `built` serves."""
    sidecar = msgspec.structs.replace(sidecar, built=built)
    write(path.with_name(f"{path.name}.json"), msgspec.json.format(msgspec.json.encode(sidecar)))
    return Plan(path, sidecar)


def store_verdict(plan: Plan, verdict: Verdict) -> None:
    write(plan.verdict_path, msgspec.json.format(msgspec.json.encode(verdict)))


def write(path: Path, content: bytes) -> None:
    """A file of the cache, whole or as it was before. Raises EngineError with the remedy."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("wb") as file:
                os.fchmod(file.fileno(), 0o644)  # an administrator with a strict umask builds it, the service reads it
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # the new name must not reach the disk before the content: boards lose power
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise EngineError(
            f"{path}: {error.strerror}; make room there, or set XDG_CACHE_HOME to a folder that has it"
        ) from error
