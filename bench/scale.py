"""What many patches cost: `python -m bench.scale`, or `make bench-scale`. Takes eight minutes with the defaults.

python -m bench.scale --patches 1 8 64 --seconds 100 --plot docs/img/scale.svg

Each run is a real gateway with as many ptys, fed at 250 Hz, and one subscriber. Ratios between lines of one run travel
to other machines; on a machine that is busy otherwise even they do not.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import threading
import tty
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import numpy as np

from daemon.messages import Alert, Beat, Status
from rhythmd.player import Player, excerpt
from rhythmd.recording import shipped
from rhythmd.subscriber import Subscriber

FRAME_SAMPLES, FRAME_S = 10, 0.04
SETTLE_S = 10.0  # the detector learns; nothing of it is counted
APART_S = 29.0  # of the recording, from one patch to the next
READY_S, STOP_S = 60.0, 30.0
SETTINGS = (
    "metrics.port = 0\n[alerts]\nventricular_couplet.action = 'alarm'\nfrequent_pvc.per_minute = 2\npause.rr_s = 1.0\n"
)
"""Limits with which the shipped recording raises an alert every few seconds."""


@dataclass(frozen=True)
class Cost:
    """Of one run, all daemons together."""

    patches: int
    daemons: int
    cpu: float  # cores
    memory_mb: float  # what each has to itself, and once what they share
    delays_ms: np.ndarray  # from a decision's last sample, written to the port, to its message at the subscriber
    alerts: int
    lost: int  # samples, by the patches' own numbers

    def delay_ms(self, percentile: float) -> float:
        return float(np.percentile(self.delays_ms, percentile)) if len(self.delays_ms) else float("nan")


class Port:
    """A pty, and a patch's frames with the host times at which they were written to it."""

    def __init__(self, place: int, seconds: float) -> None:
        self.name = f"bed-{place}"
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.device = os.ttyname(self._slave)
        recording = shipped()
        start_s = place * APART_S % (recording.samples / recording.rate_hz - seconds)
        self._frames = [turn.wire for turn in Player(excerpt(recording, start_s, seconds), "rhythmd").turns()]
        self.written_s: list[float] = []

    def write(self, frame: int) -> None:
        self.written_s.append(monotonic())
        os.write(self._master, self._frames[frame])

    def delay_ms(self, sample: int, heard_s: float) -> float:
        return 1e3 * (heard_s - self.written_s[sample // FRAME_SAMPLES])

    def close(self) -> None:
        os.close(self._master)
        os.close(self._slave)


@contextmanager
def gateway(ports: list[Port]) -> Iterator[tuple[int, str]]:
    """Its process and address."""
    with tempfile.TemporaryDirectory(prefix="rhythmd-") as folder:
        address, config = f"ipc://{folder}/alerts.ipc", Path(folder, "rhythmd.toml")
        places = f'publish.bind = ["{address}"]\nstore.directory = "{folder}"\n{SETTINGS}'
        config.write_text(
            places + "".join(f'[[patches]]\nid = "{port.name}"\nport = "{port.device}"\n' for port in ports)
        )
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen([sys.executable, "-m", "rhythmd", "run", "--config", str(config)], stderr=log)
        try:
            yield process.pid, address
        finally:
            process.terminate()
            process.wait(STOP_S)


def measure(patches: int, daemons: int, seconds: float) -> Cost:
    """`patches` shared out among `daemons`."""
    with ExitStack() as stack:
        ports = [stack.enter_context(closing(Port(place, SETTLE_S + seconds))) for place in range(patches)]
        by_name = {port.name: port for port in ports}
        running = [stack.enter_context(gateway(ports[place::daemons])) for place in range(daemons)]
        topics = ("alert.", "event.", "beat", "status")
        subscribers = [stack.enter_context(Subscriber(address, topics)) for _, address in running]
        for subscriber, (_, address) in zip(subscribers, running, strict=True):
            _wait_for(subscriber, len(ports[daemons - 1 :: daemons]), address)
        feeder = threading.Thread(target=_feed, args=(ports, round((SETTLE_S + seconds) / FRAME_S)))
        heard: list[list[tuple[str, int, float, bool]]] = [[] for _ in running]
        lost: dict[str, int] = {}
        stop = threading.Event()
        listeners = [
            threading.Thread(target=_listen, args=(subscriber, into, lost, stop))
            for subscriber, into in zip(subscribers, heard, strict=True)
        ]
        for thread in [feeder, *listeners]:
            thread.start()
        sleep(SETTLE_S)
        cpu_s, began_s = sum(_cpu_s(pid) for pid, _ in running), monotonic()
        feeder.join()
        cpu = (sum(_cpu_s(pid) for pid, _ in running) - cpu_s) / (monotonic() - began_s)
        memory_mb = sum(_memory_mb(pid, "RssAnon") for pid, _ in running) + _memory_mb(running[0][0], "RssFile")
        sleep(1.0)
        stop.set()
        for thread in listeners:
            thread.join()
        counted = [one for each in heard for one in each if one[1] >= SETTLE_S * 250]
        delays_ms = np.array([by_name[name].delay_ms(sample, heard_s) for name, sample, heard_s, _ in counted])
        alerts = sum(is_alert for *_, is_alert in counted)
        return Cost(patches, daemons, cpu, memory_mb, delays_ms, alerts, sum(lost.values()))


def _wait_for(subscriber: Subscriber, patches: int, address: str) -> None:
    opened: set[str] = set()
    until_s = monotonic() + READY_S
    while len(opened) < patches:
        received = subscriber.receive(1.0)
        if received and isinstance(received.message, Status) and received.message.port == "open":
            opened.add(received.message.patch)
        if monotonic() > until_s:
            raise SystemExit(f"the gateway at {address} opened {len(opened)} of {patches} ports in {READY_S:g} s")


def _feed(ports: list[Port], frames: int) -> None:
    """Each patch at its own moment, as they are in a ward."""
    begun_s = monotonic()
    for frame in range(frames):
        for place, port in enumerate(ports):
            early_s = begun_s + (frame + place / len(ports)) * FRAME_S - monotonic()
            if early_s > 0:
                sleep(early_s)
            port.write(frame)


def _listen(
    subscriber: Subscriber, heard: list[tuple[str, int, float, bool]], lost: dict[str, int], stop: threading.Event
) -> None:
    while not stop.is_set():
        received = subscriber.receive(0.2)
        now_s, message = monotonic(), received and received.message
        if isinstance(message, Beat):
            heard.append((message.patch, message.decided_sample, now_s, False))
        elif isinstance(message, Alert) and message.state == "open" and message.category == "physiological":
            heard.append((message.patch, message.raised_sample, now_s, True))
        elif isinstance(message, Status):
            lost[message.patch] = message.link.lost_samples


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int, what: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(what)).split()[1]) / 1024


def table(costs: list[Cost]) -> str:
    """In Markdown; the ratios are to the first line."""
    head = "| patches | daemons | CPU, cores | memory, MB | delay p50, ms | p99, ms | p99 ratio | decisions | alerts "
    head += "| samples lost |"
    lines = [head, f"|{'---:|' * 10}"]
    for one in costs:
        ratio = one.delay_ms(99) / costs[0].delay_ms(99)
        costing = (one.patches, one.daemons, f"{one.cpu:.3f}", f"{one.memory_mb:.0f}", f"{one.delay_ms(50):.0f}")
        cells = (*costing, f"{one.delay_ms(99):.0f}", f"{ratio:.2f}", len(one.delays_ms), one.alerts, one.lost)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def plot(costs: list[Cost], path: Path) -> None:
    """How CPU, memory and delay grow with the patches, of those runs that had one daemon."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    alone = sorted((one for one in costs if one.daemons == 1), key=lambda one: one.patches)
    patches = [one.patches for one in alone]
    figure, (cpu, memory, delay) = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    cpu.plot(patches, [one.cpu for one in alone], "o-")
    cpu.set(xlabel="patches", ylabel="cores", title="CPU")
    memory.plot(patches, [one.memory_mb for one in alone], "o-")
    memory.set(xlabel="patches", ylabel="MB", title="memory")
    for percentile in (50, 99):
        delay.plot(patches, [one.delay_ms(percentile) for one in alone], "o-", label=f"p{percentile}")
    delay.axhline(1.5 * alone[0].delay_ms(99), color="grey", ls="--", label="goal: 1.5 x p99 of the first")
    delay.set(xlabel="patches", ylabel="ms", title="last sample to message")
    delay.legend()
    for axes in (cpu, memory, delay):
        axes.set_xscale("log", base=2)
        axes.set_xticks(patches, [str(each) for each in patches])
        axes.set_ylim(bottom=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, nargs="+", default=[1, 8, 64], metavar="N", help="default: 1 8 64")
    parser.add_argument(
        "--daemons", type=int, nargs="+", default=[1, 2], metavar="N", help="the most patches by so many"
    )
    parser.add_argument("--seconds", type=float, default=100.0, help="of each run (default: %(default)s)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="SVG or PNG; needs matplotlib")
    args = parser.parse_args(argv)
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load before {load:.1f}", flush=True)
    if load > 0.5:
        print("this machine is busy: the delays say what it does, not what the gateway does", flush=True)
    runs = [(patches, 1) for patches in args.patches]
    runs += [(max(args.patches), daemons) for daemons in args.daemons if daemons > 1]
    costs = []
    for patches, daemons in runs:
        costs.append(measure(patches, daemons, args.seconds))
        print(table(costs).splitlines()[-1], flush=True)
    print(f"\n{table(costs)}")
    if args.plot:
        plot(costs, args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
