"""The detector's network in 8 bits for ONNX Runtime: `python -m training.qrs.in_bulk`.

Writes `dsp/models/qrs2.in_bulk.onnx` of `qrs2.npz`, for whole recordings (`rhythmd.quick`). Weights and activations are
whole numbers of 8 bits anyhow (`dsp.qrs_network`), which processors multiply four times as fast as float32.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from dsp.qrs_network import ACTIVATION_UNIT, SHIPPED
from rhythmd.quick import LOG_ODDS, STREAM, in_bulk, newest, past
from training.graph import IR_VERSION, OPSET, Graph

MICROSOFT = "com.microsoft"
END = np.iinfo(np.int64).max


class _Network(Graph):
    def convolved(self, source: str, name: str, unit_out: float) -> str:
        """(step, input x tap) in 8 bits to (step, output) in float32, without the bias."""
        whole = self._weights[f"{name}_weight"]  # (output, input, tap)
        step = np.exp2(self._weights[f"{name}_step"].astype(np.float32)) * np.float32(ACTIVATION_UNIT / unit_out)
        factors = {
            "weight": whole.transpose(2, 1, 0).reshape(-1, len(whole)).astype(np.int8),
            "scale_in": np.float32(1),
            "scale": step.astype(np.float32),
            "zero_in": np.uint8(0),
            "zero": np.zeros(len(whole), np.int8),
        }
        constants = [self.constant(f"{name}.{what}", np.asarray(value)) for what, value in factors.items()]
        return self.node("MatMulIntegerToFloat", [source, *constants], f"{name}.sums", domain=MICROSOFT)

    def whole(self, source: str, name: str) -> str:
        """Rounded, half to even, and from 0 to 255."""
        unit = [self.constant(f"{name}.unit", np.float32(1)), self.constant(f"{name}.zero", np.uint8(0))]
        return self.node("QuantizeLinear", [source, *unit], name)

    def with_bias(self, source: str, name: str, unit_out: float) -> str:
        bias = self._weights[f"{name}_bias"] / np.float32(unit_out)
        return self.node("Add", [source, self.constant(f"{name}.bias", bias)], f"{name}.out")


def build(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """`weights`: the arrays of a detector's file."""
    graph, stream = _Network(weights), STREAM
    channels = len(weights["second_weight"])
    inputs = [helper.make_tensor_value_info(STREAM, TensorProto.FLOAT, ["steps", channels])]
    outputs = [helper.make_tensor_value_info(LOG_ODDS, TensorProto.FLOAT, ["steps", len(weights["head_weight"])])]
    for index, dilation in enumerate(weights["dilations"].tolist()):
        name = f"block{index}"
        before = (weights[f"{name}_weight"].shape[2] - 1) * dilation
        for infos, of in ((inputs, past), (outputs, newest)):
            infos.append(helper.make_tensor_value_info(of(index), TensorProto.UINT8, [before, channels]))
        rows = graph.node("Concat", [past(index), graph.whole(stream, f"{name}.whole")], f"{name}.rows", axis=0)
        graph.cut(rows, -before, END, 0, newest(index))
        taps = [
            graph.cut(rows, back, back - before or END, 0, f"{name}.tap{tap}")
            for tap, back in enumerate(range(0, before + 1, dilation))
        ]
        sums = graph.convolved(graph.node("Concat", taps, f"{name}.taps", axis=1), name, ACTIVATION_UNIT)
        stream = graph.node("Add", [stream, sums], f"{name}.stream")  # in the order in which numpy adds
        stream = graph.with_bias(stream, name, ACTIVATION_UNIT)
    sums = graph.convolved(graph.whole(stream, "head.whole"), "head", 1.0)
    bias = graph.constant("head.bias", weights["head_bias"])
    graph.node("Add", [sums, bias], LOG_ODDS)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    made = helper.make_graph(graph.nodes, "qrs", inputs, outputs, graph.constants)
    model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION, producer_name="rhythmd")
    onnx.checker.check_model(model)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="?", default=SHIPPED, help="default: what ships")
    path = parser.parse_args().weights
    with np.load(path) as file:
        model = build({name: file[name] for name in file.files})
    in_bulk(path).write_bytes(model.SerializeToString())
    print(in_bulk(path))


if __name__ == "__main__":
    main()
