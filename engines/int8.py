"""INT8 that stands in the graph: scales by entropy calibration, then quantise-dequantise pairs before convolutions.

Symmetric, int8, one scale for an activation and one for each output channel of a kernel: what every TensorRT fuses into
one INT8 convolution. Nothing but convolutions: with the sums of the shortcuts quantised too, TensorRT 8.6 fails. Not
the first one, which reads the window itself, nor what works on one column: they take no time and lose most.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engines import plans, shelf
from engines.errors import EngineError
from engines.examples import FEWEST_TO_CALIBRATE, Example, check, counts, need_every_class, spread
from engines.half import read_graph, replace_nodes
from engines.model import Model
from engines.onnxruntime_backend import open_engine

EACH = 64
"""Windows of each class that calibrate, where there are so many."""

FEWEST_CHANNELS = 32
"""INT8 kernels pack 32 channels; below that they have nothing to gain."""

METHOD = "entropy"
BINS, LEVELS, STEP = 2048, 128, 8
"""Of the histogram of magnitudes; of INT8 on one side of zero; from one threshold tried to the next, in bins."""

LEAST = 1e-9
"""Stands for a probability of zero where something is."""

TINIEST_SCALE = 1e-6
"""For an activation that is always zero."""


class Scales(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`<model>.int8.json`: what calibration found. Reusable wherever the model goes."""

    model_sha256: str
    source: str
    windows: int
    classes: dict[str, dict[str, int]]  # windows of each class of each head
    method: str
    activations: dict[str, float]  # tensor -> its scale, real = int8 * scale


def shipped_path(model: Model) -> Path:
    return model.onnx.with_suffix(".int8.json")


def cached_path(model: Model) -> Path:
    return plans.cache_directory() / f"{model.id}.int8.json"


def find_scales(model: Model) -> Scales:
    """Those of the last calibration here, else those that came with the model."""
    for path in (cached_path(model), shipped_path(model)):
        if path.is_file():
            try:
                scales = msgspec.json.decode(path.read_bytes(), type=Scales)
            except msgspec.DecodeError as error:
                raise EngineError(f"{path}: {error}; {plans.remedy(model)[:-1]} --precision int8 --data DIR`") from None
            if scales.model_sha256 == model.manifest.sha256:
                return scales
    raise EngineError(
        f"{model.id} has no INT8 scales; {plans.remedy(model)[:-1]} --precision int8 --data DIR` finds them on "
        "WFDB records with every class"
    )


def keep_scales(scales: Scales, path: Path) -> None:
    shelf.write(path, msgspec.json.format(msgspec.json.encode(scales)) + b"\n")


def feeds(model: Model, examples: Sequence[Example], chosen: Sequence[int]) -> Iterator[dict[str, np.ndarray]]:
    """What goes into the graph at the `chosen` windows, the states that have come to be by then among it."""
    manifest = model.manifest
    wanted = set(chosen)
    with open_engine(model) as backend:
        for index, example in enumerate(examples[: max(wanted) + 1]):
            if example.begins:
                backend.forget()
            if index in wanted:
                names = (each.name for each in manifest.inputs)
                yield dict(zip(names, example.inputs, strict=True)) | backend.states
            if manifest.states:
                backend.infer(*example.inputs)


def calibrate(model: Model, examples: Sequence[Example], source: str) -> Scales:
    """Scales from real windows of every class. Raises EngineError for a set that cannot give them."""
    network = read_graph(model)
    check(examples, model.manifest, source)
    need_every_class(examples, model.manifest, source, FEWEST_TO_CALIBRATE)
    chosen = spread(examples, model.manifest, EACH)
    names = sorted({node.input[0] for node in _convolutions(network, model)})
    histograms = _collect(network, names, list(feeds(model, examples, chosen)))
    return Scales(
        model.manifest.sha256,
        source,
        len(chosen),
        counts([examples[index] for index in chosen], model.manifest),
        METHOD,
        {
            name: float(threshold(row[:-1]) * row[-1] / 127) or TINIEST_SCALE
            for name, row in zip(names, histograms, strict=True)
        },
    )


def _collect(network: Any, names: list[str], feeding: list[dict[str, np.ndarray]]) -> NDArray[np.float64]:
    """Histograms of the magnitudes of activations, (name, bin), and last in each row the upper end of its bins."""
    import onnx
    import onnxruntime

    seen = onnx.ModelProto.FromString(network.SerializeToString())
    for name in names:
        seen.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(seen.SerializeToString(), providers=["CPUExecutionProvider"])
    found = np.zeros((len(names), BINS + 1))
    for feed in feeding:
        largest = [np.abs(activation).max() for activation in session.run(names, feed)]
        found[:, -1] = np.maximum(found[:, -1], largest)
    for feed in feeding:  # once more, which costs less than to keep them all
        for row, activation in zip(found, session.run(names, feed), strict=True):
            row[:-1] += np.histogram(np.abs(activation), BINS, (0, row[-1] or 1.0))[0]
    return found


def threshold(histogram: np.ndarray) -> float:
    """The share of the bins that INT8 should span: where 128 levels lose least of the distribution (Migacz, 2017).

    What lies beyond is clipped into the last level. The bin of zeros says nothing, and after a ReLU it holds half.
    """
    heights = histogram.astype(float)
    heights[0] = heights[1]
    beyond = heights[::-1].cumsum()[::-1]
    best, best_count = np.inf, BINS
    for count in range(LEVELS, BINS + 1, STEP):
        kept = heights[:count]
        p = kept.copy()
        p[-1] += beyond[count] if count < BINS else 0.0
        edges = np.arange(LEVELS + 1) * count // LEVELS
        there = kept > 0
        level = np.add.reduceat(kept, edges[:-1]) / np.maximum(np.add.reduceat(there.astype(float), edges[:-1]), 1)
        q = np.repeat(level, np.diff(edges)) * there
        if not q.any():
            continue
        p, q = p / p.sum(), np.maximum(q / q.sum(), LEAST)
        loss = float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())
        if loss < best:
            best, best_count = loss, count
    return best_count / BINS


def _convolutions(network: Any, model: Model) -> list[Any]:
    """The convolutions that are worth it."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(network).graph
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.input)
    }
    found = []
    for node in network.graph.node:
        if node.op_type == "Conv":
            shape = shapes.get(node.input[0], [])
            if len(shape) > 2 and shape[1] >= FEWEST_CHANNELS and shape[-1] > 1:
                found.append(node)
    if not found:
        raise EngineError(f"{model.onnx}: no convolution in it is wide enough for INT8; use --precision fp16")
    return found


def to_int8(model: Model, scales: Scales) -> bytes:
    """The network with explicit INT8. Every other layer, and every input, output and state, stays float."""
    network = read_graph(model)
    import onnx

    graph = network.graph
    del graph.value_info[:]
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    chosen = {node.output[0]: node.input[0] for node in _convolutions(network, model)}
    if missing := set(chosen.values()) - scales.activations.keys():
        raise EngineError(f"{model.onnx}: the scales of {scales.source} have none for {', '.join(sorted(missing))}")
    nodes: list[Any] = []
    done: dict[str, str] = {}

    def pair(tensor: str, scale: np.ndarray) -> str:
        """The name of `tensor` after a pair with this scale; a vector of scales counts along axis 0."""
        if tensor not in done:
            constants = {"scale": scale.astype(np.float32), "zero": np.zeros(scale.shape, np.int8)}
            for kind, value in constants.items():
                graph.initializer.append(onnx.numpy_helper.from_array(value, f"{tensor}/{kind}"))
            along = {"axis": 0} if scale.ndim else {}
            for kind, source in (("Quantize", tensor), ("Dequantize", f"{tensor}/Quantize")):
                inputs = [source, f"{tensor}/scale", f"{tensor}/zero"]
                target = f"{tensor}/{kind}"
                nodes.append(onnx.helper.make_node(f"{kind}Linear", inputs, [target], name=target, **along))
            done[tensor] = f"{tensor}/Dequantize"
        return done[tensor]

    for node in graph.node:
        if node.output[0] in chosen:
            kernel = weights[node.input[1]]
            largest = np.abs(kernel).reshape(len(kernel), -1).max(axis=1)
            if not any(attribute.name == "kernel_shape" for attribute in node.attribute):
                # Optional in ONNX; without it TensorRT 8.6 takes a kernel that is no constant for 1 x 1.
                node.attribute.append(onnx.helper.make_attribute("kernel_shape", kernel.shape[2:]))
            activation = pair(node.input[0], np.array(scales.activations[node.input[0]]))
            node.input[1] = pair(node.input[1], np.maximum(largest / 127, TINIEST_SCALE))
            node.input[0] = activation
        nodes.append(node)
    replace_nodes(graph, nodes)
    onnx.checker.check_model(network)
    return bytes(network.SerializeToString())


def as_model(model: Model, graph: bytes, path: Path) -> Model:
    """A rewritten graph as a model of its own, to be run by any backend."""
    path.write_bytes(graph)
    manifest = msgspec.structs.replace(model.manifest, sha256=hashlib.sha256(graph).hexdigest())
    return replace(model, onnx=path, manifest=manifest)
