"""TensorRT on an NVIDIA GPU: runs the plan that `rhythmd engine build` left in the cache."""

from __future__ import annotations

import logging
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from engines import cuda, plans
from engines.cuda import trt
from engines.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import numpy as np

    from engines.model import Manifest, Model

    Allocate = Callable[[tuple[int, ...]], AbstractContextManager[cuda.Tensor]]

_log = logging.getLogger(__name__)


class TensorRT:
    """One engine on one stream, in one thread. Nothing is allocated after opening but the arrays that it gives away."""

    def __init__(self, launch: Callable[[], None], stream: int, manifest: Manifest, tensors: Tensors) -> None:
        self._launch: Callable[[], None] | None = launch  # inputs on the host -> heads on the host; None once closed
        self._stream = stream
        self._manifest = manifest
        self._tensors = tensors

    def infer(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        launch = self._open()
        self._manifest.check(inputs)
        for tensor, given in zip(self._tensors.inputs, inputs, strict=True):
            tensor.host[...] = given
        launch()
        cuda.wait(self._stream)
        return tuple(head.host.copy() for head in self._tensors.heads)

    def forget(self) -> None:
        self._open()
        self._tensors.forget(self._stream)
        cuda.wait(self._stream)

    @property
    def states(self) -> dict[str, np.ndarray]:
        self._open()
        found = {
            each.input: read.download(each.shape, self._stream)
            for each, (read, _) in zip(self._manifest.states, self._tensors.states, strict=True)
        }
        cuda.wait(self._stream)
        return found

    @states.setter
    def states(self, states: dict[str, np.ndarray]) -> None:
        self._open()
        for each, (read, _) in zip(self._manifest.states, self._tensors.states, strict=True):
            read.upload(states[each.input], self._stream)
        cuda.wait(self._stream)  # what it was copied from may go now

    def _open(self) -> Callable[[], None]:
        if self._launch is None:
            raise EngineError("tensorrt: this engine is closed; open it again")
        return self._launch

    def close(self) -> None:
        """A late `infer` raises from now on, where it would write to memory that is no longer ours."""
        self._launch = None


@dataclass(frozen=True, slots=True, eq=False)
class Tensors:
    """All memory that an engine reads and writes."""

    inputs: tuple[cuda.Tensor, ...]
    heads: tuple[cuda.Tensor, ...]
    states: tuple[tuple[cuda.Buffer, cuda.Buffer], ...]  # read, written

    def enqueue(self, execute: Callable[[int], None], stream: int) -> None:
        """Copy, network, copy. What was written of a state is then copied to where the next run reads it: one graph
        serves every run, where two that swap their addresses would have to take turns.
        """
        for tensor in self.inputs:
            tensor.upload(stream)
        execute(stream)
        for head in self.heads:
            head.download(stream)
        for read, written in self.states:
            read.copy_from(written, stream)

    def forget(self, stream: int) -> None:
        for read, _ in self.states:
            read.zero(stream)


@contextmanager
def _allocate(manifest: Manifest, allocate: Allocate) -> Iterator[tuple[Tensors, dict[str, int]]]:
    """The tensors, and their addresses on the device by name."""
    with ExitStack() as stack:
        inputs = tuple(stack.enter_context(allocate(each.shape)) for each in manifest.inputs)
        heads = tuple(stack.enter_context(allocate(manifest.answers[head.name])) for head in manifest.heads)
        states = tuple(
            (stack.enter_context(cuda.buffer(each.shape)), stack.enter_context(cuda.buffer(each.shape)))
            for each in manifest.states
        )
        addresses = {each.name: tensor.device for each, tensor in zip(manifest.inputs, inputs, strict=True)}
        addresses |= {head.name: tensor.device for head, tensor in zip(manifest.heads, heads, strict=True)}
        for each, (read, written) in zip(manifest.states, states, strict=True):
            addresses |= {each.input: read.device, each.output: written.device}
        yield Tensors(inputs, heads, states), addresses


@contextmanager
def open_engine(
    model: Model, *, wait: str = "block", plan: plans.Plan | None = None, graph: bool = True, mapped: bool = True
) -> Iterator[TensorRT]:
    """The plan that serves `model` on this device. The other arguments are for verifying and measuring.

    A `plan` that is given is run whatever its verdict; `graph=False` launches kernels and copies one by one. `mapped`
    lets the network read and write the host's memory itself, which is quicker than to copy: a window is 4 kB.
    """
    device = plans.here(wait)
    plan = plan or plans.find_plan(model, device)
    with ExitStack() as stack:
        stream = stack.enter_context(cuda.open_stream())
        allocate = cuda.allocate_mapped if mapped else cuda.allocate
        tensors, addresses = stack.enter_context(_allocate(model.manifest, allocate))
        execute = stack.enter_context(_load(plan, model, addresses))
        launch: Callable[[], None] = partial(tensors.enqueue, execute, stream)
        tensors.forget(stream)
        launch()  # the first call loads kernels and allocates, which no graph may contain
        tensors.forget(stream)
        cuda.wait(stream)
        if graph:
            try:
                launch = stack.enter_context(cuda.capture(stream, launch))
            except EngineError as error:
                _log.warning("no CUDA graph, each window will cost some 0.1 ms more: %s", error)
        _log.info("%s runs on TensorRT %s, %s", model.id, trt.__version__, plan.path.name)
        yield stack.enter_context(closing(TensorRT(launch, stream, model.manifest, tensors)))


@contextmanager
def _load(plan: plans.Plan, model: Model, addresses: dict[str, int]) -> Iterator[Callable[[int], None]]:
    """The network of a plan, reading and writing at `addresses`: the function that puts one run of it on a stream."""
    engine = trt.Runtime(cuda.LOG).deserialize_cuda_engine(plans.read_plan(plan, model))
    if engine is None:
        raise EngineError(
            f"{plan.path}: TensorRT {trt.__version__} cannot load it: {cuda.LOG.reason()}; {plans.remedy(model)}"
        )
    tensors = {}
    for name in [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]:
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        tensors[name] = plans.describe(is_input, engine.get_tensor_dtype(name).name, engine.get_tensor_shape(name))
    plans.check_tensors(tensors, model, str(plan.path))
    context = engine.create_execution_context()
    if context is None:
        raise EngineError(f"{plan.path}: {cuda.LOG.reason()}; free GPU memory (on a Jetson: `free -h`)")
    for name, address in addresses.items():
        if not context.set_tensor_address(name, address):
            raise EngineError(f"{plan.path}: {name}: {cuda.LOG.reason()}; {plans.remedy(model)}")

    def execute(stream: int) -> None:
        if not context.execute_async_v3(stream):
            raise EngineError(f"tensorrt: {cuda.LOG.reason()}; restart rhythmd, or {plans.remedy(model)}")

    try:
        yield execute
    finally:
        context = engine = None  # TensorRT frees its memory with the last reference, and `execute` may still be held
