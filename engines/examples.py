"""Real windows with what is known about them: what calibrates INT8 and verifies plans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engines.backend import Backend
from engines.errors import EngineError
from engines.model import Manifest

UNKNOWN = -1

FEWEST_TO_CALIBRATE = 32
"""Windows of each class. Fewer and the range of what only that class brings is left to chance."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One call of the network."""

    inputs: tuple[np.ndarray, ...]
    labels: tuple[int, ...]  # the true class for each head, or UNKNOWN
    begins: bool  # a session: what the network remembers of the one before is not its past


def check(examples: Sequence[Example], manifest: Manifest, source: str) -> None:
    """Raise EngineError unless every window is what the model reads, and a number everywhere."""
    if not examples:
        raise EngineError(f"{source}: no windows; are there records with a signal in it?")
    for index, example in enumerate(examples):
        manifest.check(example.inputs)
        for name, given in zip(manifest.inputs, example.inputs, strict=True):
            if not np.isfinite(given).all():
                raise EngineError(f"{source}: window {index}: {name.name} has values that are no numbers; leave it out")


def counts(examples: Sequence[Example], manifest: Manifest) -> dict[str, dict[str, int]]:
    """How many windows there are of each class of each head."""
    return {
        head.name: {
            label: sum(example.labels[place] == index for example in examples)
            for index, label in enumerate(head.labels)
        }
        for place, head in enumerate(manifest.heads)
    }


def need_every_class(examples: Sequence[Example], manifest: Manifest, source: str, fewest: int) -> None:
    """Raise EngineError naming each class of which there are too few windows."""
    short = [
        f"{head} {label} ({count})"
        for head, labels in counts(examples, manifest).items()
        for label, count in labels.items()
        if count < fewest
    ]
    if short:
        raise EngineError(
            f"{source}: calibration needs {fewest} windows of every class, and there are too few of "
            f"{', '.join(short)}; add records that have them"
        )


def spread(examples: Sequence[Example], manifest: Manifest, each: int) -> list[int]:
    """The places of up to `each` windows of every class, evenly spread over all there are; in order."""
    chosen: set[int] = set()
    for place, head in enumerate(manifest.heads):
        for label in range(len(head.labels)):
            having = [index for index, example in enumerate(examples) if example.labels[place] == label]
            chosen |= {having[int(step)] for step in np.linspace(0, len(having) - 1, min(each, len(having)))}
    return sorted(chosen)


def answers(backend: Backend, examples: Sequence[Example], heads: int) -> list[np.ndarray]:
    """What the backend says of them, in their order: (window, label) for each head."""
    found: list[list[np.ndarray]] = [[] for _ in range(heads)]
    for example in examples:
        if example.begins:
            backend.forget()
        for kept, answer in zip(found, backend.infer(*example.inputs), strict=True):
            kept.append(answer[0])
    return [np.array(each, np.float64) for each in found]
