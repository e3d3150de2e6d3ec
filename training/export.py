"""Weights in, ONNX and manifest out: `python -m training.export RUN --version 1.0`.

The graph is written node by node from a plain `weights.npz`, so it is exactly what we mean on every version of every
exporter, and needs no PyTorch. Batch normalisation is folded into the convolutions here.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dsp.signal import RATE_HZ
from dsp.windows import R_INDEX, WINDOW_SAMPLES
from engines.model import SHIPPED, Head, Manifest, Tensor
from training.layout import HEADS, INPUT, KERNEL, NORM_EPSILON, STEM_KERNEL, STEM_STRIDE, TAIL_STRIDE, Layout

OPSET, IR_VERSION = 17, 9
"""What TensorRT 10.3 of JetPack 6 and every later one reads."""

Weights = Mapping[str, NDArray[np.float32]]


def layout_of(weights: Weights) -> Layout:
    """The layout that these weights belong to."""
    trunk, strides = (tuple(int(value) for value in weights[f"layout.{part}"]) for part in ("trunk", "strides"))
    return Layout(trunk, strides, int(weights["layout.tail"]))


def layout_arrays(layout: Layout) -> dict[str, NDArray[np.float32]]:
    """What `layout_of` reads, to be kept beside the weights."""
    parts = {"trunk": layout.trunk, "strides": layout.strides, "tail": layout.tail}
    return {f"layout.{name}": np.array(value, np.float32) for name, value in parts.items()}


def fold(weights: Weights, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel and bias of convolution `name` with its batch normalisation in them."""
    norm = {part: weights[f"{name}.norm.{part}"].astype(np.float64) for part in ("weight", "bias")}
    mean = weights[f"{name}.norm.running_mean"].astype(np.float64)
    scale = norm["weight"] / np.sqrt(weights[f"{name}.norm.running_var"].astype(np.float64) + NORM_EPSILON)
    kernel = weights[f"{name}.conv.weight"] * scale[:, None, None, None]
    return kernel.astype(np.float32), (norm["bias"] - mean * scale).astype(np.float32)


class _Graph:
    """Nodes and constants, collected in the order in which they run."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def conv(self, source: str, name: str, kernel: np.ndarray, bias: np.ndarray, stride: int = 1) -> str:
        reach = kernel.shape[3] // 2
        inputs = [source, self.constant(f"{name}.kernel", kernel), self.constant(f"{name}.bias", bias)]
        shape = {"kernel_shape": [1, kernel.shape[3]], "strides": [1, stride], "pads": [0, reach, 0, reach]}
        return self.node("Conv", inputs, name, **shape)

    def folded(self, source: str, name: str, stride: int = 1) -> str:
        return self.conv(source, name, *fold(self._weights, name), stride)

    def relu(self, source: str) -> str:
        return self.node("Relu", [source], f"{source}.relu")

    def block(self, source: str, name: str, stride: int) -> str:
        """Two convolutions around a shortcut."""
        deep = self.relu(self.folded(source, f"{name}.first", stride))
        deep = self.folded(deep, f"{name}.second")
        if f"{name}.shortcut.conv.weight" in self._weights:
            source = self.folded(source, f"{name}.shortcut", stride)
        return self.relu(self.node("Add", [deep, source], f"{name}.sum"))

    def head(self, source: str, head: str, layout: Layout) -> None:
        """Features over time, one linear layer, softmax; the tensor it ends in bears the head's name."""
        features = [
            self.node("GlobalAveragePool", [source], f"{head}.mean"),
            self.node("GlobalMaxPool", [source], f"{head}.max"),
        ]
        if head == "beat":
            for column in layout.columns_at_r():
                name = f"{head}.at{column}"
                bounds = [("from", column), ("to", column + 1), ("axis", 3)]
                limits = [self.constant(f"{name}.{what}", np.array([value], np.int64)) for what, value in bounds]
                features.append(self.node("Slice", [source, *limits], name))
        joined = self.node("Concat", features, f"{head}.features", axis=1)
        kernel, bias = self._weights[f"head.{head}.weight"], self._weights[f"head.{head}.bias"]
        logits = self.conv(joined, f"{head}.logits", kernel, bias)
        self.node("Softmax", [self.node("Flatten", [logits], f"{head}.flat", axis=1)], head, axis=1)


def build(weights: Weights) -> onnx.ModelProto:
    """The network with these weights, batch 1."""
    layout, graph = layout_of(weights), _Graph(weights)
    trunk = graph.relu(graph.folded(INPUT, "stem", STEM_STRIDE))
    for index, stride in enumerate(layout.strides):
        trunk = graph.block(trunk, f"trunk.{index}", stride)
    for head in HEADS:
        graph.head(graph.block(trunk, f"tail.{head}", TAIL_STRIDE), head, layout)
    inputs = [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, 1, 1, WINDOW_SAMPLES])]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, len(labels)]) for name, labels in HEADS.items()
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "rhythmd", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="rhythmd",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def write(weights: Weights, path: Path, version: str) -> Manifest:
    """The model at `path` (`.onnx`) and its manifest beside it."""
    serialized = build(weights).SerializeToString()
    manifest = Manifest(
        sha256=hashlib.sha256(serialized).hexdigest(),
        version=version,
        rate_hz=RATE_HZ,
        inputs=(Tensor(INPUT, (1, 1, 1, WINDOW_SAMPLES)),),
        r_index=R_INDEX,
        normalisation="rms",
        heads=tuple(Head(name, labels) for name, labels in HEADS.items()),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(serialized)
    path.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")
    return manifest


def random_weights(layout: Layout, seed: int) -> dict[str, NDArray[np.float32]]:
    """Untrained weights: for tests and for timing a layout before training it."""
    rng = np.random.default_rng(seed)
    weights: dict[str, NDArray[np.float64]] = {}

    def conv(name: str, inputs: int, outputs: int, taps: int) -> None:
        weights[f"{name}.conv.weight"] = rng.normal(0, (2 / inputs / taps) ** 0.5, (outputs, inputs, 1, taps))
        for part, low, high in (("weight", 0.5, 1.0), ("bias", -0.2, 0.2)):
            weights[f"{name}.norm.{part}"] = rng.uniform(low, high, outputs)
        weights[f"{name}.norm.running_mean"] = rng.normal(0, 0.2, outputs)
        weights[f"{name}.norm.running_var"] = rng.uniform(0.5, 2.0, outputs)

    def block(name: str, inputs: int, outputs: int, stride: int) -> None:
        conv(f"{name}.first", inputs, outputs, KERNEL)
        conv(f"{name}.second", outputs, outputs, KERNEL)
        if stride != 1 or inputs != outputs:
            conv(f"{name}.shortcut", inputs, outputs, 1)

    conv("stem", 1, layout.trunk[0], STEM_KERNEL)
    inputs = layout.trunk[0]
    for index, (channels, stride) in enumerate(zip(layout.trunk, layout.strides, strict=True)):
        block(f"trunk.{index}", inputs, channels, stride)
        inputs = channels
    for head, labels in HEADS.items():
        block(f"tail.{head}", inputs, layout.tail, TAIL_STRIDE)
        shape = (len(labels), layout.features(head), 1, 1)
        weights[f"head.{head}.weight"] = rng.normal(0, shape[1] ** -0.5, shape)
        weights[f"head.{head}.bias"] = rng.normal(0, 0.1, len(labels))
    return {name: value.astype(np.float32) for name, value in weights.items()} | layout_arrays(layout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a finished training, with weights.npz")
    parser.add_argument("--version", required=True)
    parser.add_argument("--output", type=Path, default=SHIPPED / "ecg1.onnx")
    arguments = parser.parse_args()
    with np.load(arguments.run / "weights.npz") as weights:
        manifest = write(dict(weights), arguments.output, arguments.version)
    size_mb = arguments.output.stat().st_size / 1e6
    print(f"{arguments.output}: {size_mb:.2f} MB, sha256 {manifest.sha256[:8]}...")


if __name__ == "__main__":
    main()
