"""What it costs, on this machine, in one run: `python -m bench`, or `make bench`. Takes about two minutes.

Ratios between lines of one run travel to other machines; the absolute numbers do not: bench/results.md keeps them by
machine. Throughput is by CPU time, so that a busy machine slows it less.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
import tempfile
import threading
from bisect import bisect_left
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from time import monotonic, perf_counter, process_time, sleep

import numpy as np

from daemon.app import find_model
from daemon.config import Config
from daemon.links import LINKS
from daemon.messages import Beat
from dsp.chain import Chain
from dsp.filters import Bandpass
from dsp.gaps import Bridge
from dsp.signal import Block
from engines.backend import open_backend
from engines.errors import EngineError
from rhythmd import rehearsal
from rhythmd.analysis import analyze
from rhythmd.player import Player, excerpt
from rhythmd.pty_port import play
from rhythmd.recording import shipped
from rhythmd.subscriber import Received, Subscriber

LIVE_S = 20
BLOCK = 2500  # 10 s: what `rhythmd analyze` takes at a time
LIVE_BLOCK = 20  # two frames: what the reader lets gather
DELAY_SPEED = 4.0


def main() -> int:
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "onnxruntime"))
    print(f"Python {platform.python_version()}, {versions}, {os.cpu_count()} cores, {_processor()}")
    ecg_mv = shipped().ecg_mv
    for name in LINKS:
        _rate(f"decoder, {name}", *_decode(name))
    _rate("filters (bridge and band-pass)", *_blocks(ecg_mv, _filters()))
    _rate("whole DSP chain, in bulk", *_blocks(ecg_mv, Chain(250.0)))
    _rate("whole DSP chain, in blocks as live", *_blocks(ecg_mv[:50_000], Chain(250.0), size=LIVE_BLOCK))
    _engines()
    _analysis()
    _start()
    for name in LINKS:
        _live(name)
    _delay()
    return 0


def _rate(what: str, samples: int, took_s: float) -> None:
    _line(what, f"{samples / took_s / 1e6:8.2f} Msamples/s   {samples / took_s / 250:10.0f} x real time")


def _line(what: str, figures: str) -> None:
    print(f"{what:<44} {figures}", flush=True)


def _decode(name: str) -> tuple[int, float]:
    wire = b"".join(turn.wire for turn in Player(excerpt(shipped(), 0, 400), name).turns())
    decoder = LINKS[name].decoder(1)
    began = process_time()
    frames = sum(len(decoder.feed(wire[start : start + 4096])) for start in range(0, len(wire), 4096))
    return frames * LINKS[name].samples_per_frame, process_time() - began


def _filters() -> Callable[[Block], object]:
    bridge, bandpass = Bridge(), Bandpass()
    return lambda block: bandpass(bridge(block))


def _blocks(ecg_mv: np.ndarray, work: Callable[[Block], object], size: int = BLOCK) -> tuple[int, float]:
    blocks = [Block.of(start, ecg_mv[start : start + size]) for start in range(0, len(ecg_mv), size)]
    began = process_time()
    for block in blocks:
        work(block)
    return len(ecg_mv), process_time() - began


def _engines() -> None:
    model = find_model(Config().engine.model)
    rng = np.random.default_rng(1)
    inputs = [rng.standard_normal(each.shape).astype(np.float32) for each in model.manifest.inputs]
    for name in ("onnxruntime", "tensorrt"):
        try:
            with open_backend(name, model) as backend:
                took_ms = [_timed_ms(lambda: backend.infer(*inputs)) for _ in range(2000)][100:]
        except EngineError as error:
            _line(f"engine {name}, {model.id}", f"not here: {error}")
        else:
            p50, p99 = np.percentile(took_ms, [50, 99])
            _line(f"engine {name}, {model.id}", f"p50 {p50:.3f} ms   p99 {p99:.3f} ms   a window")


def _timed_ms(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return 1e3 * (perf_counter() - began)


def _analysis() -> None:
    """DSP, network and judge on a recording, one after the other on one core."""
    model, recording = find_model(Config().engine.model), shipped()
    with open_backend("onnxruntime", model) as backend:
        began = process_time()
        analyze(recording, backend, model.manifest.heads, Config().alerts)
        took_s = process_time() - began
    day_s = 86_400 * recording.rate_hz / recording.samples * took_s
    _line("analysis of 24 h, from that of 35 min", f"{day_s:8.1f} s on one core")


def _live(link: str) -> None:
    """The daemon at 250 Hz: its share of a core and its memory."""
    stop = threading.Event()
    with rehearsal.daemon(f"patch.link = '{link}'") as running, Subscriber(running.address, ("status",)) as status:
        if status.receive(rehearsal.START_S) is None:
            raise running.fail("the daemon was not ready")
        rss_mb = _rss_mb(running.process.pid)
        player = Player(shipped(), link)
        patch = threading.Thread(target=play, args=(player, running.port), kwargs={"stop": stop})
        patch.start()
        sleep(6.0)  # the reader's back-off, and the detector's learning
        cpu_s, began = _cpu_s(running.process.pid), monotonic()
        sleep(LIVE_S)
        share = (_cpu_s(running.process.pid) - cpu_s) / (monotonic() - began)
        stop.set()
        patch.join()
    _line(f"daemon at 250 Hz, {link}", f"{100 * share:.1f} % of a core   {rss_mb:.0f} MB resident after start")


def _start() -> None:
    """From the command to READY=1, as systemd is told it."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(f"{folder}/notify")
        notices.settimeout(60.0)
        os.environ["NOTIFY_SOCKET"] = f"{folder}/notify"
        began = monotonic()
        with rehearsal.daemon() as running:
            while notices.recv(256) != b"READY=1":
                pass
            took_s, cpu_s = monotonic() - began, _cpu_s(running.process.pid)
        del os.environ["NOTIFY_SOCKET"]
    _line("daemon, from start to READY", f"{took_s:.2f} s   of which {cpu_s:.2f} s of CPU")


def _delay() -> None:
    """From the frame that completes a window, written to the port, to its message at a subscriber."""
    sent: list[tuple[float, float]] = []  # (patch time, host time)
    heard: list[tuple[float, float]] = []

    def note(received: Received) -> None:
        if isinstance(received.message, Beat):
            heard.append(((received.message.decided_sample + 1) / 250.0, monotonic()))

    with rehearsal.daemon() as running:
        player = Player(excerpt(shipped(), 300, 120), "rhythmd")
        rehearsal.rehearse(
            running, player, speed=DELAY_SPEED, heard=note, sent=lambda due_s: sent.append((due_s, monotonic()))
        )
    due = [patch_s for patch_s, _ in sent]
    places = [(bisect_left(due, at_s), host_s) for at_s, host_s in heard]
    delays_ms = [1e3 * (host_s - sent[place][1]) for place, host_s in places if place < len(sent)]
    p50, p99 = np.percentile(delays_ms, [50, 99])
    _line("window's last sample to subscriber", f"p50 {p50:.1f} ms   p99 {p99:.1f} ms   {len(delays_ms)} beats")


def _rss_mb(pid: int) -> float:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
