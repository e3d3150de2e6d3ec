"""ONNX Runtime on the CPU: the default engine, and the reference for the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnxruntime as ort

from engines.errors import EngineError
from engines.model import Model


class OnnxRuntime:
    """One session of ONNX Runtime, on one thread: two threads of its own would cost more than they bring at batch 1."""

    def __init__(self, session: ort.InferenceSession, model: Model) -> None:
        self._session = session
        self._input_name = model.manifest.input_name
        self._output_names = [head.name for head in model.manifest.heads]

    def infer(self, windows: np.ndarray) -> tuple[np.ndarray, ...]:
        try:
            return tuple(self._session.run(self._output_names, {self._input_name: windows}))
        except Exception as error:  # ONNX Runtime's own exceptions have no common class that it exports
            raise EngineError(f"onnxruntime: {error}") from error


@contextmanager
def open_engine(model: Model) -> Iterator[OnnxRuntime]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        session = ort.InferenceSession(str(model.onnx), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # likewise
        raise EngineError(f"{model.onnx}: onnxruntime {ort.__version__} cannot load it: {error}") from error
    _check(session, model)
    yield OnnxRuntime(session, model)


def _check(session: ort.InferenceSession, model: Model) -> None:
    manifest = model.manifest
    shapes = {tensor.name: tuple(tensor.shape) for tensor in (*session.get_inputs(), *session.get_outputs())}
    batch = manifest.input_shape[0]
    promised: dict[str, tuple[int, ...]] = {manifest.input_name: manifest.input_shape}
    promised |= {head.name: (batch, len(head.labels)) for head in manifest.heads}
    if shapes != promised:
        raise EngineError(f"{model.onnx} has the tensors {shapes}, its manifest says {promised}")
