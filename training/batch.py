"""The same network for many windows in one call: `<model>.batch.onnx`, for whole recordings (`rhythmd.together`).

A window is compared with the beats before it, and nothing of a beat hangs on what was made of the beats before: so the
tables of all windows are put together of the rows of the beats that were remembered and of the rows of these windows.
Each sum has the terms that it has for one window, in an order that is the library's affair: whoever runs it checks that
the answers are the same.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from dsp.signal import WINDOW_SAMPLES
from dsp.windows import RR_FEATURES
from training.graph import BEATS_IN, BEATS_OUT, Graph, Shapes, add_network, model_of, table
from training.layout import HEADS, INPUT, RR_INPUT, Layout, Weights, layout_of

WHICH = "which"
"""Rows of each window's table, and at the end of the table that is remembered then: those of the table that was
remembered, in its order, and after them those of the windows."""


class _Batch(Graph):
    def shaped(self, source: str, shape: tuple[int, ...]) -> str:
        """As for one window, for each."""
        if shape[0] == 1:
            shape = (0, *shape[1:])
        if source == INPUT:
            shape = tuple(WINDOW_SAMPLES // shape[3] if length == -1 else length for length in shape)
        return super().shaped(source, shape)

    def column(self, source: str, name: str, weight: np.ndarray, bias: np.ndarray) -> str:
        """One product for each window, as it is for one."""
        column = super().shaped(source, (0, weight.shape[1], 1))
        product = self.node("MatMul", [self.constant(f"{name}.weight", weight), column], f"{name}.product")
        return self.node("Add", [product, self.constant(f"{name}.bias", bias[:, None])], name)

    def remembered(self, fresh: str, layout: Layout) -> str:
        _, views, beats, numbers = table(layout)
        by_beat = self.node("Transpose", [BEATS_IN], "by_beat", perm=[0, 2, 1, 3])
        old = super().shaped(by_beat, (beats, views * numbers))
        rows = self.node("Gather", [self.node("Concat", [old, fresh], "rows", axis=0), WHICH], "chosen", axis=0)
        split = super().shaped(rows, (-1, beats, views, numbers))
        tables = self.node("Transpose", [split], "tables", perm=[0, 2, 1, 3])
        return self.cut(tables, 0, -1, 0, "table")

    def remember(self, fresh: str, layout: Layout) -> None:  # noqa: ARG002 - what was remembered has it
        self.cut("tables", -1, np.iinfo(np.int64).max, 0, BEATS_OUT)


def build(weights: Weights) -> onnx.ModelProto:
    layout, graph = layout_of(weights), _Batch(weights)
    add_network(graph, weights)
    _, _, beats, _ = table(layout)
    inputs: Shapes = {INPUT: ("windows", 1, 1, WINDOW_SAMPLES), RR_INPUT: ("windows", RR_FEATURES)}
    outputs: Shapes = {name: ("windows", len(labels)) for name, labels in HEADS.items()}
    inputs[BEATS_IN] = outputs[BEATS_OUT] = (*table(layout),)
    return model_of(graph, inputs, outputs, {WHICH: ("tables", beats)})


def write(weights: Weights, path: Path) -> None:
    """Beside the model at `path` (`.onnx`)."""
    path.with_suffix(".batch.onnx").write_bytes(build(weights).SerializeToString())
