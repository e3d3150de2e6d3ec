"""Many beats in one call: `python -m training.sveb.batch [MODEL.onnx]` writes `MODEL.batch.onnx` (`rhythmd.together`).

The model's own weights, in another graph. Convolutions and products are those of all beats at once; the recurrent layer
goes from beat to beat by itself; attention has for each beat the keys and values of its own COMPARED beats.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dsp.beat_picture import POINTS
from dsp.intervals import FEATURES
from engines.model import SHIPPED
from training.graph import Graph, Shapes, model_of
from training.layout import BEATS as CLASSES

WHICH = "which"
"""Rows of each beat's window, its own the last: those that are remembered, oldest first, then those of the beats."""

NEVER = 1e4
"""As in `training.sveb.network`, which needs PyTorch."""


class _Batch(Graph):
    def __init__(self, step: onnx.ModelProto) -> None:
        super().__init__({each.name: numpy_helper.to_array(each) for each in step.graph.initializer})
        self._step = step.graph.node
        self._heads, self.compares = self._weights["network.compare.0.by_distance"].shape
        self._width = len(self._weights["network.norm.weight"])
        self._part = self._width // self._heads
        self.layers = sum(name.endswith("by_distance") for name in self._weights)
        before = self.compares - 1
        self.states: Shapes = {"followed": (1, self._width), "known": (before,)}
        self.states |= {f"seen{layer + 1}": (2, self._heads, before, self._part) for layer in range(self.layers)}

    def constant(self, name: str, value: np.ndarray) -> str:
        """Once, though many read it."""
        return name if any(each.name == name for each in self.constants) else super().constant(name, value)

    def whole(self, *numbers: int) -> str:
        return self.constant("int." + ".".join(map(str, numbers)), np.array(numbers, np.int64))

    def number(self, value: float) -> str:
        return self.constant(f"float.{value}", np.array(value, np.float32))

    def product(self, x: str, layer: str) -> str:
        return self.linear(x, layer, self._weights[f"{layer}.weight"], self._weights[f"{layer}.bias"])

    def norm(self, x: str, layer: str) -> str:
        inputs = [x, *self.as_in_step([f"{layer}.weight", f"{layer}.bias"])]
        return self.node("LayerNormalization", inputs, f"{layer}.normed", axis=-1, epsilon=1e-5)

    def as_in_step(self, names: Iterable[str]) -> list[str]:
        return [self.constant(name, self._weights[name]) for name in names]

    def pick(self, x: str, place: int, name: str) -> str:
        return self.node("Gather", [x, self.constant(f"place.{place}", np.array(place))], name, axis=0)

    def newest(self, x: str, axis: int, name: str) -> None:
        """What is remembered of it."""
        self.cut(x, 1 - self.compares, np.iinfo(np.int64).max, axis, name)

    def seen(self) -> str:
        """What each beat looks like and how it comes: `(beat, width)`."""
        x = self.node("Unsqueeze", ["beat", self.whole(1)], "channel")
        for number, conv in enumerate(each for each in self._step if each.op_type == "Conv"):
            how = {each.name: list(each.ints) for each in conv.attribute if each.name in {"pads", "strides"}}
            inputs = [x, *self.as_in_step(conv.input[1:])]
            x = self.node("Relu", [self.node("Conv", inputs, f"conv{number}", **how)], f"relu{number}")
        looks = self.product(self.node("Flatten", [x], "flat", axis=1), "network.see.14")
        soon = self.node("Relu", [self.product("rr", "network.time.0")], "soon")
        return self.node("Add", [looks, self.product(soon, "network.time.2")], "seen")

    def followed(self, x: str) -> str:
        gru = next(each for each in self._step if each.op_type == "GRU")
        before = self.node("Unsqueeze", ["followed", self.whole(0)], "before")
        sequence = self.node("Unsqueeze", [x, self.whole(1)], "sequence")
        inputs = [sequence, *self.as_in_step(gru.input[1:4]), "", before]
        how = {"hidden_size": self._width, "linear_before_reset": 1}
        self.nodes.append(helper.make_node("GRU", inputs, ["follow", "follow.last"], name="follow", **how))
        self.node("Squeeze", ["follow.last", self.whole(0)], "followed_next")
        each = self.node("Reshape", ["follow", self.whole(-1, self._width)], "follow.each")
        return self.node("Add", [x, each], "follow.added")

    def there(self) -> str:
        """What is added to how alike beats are: `(beat, 1, COMPARED)`."""
        count = self.cut(self.node("Shape", ["rr"], "shape"), 0, 1, 0, "count")
        one = helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])
        these = self.node("ConstantOfShape", [count], "these", value=one)
        known = self.node("Concat", ["known", these], "known.all", axis=0)
        self.newest(known, 0, "known_next")
        each = self.node("Gather", [known, WHICH], "known.each", axis=0)
        less = self.node("Sub", [each, self.number(1.0)], "known.less")
        return self.node("Unsqueeze", [self.node("Mul", [less, self.number(NEVER)], "never"), self.whole(1)], "there")

    def compared(self, x: str, there: str, number: int) -> str:
        layer = f"network.compare.{number}"
        asked = self.product(self.norm(x, f"{layer}.norm"), f"{layer}.ask")
        parts = self.node("Reshape", [asked, self.whole(-1, 3, self._heads, self._part)], f"{layer}.parts")
        parts = self.node("Transpose", [parts], f"{layer}.by_part", perm=[1, 2, 0, 3])
        fresh = self.cut(parts, 1, 3, 0, f"{layer}.fresh")
        every = self.node("Concat", [f"seen{number + 1}", fresh], f"{layer}.every", axis=2)
        self.newest(every, 2, f"seen{number + 1}_next")
        windows = self.node("Gather", [every, WHICH], f"{layer}.windows", axis=2)
        query = self.node("Unsqueeze", [self.pick(parts, 0, f"{layer}.query"), self.whole(2)], f"{layer}.queries")
        keys = self.node("Transpose", [self.pick(windows, 0, f"{layer}.keys")], f"{layer}.turned", perm=[0, 1, 3, 2])
        keys = self.node("Mul", [keys, self.number(self._part**-0.5)], f"{layer}.scaled")
        alike = self.node("MatMul", [query, keys], f"{layer}.alike")
        by_distance = self._weights[f"{layer}.by_distance"][:, None, None, ::-1]
        bias = self.node("Add", [self.constant(f"{layer}.by_distance", by_distance.copy()), there], f"{layer}.bias")
        shares = self.node("Softmax", [self.node("Add", [alike, bias], f"{layer}.logits")], f"{layer}.shares", axis=-1)
        found = self.node("MatMul", [shares, self.pick(windows, 1, f"{layer}.values")], f"{layer}.found")
        found = self.node("Transpose", [found], f"{layer}.by_beat", perm=[1, 0, 2, 3])
        found = self.node("Reshape", [found, self.whole(-1, self._width)], f"{layer}.rows")
        x = self.node("Add", [x, self.product(found, f"{layer}.answer")], f"{layer}.with")
        deep = self.product(self.norm(x, f"{layer}.norm_deep"), f"{layer}.deep.0")
        erf = self.node("Erf", [self.node("Div", [deep, self.number(2**0.5)], f"{layer}.over")], f"{layer}.erf")
        gelu = self.node("Mul", [deep, self.node("Add", [erf, self.number(1.0)], f"{layer}.plus")], f"{layer}.times")
        gelu = self.node("Mul", [gelu, self.number(0.5)], f"{layer}.gelu")
        return self.node("Add", [x, self.product(gelu, f"{layer}.deep.3")], f"{layer}.out")


def build(step: onnx.ModelProto) -> onnx.ModelProto:
    """Of the model that the daemon runs (`training.sveb.export`), trained: of equal weights the exporter names one."""
    graph = _Batch(step)
    x = graph.followed(graph.seen())
    there = graph.there()
    for number in range(graph.layers):
        x = graph.compared(x, there, number)
    judged = graph.product(graph.norm(x, "network.norm"), "network.judge")
    graph.node("Softmax", [judged], "beat_class", axis=1)
    inputs: Shapes = {"beat": ("beats", POINTS), "rr": ("beats", FEATURES), **graph.states}
    outputs: Shapes = {"beat_class": ("beats", len(CLASSES))}
    outputs |= {f"{name}_next": shape for name, shape in graph.states.items()}
    return model_of(graph, inputs, outputs, {WHICH: ("beats", graph.compares)})


def write(path: Path) -> None:
    """Beside the model at `path` (`.onnx`)."""
    path.with_suffix(".batch.onnx").write_bytes(build(onnx.load(path)).SerializeToString())


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED / "sveb1.onnx")
