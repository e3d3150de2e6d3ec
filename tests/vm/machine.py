"""A machine under QEMU's software emulation: boots a disk, loses power, runs commands, has a patch plugged in and out.

The patch is QEMU's usb-serial, an FTDI chip for the guest. Commands go through QEMU's guest agent, so that nothing of
the network that the service is tried on is needed to look at it.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

GUEST_PORT = 8251
GUEST_ADDRESS = "10.0.2.15"
BOOT_S = 900.0
COMMAND_S = 1800.0

SERIAL_PORT = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
HARDWARE = {
    "x86_64": ["qemu-system-x86_64", "-cpu", "max"],
    "aarch64": ["qemu-system-aarch64", "-M", "virt", "-cpu", "max,pauth-impdef=on"],
}
PATCH = {"driver": "usb-serial", "id": "patch0", "chardev": "patch", "always-plugged": True}


class GuestError(AssertionError):
    """A command failed in the machine."""


@dataclass(frozen=True)
class Image:
    """What build.sh made."""

    arch: str
    folder: Path


class Machine:
    """One disk that outlives many boots. `source` is a tar that the guest sees as /dev/vdb."""

    def __init__(self, image: Image, source: Path) -> None:
        self.arch = image.arch
        self._image, self._source = image, source
        self._folder = Path(tempfile.mkdtemp(prefix="rehearsal-", dir=image.folder))
        self._sockets = Path(tempfile.mkdtemp(prefix="vm-"))  # a socket's path may have 107 characters
        self._disk = self._folder / "disk"
        self.console = self._folder / "console.log"
        subprocess.run(["cp", "--sparse=always", str(image.folder / "disk"), str(self._disk)], check=True)
        self.port = _two_free_ports()
        self._qemu: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._heard = b""  # of the agent's next answer

    def boot(self) -> None:
        """Until all units that start at boot have."""
        for left in self._sockets.iterdir():
            left.unlink()
        self._qemu = subprocess.Popen(["nice", "-n", "5", *self._command()], stdin=subprocess.DEVNULL)
        self._qmp = _connected(self._sockets / "qmp", self._qemu)
        self._qmp_lines = self._qmp.makefile("rw")
        self._qmp_lines.readline()
        self.qmp("qmp_capabilities")
        self.patch = _connected(self._sockets / "patch", self._qemu)
        self._agent = _connected(self._sockets / "agent", self._qemu)
        self._wait_for_agent()
        self.run("systemctl is-system-running --wait", check=False)

    def cut_power(self) -> None:
        """What the guest had not put on its disk is gone."""
        if self._qemu:
            self._qemu.kill()
            self._qemu.wait()
            for each in (self._qmp_lines, self._qmp, self.patch, self._agent):
                with suppress(OSError):
                    each.close()
            self._qemu = None

    def close(self) -> None:
        self.cut_power()
        shutil.rmtree(self._folder)
        shutil.rmtree(self._sockets)

    @property
    def cpu_s(self) -> float:
        """What it has computed since it was switched on, in seconds of this machine's processors."""
        assert self._qemu
        fields = Path(f"/proc/{self._qemu.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def plug_in(self) -> None:
        self.qmp("device_add", **PATCH)

    def unplug(self) -> None:
        self.qmp("device_del", id=PATCH["id"])

    def qmp(self, command: str, **arguments: object) -> None:
        self._qmp_lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._qmp_lines.flush()
        while "return" not in (answer := json.loads(self._qmp_lines.readline())):
            assert "error" not in answer, answer

    def run(self, script: str, *, check: bool = True) -> str:
        """What bash prints, as root."""
        environment = [
            "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LC_ALL=C.UTF-8",
        ]
        asked = {"path": "/bin/bash", "arg": ["-c", script], "env": environment, "capture-output": True}
        pid = self._ask("guest-exec", **asked)["pid"]
        until_s = monotonic() + COMMAND_S
        while not (done := self._ask("guest-exec-status", pid=pid))["exited"]:
            if monotonic() > until_s:
                raise GuestError(f"{script!r} has not ended after {COMMAND_S:g} s")
            sleep(0.5)
        said, complained = (base64.b64decode(done.get(key, "")).decode() for key in ("out-data", "err-data"))
        if check and done.get("exitcode", -1):
            raise GuestError(f"{script!r} ended with {done.get('exitcode')}: {said[-2000:]}{complained[-2000:]}")
        return said.strip()

    def write(self, path: str, content: str) -> None:
        data = base64.b64encode(content.encode()).decode()
        self.run(f"mkdir -p $(dirname {path}) && base64 -d > {path} <<< {data}")

    def _command(self) -> list[str]:
        image, sockets = self._image.folder, self._sockets
        forwards = "".join(
            f",hostfwd=tcp:127.0.0.1:{self.port + more}-{GUEST_ADDRESS}:{GUEST_PORT + more}" for more in (0, 1)
        )
        accelerator = os.environ.get("VM_ACCEL", "tcg,thread=multi")  # kvm: to work on these steps, not to report them
        return [
            *HARDWARE[self.arch],
            *("-accel", accelerator, "-m", "1024", "-smp", "2", "-display", "none", "-nodefaults", "-no-reboot"),
            *("-kernel", f"{image}/kernel", "-initrd", f"{image}/initrd"),
            *("-append", f"console={SERIAL_PORT[self.arch]} net.ifnames=0 quiet"),
            # directsync: what the guest is told to be on its disk is on ours, and nothing else need be.
            *("-drive", f"file={self._disk},format=raw,if=virtio,cache=directsync"),
            *("-drive", f"file={self._source},format=raw,if=virtio,readonly=on"),
            *("-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"),
            *("-qmp", f"unix:{sockets}/qmp,server=on,wait=off"),
            *("-device", "virtio-serial", "-chardev", f"socket,id=agent,path={sockets}/agent,server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
            *("-device", "qemu-xhci", "-chardev", f"socket,id=patch,path={sockets}/patch,server=on,wait=off"),
            *("-device", "usb-serial,id=patch0,chardev=patch,always-plugged=on", "-device", "virtio-rng-pci"),
            *("-netdev", f"user,id=net,restrict=on{forwards}", "-device", "virtio-net-pci,netdev=net,romfile="),
        ]

    def _wait_for_agent(self) -> None:
        self._heard = b""
        self._agent.settimeout(5.0)
        until_s = monotonic() + BOOT_S
        while monotonic() < until_s:
            if self._qemu is None or self._qemu.poll() is not None:
                raise GuestError("QEMU ended")
            number = next(self._numbers)
            self._tell_agent("guest-sync", id=number)
            with suppress(TimeoutError):
                while self._answer() != number:  # those before it were answered late
                    pass
                self._agent.settimeout(COMMAND_S)
                return
        raise GuestError(f"nobody answers in the machine after {BOOT_S:g} s; {self.console} has its console")

    def _ask(self, command: str, **arguments: object) -> Any:
        self._tell_agent(command, **arguments)
        return self._answer()

    def _tell_agent(self, command: str, **arguments: object) -> None:
        self._agent.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")

    def _answer(self) -> Any:
        while b"\n" not in self._heard:
            more = self._agent.recv(65536)
            if not more:
                raise GuestError("QEMU ended")
            self._heard += more
        line, self._heard = self._heard.split(b"\n", 1)
        answer = json.loads(line)
        if "error" in answer:
            raise GuestError(str(answer["error"]))
        return answer["return"]


def _connected(path: Path, qemu: subprocess.Popen[bytes]) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    until_s = monotonic() + 60
    while True:
        try:
            one.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            if qemu.poll() is not None or monotonic() > until_s:
                raise GuestError("QEMU did not start") from None
            sleep(0.1)
        else:
            return one


def _two_free_ports() -> int:
    """The first of two neighbours: a daemon's desk is one port higher."""
    while True:
        with closing(socket.socket()) as first, closing(socket.socket()) as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            with suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port
