"""Tries, within the service's sandbox, what the daemon needs and what an intruder would want; prints what was let."""

import ctypes
import json
import mmap
import os
import pty
import socket
from pathlib import Path

import numpy as np
import onnxruntime as ort
import serial

MODEL = next(Path(__import__("engines").__file__).parent.glob("models/*.onnx"))
NEEDED = {
    "write its state": lambda: Path(os.environ["STATE_DIRECTORY"], "probe").write_text("x"),
    "write its cache": lambda: Path(os.environ["CACHE_DIRECTORY"], "probe").write_text("x"),
    "make a socket in its runtime directory": lambda: socket.socket(socket.AF_UNIX).bind("/run/rhythmd/probe"),
    "read its configuration": lambda: Path("/etc/rhythmd/rhythmd.toml").read_text(),
    "open the patch": lambda: serial.Serial("/dev/ecg/patch0", exclusive=True),
    "open a pty": pty.openpty,
    "listen on loopback": lambda: socket.create_server(("127.0.0.1", 8300)),
    "load the model": lambda: ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"]),
    "compute": lambda: np.linalg.svd(np.eye(8)),
    "choose its processors": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
}


def refused_by_libc(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def written_and_executed():
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def other_processes():
    assert [each for each in Path("/proc").iterdir() if each.name.isdigit() and each.stat().st_uid == 0]


UNWANTED = {
    "write its configuration": lambda: Path("/etc/rhythmd/probe").write_text("x"),
    "write its program": lambda: Path("/opt/rhythmd/probe").write_text("x"),
    "write /etc": lambda: Path("/etc/probe").write_text("x"),
    "write /usr": lambda: Path("/usr/probe").write_text("x"),
    "read /root": lambda: list(Path("/root").iterdir()),
    "read passwords": lambda: Path("/etc/shadow").read_bytes(),
    "read the disk": lambda: os.open("/dev/vda", os.O_RDONLY),
    "read the kernel's log": lambda: os.open("/dev/kmsg", os.O_RDONLY),
    "see root's processes": other_processes,
    "reach the network": lambda: socket.create_connection(("10.0.2.2", 80), 5),
    "send raw packets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "make memory that is written and executed": written_and_executed,
    "become root": lambda: os.setuid(0),
    "make a namespace": lambda: refused_by_libc("unshare", 0x10000000),
    "mount": lambda: refused_by_libc("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "set the clock": lambda: __import__("time").clock_settime(0, 0),
    "set the host's name": lambda: socket.sethostname("probe"),
    "run in real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "trace its parent": lambda: refused_by_libc("ptrace", 16, 1, 0, 0),
    "make a file run as its group": lambda: Path(os.environ["STATE_DIRECTORY"], "probe").chmod(0o2755),
}


def was_let(attempt):
    try:
        attempt()
    except (OSError, AssertionError, serial.SerialException) as error:
        return False, str(error)
    return True, ""


print(json.dumps({"needed": {name: was_let(each) for name, each in NEEDED.items()},
                  "unwanted": {name: was_let(each) for name, each in UNWANTED.items()}}))  # fmt: skip
