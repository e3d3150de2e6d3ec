"""`rhythmd engine info`: what this machine has."""

from __future__ import annotations

from importlib import import_module

import msgspec

from engines.backend import BACKENDS
from engines.errors import EngineError
from engines.plans import Plan, cache_directory, cached_plans, here


def run(*, as_json: bool) -> int:
    backends = {name: _backend(name) for name in BACKENDS}
    found = cached_plans()
    device, missing = None, None
    try:
        device = here()
    except EngineError as error:
        missing = str(error)
    if as_json:
        told = {
            "backends": backends,
            "device": device,
            "device_missing": missing,
            "cache_directory": str(cache_directory()),
            "plans": [{"path": str(plan.path), "sidecar": plan.sidecar, "verdict": plan.verdict} for plan in found],
        }
        print(msgspec.json.format(msgspec.json.encode(told)).decode())
        return 0
    for name, backend in backends.items():
        print(f"{name}: {backend['version'] or backend['missing']}")
    print(f"device: {device or missing}")
    print(f"plans in {cache_directory()}:{'' if found else ' none'}")
    for plan in found:
        built = f"built {plan.sidecar.built:%Y-%m-%d %H:%M} UTC on {plan.sidecar.facts.device}"
        fits = "" if plan.sidecar.facts.device == device else ", not for this device"
        print(f"  {plan.path.name} {built}{fits}; {_judged(plan)}")
    return 0


def _judged(plan: Plan) -> str:
    verdict = plan.verdict
    if verdict is None:
        return "not verified"
    return "; ".join(verdict.faults) or f"passed on {verdict.windows} windows"


def _backend(name: str) -> dict[str, str | None]:
    """Its version, or what it lacks here."""
    try:
        import_module(BACKENDS[name])
    except (EngineError, ImportError) as error:
        return {"version": None, "missing": str(error)}
    return {"version": import_module(name).__version__, "missing": None}  # each is named after the package it runs on
