"""TensorRT's API without its hardware: every name that our code uses exists in every version that we serve.

`API` was read out of the real bindings of each version, imported on a machine without a GPU: `tensorrt` 8.6.0 itself,
and `tensorrt-cu12-bindings` 10.3.0 and 10.16.1.11 and `tensorrt-cu13-bindings` 11.4.0.106 over empty libraries in the
place of libnvinfer's, whose functions they call only when something is built.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from engines.build import ways

ENGINES = Path(__file__).parents[1] / "engines"
VERSIONS = ("8.6.0", "10.3.0", "10.16.1", "11.4.0")
API = {  # class ("" is the module) -> names that each version has
    "": "Builder IBuilderConfig ICudaEngine ILogger OnnxParser Runtime TensorIOMode BuilderFlag MemoryPoolType "
    "NetworkDefinitionCreationFlag TacticSource __version__",
    "Builder": "create_builder_config create_network build_serialized_network",
    "IBuilderConfig": "set_memory_pool_limit builder_optimization_level max_aux_streams avg_timing_iterations "
    "set_flag set_tactic_sources "
    "create_timing_cache set_timing_cache get_timing_cache",
    "BuilderFlag": "SPARSE_WEIGHTS",
    "MemoryPoolType": "WORKSPACE",
    "TacticSource": "EDGE_MASK_CONVOLUTIONS JIT_CONVOLUTIONS",
    "INetworkDefinition": "num_inputs num_outputs get_input get_output",
    "ITensor": "name dtype shape",
    "OnnxParser": "parse num_errors get_error",
    "ParserError": "desc",
    "ITimingCache": "serialize",
    "Runtime": "deserialize_cuda_engine",
    "ICudaEngine": "num_io_tensors get_tensor_name get_tensor_mode get_tensor_dtype get_tensor_shape "
    "create_execution_context",
    "IExecutionContext": "set_tensor_address execute_async_v3",
    "TensorIOMode": "INPUT",
    "ILogger": "Severity __init__",
    "Severity": "INTERNAL_ERROR ERROR WARNING",
}
SOME = {  # what only some versions have, and our code asks for only there
    ("", "IProgressMonitor"): VERSIONS[1:],
    ("IBuilderConfig", "progress_monitor"): VERSIONS[1:],
    ("", "IInt8EntropyCalibrator2"): VERSIONS[:3],
    ("IBuilderConfig", "int8_calibrator"): VERSIONS[:3],
    ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"): VERSIONS[1:],
    ("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH"): VERSIONS[:3],
    ("BuilderFlag", "FP16"): VERSIONS[:3],
    ("BuilderFlag", "INT8"): VERSIONS[:3],
}
OF = {  # what our code calls an object -> its class
    "trt": "",
    "builder": "Builder",
    "config": "IBuilderConfig",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "tensor": "ITensor",  # in the build; elsewhere it is one of ours
    "kinds": "NetworkDefinitionCreationFlag",
}
RUNTIME = ("cuda", "tensorrt_backend")
BUILD = ("build", "classic")


def path_of(node: ast.expr) -> list[str]:
    """`cuda.trt.BuilderFlag.FP16` as its parts, of which a leading `cuda`, `self` or underscore says nothing."""
    if isinstance(node, ast.Attribute):
        return [*path_of(node.value), node.attr if node.attr.startswith("__") else node.attr.removeprefix("_")]
    return [node.id] if isinstance(node, ast.Name) and node.id not in {"cuda", "self"} else []


def used(*modules: str) -> set[tuple[str, str]]:
    """(class, name) of everything of TensorRT's that these modules name."""
    found = set()
    for module in modules:
        for node in ast.walk(ast.parse((ENGINES / f"{module}.py").read_text())):
            parts = path_of(node) if isinstance(node, ast.Attribute) else []
            if len(parts) > 1 and parts[0] in OF and (parts[0] != "tensor" or module in BUILD):
                found.add((OF[parts[0]], parts[1]))
                if parts[0] == "trt" and len(parts) > 2:
                    found.add((parts[-2], parts[-1]))
    return found


def test_every_name_that_is_used_is_in_the_table():
    names = used(*RUNTIME, *BUILD)
    assert {("Runtime", "deserialize_cuda_engine"), ("OnnxParser", "parse")} & names
    assert len(names) > 35
    everywhere = {(of, name) for of, listed in API.items() for name in listed.split()}
    assert names - everywhere - SOME.keys() == set()


def test_what_only_some_versions_have_is_used_by_the_build_alone():
    assert not used(*RUNTIME) & SOME.keys()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("classic", [False, True])
def test_each_way_to_type_a_network_is_tried_only_where_its_flags_exist(version, classic):
    """And TensorRT's own calibrator is refused where there is none."""
    if classic and version not in SOME["", "IInt8EntropyCalibrator2"]:
        source = (ENGINES / "classic.py").read_text()
        assert 'hasattr(cuda.trt, "IInt8EntropyCalibrator2")' in source
        return
    tried = ways(version, classic=classic)
    assert tried
    for strong, lean in tried:
        assert not (strong and lean)
        flags = ["STRONGLY_TYPED"] if strong else ["EXPLICIT_BATCH"]
        for flag in flags:
            assert version in SOME["NetworkDefinitionCreationFlag", flag]
        if not strong:
            assert version in SOME["BuilderFlag", "FP16"]
            assert version in SOME["BuilderFlag", "INT8"]


def test_types_in_the_graph_are_obeyed_wherever_tensorrt_can():
    assert [ways(version, classic=False)[0][0] for version in VERSIONS] == [False, True, True, True]


def listing(module: str) -> str:
    """A program that prints what is missing of the runtime's names."""
    wanted = sorted(name for name in used(*RUNTIME) if name not in SOME)
    return f"""
import {module} as trt
missing = []
for of, name in {wanted!r}:
    if of == "Severity":
        continue
    owner = getattr(trt, of) if of else trt
    if not hasattr(owner, name):
        missing.append((of, name))
for name in ("INTERNAL_ERROR", "ERROR", "WARNING"):
    if not hasattr(trt.ILogger.Severity, name):
        missing.append(("Severity", name))
print(trt.__version__, missing)
"""


def test_tensorrt_11s_lean_runtime_has_every_name_that_the_runtime_uses():
    """In a process of its own: without a driver it may crash, and only on calls."""
    if find_spec("tensorrt_lean_bindings") is None:
        pytest.skip("pip install tensorrt-lean-cu13-bindings tensorrt-lean-cu13-libs; needs no GPU")
    done = subprocess.run(
        [sys.executable, "-c", listing("tensorrt_lean_bindings")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    version, missing = done.stdout.split(maxsplit=1)
    assert version.startswith("11.")
    assert missing.strip() == "[]"


def test_the_tensorrt_that_is_here_has_every_name_that_the_runtime_uses():
    if find_spec("tensorrt") is None:
        pytest.skip("no TensorRT here")
    done = subprocess.run([sys.executable, "-c", listing("tensorrt")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=1)[1].strip() == "[]"
