"""`rhythmd engine build`: plans, each verified; of several, the fastest that passes."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import datetime, timezone

import msgspec

from engines import plans, shelf
from engines.build import PRECISIONS, build_classic, build_plan
from engines.errors import EngineError
from engines.int8 import Scales, cached_path, calibrate, find_scales, keep_scales
from engines.model import Model
from engines.plans import Options, Plan
from engines.verdict import Verdict
from engines.verify import verify
from rhythmd.engine.progress import Progress, shown
from rhythmd.engine.windows import Windows


@dataclass(frozen=True, slots=True)
class Candidate:
    """A precision that was tried."""

    precision: str
    plan: Plan | None = None
    verdict: Verdict | None = None
    p50_us: float | None = None  # timed for auto only
    error: str | None = None  # why there is no plan

    @property
    def passed(self) -> bool:
        return self.verdict is not None and not self.verdict.faults

    def __str__(self) -> str:
        if self.plan is None or self.verdict is None:
            return f"{self.precision}: {self.error}"
        size_mb = self.plan.path.stat().st_size / 1e6
        took = f"{self.p50_us:.0f} us a window, " if self.p50_us else ""
        return f"{self.precision}: {took}{size_mb:.1f} MB, built in {self.plan.sidecar.took_s:.0f} s, " + (
            "; ".join(self.verdict.faults) or "passed"
        )


def run(model: Model, args: argparse.Namespace) -> int:
    plans.here()  # says at once what is missing
    with shown() as progress:
        windows = Windows(model, args, progress)
        if args.precision == "auto":
            candidates, kept = _best(model, args, windows, progress)
        else:
            candidates = [_verified(model, args, args.precision, windows, progress)]
            kept = candidates[0].plan
    _tell(args, candidates, kept, windows)
    return int(not any(candidate.passed for candidate in candidates))


def _best(
    model: Model, args: argparse.Namespace, windows: Windows, progress: Progress
) -> tuple[list[Candidate], Plan | None]:
    """All precisions; the fastest of those that pass becomes the one that was built last, and so serves.

    The others stay in the cache, verified: one that is interrupted leaves something, and `bench` need not build.
    """
    tried = []
    for precision in PRECISIONS:
        try:
            candidate = _verified(model, args, precision, windows, progress)
            progress.doing(f"timing {precision}")
            tried.append(_timed(model, candidate))
        except EngineError as error:
            if precision == "fp32":
                raise  # nothing can be built here
            tried.append(Candidate(precision, error=str(error)))
    passing = [candidate for candidate in tried if candidate.passed and candidate.plan]
    if not passing:
        return tried, None
    best = min(passing, key=lambda candidate: candidate.p50_us or 0.0)
    assert best.plan is not None
    return tried, shelf.store_sidecar(best.plan.path, best.plan.sidecar, built=datetime.now(timezone.utc))


def _verified(
    model: Model, args: argparse.Namespace, precision: str, windows: Windows, progress: Progress
) -> Candidate:
    options = Options(
        workspace_bytes=args.workspace_mb << 20, level=args.level, streams=args.streams, sparsity=args.sparsity
    )
    if precision == "int8" and args.classic:
        examples, source = windows.given()
        progress.doing(f"building {model.id} in int8, calibrated by TensorRT")
        plan = build_classic(model, examples, source, options=options, tell=progress.share)
    else:
        scales = _scales(model, args, windows, progress) if precision == "int8" else None
        progress.doing(f"building {model.id} in {precision}")
        plan = build_plan(model, precision, options=options, scales=scales, tell=progress.share)
    examples, source = windows.any()
    expected = windows.expected()
    progress.doing(f"verifying {precision} on {len(examples)} windows")
    return Candidate(precision, plan, verify(plan, model, examples, source, expected))


def _scales(model: Model, args: argparse.Namespace, windows: Windows, progress: Progress) -> Scales:
    """Those that are known, unless they are to be found anew."""
    if not args.recalibrate:
        try:
            return find_scales(model)
        except EngineError:
            if not args.data:
                raise
    examples, source = windows.given()
    if examples is None:
        raise EngineError("--recalibrate needs --data DIR with WFDB records of every class")
    progress.doing(f"calibrating {model.id} on {len(examples)} windows")
    scales = calibrate(model, examples, source)
    keep_scales(scales, cached_path(model))
    return scales


def _timed(model: Model, candidate: Candidate) -> Candidate:
    from engines.tensorrt_backend import open_engine
    from engines.timing import measure, random_inputs

    timing = measure(
        candidate.precision,
        lambda: open_engine(model, plan=candidate.plan),
        random_inputs(model.manifest),
        calls=1000,
        pause_s=0.0,
    )
    return Candidate(candidate.precision, candidate.plan, candidate.verdict, timing.p50_us)


def _tell(args: argparse.Namespace, candidates: list[Candidate], kept: Plan | None, windows: Windows) -> None:
    if args.json:
        told = {
            "plan": kept and str(kept.path),
            "sidecar": kept and kept.sidecar,
            "verdict": kept and kept.verdict,
            "source": windows.source,
            "tried": [
                {"precision": each.precision, "p50_us": each.p50_us, "passed": each.passed, "says": str(each)}
                for each in candidates
            ],
        }
        print(msgspec.json.format(msgspec.json.encode(told)).decode())
        return
    for candidate in candidates:
        print(candidate)
    passed = kept.verdict if kept and any(candidate.passed for candidate in candidates) else None
    if kept and passed:
        print(f"{kept.path} serves; verified on {passed.windows} windows of {passed.source}")
        if passed.unchecked:
            print(f"not verified for want of windows: {', '.join(passed.unchecked)}; --data DIR gives more")
    else:
        print("nothing passed: the daemon goes on with the plan that it had, or with the CPU")
