"""The command line: help that teaches, and one line with the remedy for what a user can mend."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engines.model import SHIPPED
from rhythmd.cli import COMMANDS, main
from rhythmd.recording import shipped
from tests.conftest import write_record


def rhythmd(*arguments: object, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rhythmd", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command):
    result = rhythmd(command, "--help")
    assert result.returncode == 0
    assert len(result.stdout.split()) > 20


def test_the_list_names_every_command():
    shown = rhythmd("--help").stdout
    assert all(f"  {name}" in shown for name in COMMANDS)


def test_the_printed_configuration_is_a_good_one(tmp_path):
    file = tmp_path / "rhythmd.toml"
    file.write_text(rhythmd("config").stdout)
    assert rhythmd("config", "--check", file).returncode == 0


def bad_config(folder: Path, text: str) -> list[object]:
    (folder / "bad.toml").write_text(text)
    return ["run", "--config", folder / "bad.toml"]


BAD = {  # what the user did -> (arguments, what the line must name)
    "unknown key": (lambda f: bad_config(f, "[patch]\nprot = 1"), "patch.prot"),
    "unknown section": (lambda f: bad_config(f, "[pach]\nport = 'x'"), "pach"),
    "wrong type": (lambda f: bad_config(f, "patch.rate_hz = '250'"), "patch.rate_hz"),
    "wrong unit": (lambda f: bad_config(f, "patch.rate_hz = 0.25"), "patch.rate_hz"),
    "unknown link": (lambda f: bad_config(f, "patch.link = 'bluetooth'"), "cyton"),
    "not toml": (lambda f: bad_config(f, "patch = ["), "bad.toml"),
    "missing file": (lambda f: ["run", "--config", f / "none.toml"], "none.toml"),
    "missing port": (lambda _: ["run"], "patch.port"),
    "a URL nobody knows": (lambda _: ["run", "--port", "gopher://x"], "patch.port"),
    "no such TCP port": (lambda f: bad_config(f, "publish.bind = ['tcp://127.0.0.1:99999']"), "99999"),
    "half a URL": (lambda _: ["run", "--port", "socket://somewhere"], "socket://HOST:PORT"),
    "a folder as port": (lambda f: ["run", "--port", f], "doctor"),
    "a baud rate of nature's": (lambda f: bad_config(f, "patch.baud = 1000000000000000000000000"), "patch.baud"),
    "no address to listen to": (lambda _: ["listen", "--connect", "garbage"], "tcp://127.0.0.1:8251"),
    "missing model": (lambda f: bad_config(f, "patch.port = 'x'\nengine.model = 'nope.onnx'"), "nope.onnx"),
    "missing record": (lambda f: ["analyze", f / "nope", "--output-dir", f], "nope"),
    "missing record to play": (lambda f: ["simulate", f / "nope"], "nope"),
    "unwritable output": (lambda f: ["analyze", f / "x", "--output-dir", "/proc/nope"], "/proc/nope"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_costs_one_line_and_exit_code_2(tmp_path, mistake):
    arguments, named = BAD[mistake]
    result = rhythmd(*arguments(tmp_path))
    lines = [line for line in result.stderr.splitlines() if " INFO " not in line]
    assert result.returncode == 2
    assert len(lines) == 1, result.stderr
    assert named in lines[0]


def test_an_altered_model_is_refused(tmp_path):
    for file in SHIPPED.glob("ecg1.*"):
        shutil.copy(file, tmp_path)
    model = tmp_path / "ecg1.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"\0")
    result = rhythmd(*bad_config(tmp_path, f"patch.port = 'x'\nengine.model = '{model}'"))
    assert result.returncode == 2
    assert "sha256" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_lead_that_is_not_there_is_named_with_those_that_are(tmp_path):
    write_record(tmp_path, "short", shipped().counts[:5000])
    result = rhythmd("analyze", tmp_path / "short", "--lead", "V9", "--output-dir", tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "V9" in result.stderr
    assert "ECG" in result.stderr


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_broken_record_does_not_stop_the_others(tmp_path, jobs):
    write_record(tmp_path, "good", shipped().counts[:5000])
    (tmp_path / "bad.hea").write_text("this is no header\n")
    write_record(tmp_path, "gone", shipped().counts[:5000])
    (tmp_path / "gone.dat").unlink()
    names = [str(tmp_path / name) for name in ("bad", "good", "gone")]
    result = rhythmd("analyze", *names, "--output-dir", tmp_path, "--jobs", jobs)
    assert (result.returncode, result.stderr.count("\n")) == (3, 2), result.stderr
    assert (tmp_path / "good.rhy").exists()
    failed = [json.loads(line) for line in (tmp_path / "failed.jsonl").read_text().splitlines()]
    assert [each["record"] for each in failed] == [names[0], names[2]]
    assert all(f"rhythmd: {each['why']}\n" in result.stderr for each in failed)
    assert rhythmd("analyze", names[1], "--output-dir", tmp_path).returncode == 0
    assert not (tmp_path / "failed.jsonl").exists()  # a list of an earlier run would mislead


def test_where_nothing_could_be_done_there_is_something_to_mend(tmp_path):
    result = rhythmd("analyze", tmp_path / "a", tmp_path / "b", "--output-dir", tmp_path / "out", "--jobs", 1)
    assert (result.returncode, result.stderr.count("\n")) == (2, 2), result.stderr
    assert len((tmp_path / "out" / "failed.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("key", ["r_index", "rate_hz", "normalisation", "inputs"])
def test_a_model_made_for_other_windows_is_refused(tmp_path, key):
    for file in SHIPPED.glob("ecg1.*"):
        shutil.copy(file, tmp_path)
    manifest = json.loads((tmp_path / "ecg1.json").read_text())
    manifest[key] = {"normalisation": "none", "inputs": [{"name": "ecg", "shape": [1, 1, 1, 500]}]}.get(key, 100)
    (tmp_path / "ecg1.json").write_text(json.dumps(manifest))
    result = rhythmd(*bad_config(tmp_path, f"patch.port = 'x'\nengine.model = '{tmp_path / 'ecg1.onnx'}'"))
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)


HEADERS = {  # what is odd about it -> (header, exit code)
    "no name for its signal": ("r 1 250 500\nr.dat 16 400(0)/mV 16 0\n", 0),
    "no units": ("r 1 250 500\nr.dat 16 400\n", 0),
    "no sampling frequency": ("r 1 0 500\nr.dat 16 400(0)/mV 16 0 0 0 0 ECG\n", 2),
    "a sample a minute": ("r 1 0.0166666667 500\nr.dat 16 400(0)/mV 16 0 0 0 0 ECG\n", 2),
    "a thousand million samples a second": ("r 1 1000000000 500\nr.dat 16 400(0)/mV 16 0 0 0 0 ECG\n", 2),
    "more samples than the file": ("r 1 250 5000\nr.dat 16 400(0)/mV 16 0 0 0 0 ECG\n", 2),
    "no signals": ("r 0 250 500\n", 2),
    "nothing in it": ("", 2),
    "two segments": ("r/2 1 250 1000\ns 500\ns 500\n", 0),
}


@pytest.mark.parametrize("oddity", HEADERS)
def test_an_odd_header_is_read_or_refused_in_one_line(tmp_path, oddity):
    header, code = HEADERS[oddity]
    write_record(tmp_path, "s", shipped().counts[:500])
    (tmp_path / "r.hea").write_text(header)
    shutil.copy(tmp_path / "s.dat", tmp_path / "r.dat")
    result = rhythmd("analyze", tmp_path / "r", "--output-dir", tmp_path / "out")
    assert (result.returncode, "Traceback" in result.stderr) == (code, False), result.stderr
    assert code == 0 or result.stderr.count("\n") == 1


@pytest.mark.parametrize("package", ["wfdb", "tqdm"])
def test_a_package_that_is_not_installed_is_named_with_the_remedy(tmp_path, package):
    write_record(tmp_path, "r", shipped().counts[:500])
    without = f"import sys; sys.modules['{package}'] = None; from rhythmd.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", without, "analyze", str(tmp_path / "r"), "--output-dir", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert package in result.stderr
    assert "pip install 'rhythmd[evaluate]'" in result.stderr


def test_an_output_folder_that_takes_nothing_is_named(tmp_path):
    write_record(tmp_path, "r", shipped().counts[:500])
    result = rhythmd("analyze", tmp_path / "r", "--output-dir", "/proc")
    failed, unlisted = result.stderr.splitlines()  # the record, and that the list of what failed cannot be there either
    assert (result.returncode, "cannot write to /proc" in failed, "/proc/failed.jsonl" in unlisted) == (2, True, True)


def test_doctor_speaks_to_programs_too():
    findings = json.loads(rhythmd("doctor", "--json").stdout)
    assert {"verdict", "of", "says", "write"} == set(findings[0])
    assert "onnxruntime" in {finding["of"] for finding in findings}


def test_what_the_signal_does_cannot_stop_the_analysis(tmp_path):
    counts = shipped().counts[:15000]
    wild = {
        "zero": np.zeros(15000),
        "inverted": -counts,
        "huge": counts * 1e4,
        "rail": np.where(np.arange(15000) > 5000, 32767.0, counts),
        "noise": np.random.default_rng(1).normal(0, 8000, 15000),
        "lost": np.where((np.arange(15000) > 5000) & (np.arange(15000) < 9000), np.nan, counts),
    }
    for name, each in wild.items():
        write_record(tmp_path, name, each)
    result = rhythmd("analyze", *(tmp_path / name for name in wild), "--output-dir", tmp_path, "--jobs", 1)
    assert result.returncode == 0, result.stderr
    kinds = {
        name: {json.loads(line)["kind"] for line in (tmp_path / f"{name}.alerts.jsonl").read_text().splitlines()}
        for name in wild
    }
    assert "lead_off" in kinds["zero"]
    assert "lead_off" in kinds["rail"]
    assert "signal_lost" in kinds["lost"]
    assert "asystole" not in kinds["zero"] | kinds["rail"] | kinds["lost"]


def test_numpy_is_left_one_thread_before_it_is_imported():
    """With two the detector's small matrices cost three times as much."""
    program = (
        "import os, sys\n"
        "os.environ.pop('OPENBLAS_NUM_THREADS', None)\n"
        "from rhythmd import cli\n"
        "assert 'numpy' not in sys.modules\n"
        "cli.main(['config'])\n"
        "assert os.environ['OPENBLAS_NUM_THREADS'] == '1'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("module", ["daemon.config", "daemon.port", "rhythmd.recording", "rhythmd.commands.config"])
def test_an_interruption_while_modules_are_imported_is_not_lost(module):
    """Some extensions swallow what is raised while they are imported, as this finder does."""
    program = f"""
import signal, sys
class Swallowing:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                pass
sys.meta_path.insert(0, Swallowing())
from rhythmd import cli
sys.exit(cli.main(["config"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGINT


def test_whoever_calls_main_has_his_own_ctrl_c_back_when_the_arguments_are_wrong(capsys):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        main(["config", "--no-such-thing"])
    assert signal.getsignal(signal.SIGINT) is before
    assert "--no-such-thing" in capsys.readouterr().err


def test_an_interruption_before_the_daemon_listens_for_it_is_not_lost(tmp_path):
    """What is raised while a weak reference's callback runs is lost, and importlib has such callbacks."""
    program = """
import signal, sys, weakref
from daemon import config
from rhythmd import cli
class Gone: pass
def load(path, load=config.load):
    gone = Gone()
    weak = weakref.ref(gone, lambda _: signal.raise_signal(signal.SIGINT))
    del gone
    return load(path)
config.load = load
sys.exit(cli.main(sys.argv[1:]))
"""
    (tmp_path / "rhythmd.toml").write_text(f'patch.port = "{tmp_path}/patch"\n')
    command = [sys.executable, "-c", program, "run", "--config", str(tmp_path / "rhythmd.toml")]
    done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    assert done.returncode == -signal.SIGINT
