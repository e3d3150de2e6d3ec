"""The cache of plans: each beside the facts it was built under and the verdict on it. Runs anywhere but for `here`."""

from __future__ import annotations

import hashlib
import os
import shlex
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from engines.errors import EngineError
from engines.model import SHIPPED, Model
from engines.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a plan is good for: this and nothing else."""

    gpu: str
    compute_capability: str  # "8.7"
    tensorrt: str  # version

    def __str__(self) -> str:
        return f"{self.gpu} (compute capability {self.compute_capability}), TensorRT {self.tensorrt}"


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How TensorRT is asked to build."""

    workspace_bytes: int = 1 << 30  # scratch that a tactic may use while TensorRT tries them
    level: int = 3  # of optimisation, 0 to 5
    streams: int = 2  # beside the main one, for branches of the network: at batch 1 each kernel leaves the GPU idle
    sparsity: bool = False  # use 2:4 sparse weights where the model has them


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that shapes a plan: two plans with the same facts are interchangeable."""

    model_sha256: str
    device: Device
    precision: str
    options: Options = Options()
    calibration: str = ""  # how INT8 got its scales, and their sha256

    @property
    def key(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()[:16]


class Sidecar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`<plan>.json`, written after all else: a plan without it does not exist."""

    facts: Facts
    model: str  # its id, for people
    plan_sha256: str
    built: Annotated[datetime, msgspec.Meta(tz=True)]
    took_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan in a cache."""

    path: Path
    sidecar: Sidecar

    @property
    def verdict_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.verdict.json")

    @property
    def verdict(self) -> Verdict | None:
        """The verdict on exactly this plan, if there is one."""
        try:
            verdict = msgspec.json.decode(self.verdict_path.read_bytes(), type=Verdict)
        except (OSError, msgspec.DecodeError):
            return None
        return verdict if verdict.plan_sha256 == self.sidecar.plan_sha256 else None


def remedy(model: Model, action: str = "build") -> str:
    """The command that makes a plan where the one who reads this would look for it."""
    words = ["rhythmd", "engine", action]
    if model.onnx.parent != SHIPPED:
        words += ["--model", str(model.onnx)]
    if "CACHE_DIRECTORY" in os.environ:  # in the service: an administrator's shell has another cache
        words = ["sudo", "env", f"CACHE_DIRECTORY={cache_directory()}", *words]
    return f"run `{shlex.join(words)}`"


def cache_directory() -> Path:
    """Where plans lie: systemd's CacheDirectory= in the service, else the user's cache."""
    if given := os.environ.get("CACHE_DIRECTORY"):
        return Path(given.split(":")[0])  # systemd lists them all
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "rhythmd"
    return Path.home() / ".cache" / "rhythmd"


def digest(text: str) -> str:
    """Short enough for a file's name."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def here(wait: str = "block") -> Device:
    """The device of this machine, made ready to be waited for as `cuda.open_gpu` says.

    Raises EngineError, saying what is missing, where there is no GPU or no TensorRT.
    """
    from engines.cuda import open_gpu, trt

    gpu, compute_capability = open_gpu(wait)
    return Device(gpu, compute_capability, trt.__version__)


def cached_plans(folder: Path | None = None) -> list[Plan]:
    """Every plan in the cache, the one built last first."""
    plans = []
    for path in (folder or cache_directory()).glob("*.plan.json"):
        try:
            sidecar = msgspec.json.decode(path.read_bytes(), type=Sidecar)
        except (OSError, msgspec.DecodeError):
            continue  # of another version of rhythmd, or damaged: no plan, and building one replaces it
        plans.append(Plan(path.with_suffix(""), sidecar))
    return sorted(plans, key=lambda plan: plan.sidecar.built, reverse=True)


def plans_of(model: Model, device: Device) -> list[Plan]:
    """Those in the cache of `model` for `device`, the one built last first. Raises EngineError for none."""
    plans = [plan for plan in cached_plans() if plan.sidecar.facts.model_sha256 == model.manifest.sha256]
    fitting = [plan for plan in plans if plan.sidecar.facts.device == device]
    if fitting:
        return fitting
    if not plans:
        raise EngineError(f"no TensorRT plan of {model.id} in {cache_directory()}; {remedy(model)}")
    built_on = plans[0].sidecar.facts.device
    raise EngineError(f"{plans[0].path} was built on {built_on}; this is {device}; {remedy(model)}")


def find_plan(model: Model, device: Device) -> Plan:
    """The plan that serves `model` on `device`: of those that passed verification, the one built last."""
    plans = plans_of(model, device)
    for plan in plans:
        if (verdict := plan.verdict) and not verdict.faults:
            return plan
    verdict = plans[0].verdict
    if verdict is None:
        raise EngineError(f"{plans[0].path} has not been verified; {remedy(model, 'verify')}")
    raise EngineError(
        f"{plans[0].path} did not pass verification ({'; '.join(verdict.faults)}); {remedy(model)[:-1]} "
        "--precision auto`"
    )


def read_plan(plan: Plan, model: Model) -> bytes:
    """A plan's bytes, if they are those that were built: TensorRT may crash on others."""
    try:
        found = plan.path.read_bytes()
    except OSError as error:
        raise EngineError(f"{plan.path}: {error.strerror}; {remedy(model)}") from error
    if hashlib.sha256(found).hexdigest() != plan.sidecar.plan_sha256:
        raise EngineError(f"{plan.path} is damaged ({len(found)} bytes, not those that were built); {remedy(model)}")
    return found


def describe(is_input: bool, dtype: str, shape: Iterable[int]) -> str:  # noqa: FBT001
    """A tensor as `check_tensors` compares them, dtype in TensorRT's words."""
    return f"{'input' if is_input else 'output'} {dtype} {'x'.join(map(str, shape))}"


def check_tensors(found: dict[str, str], model: Model, where: str) -> None:
    """Raise EngineError unless the tensors `found` (name -> `describe`) are exactly those the manifest promises."""
    promised = {name: describe(True, "FLOAT", shape) for name, shape in model.manifest.reads.items()}
    promised |= {name: describe(False, "FLOAT", shape) for name, shape in model.manifest.answers.items()}
    if found != promised:
        raise EngineError(f"{where} has the tensors {found}, the manifest of {model.onnx} says {promised}")
