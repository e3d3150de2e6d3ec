"""The detector's network for a minute at once: the same bits in a quarter of the time.

Its numbers have 8 bits, and processors that multiply such ones (AVX-512 VNNI, ARM's dot product) do four for one of
float32. ONNX Runtime knows how. On older ones its sums may overflow: so it is tried, and not used where one bit
differs from what `dsp.qrs_network` says. `python -m training.qrs.in_bulk` writes its file.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort

from dsp.qrs_network import ACTIVATION_LEVELS, SHIPPED, Floats, Network, load

log = logging.getLogger(__name__)

STREAM, LOG_ODDS = "stream", "log_odds"

WORTH_STEPS = 200
"""Fewer, and the call costs more than the sums."""


def in_bulk(path: Path) -> Path:
    """Where the file for ONNX Runtime lies, beside the weights."""
    return path.with_suffix(".in_bulk.onnx")


def past(block: int) -> str:
    return f"past{block}"


def newest(block: int) -> str:
    return f"newest{block}"


class Quick(Network):
    """Can be pickled, and taken up where only the slow way is right."""

    def __init__(self) -> None:
        super().__init__(load(SHIPPED))

    def _told(self, stream: Floats) -> Floats:
        session = _tried() if len(stream) >= WORTH_STEPS else None
        return super()._told(stream) if session is None else _by(session, stream, self.pasts)


def _by(session: ort.InferenceSession, stream: Floats, pasts: list[Floats]) -> Floats:
    asked = {past(block): rows.astype(np.uint8) for block, rows in enumerate(pasts)}
    names = [LOG_ODDS, *map(newest, range(len(pasts)))]
    log_odds, *rows = session.run(names, {STREAM: stream, **asked})
    pasts[:] = [each.astype(np.float32) for each in rows]
    return log_odds  # type: ignore[no-any-return]


@cache
def _tried() -> ort.InferenceSession | None:
    """None where it is not to be had, or wrong."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    why = "this machine's sums of 8 bits are not exact"
    try:
        session = ort.InferenceSession(in_bulk(SHIPPED).read_bytes(), options, providers=["CPUExecutionProvider"])
        if agrees(session):
            return session
    except Exception as error:  # ONNX Runtime's own have no common class; not every build has the operator
        why = f"ONNX Runtime cannot run its network in 8 bits ({error})"
    log.info("%s: the detector takes the slower way", why)
    return None


def agrees(session: ort.InferenceSession) -> bool:
    """Whether it says what numpy says, bit for bit, of a stream that drives every sum as far as it goes."""
    network, rng = Network(load(SHIPPED)), np.random.default_rng(0)
    channels = len(network.weights.second.bias)
    wild = rng.normal(0, ACTIVATION_LEVELS, (2 * WORTH_STEPS, channels)).astype(np.float32)
    pasts = [rows.copy() for rows in network.pasts]
    found = _by(session, wild, pasts)
    same = np.array_equal(found, network._told(wild.copy()))  # noqa: SLF001 - what it stands for
    return same and all(map(np.array_equal, pasts, network.pasts))
