"""How long an engine takes from host to host at batch 1: cold and warm, and what it costs beside time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import numpy as np

from engines.backend import Backend
from engines.energy import open_meter
from engines.errors import EngineError
from engines.model import Manifest, Model

WARMING_CALLS = 200
COLD_CALLS = 6

HERS = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH")
"""What is set for our interpreter and would break another one."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """One way to run the network. None is what could not be measured."""

    name: str
    p50_us: float | None = None
    p99_us: float | None = None
    p999_us: float | None = None
    first_us: float | None = None  # the first call after opening
    cold_us: float | None = None  # median of calls after a pause, as the daemon makes them
    load_ms: float | None = None
    size_mb: float | None = None
    gpu_mb: float | None = None
    energy_mj: float | None = None  # a call, back to back, what the GPU draws at rest included
    missing: str | None = None  # why there are no numbers


def random_inputs(manifest: Manifest) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(1)  # asked for values from 0 to 1, with which no memory grows without end
    return tuple(rng.uniform(0, 1, each.shape).astype(np.float32) for each in manifest.inputs)


def measure(
    name: str,
    opening: Callable[[], AbstractContextManager[Backend]],
    inputs: Sequence[np.ndarray],
    *,
    calls: int,
    pause_s: float,
    free_bytes: Callable[[], int] | None = None,
    size_mb: float | None = None,
) -> Timing:
    """Open, time, close."""
    free_before = free_bytes() if free_bytes else 0
    began = time.perf_counter()
    with opening() as backend:
        load_ms = 1e3 * (time.perf_counter() - began)
        first_us = took_us(backend, inputs)
        gpu_mb = (free_before - free_bytes()) / 1e6 if free_bytes else None
        cold = []
        for _ in range(COLD_CALLS):
            time.sleep(pause_s)
            cold.append(took_us(backend, inputs))
        for _ in range(min(WARMING_CALLS, calls // 5)):
            backend.infer(*inputs)
        with open_meter() as meter:
            drawn = meter[0]() if meter else 0.0
            warm = [took_us(backend, inputs) for _ in range(calls)]
            energy_mj = 1e3 * (meter[0]() - drawn) / calls if meter else None
    p50, p99, p999 = np.percentile(warm, [50, 99, 99.9])
    return Timing(
        name=name,
        p50_us=float(p50),
        p99_us=float(p99),
        p999_us=float(p999),
        first_us=first_us,
        cold_us=float(np.median(cold)),
        load_ms=load_ms,
        size_mb=size_mb,
        gpu_mb=gpu_mb,
        energy_mj=energy_mj,
    )


def took_us(backend: Backend, inputs: Sequence[np.ndarray]) -> float:
    began = time.perf_counter_ns()
    backend.infer(*inputs)
    return (time.perf_counter_ns() - began) / 1e3


def pytorch(
    model: Model, python: str, *, calls: int, pause_s: float, limit_s: float, device: str = "cuda"
) -> list[Timing]:
    """The same network in PyTorch on the GPU, by an interpreter that has it: eager, as trained and with its batch
    normalisations folded in, and compiled.
    """
    names = ("PyTorch eager FP32", "PyTorch eager FP32, folded", "PyTorch compiled FP32")
    script = Path(__file__).with_name("torch_timing.py").read_text()
    ours = Path(python).resolve() == Path(sys.executable).resolve()
    environment = {key: value for key, value in os.environ.items() if ours or key not in HERS}
    asked = {
        "onnx": str(model.onnx.resolve()),
        "inputs": model.manifest.reads,
        "calls": calls,
        "pause_s": pause_s,
        "compile_s": limit_s,
        "device": device,
    }
    try:
        done = subprocess.run(
            [python, "-", json.dumps(asked)],  # by its path, it would find our cuda.py where it means NVIDIA's
            input=script,
            cwd="/",
            env=environment,
            capture_output=True,
            text=True,
            timeout=2 * limit_s + 120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [Timing(name=name, missing=f"{python}: {error}") for name in names]
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    found = [msgspec.json.decode(line, type=Timing) for line in lines]
    said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
    told = {timing.name for timing in found}
    return found + [Timing(name=name, missing=f"{python}: {said}") for name in names if name not in told]


def timed(name: str, measuring: Callable[[], Timing]) -> Timing:
    """The timing, or why there is none."""
    try:
        return measuring()
    except EngineError as error:
        return Timing(name=name, missing=str(error))
