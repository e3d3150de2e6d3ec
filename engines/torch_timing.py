"""Times an ONNX network in PyTorch; fed to the interpreter that has PyTorch, onnx and numpy.

Its operators are called one by one as a module written by hand would. Eager as it was trained, each convolution
followed by its batch normalisation; eager and compiled with that folded in, as in the file, which favours PyTorch. To
lay the window out in phases costs it three calls. Prints one JSON object a line: `engines.timing.Timing`.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional

EPSILON = 1e-5
"""Of a batch normalisation; as small as cuDNN takes it."""


class Network(torch.nn.Module):  # type: ignore[misc]
    """The graph, node by node. Not `folded`: the biases of convolutions are shifts of a batch normalisation again."""

    def __init__(self, path: str, device: torch.device, *, folded: bool = True) -> None:
        super().__init__()
        graph = onnx.load(path).graph
        constants = {each.name: numpy_helper.to_array(each).copy() for each in graph.initializer}
        self.whole = {name: value.tolist() for name, value in constants.items() if value.dtype == np.int64}
        self.weights = {
            name: torch.from_numpy(value).to(device) for name, value in constants.items() if name not in self.whole
        }
        self.steps = [
            (
                node.op_type,
                list(node.input),
                node.output[0],
                {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
            )
            for node in graph.node
        ]
        if not folded:
            self.steps = [self.unfolded(*step) for step in self.steps]
        self.inputs = [each.name for each in graph.input]
        self.outputs = [each.name for each in graph.output]
        if unknown := {kind for kind, *_ in self.steps} - OPERATORS.keys():
            raise SystemExit(f"operators that this timing does not know: {', '.join(sorted(unknown))}")

    def unfolded(self, kind: str, sources: list[str], target: str, attributes: dict[str, Any]) -> Any:
        """A step as it was before `training.graph` folded it."""
        if kind != "Conv" or len(sources) < 3:
            return kind, sources, target, attributes
        shift = self.weights[sources[2]]
        statistics = {
            f"{target}.mean": torch.zeros_like(shift),
            f"{target}.variance": torch.full_like(shift, 1 - EPSILON),
            f"{target}.scale": torch.ones_like(shift),
        }
        self.weights |= statistics
        return "ConvNorm", [*sources, *statistics], target, attributes

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        known: dict[str, Any] = {**self.weights, **self.whole, **dict(zip(self.inputs, inputs, strict=True))}
        for kind, sources, target, attributes in self.steps:
            known[target] = OPERATORS[kind](attributes, *[known[name] if name else None for name in sources])
        return tuple(known[name] for name in self.outputs)


def _conv(how: dict[str, Any], x: Any, kernel: Any, bias: Any = None) -> Any:
    top, left, bottom, right = how.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        x, top, left = functional.pad(x, (left, right, top, bottom)), 0, 0
    return functional.conv2d(
        x,
        kernel,
        bias,
        tuple(how.get("strides", (1, 1))),
        (top, left),
        tuple(how.get("dilations", (1, 1))),
        how.get("group", 1),
    )


def _conv_norm(how: dict[str, Any], x: Any, kernel: Any, shift: Any, mean: Any, variance: Any, scale: Any) -> Any:
    return functional.batch_norm(_conv(how, x, kernel), mean, variance, scale, shift, training=False, eps=EPSILON)


def _slice(_: dict[str, Any], x: Any, starts: list[int], ends: list[int], axes: list[int]) -> Any:
    for start, end, axis in zip(starts, ends, axes, strict=True):
        x = x.narrow(axis, start, min(end, x.shape[axis]) - start)
    return x


def _gemm(how: dict[str, Any], a: Any, b: Any, c: Any = 0.0) -> Any:
    a, b = (a.T if how.get("transA") else a), (b.T if how.get("transB") else b)
    return how.get("alpha", 1.0) * (a @ b) + how.get("beta", 1.0) * c


OPERATORS: dict[str, Any] = {
    "Conv": _conv,
    "ConvNorm": _conv_norm,
    "Slice": _slice,
    "Gemm": _gemm,
    "Relu": lambda _, x: torch.relu(x),
    "Abs": lambda _, x: torch.abs(x),
    "Add": lambda _, a, b: a + b,
    "Sub": lambda _, a, b: a - b,
    "Mul": lambda _, a, b: a * b,
    "MatMul": lambda _, a, b: a @ b,
    "GlobalAveragePool": lambda _, x: x.mean((2, 3), keepdim=True),
    "GlobalMaxPool": lambda _, x: x.amax((2, 3), keepdim=True),
    "ReduceMean": lambda how, x: x.mean(tuple(how["axes"]), keepdim=bool(how.get("keepdims", 1))),
    "Concat": lambda how, *parts: torch.cat(parts, how["axis"]),
    "Flatten": lambda how, x: x.flatten(how.get("axis", 1)),
    "Reshape": lambda _, x, shape: x.reshape(shape),
    "Transpose": lambda how, x: x.permute(how["perm"]),
    "Softmax": lambda how, x: torch.softmax(x, how.get("axis", -1)),
    "Identity": lambda _, x: x,
}


def main() -> None:
    asked = json.loads(sys.argv[1])
    device = torch.device(asked["device"])
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("PyTorch finds no GPU")
    torch.backends.cudnn.benchmark = True
    rng = np.random.default_rng(1)
    inputs = [torch.from_numpy(rng.normal(0, 1, shape).astype(np.float32)) for shape in asked["inputs"].values()]
    for name, folded in (("PyTorch eager FP32", False), ("PyTorch eager FP32, folded", True)):
        began = time.perf_counter()
        network = Network(asked["onnx"], device, folded=folded).eval()
        load_ms = 1e3 * (time.perf_counter() - began)
        show(name, network, inputs, device, load_ms, asked)

    def too_long(*_: object) -> None:
        raise SystemExit(f"torch.compile took more than {asked['compile_s']:.0f} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(int(asked["compile_s"]))
    show("PyTorch compiled FP32", torch.compile(network), inputs, device, None, asked)


@torch.inference_mode()  # type: ignore[untyped-decorator]
def show(name: str, network: Any, inputs: list[Any], device: Any, load_ms: float | None, asked: dict[str, Any]) -> None:
    def call_us() -> float:
        began = time.perf_counter_ns()
        answers = network(*(each.to(device, non_blocking=True) for each in inputs))
        [answer.cpu() for answer in answers]
        return (time.perf_counter_ns() - began) / 1e3

    first_us = call_us()
    for _ in range(50):
        call_us()
    signal.alarm(0)
    cold = []
    for _ in range(6):
        time.sleep(asked["pause_s"])
        cold.append(call_us())
    for _ in range(100):
        call_us()
    p50, p99, p999 = np.percentile([call_us() for _ in range(asked["calls"])], [50, 99, 99.9])
    figures = {"p50_us": p50, "p99_us": p99, "p999_us": p999, "first_us": first_us, "cold_us": float(np.median(cold))}
    found = {
        "name": name,
        "load_ms": load_ms,
        "gpu_mb": torch.cuda.max_memory_reserved() / 1e6 if device.type == "cuda" else None,
    } | figures
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
