"""ONNX -> plan, on the device that will run it. The precision stands in the graph that is built, not in flags."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines import plans, shelf
from engines.errors import EngineError
from engines.examples import Example
from engines.half import to_half
from engines.int8 import Scales, find_scales, to_int8
from engines.plans import Facts, Options, Plan, Sidecar, describe

if TYPE_CHECKING:
    from engines.model import Model

PRECISIONS = ("fp32", "fp16", "int8")  # fp32 lets the GPU use TF32, as TensorRT does unless told otherwise

TIMED = 8
"""Runs of each kernel that are averaged: of kernels that take 5 us, one run (TensorRT's default) chooses by chance."""

Tell = Callable[[float], None]
"""Is told the share of a build that is done, where TensorRT says it (from version 10 on)."""


def quiet(share: float) -> None:
    """Tells no one."""


def build_plan(
    model: Model,
    precision: str,
    *,
    options: Options = Options(),  # noqa: B008 - frozen
    scales: Scales | None = None,
    folder: Path | None = None,
    tell: Tell = quiet,
) -> Plan:
    """Build `model` for this device and keep the plan in the cache (or `folder`). Takes seconds to minutes.

    INT8 takes the scales that it is given, else those that are known. The plan serves no one before it is verified.
    """
    device = plans.here()
    network_file, calibration = model.onnx.read_bytes(), ""
    if precision == "fp16":
        network_file = to_half(model)
    elif precision == "int8":
        scales = scales or find_scales(model)
        network_file = to_int8(model, scales)
        calibration = f"entropy, Q/DQ, scales {plans.digest(str(sorted(scales.activations.items())))}"
    facts = Facts(model.manifest.sha256, device, precision, options, calibration)
    began = time.monotonic()
    return _store(_build(network_file, model, facts, tell), model, facts, began, folder)


def build_classic(
    model: Model,
    examples: Sequence[Example] | None,
    source: str,
    *,
    options: Options = Options(),  # noqa: B008 - frozen
    tell: Tell = quiet,
) -> Plan:
    """INT8 by TensorRT's own calibrator, from these examples or from its cache of the last time."""
    from engines.classic import open_calibrator

    facts = Facts(model.manifest.sha256, plans.here(), "int8", options, "classic")
    began = time.monotonic()
    with open_calibrator(model, examples, source) as calibrator:
        plan = _build(model.onnx.read_bytes(), model, facts, tell, calibrator)
    return _store(plan, model, facts, began, None)


def _store(plan: bytes, model: Model, facts: Facts, began: float, folder: Path | None) -> Plan:
    now, took_s = datetime.now(timezone.utc), round(time.monotonic() - began, 1)
    sidecar = Sidecar(facts, model.id, hashlib.sha256(plan).hexdigest(), now, took_s)
    return shelf.store_plan(plan, sidecar, folder)


def _build(network_file: bytes, model: Model, facts: Facts, tell: Tell, calibrator: Any = None) -> bytes:
    from engines import cuda

    trt = cuda.trt
    builder = trt.Builder(cuda.LOG)
    reason = ""
    for strong, lean in ways(trt.__version__, classic=calibrator is not None):
        network, parser = _parse(trt, builder, network_file, model, strong=strong)
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, facts.options.workspace_bytes)
        config.builder_optimization_level = facts.options.level
        config.max_aux_streams = facts.options.streams
        config.avg_timing_iterations = TIMED
        if facts.options.sparsity:
            config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
        if not strong:
            _type_weakly(trt, config, facts.precision)
        if lean:
            sources = (trt.TacticSource.EDGE_MASK_CONVOLUTIONS, trt.TacticSource.JIT_CONVOLUTIONS)
            config.set_tactic_sources(sum(1 << int(source) for source in sources))
        if calibrator is not None:
            config.int8_calibrator = calibrator
        timings = _Timings(facts.device, config)
        monitor = _monitor(trt, tell)
        if monitor is not None:
            config.progress_monitor = monitor
        plan = builder.build_serialized_network(network, config)
        del parser  # holds the weights that the network refers to
        if plan is not None:
            timings.keep()
            return bytes(plan)
        reason = cuda.LOG.reason()
    raise EngineError(
        f"{model.onnx}: TensorRT {trt.__version__} cannot build {facts.precision}: {reason}; "
        "`rhythmd doctor` checks the GPU and its memory"
    )


def ways(version: str, *, classic: bool) -> list[tuple[bool, bool]]:
    """(strong, lean): what to try in turn.

    Strong: the types in the graph are obeyed, not a mere permission. From TensorRT 10 on they are; whether 10.3 takes
    Q/DQ so has not been seen, so there the old way is the second attempt; 11 knows no old way, and TensorRT's own
    calibrator no new one. Lean: without the kernels of cuBLAS and cuDNN, which 8.6 would load, 1.3 GB that a
    convolution net hardly needs.
    """
    major = int(version.split(".", maxsplit=1)[0])
    if major < 10:
        return [(False, True), (False, False)]
    if classic:
        return [(False, False)]
    return [(True, False), (False, False)] if major == 10 else [(True, False)]


def _parse(trt: Any, builder: Any, network_file: bytes, model: Model, *, strong: bool) -> tuple[Any, Any]:
    from engines import cuda

    kinds = trt.NetworkDefinitionCreationFlag
    network = builder.create_network(1 << int(kinds.STRONGLY_TYPED if strong else kinds.EXPLICIT_BATCH))
    parser = trt.OnnxParser(network, cuda.LOG)
    if not parser.parse(network_file):
        cuda.LOG.reason()  # the parser's own list says the same, and where
        said = "; ".join(" ".join(parser.get_error(index).desc().split()) for index in range(parser.num_errors))
        raise EngineError(f"{model.onnx}: TensorRT {trt.__version__} cannot read it: {said}; export the model again")
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    found = {tensor.name: describe(True, tensor.dtype.name, tensor.shape) for tensor in inputs}
    found |= {tensor.name: describe(False, tensor.dtype.name, tensor.shape) for tensor in outputs}
    plans.check_tensors(found, model, str(model.onnx))
    return network, parser


def _type_weakly(trt: Any, config: Any, precision: str) -> None:
    """What TensorRT 8.6 needs to be told beside the graph."""
    if precision != "fp32":
        config.set_flag(trt.BuilderFlag.FP16)
    if precision == "int8":
        config.set_flag(trt.BuilderFlag.INT8)


class _Timings:
    """How long each kernel took in earlier builds on this device: the next build takes seconds."""

    def __init__(self, device: plans.Device, config: Any) -> None:
        self._path = plans.cache_directory() / f"{plans.digest(str(device))}.timings"
        self._config = config
        # TensorRT wants it alive until the engine is built
        self._cache = config.create_timing_cache(self._read())
        if self._cache is None or not config.set_timing_cache(self._cache, False):
            self._cache = config.create_timing_cache(b"")
            config.set_timing_cache(self._cache, False)

    def _read(self) -> bytes:
        try:
            content = self._path.read_bytes()
        except OSError:
            return b""
        digest, timings = content[:32], content[32:]
        return timings if hashlib.sha256(timings).digest() == digest else b""

    def keep(self) -> None:
        timings = bytes(self._config.get_timing_cache().serialize())
        shelf.write(self._path, hashlib.sha256(timings).digest() + timings)


def _monitor(trt: Any, tell: Tell) -> Any:
    """Hears from TensorRT how far it is; None where it does not say."""
    if not hasattr(trt, "IProgressMonitor"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._steps: dict[str, int] = {}  # of the phases that belong to no other

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if not parent_phase:
                self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self._steps:
                tell((step + 1) / self._steps[phase_name])
            return True  # False would end the build

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()
