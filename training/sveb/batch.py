"""Many beats in one call: `python -m training.sveb.batch [MODEL.onnx]` writes `MODEL.batch.onnx` (`rhythmd.together`).

The model's own weights, in another graph. Convolutions and products are those of all beats at once; the recurrent layer
goes from beat to beat by itself; attention has for each beat the keys and values of its own COMPARED beats.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dsp.beat_picture import POINTS
from dsp.intervals import FEATURES
from engines.model import SHIPPED
from training.layout import BEATS as CLASSES

WHICH = "which"
"""Rows of each beat's window, its own the last: those that are remembered, oldest first, then those of the beats."""

NEVER = 1e4
"""As in `training.sveb.network`, which needs PyTorch."""


class _Batch:
    """Nodes and constants, in the order in which they run."""

    def __init__(self, step: onnx.ModelProto) -> None:
        self._weights = {each.name: numpy_helper.to_array(each) for each in step.graph.initializer}
        self._step = step.graph.node
        by_distance = self._weights["network.compare.0.by_distance"]
        self._heads, self._compared = by_distance.shape
        self._width = self._weights["network.norm.weight"].shape[0]
        self.layers = sum(name.endswith("by_distance") for name in self._weights)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.states = {"followed": (1, self._width), "known": (self._compared - 1,)}
        part = self._width // self._heads
        self.states |= {f"seen{layer + 1}": (2, self._heads, self._compared - 1, part) for layer in range(self.layers)}

    def node(self, kind: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: object) -> str:
        self.constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def whole(self, *numbers: int) -> str:
        return self.constant("int." + ".".join(map(str, numbers)), np.array(numbers, np.int64))

    def number(self, value: float) -> str:
        return self.constant(f"float.{value}", np.float32(value))

    def weight(self, name: str) -> str:
        return self.constant(name, self._weights[name])

    def product(self, x: str, layer: str, name: str) -> str:
        weights = [self.weight(f"network.{layer}.{part}") for part in ("weight", "bias")]
        return self.node("Gemm", [x, *weights], name, transB=1)

    def norm(self, x: str, layer: str) -> str:
        weights = [self.weight(f"network.{layer}.{part}") for part in ("weight", "bias")]
        return self.node("LayerNormalization", [x, *weights], f"{layer}.normed", axis=-1, epsilon=1e-5)

    def pick(self, x: str, place: int, name: str) -> str:
        return self.node("Gather", [x, self.constant(f"place.{place}", np.int64(place))], name, axis=0)

    def last(self, x: str, axis: int, name: str) -> str:
        """What is remembered of it."""
        ends = [self.whole(1 - self._compared), self.whole(np.iinfo(np.int64).max), self.whole(axis)]
        return self.node("Slice", [x, *ends], name)

    def seen(self) -> str:
        """What each beat looks like and how it comes: `(beat, width)`."""
        x = self.node("Unsqueeze", ["beat", self.whole(1)], "channel")
        for number, conv in enumerate(each for each in self._step if each.op_type == "Conv"):
            how = {each.name: list(each.ints) for each in conv.attribute if each.name in {"pads", "strides"}}
            weights = [self.weight(name) for name in conv.input[1:]]
            x = self.node("Relu", [self.node("Conv", [x, *weights], f"conv{number}", **how)], f"relu{number}")
        looks = self.product(self.node("Flatten", [x], "flat", axis=1), "see.14", "looks")
        soon = self.node("Relu", [self.product("rr", "time.0", "soon")], "soon.relu")
        return self.node("Add", [looks, self.product(soon, "time.2", "comes")], "seen")

    def followed(self, x: str) -> str:
        gru = next(each for each in self._step if each.op_type == "GRU")
        weights = [self.weight(name) for name in gru.input[1:4]]
        before = self.node("Unsqueeze", ["followed", self.whole(0)], "before")
        inputs = [self.node("Unsqueeze", [x, self.whole(1)], "sequence"), *weights, "", before]
        how = {"hidden_size": self._width, "linear_before_reset": 1}
        self.nodes.append(helper.make_node("GRU", inputs, ["follow", "follow.last"], name="follow", **how))
        self.node("Squeeze", ["follow.last", self.whole(0)], "followed_next")
        each = self.node("Reshape", ["follow", self.whole(-1, self._width)], "follow.each")
        return self.node("Add", [x, each], "follow.added")

    def there(self) -> str:
        """What is added to how alike beats are: `(beat, 1, COMPARED)`."""
        count = self.node("Slice", [self.node("Shape", ["rr"], "shape"), self.whole(0), self.whole(1)], "count")
        one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
        these = self.node("ConstantOfShape", [count], "these", value=one)
        known = self.node("Concat", ["known", these], "known.all", axis=0)
        self.last(known, 0, "known_next")
        each = self.node("Gather", [known, WHICH], "known.each", axis=0)
        less = self.node("Sub", [each, self.number(1.0)], "known.less")
        return self.node("Unsqueeze", [self.node("Mul", [less, self.number(NEVER)], "never"), self.whole(1)], "there")

    def compared(self, x: str, there: str, number: int) -> str:
        layer = f"compare.{number}"
        asked = self.product(self.norm(x, f"{layer}.norm"), f"{layer}.ask", f"{layer}.asked")
        part = self._width // self._heads
        parts = self.node("Reshape", [asked, self.whole(-1, 3, self._heads, part)], f"{layer}.parts")
        parts = self.node("Transpose", [parts], f"{layer}.by_part", perm=[1, 2, 0, 3])
        fresh = self.node("Slice", [parts, self.whole(1), self.whole(3)], f"{layer}.fresh")
        every = self.node("Concat", [f"seen{number + 1}", fresh], f"{layer}.every", axis=2)
        self.last(every, 2, f"seen{number + 1}_next")
        windows = self.node("Gather", [every, WHICH], f"{layer}.windows", axis=2)
        query = self.node("Unsqueeze", [self.pick(parts, 0, f"{layer}.query"), self.whole(2)], f"{layer}.queries")
        keys = self.node("Transpose", [self.pick(windows, 0, f"{layer}.keys")], f"{layer}.turned", perm=[0, 1, 3, 2])
        keys = self.node("Mul", [keys, self.number(part**-0.5)], f"{layer}.scaled")
        alike = self.node("MatMul", [query, keys], f"{layer}.alike")
        by_distance = self._weights[f"network.{layer}.by_distance"][:, None, None, ::-1]
        bias = self.node("Add", [self.constant(f"{layer}.by_distance", by_distance.copy()), there], f"{layer}.bias")
        shares = self.node("Softmax", [self.node("Add", [alike, bias], f"{layer}.logits")], f"{layer}.shares", axis=-1)
        found = self.node("MatMul", [shares, self.pick(windows, 1, f"{layer}.values")], f"{layer}.found")
        found = self.node("Transpose", [found], f"{layer}.by_beat", perm=[1, 0, 2, 3])
        found = self.node("Reshape", [found, self.whole(-1, self._width)], f"{layer}.rows")
        x = self.node("Add", [x, self.product(found, f"{layer}.answer", f"{layer}.answered")], f"{layer}.with")
        deep = self.product(self.norm(x, f"{layer}.norm_deep"), f"{layer}.deep.0", f"{layer}.deep")
        erf = self.node("Erf", [self.node("Div", [deep, self.number(2**0.5)], f"{layer}.over")], f"{layer}.erf")
        gelu = self.node("Mul", [deep, self.node("Add", [erf, self.number(1.0)], f"{layer}.plus")], f"{layer}.times")
        gelu = self.node("Mul", [gelu, self.number(0.5)], f"{layer}.gelu")
        return self.node("Add", [x, self.product(gelu, f"{layer}.deep.3", f"{layer}.deeper")], f"{layer}.out")


def build(step: onnx.ModelProto) -> onnx.ModelProto:
    """Of the model that the daemon runs (`training.sveb.export`), trained: of equal weights the exporter names one."""
    graph = _Batch(step)
    x = graph.followed(graph.seen())
    there = graph.there()
    for number in range(graph.layers):
        x = graph.compared(x, there, number)
    graph.node("Softmax", [graph.product(graph.norm(x, "norm"), "judge", "judged")], "beat_class", axis=1)
    inputs: dict[str, tuple[int | str, ...]] = {"beat": ("beats", POINTS), "rr": ("beats", FEATURES), **graph.states}
    outputs: dict[str, tuple[int | str, ...]] = {"beat_class": ("beats", len(CLASSES))}
    outputs |= {f"{name}_next": shape for name, shape in graph.states.items()}
    named = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in tensors.items()]
        for tensors in (inputs, outputs)
    ]
    compared = graph.states["known"][0] + 1
    which = helper.make_tensor_value_info(WHICH, TensorProto.INT64, ("beats", compared))
    made = helper.make_graph(graph.nodes, "batch", [*named[0], which], named[1], list(graph.constants.values()))
    model = helper.make_model(made, opset_imports=list(step.opset_import), ir_version=step.ir_version)
    onnx.checker.check_model(model)
    return model


def write(path: Path) -> None:
    """Beside the model at `path` (`.onnx`)."""
    path.with_suffix(".batch.onnx").write_bytes(build(onnx.load(path)).SerializeToString())


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED / "sveb1.onnx")
