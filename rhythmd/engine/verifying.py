"""`rhythmd engine verify`: the plan that would serve, against its FP32 reference on real windows."""

from __future__ import annotations

import argparse

import msgspec

from engines import plans
from engines.model import Model
from engines.verdict import LARGEST_F1_CHANGE, LARGEST_KL, Verdict
from engines.verify import verify
from rhythmd.engine.progress import shown
from rhythmd.engine.windows import Windows


def run(model: Model, args: argparse.Namespace) -> int:
    """The plan built last, whatever its verdict so far."""
    plan = plans.plans_of(model, plans.here())[0]
    with shown() as progress:
        examples, source = Windows(model, args, progress).any()
        progress.doing(f"verifying {plan.path.name} on {len(examples)} windows")
        verdict = verify(plan, model, examples, source)
    if args.json:
        told = {"plan": str(plan.path), "verdict": verdict, "passed": not verdict.faults, "faults": verdict.faults}
        print(msgspec.json.format(msgspec.json.encode(told)).decode())
    else:
        print(f"{plan.path.name} against {verdict.reference}")
        print("\n".join(table(verdict)))
        print("; ".join(verdict.faults) or "passed")
    return int(bool(verdict.faults))


def table(verdict: Verdict) -> list[str]:
    """What was found, for people."""
    lines = [f"{verdict.windows} windows of {verdict.source}"]
    for name, head in verdict.heads.items():
        lines.append(
            f"{name}: KL divergence mean {head.kl_mean:.2g}, worst {head.kl_worst:.2g} (limit of the mean "
            f"{LARGEST_KL:g}); the same class in {100 * head.agreement:.2f} %"
        )
        for label, (before, after) in head.f1.items():
            count = head.windows[label]
            lines.append(f"  {label:<26} {count:>6} windows   F1 {before:6.2f} -> {after:6.2f} %")
    lines.append(f"F1 may fall by {LARGEST_F1_CHANGE:g} points")
    if verdict.unchecked:
        lines.append(f"too few windows to decide: {', '.join(verdict.unchecked)}")
    return lines
