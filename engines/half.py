"""The same network computing in FP16: one rewriting of the graph, so that every TensorRT builds the same thing."""

from __future__ import annotations

from typing import Any

import numpy as np

from engines.errors import EngineError
from engines.model import Model


def read_graph(model: Model) -> Any:
    """The model's file as onnx knows it. Raises EngineError with the remedy."""
    try:
        import onnx
    except ImportError as error:
        raise EngineError(
            f"building FP16 and INT8 needs the onnx package ({error}): pip install 'rhythmd[build]'"
        ) from error
    try:
        return onnx.load(model.onnx)
    except Exception as error:  # whatever protobuf raises
        raise EngineError(f"{model.onnx}: onnx cannot read it: {error}; export the model again") from error


def to_half(model: Model) -> bytes:
    """Inputs, outputs, states and the softmaxes that are outputs stay FP32; everything between becomes FP16."""
    network = read_graph(model)
    import onnx

    single, half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    graph = network.graph
    del graph.value_info[:]  # said FP32
    for initializer in graph.initializer:
        _halve(initializer, model)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _halve(attribute.t, model)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == single:
                attribute.i = half

    def cast(source: str, target: str, to: int) -> Any:
        return onnx.helper.make_node("Cast", [source], [target], f"cast_{target}", to=to)

    outputs = {tensor.name for tensor in graph.output}
    softmaxes = {node.output[0] for node in graph.node if node.op_type == "Softmax"} & outputs
    renamed = {name: f"{name}/fp16" for name in (*(tensor.name for tensor in graph.input), *outputs - softmaxes)}
    before = [cast(tensor.name, renamed[tensor.name], half) for tensor in graph.input]
    nodes = []
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
        if node.output[0] in softmaxes:
            logits = f"{node.output[0]}/logits"
            nodes.append(cast(node.input[0], logits, single))
            node.input[0] = logits
        nodes.append(node)
    after = [cast(renamed[name], name, single) for name in sorted(outputs - softmaxes)]
    replace_nodes(graph, [*before, *nodes, *after])
    onnx.checker.check_model(network)
    return bytes(network.SerializeToString())


def replace_nodes(graph: Any, nodes: list[Any]) -> None:
    """Give the graph these nodes, some of which may be its own."""
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _halve(tensor: Any, model: Model) -> None:
    import onnx

    if tensor.data_type != onnx.TensorProto.FLOAT:
        return
    with np.errstate(over="ignore"):
        values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
    if not np.isfinite(values).all():
        raise EngineError(f"{model.onnx}: {tensor.name} has values that FP16 cannot hold; use --precision fp32")
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
