"""TensorRT on an NVIDIA GPU: runs the plan that `rhythmd engine build` left in the cache."""

from __future__ import annotations

import logging
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import numpy as np

from engines import build, cuda
from engines.cuda import trt
from engines.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from engines.model import Model

_log = logging.getLogger(__name__)


class TensorRT:
    """One engine on one stream, in one thread. Nothing is allocated after opening but the arrays that it gives away."""

    def __init__(
        self, launch: Callable[[], None], stream: int, windows: cuda.Tensor, heads: tuple[cuda.Tensor, ...]
    ) -> None:
        self._launch: Callable[[], None] | None = launch  # windows on the host -> heads on the host; None once closed
        self._stream = stream
        self._windows = windows
        self._heads = heads

    def infer(self, windows: np.ndarray) -> tuple[np.ndarray, ...]:
        if self._launch is None:
            raise EngineError("tensorrt: this engine is closed; open it again")
        # numpy would broadcast or cast into the pinned array, and so hide the caller's mistake
        if windows.shape != self._windows.host.shape or windows.dtype != np.float32:
            raise EngineError(
                f"tensorrt: the windows are {windows.dtype} {windows.shape}, the model's input is float32 "
                f"{self._windows.host.shape}"
            )
        self._windows.host[...] = windows
        self._launch()
        cuda.wait(self._stream)
        return tuple(head.host.copy() for head in self._heads)

    def close(self) -> None:
        """A late `infer` raises from now on, where it would write to memory that is no longer ours."""
        self._launch = None


@contextmanager
def open_engine(model: Model, *, graph: bool = True) -> Iterator[TensorRT]:
    """The plan built last for `model` on this device. `graph=False` is for measuring what the CUDA graph brings."""
    plan = build.find_plan(model, build.here())
    manifest = model.manifest
    with ExitStack() as stack:
        stream = stack.enter_context(cuda.open_stream())
        windows = stack.enter_context(cuda.allocate(manifest.input_shape))
        shapes = [(manifest.input_shape[0], len(head.labels)) for head in manifest.heads]
        heads = tuple(stack.enter_context(cuda.allocate(shape)) for shape in shapes)
        addresses = {head.name: tensor.device for head, tensor in zip(manifest.heads, heads, strict=True)}
        addresses[manifest.input_name] = windows.device
        execute = stack.enter_context(_load(plan, model, addresses))

        def enqueue() -> None:
            windows.upload(stream)
            execute(stream)
            for head in heads:
                head.download(stream)

        enqueue()  # the first call loads kernels and allocates, which no graph may contain
        cuda.wait(stream)
        launch: Callable[[], None] = enqueue
        if graph:
            try:
                launch = stack.enter_context(cuda.capture(stream, enqueue))
            except EngineError as error:
                _log.warning("no CUDA graph, each window will cost some 0.1 ms more: %s", error)
        _log.info("%s runs on TensorRT %s, %s", model.id, trt.__version__, plan.path.name)
        yield stack.enter_context(closing(TensorRT(launch, stream, windows, heads)))


@contextmanager
def _load(plan: build.Plan, model: Model, addresses: dict[str, int]) -> Iterator[Callable[[int], None]]:
    """The network of a plan, reading and writing at `addresses`: the function that puts one run of it on a stream."""
    engine = trt.Runtime(cuda.LOG).deserialize_cuda_engine(build.read_plan(plan, model))
    if engine is None:
        raise EngineError(
            f"{plan.path}: TensorRT {trt.__version__} cannot load it: {cuda.LOG.reason()}; {build.remedy(model)}"
        )
    tensors = {}
    for name in [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]:
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        tensors[name] = build.describe(is_input, engine.get_tensor_dtype(name).name, engine.get_tensor_shape(name))
    build.check_tensors(tensors, model, str(plan.path))
    context = engine.create_execution_context()
    if context is None:
        raise EngineError(f"{plan.path}: {cuda.LOG.reason()}; free GPU memory (on a Jetson: `free -h`)")
    for name, address in addresses.items():
        if not context.set_tensor_address(name, address):
            raise EngineError(f"{plan.path}: {name}: {cuda.LOG.reason()}; {build.remedy(model)}")

    def execute(stream: int) -> None:
        if not context.execute_async_v3(stream):
            raise EngineError(f"tensorrt: {cuda.LOG.reason()}; restart rhythmd, or {build.remedy(model)}")

    try:
        yield execute
    finally:
        context = engine = None  # TensorRT frees its memory with the last reference, and `execute` may still be held
