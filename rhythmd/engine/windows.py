"""The windows that a command needs, read once and only when they are."""

from __future__ import annotations

import argparse

import numpy as np

from engines.errors import EngineError
from engines.examples import Example
from engines.model import Model
from engines.verify import reference
from rhythmd import labelled
from rhythmd.engine.progress import Progress


class Windows:
    """Of the records that were given, else of the one that is always there."""

    def __init__(self, model: Model, args: argparse.Namespace, progress: Progress) -> None:
        self._model, self._args, self._progress = model, args, progress
        self._found: list[Example] | None = None
        self._expected: list[np.ndarray] | None = None
        if args.records and not args.data:
            raise EngineError("--records names records of --data DIR, which is not given")

    @property
    def source(self) -> str:
        if not self._args.data:
            return labelled.SHIPPED
        names = f" ({' '.join(self._args.records)})" if self._args.records else ""
        return f"{self._args.data}{names}"

    def any(self) -> tuple[list[Example], str]:
        """Windows, and where they come from."""
        if self._found is None:
            self._progress.doing(f"windows of {self.source}")
            args = self._args
            self._found = (
                labelled.of_folder(args.data, args.records, self._model, args.windows, self._progress.doing)
                if args.data
                else labelled.shipped(self._model)
            )
        return self._found, self.source

    def expected(self) -> list[np.ndarray]:
        """What the reference says of them."""
        examples, _ = self.any()
        if self._expected is None:
            self._progress.doing(f"the reference on {len(examples)} windows")
            self._expected = reference(self._model, examples)
        return self._expected

    def given(self) -> tuple[list[Example] | None, str]:
        """Likewise, None without --data: the shipped recording has too few classes to calibrate on."""
        return self.any() if self._args.data else (None, "")
