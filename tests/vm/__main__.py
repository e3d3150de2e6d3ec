"""Rehearse the installed service whole in an emulated machine: python -m tests.vm [x86_64] [aarch64]

Not part of `make test`: takes half an hour for each. Prints a table with times; exit code 1 when a step failed, 2
when something is missing here. VM_CACHE is where images are kept (build/vm).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.vm.machine import Image, Machine
from tests.vm.rehearsal import Rehearsal
from tests.vm.steps import NEEDED_BY_ALL, STEPS

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("VM_CACHE", ROOT / "build" / "vm"))
ARCHITECTURES = {"x86_64": "qemu-system-x86", "aarch64": "qemu-system-arm"}  # and who brings its emulator
TO_BUILD = {"mmdebstrap": "mmdebstrap", "dpkg-deb": "dpkg", "mke2fs": "e2fsprogs", "cpio": "cpio"}
RUNS_AARCH64 = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")


def image_of(arch: str) -> Image:
    """From the cache, or built: it depends on how it is built and on what pip must bring."""
    build = Path(__file__).with_name("build.sh")
    needs = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]["dependencies"]
    digest = hashlib.sha256(build.read_bytes() + "\n".join(needs).encode()).hexdigest()[:12]
    image = Image(arch, CACHE / f"{arch}-{digest}")
    if not image.folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run([str(build), arch, str(image.folder)], check=True)
    return image


def missing(arch: str) -> str | None:
    """What stands in the way, in one line."""
    tools = {f"qemu-system-{arch}": ARCHITECTURES[arch], **TO_BUILD}
    for tool, package in tools.items():
        if shutil.which(tool) is None:
            return f"{tool} is missing: sudo apt install {package}"
    if os.geteuid():
        return "building the machine needs root: sudo make test-vm"
    if arch not in (os.uname().machine, "x86_64") and not RUNS_AARCH64.exists():
        return (
            "programs for aarch64 do not run here: sudo apt install qemu-user-static arch-test; in a container also "
            "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && "
            "cat /usr/lib/binfmt.d/qemu-aarch64.conf > /proc/sys/fs/binfmt_misc/register"
        )
    return None


def rehearse(arch: str) -> Rehearsal:
    image = image_of(arch)
    with tempfile.TemporaryDirectory(prefix="vm-") as folder:
        source = Path(folder) / "source.tar"
        files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-c", "--null", "-T", "-", "-f", str(source)], cwd=ROOT, input=files, check=True)
        machine = Machine(image, source)
        rehearsal = Rehearsal(machine)
        try:
            for name, does in STEPS.items():
                if not rehearsal.step(name, does) and name in NEEDED_BY_ALL:
                    break
        finally:
            shutil.copyfile(machine.console, CACHE / f"{arch}.console.log")
            machine.close()
    return rehearsal


def main(wanted: list[str]) -> int:
    wanted = wanted or list(ARCHITECTURES)
    for arch in wanted:
        if arch not in ARCHITECTURES:
            print(f"{arch}: choose from {', '.join(ARCHITECTURES)}", file=sys.stderr)
            return 2
        if lacks := missing(arch):
            print(lacks, file=sys.stderr)
            return 2
    done = []
    for arch in wanted:
        done.append(rehearse(arch))
        print(f"\n{done[-1].table()}\n", flush=True)
    return 1 if any(each.failed for each in done) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
