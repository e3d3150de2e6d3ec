"""NVIDIA's two packages at the door: CUDA through cuda-python with every call checked, and TensorRT's log."""

from __future__ import annotations

import ctypes
import logging
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

try:
    import tensorrt
except (ImportError, OSError) as error:  # OSError: the module is there, one of its libraries is not
    raise EngineError(
        f"TensorRT cannot be used here: {error}; on a Jetson `sudo apt install python3-libnvinfer`, and a virtual "
        "environment made with --system-site-packages"
    ) from error
try:
    from cuda.bindings import runtime as cudart
except (ImportError, OSError) as error:
    raise EngineError(f"TensorRT cannot be used here: {error}; pip install 'rhythmd[jetson]'") from error

trt: Any = tensorrt  # for build and tensorrt_backend, which import it from here: past the check
_log = logging.getLogger(__name__)

_NO_DRIVER = "install NVIDIA's driver (JetPack brings it; a container needs --runtime nvidia)"
_NO_ACCESS = "the user that runs rhythmd must be in the groups video and render"
_REMEDIES = {
    "cudaErrorInsufficientDriver": _NO_DRIVER,
    "cudaErrorNoDevice": _NO_DRIVER,
    "cudaErrorMemoryAllocation": "free GPU memory (on a Jetson that is the board's memory: `free -h`)",
    "cudaErrorNotPermitted": _NO_ACCESS,
    "cudaErrorNotSupported": _NO_ACCESS,
    "cudaErrorOperatingSystem": _NO_ACCESS,
}
_RESTART = "restart rhythmd; if it happens again, `rhythmd engine build` and restart"  # most other errors are sticky


def call(function: Callable[..., tuple[Any, ...]], *args: Any) -> Any:
    """What a function of cuda-python gives beside its error code. Raises EngineError, with the remedy."""
    try:
        code, *values = function(*args)
    except RuntimeError as error:  # how cuda-python 12 says that it finds no libcuda
        raise EngineError(f"CUDA: {error}; {_NO_DRIVER}") from error
    if code:
        _, text = cudart.cudaGetErrorString(code)
        remedy = _REMEDIES.get(code.name, _RESTART)
        raise EngineError(f"CUDA: {function.__name__}: {code.name} ({text.decode()}); {remedy}")
    return values[0] if len(values) == 1 else values


_WAITS = {"block": "cudaDeviceScheduleBlockingSync", "spin": "cudaDeviceScheduleSpin"}


def open_gpu(wait: str = "block") -> tuple[str, str]:
    """Make the first GPU ready for this process; its name and compute capability ("8.7").

    `wait` is how the process waits for it: "block" sleeps, "spin" keeps a core busy and is the first to know. Left to
    itself, a Jetson chooses by its power mode. It counts for the whole process, because the other way, an event that
    blocks, holds the GIL: in cuda-python 12.6 cudaEventSynchronize keeps it, cudaStreamSynchronize releases it.
    """
    call(cudart.cudaSetDevice, 0)
    call(cudart.cudaSetDeviceFlags, getattr(cudart, _WAITS[wait]))
    found = call(cudart.cudaGetDeviceProperties, 0)
    return found.name.rstrip(b"\0").decode(), f"{found.major}.{found.minor}"


@contextmanager
def open_stream() -> Iterator[int]:
    """A stream's handle. It does not wait for the default stream, which others in the process may use."""
    stream = call(cudart.cudaStreamCreateWithFlags, cudart.cudaStreamNonBlocking)
    try:
        yield int(stream)
    finally:
        cudart.cudaStreamSynchronize(stream)  # nothing may still run on the memory that is freed next
        cudart.cudaStreamDestroy(stream)


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """One float32 tensor: pinned on the host, so that the GPU copies it by itself, and its twin on the device."""

    host: np.ndarray
    device: int  # address
    twin: bool  # memory of its own there; else the GPU sees the host's

    def upload(self, stream: int) -> None:
        self._copy(self.device, self.host.ctypes.data, cudart.cudaMemcpyKind.cudaMemcpyHostToDevice, stream)

    def download(self, stream: int) -> None:
        self._copy(self.host.ctypes.data, self.device, cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost, stream)

    def _copy(self, to: int, source: int, kind: Any, stream: int) -> None:
        if self.twin:
            call(cudart.cudaMemcpyAsync, to, source, self.host.nbytes, kind, stream)


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """One float32 tensor that no one on the host sees. Its content is anything until it is written."""

    device: int  # address
    nbytes: int

    def zero(self, stream: int) -> None:
        call(cudart.cudaMemsetAsync, self.device, 0, self.nbytes, stream)

    def download(self, shape: tuple[int, ...], stream: int) -> np.ndarray:
        """Its content, once `stream` has come so far."""
        host = np.empty(shape, np.float32)
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        call(cudart.cudaMemcpyAsync, host.ctypes.data, self.device, self.nbytes, kind, stream)
        return host

    def upload(self, host: np.ndarray, stream: int) -> None:
        """`host` stays as it is until `stream` has come so far."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        call(cudart.cudaMemcpyAsync, self.device, host.ctypes.data, self.nbytes, kind, stream)

    def copy_from(self, other: Buffer, stream: int) -> None:
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        call(cudart.cudaMemcpyAsync, self.device, other.device, self.nbytes, kind, stream)


@contextmanager
def buffer(shape: tuple[int, ...]) -> Iterator[Buffer]:
    nbytes = 4 * prod(shape)
    device = call(cudart.cudaMalloc, nbytes)
    try:
        yield Buffer(int(device), nbytes)
    finally:
        cudart.cudaFree(device)  # unchecked, as below


@contextmanager
def allocate(shape: tuple[int, ...]) -> Iterator[Tensor]:
    """A Tensor of zeros; its memory is gone when the `with` ends, so no view of `host` may outlive it."""
    with _pinned(shape, cudart.cudaHostAllocDefault) as (host, _), buffer(shape) as on_device:
        yield Tensor(host, on_device.device, twin=True)


@contextmanager
def allocate_mapped(shape: tuple[int, ...]) -> Iterator[Tensor]:
    """Likewise, but the GPU reads and writes the host's memory: no copies, and each access goes over the bus."""
    with _pinned(shape, cudart.cudaHostAllocMapped) as (host, address):
        yield Tensor(host, int(call(cudart.cudaHostGetDevicePointer, address, 0)), twin=False)


@contextmanager
def _pinned(shape: tuple[int, ...], kind: int) -> Iterator[tuple[np.ndarray, int]]:
    count = prod(shape)
    pinned = call(cudart.cudaHostAlloc, 4 * count, kind)
    try:
        memory = (ctypes.c_float * count).from_address(int(pinned))
        host: np.ndarray = np.ctypeslib.as_array(memory).reshape(shape)
        host[...] = 0
        yield host, int(pinned)
    finally:
        cudart.cudaFreeHost(pinned)  # unchecked: after a sticky error each of these fails too, and would hide it


@contextmanager
def capture(stream: int, enqueue: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """What `enqueue` puts on `stream`, as one CUDA graph: gives the function that launches it.

    Raises EngineError when it cannot be captured; the stream is usable then.
    """
    # thread-local: another thread that allocates on the GPU meanwhile does not spoil it
    call(cudart.cudaStreamBeginCapture, stream, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
    try:
        enqueue()
    except EngineError:
        cudart.cudaStreamEndCapture(stream)  # or the stream would record for ever
        cudart.cudaGetLastError()  # and the next call would report this failure as its own
        raise
    recorded = call(cudart.cudaStreamEndCapture, stream)
    try:
        ready = call(cudart.cudaGraphInstantiate, recorded, 0)
    finally:
        cudart.cudaGraphDestroy(recorded)
    try:
        yield partial(call, cudart.cudaGraphLaunch, ready, stream)
    finally:
        cudart.cudaGraphExecDestroy(ready)


def free_bytes() -> int:
    """Of the GPU's memory; on a Jetson, of the board's."""
    free, _ = call(cudart.cudaMemGetInfo)
    return int(free)


def wait(stream: int) -> None:
    """Until all work on `stream` is done; other threads run meanwhile."""
    call(cudart.cudaStreamSynchronize, stream)


class Log(trt.ILogger):  # type: ignore[misc]
    """Where TensorRT says why: it returns None or False, and the reason comes here."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._errors: deque[str] = deque(maxlen=4)

    def log(self, severity: Any, message: str) -> None:
        if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
            self._errors.append(message.strip())
        elif severity == trt.ILogger.Severity.WARNING:
            _log.info("TensorRT: %s", message)
        else:
            _log.debug("TensorRT: %s", message)

    def reason(self) -> str:
        """The errors since the last call, on one line."""
        said = " / ".join(self._errors) or "it gave no reason"
        self._errors.clear()
        return " ".join(said.split())


LOG = Log()  # one: TensorRT keeps the first logger of a process, and warns of each other
