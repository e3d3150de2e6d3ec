"""What the GPU draws, as far as the machine says: NVIDIA's management library, or a Jetson's power monitor in sysfs."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

SYSFS = Path("/sys/bus/i2c/drivers/ina3221")
RAILS = ("VDD_IN", "VDD_CPU_GPU_CV", "VDD_GPU_SOC")
"""Of a Jetson, the whole board first."""

SAMPLE_S = 0.02
_SM_CLOCK, _CORE_TEMPERATURE = 1, 0

Joules = Callable[[], float]
"""Drawn since some moment."""


class _Nvml:
    """The few calls that are needed; None where the driver does not know them (a Jetson's does not)."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libnvidia-ml.so.1")
        self._gpu = ctypes.c_void_p()
        if self._library.nvmlInit_v2() or self._library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self._gpu)):
            raise OSError("NVML finds no GPU")

    def joules(self) -> float | None:
        found = ctypes.c_ulonglong()
        failed = self._library.nvmlDeviceGetTotalEnergyConsumption(self._gpu, ctypes.byref(found))
        return None if failed else found.value / 1e3

    def conditions(self) -> dict[str, str]:
        text, number = ctypes.create_string_buffer(80), ctypes.c_uint()
        found = {}
        if not self._library.nvmlSystemGetDriverVersion(text, len(text)):
            found["driver"] = text.value.decode()
        if not self._library.nvmlDeviceGetClockInfo(self._gpu, _SM_CLOCK, ctypes.byref(number)):
            found["GPU clock"] = f"{number.value} MHz"
        if not self._library.nvmlDeviceGetTemperature(self._gpu, _CORE_TEMPERATURE, ctypes.byref(number)):
            found["GPU temperature"] = f"{number.value} C"
        return found


def conditions() -> dict[str, str]:
    """What a latency depends on and no program chose: driver, clocks, power mode."""
    try:
        found = _Nvml().conditions()
    except (OSError, AttributeError):
        found = {}
    for name, path in {"power mode": "/var/lib/nvpmodel/status", "L4T": "/etc/nv_tegra_release"}.items():
        if Path(path).is_file():
            found[name] = Path(path).read_text().splitlines()[0]
    return found


@contextmanager
def open_meter(sysfs: Path = SYSFS) -> Iterator[tuple[Joules, str] | None]:
    """What has been drawn, and by what; None where nothing says so."""
    try:
        nvml = _Nvml()
        if nvml.joules() is not None:
            yield lambda: nvml.joules() or 0.0, "GPU (NVML)"
            return
    except (OSError, AttributeError):
        pass
    for rail in RAILS:
        for label in sorted(sysfs.glob("*/hwmon/hwmon*/in*_label")):
            if label.read_text().strip() == rail:
                with _summed(label.with_name(label.name.replace("_label", "_input"))) as joules:
                    yield joules, rail
                return
    yield None


@contextmanager
def _summed(millivolts: Path) -> Iterator[Joules]:
    """The integral of a rail's power, sampled by a thread of its own."""
    milliamperes = millivolts.with_name(millivolts.name.replace("in", "curr", 1))
    total = [0.0]
    stop = threading.Event()

    def sample() -> None:
        before = perf_counter()
        while not stop.wait(SAMPLE_S):
            now = perf_counter()
            total[0] += int(millivolts.read_text()) * int(milliamperes.read_text()) * 1e-6 * (now - before)
            before = now

    thread = threading.Thread(target=sample, name="energy", daemon=True)
    thread.start()
    try:
        yield lambda: total[0]
    finally:
        stop.set()
        thread.join()
