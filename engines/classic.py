"""TensorRT's own INT8 calibrator, which chooses the layers too: up to TensorRT 10, and on 8.6 it left most in FP16."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engines import plans, shelf
from engines.errors import EngineError
from engines.examples import FEWEST_TO_CALIBRATE, Example, check, need_every_class, spread
from engines.int8 import EACH, feeds
from engines.model import Model


def cache_path(model: Model, device: plans.Device) -> Path:
    return plans.cache_directory() / f"{model.id}-{plans.digest(str(device))}.entropy2"


@contextmanager
def open_calibrator(model: Model, examples: Sequence[Example] | None, source: str) -> Iterator[Any]:
    """What `config.int8_calibrator` takes. Without examples it gives the cache of the last time."""
    from engines import cuda

    if not hasattr(cuda.trt, "IInt8EntropyCalibrator2"):
        raise EngineError(f"TensorRT {cuda.trt.__version__} has no calibrator of its own; leave out --classic")
    cache = cache_path(model, plans.here())
    chosen: list[dict[str, np.ndarray]] = []
    if examples:
        check(examples, model.manifest, source)
        need_every_class(examples, model.manifest, source, FEWEST_TO_CALIBRATE)
        chosen = list(feeds(model, examples, spread(examples, model.manifest, EACH)))
    elif not cache.is_file():
        raise EngineError(f"no calibration cache of {model.id} here; add --data DIR with WFDB records of every class")
    with ExitStack() as stack:
        stream = stack.enter_context(cuda.open_stream())
        inputs = {name: stack.enter_context(cuda.allocate(shape)) for name, shape in model.manifest.reads.items()}

        def upload(feed: dict[str, np.ndarray]) -> dict[str, int]:
            for name, value in feed.items():
                inputs[name].host[...] = value
                inputs[name].upload(stream)
            cuda.wait(stream)
            return {name: pinned.device for name, pinned in inputs.items()}

        yield _calibrator(cuda.trt, map(upload, chosen), cache, calibrates=bool(chosen))


def _calibrator(trt: Any, addresses: Iterator[dict[str, int]], cache: Path, *, calibrates: bool) -> Any:
    class Calibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: list[str], *_: Any) -> list[int] | None:
            batch = next(addresses, None)
            return None if batch is None else [batch[name] for name in names]

        def read_calibration_cache(self, *_: Any) -> bytes | None:
            return None if calibrates else cache.read_bytes()

        def write_calibration_cache(self, found: Any, *_: Any) -> None:
            shelf.write(cache, bytes(found))

    return Calibrator()
