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
TOOLS = {
    f"engines/{name}.py"
    for name in ("build", "classic", "energy", "examples", "half", "int8", "shelf", "timing", "torch_timing", "verify")
}
"""Of `rhythmd engine`, never loaded by the daemon: a test below holds them to that."""
PURE = ["dsp/*.py", "daemon/links/*.py", *(f"daemon/{name}.py" for name in ("clock", "history", "rules", "alerts"))]
PURE += [
    "daemon/judge.py",
    "daemon/tachycardia.py",
    "daemon/odds.py",
    "daemon/waves.py",
    "daemon/likeness.py",
    "daemon/kinds.py",
    "daemon/reporting.py",
    "daemon/messages.py",
    "ec57/*.py",
]
PURE += [f"rhythmd/notify/{name}.py" for name in ("rules", "calls", "pace", "words")]
PURE += [f"rhythmd/bridge/{name}.py" for name in ("topics", "payloads")]


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


@pytest.mark.parametrize("vendor", ["tensorrt", "cuda", "onnxruntime", "serial", "zmq", "prometheus_client"])
def test_each_vendor_is_known_in_one_place(vendor):
    known = {
        str(path.relative_to(ROOT))
        for path in modules("daemon/**/*.py", "dsp/*.py", "engines/*.py")
        if vendor in {name.split(".")[0] for name in imports(path)}
    }
    allowed = {
        "tensorrt": {"engines/cuda.py"},
        "cuda": {"engines/cuda.py"},
        "onnxruntime": {"engines/onnxruntime_backend.py", "engines/int8.py", "engines/verify.py"},
        "serial": {"daemon/port.py"},
        "prometheus_client": {"daemon/metrics.py"},
        "zmq": {f"daemon/{name}.py" for name in ("publish", "desk", "doors", "guard")},
    }
    assert known <= allowed[vendor]


@pytest.mark.parametrize(
    ("vendor", "place"), [("apprise", "rhythmd/notify/sending.py"), ("paho", "rhythmd/bridge/broker.py")]
)
def test_who_carries_messages_is_known_in_one_place(vendor, place):
    paths = [path for room in ROOMS for path in modules(f"{room}/**/*.py")]
    known = [path for path in paths if vendor in {name.split(".")[0] for name in imports(path)}]
    assert [str(path.relative_to(ROOT)) for path in known] == [place]


def test_the_daemon_loads_no_tool_of_the_engines():
    listed = ", ".join(repr(path.removesuffix(".py").replace("/", ".")) for path in sorted(TOOLS))
    program = (
        "import sys, daemon.app, engines.onnxruntime_backend\n"
        "try: import engines.tensorrt_backend\n"
        "except Exception: import engines.plans\n"
        f"sys.exit(sorted(set([{listed}]) & set(sys.modules)) or 0)"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
    for path in modules("daemon/**/*.py", "dsp/*.py", "engines/tensorrt_backend.py", "engines/plans.py"):
        assert not {f"{name.replace('.', '/')}.py" for name in imports(path)} & TOOLS, path


def test_modules_and_the_runtime_stay_small():
    """What outgrows this has a seam somewhere, or does what a library does better.

    Wire formats are a table that grows with the devices that people own: each must be small, not all together.
    """
    texts = {
        path.relative_to(ROOT): path.read_text().splitlines() for room in ROOMS for path in modules(f"{room}/**/*.py")
    }
    assert [str(path) for path, lines in texts.items() if len(lines) > 300] == []
    rooms = {"daemon", "dsp", "engines"}
    formats = {path for path in texts if path.parts[:2] == ("daemon", "links")}
    assert [str(path) for path in formats if len(texts[path]) > 160] == []
    runtime = [
        lines
        for path, lines in texts.items()
        if path.parts[0] in rooms and path not in formats and str(path) not in TOOLS
    ]
    assert sum(bool(line.strip()) for lines in runtime for line in lines) <= 5900


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
