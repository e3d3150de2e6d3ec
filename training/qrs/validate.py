"""How well a network finds beats on whole records: clean, and under noise that no training has heard."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dsp.signal import RATE_HZ
from training.qrs.network import STEP, Network
from training.qrs.noise import Motion
from training.qrs.sampler import Signals, normalised

LEARNING = 5 * 60 * RATE_HZ
MATCH = 37
REFRACTORY = 50


def found(logits: np.ndarray, delay: int, threshold: float) -> np.ndarray:
    """R peaks, coarsely: local maxima of one head's probability."""
    p = 1 / (1 + np.exp(-logits.astype(float)))
    middle = p[1:-1]
    peaks = np.flatnonzero((middle > p[:-2]) & (middle >= p[2:]) & (middle > threshold)) + 1
    weights = p[peaks[:, None] + np.arange(-1, 2)]
    at = (peaks - delay) * STEP + 3.5 + STEP * (weights * np.arange(-1, 2)).sum(1) / weights.sum(1)
    kept: list[int] = []
    for i in range(len(peaks)):
        if kept and at[i] - at[kept[-1]] < REFRACTORY:
            if middle[peaks[i] - 1] > middle[peaks[kept[-1]] - 1]:
                kept[-1] = i
            continue
        kept.append(i)
    return at[kept]


def errors(truth: np.ndarray, got: np.ndarray, first: int = LEARNING) -> tuple[int, int, int]:
    """Found, false and missed, matched one to one within 150 ms."""
    truth, got = truth[truth >= first], got[got >= first - MATCH]
    i = j = hit = false = missed = 0
    while i < len(truth) and j < len(got):
        if abs(truth[i] - got[j]) <= MATCH:
            nearer = j + 1 < len(got) and abs(truth[i] - got[j + 1]) < abs(truth[i] - got[j])
            if nearer:
                false += got[j] >= first
                j += 1
                continue
            hit, i, j = hit + 1, i + 1, j + 1
        elif got[j] < truth[i]:
            false += got[j] >= first
            j += 1
        else:
            missed += 1
            i += 1
    return hit, false + int((got[j:] >= first).sum()), missed + len(truth) - i


class Trial:
    """Whole first leads with noise that was drawn once."""

    def __init__(self, signals: Signals, names: list[tuple[str, str]], noise_db: float | None, seed: int = 77) -> None:
        self.rows = [
            next(
                i
                for i in range(len(signals.record))
                if (signals.database[i], signals.record[i]) == name and signals.lead[i] == 0
            )
            for name in names
        ]
        self.signals = signals
        self.inputs: list[Tensor] = []
        state = torch.random.get_rng_state()
        cuda = torch.cuda.get_rng_state_all() if signals.device.type == "cuda" else None
        torch.manual_seed(seed)
        for k, row in enumerate(self.rows):
            first, last = int(signals.starts[row]), int(signals.starts[row + 1])
            n = (last - first) // STEP * STEP
            ecg = (signals.counts[first : first + n].float() * signals.lsb_mv[row])[None]
            if noise_db is not None:
                motion = Motion(30000, signals.device)
                pieces = int(np.ceil(n / 30000))
                made = motion(pieces).reshape(1, -1)[:, :n]
                if k % 3 == 2:
                    noise_row = signals.of_noise[-1]
                    a = int(signals.starts[noise_row])
                    taken = signals.counts[a : a + n].float() * signals.lsb_mv[noise_row]
                    taken = torch.nn.functional.pad(taken, (0, n - len(taken)))
                    made = (taken / taken.square().mean().sqrt())[None]
                index = torch.arange(n, device=signals.device)
                on = ((index // (120 * RATE_HZ)) % 2 == 0) & (index >= LEARNING)
                ecg = ecg + made * on * signals.qrs_mv[row] / 8**0.5 * 10 ** (-noise_db / 20)
            self.inputs.append(normalised(ecg)[0])
        torch.random.set_rng_state(state)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)

    @torch.no_grad()
    def logits(self, network: Network) -> list[np.ndarray]:
        return [network(each[None])[0].float().cpu().numpy() for each in self.inputs]

    def score(
        self, network: Network, head: int, delay: int, thresholds: tuple[float, ...]
    ) -> list[tuple[int, int, int]]:
        totals = np.zeros((len(thresholds), 3), int)
        for row, logits in zip(self.rows, self.logits(network), strict=True):
            truth = self.signals.beats[row]
            for k, threshold in enumerate(thresholds):
                got = found(logits[head], delay, threshold)
                known = (
                    self.signals.known[
                        self.signals.starts[row]
                        + torch.from_numpy(got)
                        .long()
                        .clamp(min=0, max=len(self.signals.known) - 1 - int(self.signals.starts[row]))
                        .to(self.signals.device)
                    ]
                    .cpu()
                    .numpy()
                )
                totals[k] += errors(truth, got[known])
        return [tuple(each) for each in totals.tolist()]
