"""The arrows between the rooms, and what no pure room may know."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("daemon", "dsp", "engines", "rhythmd", "ec57")
MAY_IMPORT = {
    "dsp": {"dsp"},
    "engines": {"engines"},
    "ec57": {"ec57"},
    "daemon": {"daemon", "dsp", "engines"},
    "rhythmd": {"rhythmd", "daemon", "dsp", "engines", "ec57"},
}
WAITING = {"serial", "socket", "threading", "queue", "time", "logging", "zmq", "subprocess", "asyncio", "onnxruntime"}
PURE = ["dsp/*.py", "daemon/links/*.py", *(f"daemon/{name}.py" for name in ("clock", "history", "rules", "alerts"))]
PURE += [
    "daemon/judge.py",
    "daemon/tachycardia.py",
    "daemon/odds.py",
    "daemon/kinds.py",
    "daemon/reporting.py",
    "daemon/messages.py",
    "ec57/*.py",
]


def modules(*patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_between_rooms_go_one_way(room):
    for path in modules(f"{room}/**/*.py"):
        known = {name.split(".")[0] for name in imports(path)} & set(ROOMS)
        assert known <= MAY_IMPORT[room], f"{path.relative_to(ROOT)} imports {known - MAY_IMPORT[room]}"


def test_pure_modules_know_no_port_thread_clock_or_log():
    paths = modules(*PURE)
    assert len(paths) > 25
    for path in paths:
        assert not {name.split(".")[0] for name in imports(path)} & WAITING, path.relative_to(ROOT)


@pytest.mark.parametrize("vendor", ["tensorrt", "cuda", "onnxruntime", "serial", "zmq"])
def test_each_vendor_is_known_in_one_place(vendor):
    known = {
        str(path.relative_to(ROOT))
        for path in modules("daemon/**/*.py", "dsp/*.py", "engines/*.py")
        if vendor in {name.split(".")[0] for name in imports(path)}
    }
    allowed = {
        "tensorrt": {"engines/tensorrt_backend.py", "engines/build.py", "engines/cuda.py"},
        "cuda": {"engines/cuda.py"},
        "onnxruntime": {"engines/onnxruntime_backend.py"},
        "serial": {"daemon/port.py"},
        "zmq": {"daemon/publish.py"},
    }
    assert known <= allowed[vendor]


def test_modules_and_the_runtime_stay_small():
    """What outgrows this has a seam somewhere, or does what a library does better."""
    texts = {
        path.relative_to(ROOT): path.read_text().splitlines() for room in ROOMS for path in modules(f"{room}/**/*.py")
    }
    assert [str(path) for path, lines in texts.items() if len(lines) > 300] == []
    rooms = {"daemon", "dsp", "engines"}
    runtime = [lines for path, lines in texts.items() if path.parts[0] in rooms and path.name != "build.py"]
    assert sum(bool(line.strip()) for lines in runtime for line in lines) <= 3500


def test_a_subscriber_needs_pyzmq_and_msgspec_alone():
    program = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"numpy", "scipy", "serial", "onnxruntime", "wfdb", "tqdm"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
from rhythmd import Subscriber
"""
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
