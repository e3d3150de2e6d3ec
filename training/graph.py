"""The network's graph, written node by node from plain weights.

So it is exactly what we mean on every version of every exporter, and needs no PyTorch. Batch normalisation is folded
into the convolutions.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dsp.signal import WINDOW_SAMPLES
from dsp.windows import RR_FEATURES
from training.layout import (
    HEADS,
    INPUT,
    LEARNED,
    NORM_EPSILON,
    POINTS_OF_VIEW,
    RR_INPUT,
    Convolution,
    Layout,
    Weights,
    layout_of,
)

OPSET, IR_VERSION = 17, 9
"""What TensorRT 10.3 of JetPack 6 and every later one reads."""

BEATS_IN, BEATS_OUT = "beats_in", "beats_out"

NEVER = -1e4
"""The logit of a class that a head has not."""

THERE = 30.0
"""What the score of a beat has before one that is not there, which then weighs e^-30."""


def fold(weights: Weights, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Kernel and bias of convolution `name` with its batch normalisation in them."""
    norm = {part: weights[f"{name}.norm.{part}"].astype(np.float64) for part in ("weight", "bias")}
    mean = weights[f"{name}.norm.running_mean"].astype(np.float64)
    scale = norm["weight"] / np.sqrt(weights[f"{name}.norm.running_var"].astype(np.float64) + NORM_EPSILON)
    kernel = weights[f"{name}.conv.weight"] * scale[:, None, None, None]
    return kernel.astype(np.float32), (norm["bias"] - mean * scale).astype(np.float32)


def told(head: str) -> NDArray[np.float32]:
    """(learned, told): which learned class counts as which label of the head. What has no label is `other`."""
    labels = HEADS[head]
    as_label = [labels.index(name if name in labels else "other") for name in LEARNED[head]]
    return np.eye(len(labels), dtype=np.float32)[as_label]


def in_phases(kernel: NDArray[np.float32], stride: int, reach: int) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """A kernel `(output, 1, 1, tap)` that strides over one channel, for the same samples as `stride` channels: every
    first, every second, ...; and how far that reaches to both sides.
    """
    assert kernel.shape[3] % 2, "an even number of taps reaches further to one side"
    first, last = -reach // stride, (kernel.shape[3] - 1 - reach) // stride
    phased = np.zeros((len(kernel), stride, 1, last - first + 1), np.float32)
    for tap in range(kernel.shape[3]):
        step, phase = divmod(tap - reach, stride)
        phased[:, phase, :, step - first] = kernel[:, 0, :, tap]
    return phased, (-first, last)


class Graph:
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

    def conv(self, source: str, shortcut: str, shape: Convolution) -> str:
        """With what `shortcut` names added, if it names something.

        One channel is read in phases: tensor cores take eight at once, and TensorRT fills up those that are not there.
        """
        name, stride = shape.name, shape.stride
        kernel, bias = fold(self._weights, name)
        before = after = kernel.shape[3] // 2
        if source == INPUT and stride > 1:
            source = self.node("Transpose", [self.shaped(source, (1, 1, -1, stride))], "phases", perm=[0, 3, 1, 2])
            kernel, (before, after) = in_phases(kernel, stride, before)
            stride = 1
        inputs = [source, self.constant(f"{name}.kernel", kernel), self.constant(f"{name}.bias", bias)]
        steps = {"kernel_shape": [1, kernel.shape[3]], "strides": [1, stride], "pads": [0, before, 0, after]}
        found = self.node("Conv", inputs, name, group=shape.groups, **steps)
        if shortcut:
            found = self.node("Add", [found, shortcut], f"{name}.sum")
        return self.node("Relu", [found], f"{name}.relu")

    def linear(self, source: str, name: str, weight: np.ndarray, bias: np.ndarray) -> str:
        inputs = [source, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
        return self.node("Gemm", inputs, name, transB=1)

    def column(self, source: str, name: str, weight: np.ndarray, bias: np.ndarray) -> str:
        """As `linear`, but a column. Two that read the same TensorRT joins, and then copies their halves apart: so one
        of the two is this.
        """
        factors = [self.constant(f"{name}.weight", weight), self.shaped(source, (-1, 1))]
        product = self.node("MatMul", factors, f"{name}.product")
        return self.node("Add", [product, self.constant(f"{name}.bias", bias[:, None])], name)

    def cut(self, source: str, first: int, end: int, axis: int, name: str) -> str:
        bounds = {"first": first, "end": end, "axis": axis}
        limits = [self.constant(f"{name}.{what}", np.array([value], np.int64)) for what, value in bounds.items()]
        return self.node("Slice", [source, *limits], name)

    def pooled(self, source: str, layout: Layout) -> str:
        """Mean, maximum and the two columns at R, channel by channel, and the intervals."""
        first, last = layout.columns_at_r()
        parts = [
            self.node("GlobalAveragePool", [source], "mean"),
            self.node("GlobalMaxPool", [source], "max"),
            self.cut(source, first, last + 1, 3, "at_r"),
        ]
        flat = [self.node("Flatten", [part], f"{part}.flat", axis=1) for part in parts]
        return self.node("Concat", [*flat, RR_INPUT], "told", axis=1)

    def recall(self, seen: str, layout: Layout) -> list[str]:
        """What the beats before bring to mind, and how a window differs from it: see `training.network.Recall`.

        One table holds them, `(1, point of view, beat, key | 1 | value)`, newest beat first, zeros where there is none
        yet: the 1 against `THERE` of what is asked keeps those out. Its last row is empty. To it is added what is there
        always: how much the age of each beat counts, and in the last row what is recalled of nothing. What is asked has
        zeros for the value, and of what is recalled `weighed` reads no more than the value. So nothing has to be cut or
        put together: each piece would be one more kernel, of which a GPU takes 1 to 4 us for the smallest.
        """
        views, width, beats = POINTS_OF_VIEW, layout.likened // POINTS_OF_VIEW, layout.recalled
        weight = self._weights["recall.liken.weight"].reshape(3, views, width, -1)
        bias = self._weights["recall.liken.bias"].reshape(3, views, width, 1)
        liken = np.concatenate([weight, bias], axis=3)
        rows = np.zeros((2, views, 2 * width + 1, liken.shape[3]), np.float32)  # what is asked, what is told
        rows[0, :, :width] = liken[0] * width**-0.5
        rows[1, :, :width], rows[1, :, width + 1 :] = liken[1:]
        rows[0, :, width, -1], rows[1, :, width, -1] = THERE, 1
        to_ask, to_tell = rows.reshape(2, views * (2 * width + 1), -1)
        asked = self.column(seen, "asked", np.ascontiguousarray(to_ask[:, :-1]), to_ask[:, -1])
        fresh = self.linear(seen, "fresh", to_tell[:, :-1], to_tell[:, -1])
        always = np.zeros(table(layout), np.float32)
        always[0, :, :beats, width] = self._weights["recall.age"] / THERE
        always[0, :, beats, :width], always[0, :, beats, width + 1 :] = self._weights["recall.nothing"]
        always[0, :, beats, width] = 1
        before = self.node("Add", [self.remembered(fresh, layout), self.constant("always", always)], "before")
        scores = self.node("MatMul", [before, self.shaped(asked, (1, views, -1, 1))], "scores")
        shares = self.node("Softmax", [self.shaped(scores, (1, views, 1, -1))], "shares", axis=3)
        recalled = self.shaped(self.node("MatMul", [shares, before], "recalled"), (1, -1))
        differs = self.node("Abs", [self.node("Sub", [fresh, recalled], "difference")], "differs")
        self.remember(fresh, layout)
        return [recalled, differs]

    def remembered(self, fresh: str, layout: Layout) -> str:  # noqa: ARG002 - where there are several windows it counts
        """The table for this window."""
        return BEATS_IN

    def remember(self, fresh: str, layout: Layout) -> None:
        """The table with a new first row and the last beat forgotten, or as it was when there is no beat."""
        row, beats = self.shaped(fresh, (1, POINTS_OF_VIEW, 1, -1)), layout.recalled
        is_beat = self.cut(RR_INPUT, RR_FEATURES - 1, RR_FEATURES, 1, "is_beat")
        stay = np.diag([*[1.0] * beats, 0.0]).astype(np.float32)
        move = np.diag([*[1.0] * (beats - 1), 0.0], -1).astype(np.float32)
        change = self.node("Mul", [is_beat, self.constant("move - stay", move - stay)], "change")
        goes = self.node("Add", [self.constant("stay", stay), change], "goes")
        old = self.node("MatMul", [goes, BEATS_IN], "old")
        first = self.constant("first", np.eye(1, beats + 1, dtype=np.float32).reshape(1, 1, -1, 1))
        new = self.node("Mul", [self.node("Mul", [is_beat, first], "where"), row], "new")
        self.node("Add", [old, new], BEATS_OUT)

    def heads(self, hidden: str) -> None:
        """Shares of each head's classes. The shorter one is filled up with what cannot be, so that both are one."""
        longest = max(map(len, LEARNED.values()))
        weight, bias = [], []
        for head, learned in LEARNED.items():
            fill = longest - len(learned)
            offset = self._weights.get(f"offset.{head}", np.float32(0))
            weight.append(np.pad(self._weights[f"head.{head}.weight"], ((0, fill), (0, 0))))
            bias.append(np.pad(self._weights[f"head.{head}.bias"] + offset, (0, fill), constant_values=NEVER))
        logits = self.linear(hidden, "logits", np.concatenate(weight), np.concatenate(bias))
        shares = self.node("Softmax", [self.shaped(logits, (1, len(LEARNED), longest))], "learned", axis=2)
        shares = self.shaped(shares, (1, -1))
        for place, head in enumerate(LEARNED):
            rows = np.zeros((len(LEARNED), longest, len(HEADS[head])), np.float32)
            rows[place, : len(LEARNED[head])] = told(head)
            self.node("MatMul", [shares, self.constant(f"{head}.told", rows.reshape(-1, rows.shape[2]))], head)

    def shaped(self, source: str, shape: tuple[int, ...]) -> str:
        name = f"{source}.shaped"
        return self.node("Reshape", [source, self.constant(f"{name}.shape", np.array(shape, np.int64))], name)


def weighed(weight: NDArray[np.float32], layout: Layout) -> NDArray[np.float32]:
    """The weights of `weigh` for what `Graph.recall` gives: all values, then all differences, zeros at the keys."""
    width = layout.likened // POINTS_OF_VIEW
    recalled = weight[:, layout.seen :].reshape(-1, POINTS_OF_VIEW, 2, width).transpose(0, 2, 1, 3)
    padded = np.pad(recalled, ((0, 0), (0, 0), (0, 0), (width + 1, 0)))
    return np.concatenate([weight[:, : layout.seen], padded.reshape(len(weight), -1)], axis=1)


def table(layout: Layout) -> tuple[int, ...]:
    """The shape of what is remembered of the beats before, with an empty row at its end."""
    return 1, POINTS_OF_VIEW, layout.recalled + 1, 2 * (layout.likened // POINTS_OF_VIEW) + 1


def add_network(graph: Graph, weights: Weights) -> None:
    """The whole network, from the inputs to the heads."""
    layout = layout_of(weights)
    first, paths = layout.trunk()
    begins, ends = graph.conv(INPUT, "", first), []
    for path in paths:
        maps = [begins]
        for one in path:
            maps.append(graph.conv(maps[-1], maps[-one.over] if one.over else "", one))
        ends.append(maps[-1])
    heard = graph.node("Concat", ends, "heard", axis=1) if len(ends) > 1 else ends[0]
    channels = layout.pooled // 4
    see = weights["see.weight"].copy()
    at_r = slice(2 * channels, layout.pooled)
    see[:, at_r] = see[:, at_r].reshape(-1, 2, channels).transpose(0, 2, 1).reshape(-1, 2 * channels)
    seen = graph.linear(graph.pooled(heard, layout), "see", see, weights["see.bias"])
    seen = graph.node("Relu", [seen], "seen")
    known, weight = seen, weights["weigh.weight"]
    if layout.recalled:
        known = graph.node("Concat", [seen, *graph.recall(seen, layout)], "known", axis=1)
        weight = weighed(weight, layout)
    hidden = graph.linear(known, "weigh", weight, weights["weigh.bias"])
    hidden = graph.node("Relu", [hidden], "hidden")
    graph.heads(hidden)


Shapes = dict[str, tuple[int | str, ...]]
"""Of tensors, by name. A name in a shape is a length that is known when the network is asked."""


def build(weights: Weights) -> onnx.ModelProto:
    """The network with these weights, batch 1."""
    layout, graph = layout_of(weights), Graph(weights)
    add_network(graph, weights)
    inputs: Shapes = {INPUT: (1, 1, 1, WINDOW_SAMPLES), RR_INPUT: (1, RR_FEATURES)}
    outputs: Shapes = {name: (1, len(labels)) for name, labels in HEADS.items()}
    if layout.recalled:
        inputs[BEATS_IN] = outputs[BEATS_OUT] = (*table(layout),)
    return model_of(graph, inputs, outputs)


def model_of(graph: Graph, inputs: Shapes, outputs: Shapes, places: Shapes | None = None) -> onnx.ModelProto:
    """Inputs and outputs are float32; `places` are further inputs, int64."""
    kinds = ((inputs, TensorProto.FLOAT), (places or {}, TensorProto.INT64), (outputs, TensorProto.FLOAT))
    reads, points, answers = (
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in tensors.items()] for tensors, kind in kinds
    )
    model = helper.make_model(
        helper.make_graph(graph.nodes, "rhythmd", reads + points, answers, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="rhythmd",
    )
    onnx.checker.check_model(model, full_check=True)
    return model
