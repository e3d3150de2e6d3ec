"""A plan against its reference on real windows: how far its probabilities stray, and what that costs in F1."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from engines import plans, shelf
from engines.backend import open_backend
from engines.examples import UNKNOWN, Example, answers, check
from engines.model import Manifest, Model
from engines.verdict import Agreement, Verdict

LEAST_PROBABILITY = 1e-7
"""What a float32 softmax may round to 0 is taken for this, or one window could make the divergence infinite."""


def reference(model: Model, examples: Sequence[Example]) -> list[np.ndarray]:
    """What the FP32 network says of all windows, in their order: (window, label) for each head."""
    with open_backend("onnxruntime", model) as backend:
        return answers(backend, examples, len(model.manifest.heads))


def verify(
    plan: plans.Plan,
    model: Model,
    examples: Sequence[Example],
    source: str,
    expected: Sequence[np.ndarray] | None = None,
) -> Verdict:
    """Run the plan over all windows against the reference (`expected`, if known); keep the verdict beside it."""
    import onnxruntime

    from engines.tensorrt_backend import open_engine

    check(examples, model.manifest, source)
    with open_engine(model, plan=plan) as backend:
        found = answers(backend, examples, len(model.manifest.heads))
    verdict = Verdict(
        plan_sha256=plan.sidecar.plan_sha256,
        model_sha256=model.manifest.sha256,
        source=source,
        windows=len(examples),
        heads=compare(model.manifest, expected or reference(model, examples), found, examples),
        reference=f"onnxruntime {onnxruntime.__version__}, FP32",
        made=datetime.now(timezone.utc),
    )
    shelf.store_verdict(plan, verdict)
    return verdict


def compare(
    manifest: Manifest, expected: Sequence[np.ndarray], found: Sequence[np.ndarray], examples: Sequence[Example]
) -> dict[str, Agreement]:
    """Each head's answers, (window, label), against those expected. What is no number is as wrong as can be."""
    told = {}
    found = [np.nan_to_num(each, nan=0.0, posinf=0.0, neginf=0.0) for each in found]
    for place, head in enumerate(manifest.heads):
        truth = np.array([example.labels[place] for example in examples])
        kl = divergence(expected[place], found[place])
        before, after = expected[place].argmax(axis=1), found[place].argmax(axis=1)
        known = truth != UNKNOWN
        told[head.name] = Agreement(
            kl_mean=float(kl.mean()),
            kl_worst=float(kl.max()),
            agreement=float((before == after).mean()),
            windows={label: int((truth == index).sum()) for index, label in enumerate(head.labels)},
            f1={
                label: (f1(truth[known], before[known], index), f1(truth[known], after[known], index))
                for index, label in enumerate(head.labels)
            },
        )
    return told


def divergence(expected: np.ndarray, found: np.ndarray) -> NDArray[np.float64]:
    """Kullback-Leibler, in nats, of each row of `found` from the same of `expected`."""
    p, q = (np.maximum(each.astype(np.float64), LEAST_PROBABILITY) for each in (expected, found))
    result: NDArray[np.float64] = (p * np.log(p / q)).sum(axis=1)
    return result


def f1(truth: np.ndarray, called: np.ndarray, label: int) -> float:
    """In per cent; 100 where there is nothing to find and nothing is called."""
    either = int((truth == label).sum() + (called == label).sum())
    hits = int(((truth == label) & (called == label)).sum())
    return 200.0 * hits / either if either else 100.0
