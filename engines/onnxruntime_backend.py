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
        self._manifest = model.manifest
        self._input_names = [each.name for each in model.manifest.inputs]
        self._output_names = list(model.manifest.answers)
        self.states: dict[str, np.ndarray] = {}  # by the name of the input that takes it
        self.forget()

    def infer(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        self._manifest.check(inputs)
        named = dict(zip(self._input_names, inputs, strict=True))
        try:
            answers = self._session.run(self._output_names, named | self.states)
        except Exception as error:  # ONNX Runtime's own exceptions have no common class that it exports
            raise EngineError(f"onnxruntime: {error}") from error
        heads, states = answers[: len(self._manifest.heads)], answers[len(self._manifest.heads) :]
        self.states = dict(zip(self.states, states, strict=True))
        return tuple(heads)

    def forget(self) -> None:
        self.states = {each.input: np.zeros(each.shape, np.float32) for each in self._manifest.states}


@contextmanager
def open_engine(model: Model, *, wait: str = "block") -> Iterator[OnnxRuntime]:  # noqa: ARG001 - it computes here
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
    found = tuple(
        {tensor.name: (tensor.type, tuple(tensor.shape)) for tensor in tensors}
        for tensors in (session.get_inputs(), session.get_outputs())
    )
    promised = tuple(
        {name: ("tensor(float)", shape) for name, shape in tensors.items()}
        for tensors in (model.manifest.reads, model.manifest.answers)
    )
    if found != promised:
        raise EngineError(f"{model.onnx} has the tensors {found}, its manifest says {promised}")
