"""Which beats are supraventricular: a network that follows one beat after the other. Pure but for that network.

Whether a beat is premature, junctional or of the sinus is told by its P wave and by how it comes, beside those before:
the network remembers the last 64 beats of this wearer. Learned by `python -m training.sveb.train`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from math import exp

import numpy as np
from numpy.typing import NDArray

from dsp.beat_picture import USUAL_BEATS, picture
from dsp.intervals import FEATURES
from dsp.signal import Window
from engines.backend import Shared, open_backend
from engines.model import SHIPPED, load

LABELS = ("normal", "supraventricular", "ventricular")  # as its manifest has them

LIKELIER, NOT_RULED_OUT = exp(1.0), exp(-4.0)
"""Times as likely as a normal beat. One is supraventricular if this network holds it for so much likelier; also if the
network of the beats does, and this one does not rule it out. Why so much: docs/decisions.md."""

Follower = Callable[[Window], NDArray[np.float32]]
"""Follows the beats of one session and says what each is: probabilities, `(1, len(LABELS))`."""


class Premature:
    """The beats so far, as the network remembers them."""

    def __init__(self, network: Callable[[], Shared] | None = None) -> None:
        """`network`: another one than the shipped one."""
        self._network = network or shipped  # asked for anew each time, so that the rest can be put away without it
        self._scales_mv: deque[float] = deque(maxlen=USUAL_BEATS)
        self.states: dict[str, np.ndarray] = {}  # what it remembers of this wearer; others may use it too

    def __call__(self, window: Window) -> NDArray[np.float32]:
        """Of each beat that can be judged in its turn."""
        return self.ask(self.see(window.ecg, window.scale_mv), window.rr[:, :FEATURES])

    def see(self, ecg: NDArray[np.float32], scale_mv: float) -> NDArray[np.float32]:
        """The next beat's picture, of what its window holds."""
        self._scales_mv.append(scale_mv)
        usual_mv = sorted(self._scales_mv)[(len(self._scales_mv) - 1) // 2]
        return picture(ecg.reshape(-1) * np.float64(scale_mv), usual_mv)

    def ask(self, seen: NDArray[np.float32], rr: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of the next beat, which looks and comes so."""
        network = self._network()
        if not self.states:
            network.forget()
        network.states = self.states or network.states
        (answer,) = network.infer(seen, rr)
        self.states = network.states
        return answer


def is_supraventricular(followed: float, seen: float) -> bool:
    """For so many times as likely as a normal beat this network and the network of the beats hold it."""
    return followed > LIKELIER or (seen > LIKELIER and followed > NOT_RULED_OUT)


@cache
def shipped() -> Shared:
    """Always on the CPU, of whatever model the engine runs: it takes less than a window does there."""
    return ExitStack().enter_context(open_backend("onnxruntime", load(SHIPPED / "sveb1.onnx")))
