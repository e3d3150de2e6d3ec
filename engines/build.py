"""ONNX -> plan, on the device that will run it; and the cache of plans, each beside the facts it was built under.

Only `here` and `build_plan` need a GPU and TensorRT: everything that decides about plans runs anywhere.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np

from engines.errors import EngineError
from engines.model import SHIPPED, Model

if TYPE_CHECKING:
    from collections.abc import Iterable

PRECISIONS = ("fp32", "fp16")  # fp32 lets the GPU use TF32, as TensorRT does unless told otherwise
WORKSPACE_BYTES = 1 << 30  # scratch that a tactic may use while TensorRT tries them


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a plan is good for: this and nothing else."""

    gpu: str
    compute_capability: str  # "8.7"
    tensorrt: str  # version

    def __str__(self) -> str:
        return f"{self.gpu} (compute capability {self.compute_capability}), TensorRT {self.tensorrt}"


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that shapes a plan: two plans with the same facts are interchangeable."""

    model_sha256: str
    device: Device
    precision: str
    workspace_bytes: int = WORKSPACE_BYTES

    @property
    def key(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:16]


class Sidecar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`<plan>.json`, written after the plan: a plan without it does not exist."""

    facts: Facts
    model: str  # its id, for people
    plan_sha256: str
    built: Annotated[datetime, msgspec.Meta(tz=True)]
    took_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan in the cache."""

    path: Path
    sidecar: Sidecar


def remedy(model: Model) -> str:
    """The command that makes a plan where the one who reads this would look for it."""
    words = ["rhythmd", "engine", "build"]
    if model.onnx.parent != SHIPPED:
        words += ["--model", str(model.onnx)]
    if "CACHE_DIRECTORY" in os.environ:  # in the service: an administrator's shell has another cache
        words = ["sudo", "env", f"CACHE_DIRECTORY={cache_directory()}", *words]
    return f"run `{shlex.join(words)}`"


def cache_directory() -> Path:
    """Where plans lie: systemd's CacheDirectory= in the service, else the user's cache."""
    if given := os.environ.get("CACHE_DIRECTORY"):
        return Path(given.split(":")[0])  # systemd lists them all
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "rhythmd"
    return Path.home() / ".cache" / "rhythmd"


def here() -> Device:
    """The device of this machine. Raises EngineError, saying what is missing, where there is no GPU or no TensorRT."""
    from engines.cuda import open_gpu, trt

    gpu, compute_capability = open_gpu()
    return Device(gpu, compute_capability, trt.__version__)


def cached_plans() -> list[Plan]:
    """Every plan in the cache, the one built last first."""
    plans = []
    for path in cache_directory().glob("*.plan.json"):
        try:
            sidecar = msgspec.json.decode(path.read_bytes(), type=Sidecar)
        except (OSError, msgspec.DecodeError):
            continue  # of another version of rhythmd, or damaged: no plan, and building one replaces it
        plans.append(Plan(path.with_suffix(""), sidecar))
    return sorted(plans, key=lambda plan: plan.sidecar.built, reverse=True)


def find_plan(model: Model, device: Device) -> Plan:
    """The plan of `model` built last on `device`: whoever builds one chooses its precision. Raises EngineError."""
    plans = [plan for plan in cached_plans() if plan.sidecar.facts.model_sha256 == model.manifest.sha256]
    for plan in plans:
        if plan.sidecar.facts.device == device:
            return plan
    if not plans:
        raise EngineError(f"no TensorRT plan of {model.id} in {cache_directory()}; {remedy(model)}")
    built_on = plans[0].sidecar.facts.device
    raise EngineError(f"{plans[0].path} was built on {built_on}; this is {device}; {remedy(model)}")


def read_plan(plan: Plan, model: Model) -> bytes:
    """A plan's bytes, if they are those that were built: TensorRT may crash on others."""
    try:
        found = plan.path.read_bytes()
    except OSError as error:
        raise EngineError(f"{plan.path}: {error.strerror}; {remedy(model)}") from error
    if hashlib.sha256(found).hexdigest() != plan.sidecar.plan_sha256:
        raise EngineError(f"{plan.path} is damaged ({len(found)} bytes, not those that were built); {remedy(model)}")
    return found


def store_plan(plan: bytes, sidecar: Sidecar) -> Plan:
    """Put a plan into the cache, whole or not at all."""
    path = cache_directory() / f"{sidecar.model}-{sidecar.facts.precision}-{sidecar.facts.key}.plan"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, plan)
        _write(path.with_name(f"{path.name}.json"), msgspec.json.format(msgspec.json.encode(sidecar)))
    except OSError as error:
        raise EngineError(
            f"{path}: {error.strerror}; make room there, or set XDG_CACHE_HOME to a folder that has it"
        ) from error
    return Plan(path, sidecar)


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            os.fchmod(file.fileno(), 0o644)  # an administrator with a strict umask builds it, the service reads it
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # the new name must not reach the disk before the content: boards lose power
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def describe(is_input: bool, dtype: str, shape: Iterable[int]) -> str:  # noqa: FBT001
    """A tensor as `check_tensors` compares them, dtype in TensorRT's words."""
    return f"{'input' if is_input else 'output'} {dtype} {'x'.join(map(str, shape))}"


def check_tensors(found: dict[str, str], model: Model, where: str) -> None:
    """Raise EngineError unless the tensors `found` (name -> `describe`) are exactly those the manifest promises."""
    promised = {name: describe(True, "FLOAT", shape) for name, shape in model.manifest.reads.items()}
    promised |= {name: describe(False, "FLOAT", shape) for name, shape in model.manifest.answers.items()}
    if found != promised:
        raise EngineError(f"{where} has the tensors {found}, the manifest of {model.onnx} says {promised}")


def build_plan(model: Model, precision: str) -> Plan:
    """Build `model` for this device and keep the plan in the cache. Takes seconds to minutes."""
    from engines import cuda

    device = here()
    network_file = to_half(model) if precision == "fp16" else model.onnx.read_bytes()
    began = time.monotonic()
    plan = _compile(cuda, network_file, model, precision)
    sidecar = Sidecar(
        Facts(model.manifest.sha256, device, precision),
        model.id,
        hashlib.sha256(plan).hexdigest(),
        datetime.now(timezone.utc),
        round(time.monotonic() - began, 1),
    )
    return store_plan(plan, sidecar)


def _compile(cuda: Any, onnx_file: bytes, model: Model, precision: str) -> bytes:
    trt = cuda.trt
    builder = trt.Builder(cuda.LOG)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    if int(trt.__version__.split(".")[0]) >= 10:  # types stand in the graph, and are obeyed
        flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    else:
        flag = trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH
        if precision == "fp16":
            config.set_flag(trt.BuilderFlag.FP16)
        # A convolution net needs no others, and those left out load cuBLAS and cuDNN: 1.3 GB that need not be there.
        sources = (trt.TacticSource.EDGE_MASK_CONVOLUTIONS, trt.TacticSource.JIT_CONVOLUTIONS)
        config.set_tactic_sources(sum(1 << int(source) for source in sources))
    network = builder.create_network(1 << int(flag))
    parser = trt.OnnxParser(network, cuda.LOG)
    if not parser.parse(onnx_file):
        cuda.LOG.reason()  # the parser's own list says the same, and where
        said = "; ".join(" ".join(parser.get_error(index).desc().split()) for index in range(parser.num_errors))
        raise EngineError(f"{model.onnx}: TensorRT {trt.__version__} cannot read it: {said}; export the model again")
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    found = {tensor.name: describe(True, tensor.dtype.name, tensor.shape) for tensor in inputs}
    found |= {tensor.name: describe(False, tensor.dtype.name, tensor.shape) for tensor in outputs}
    check_tensors(found, model, str(model.onnx))
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise EngineError(
            f"{model.onnx}: TensorRT {trt.__version__} cannot build it: {cuda.LOG.reason()}; "
            "`rhythmd doctor` checks the GPU and its memory"
        )
    return bytes(plan)


def to_half(model: Model) -> bytes:  # noqa: C901 - one rewriting, top to bottom
    """The same network computing in FP16. Inputs, outputs and the softmaxes that make them stay FP32."""
    try:
        import onnx
    except ImportError as error:
        raise EngineError(f"building FP16 needs the onnx package ({error}): pip install 'rhythmd[build]'") from error
    single, half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16

    def halve(tensor: Any) -> None:
        if tensor.data_type == single:
            with np.errstate(over="ignore"):
                values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            if not np.isfinite(values).all():
                raise EngineError(f"{model.onnx}: {tensor.name} has values that FP16 cannot hold; use --precision fp32")
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    try:
        network = onnx.load(model.onnx)
    except Exception as error:  # whatever protobuf raises
        raise EngineError(f"{model.onnx}: onnx cannot read it: {error}; export the model again") from error
    graph = network.graph
    del graph.value_info[:]  # said FP32
    for initializer in graph.initializer:
        halve(initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                halve(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == single:
                attribute.i = half

    def cast(source: str, target: str, to: int) -> Any:
        return onnx.helper.make_node("Cast", [source], [target], f"cast_{target}", to=to)

    outputs = {tensor.name for tensor in graph.output}
    softmaxes = {node.output[0] for node in graph.node if node.op_type == "Softmax"} & outputs
    renamed = {name: f"{name}/fp16" for name in (*(tensor.name for tensor in graph.input), *outputs - softmaxes)}
    before = [cast(tensor.name, renamed[tensor.name], half) for tensor in graph.input]
    nodes = []
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
        if node.output[0] in softmaxes:
            logits = f"{node.output[0]}/logits"
            nodes.append(cast(node.input[0], logits, single))
            node.input[0] = logits
        nodes.append(node)
    after = [cast(renamed[name], name, single) for name in outputs - softmaxes]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (*before, *nodes, *after)]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(network)
    return bytes(network.SerializeToString())
