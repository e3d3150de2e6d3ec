"""Trains the referee of ventricular beats: `python -m training.beats daemon/beat_referee.npz FOLD:MODEL.onnx ...`.

MODEL is the network of a training with `--fold FOLD`, so it says of those who validate there what it says of people it
has not seen; what the daemon's rooms make of them, clean and under noise that comes and goes, is what is learned from.
Who validates the shipped network (`training.splits`) is left out, to tell what it is worth.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from daemon.beat_referee import evidence
from daemon.config import Alerts
from daemon.judge import Judge
from dsp.qrs_referee import FARTHEST
from dsp.signal import RATE_HZ, Window
from ec57.annotations import read as read_annotations
from engines.backend import open_backend
from engines.model import load
from rhythmd.analysis import judged
from rhythmd.recording import Recording, read
from training.labels import VF, VT, V, bits
from training.records import BEAT_OF, filtered, rhythm_spans
from training.splits import NOISE_TRAIN, data_folder, splits

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Linear

ANNOTATED, OF_RHYTHMS, FOLDS = ("mitdb", "svdb"), ("vfdb", "cudb"), 5
COPIES = 3
"""Of each recording: one clean, the others under noise of two seeds."""

MATCH_S = 0.15
UNKNOWN = -1
HIDDEN, DROPOUT, STEPS, BATCH, RATE, DECAY, SMOOTHING = 24, 0.1, 1200, 2048, 5e-3, 3e-2, 0.02

TRAININGS = 5
"""Of different seeds, whose mean is what is kept: one alone differs by half a point from another."""

POWER, SHARE_OF_V, SHARE_IN_NOISE, SHARE_OF_RHYTHMS = 0.4, 0.8, 0.7, 0.1
"""A recording counts as (its beats of the kind) ** POWER. The shares are those of ventricular beats, of copies under
noise and of the databases without annotated beats."""

Table = NDArray[np.float64]


class Watching(Judge):
    """Believes the network, and writes down what the referee would be told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.told: list[tuple[int, list[float]]] = []  # R peak, evidence

    def is_ventricular(self, window: Window, beat: dict[str, float], rhythm: dict[str, float]) -> bool:
        known = evidence(beat, rhythm, window.rr[0], self.shapes)
        assert window.beat is not None
        self.told.append((window.beat.r_peak, known))
        return known[0] > 0


def in_noise(recording: Recording, r_peaks: NDArray[np.int64], seed: int) -> Recording:
    """The recording under noise; its R peaks are at 250 Hz."""
    import torch  # needed to train, not to know what was found

    from training.qrs.noise import qrs_size_mv, stressed

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    ecg_mv = filtered(recording.ecg_mv, recording.rate_hz).ecg_mv
    recorded = [read(str(data_folder() / "nstdb" / name)) for name in NOISE_TRAIN]
    noises_mv = [filtered(each.ecg_mv, each.rate_hz).ecg_mv for each in recorded]
    noise_mv = stressed(np.zeros(len(ecg_mv)), qrs_size_mv(ecg_mv, r_peaks), noises_mv, np.random.default_rng(seed))
    at = np.arange(len(recording.counts)) * RATE_HZ / recording.rate_hz
    added_counts = np.interp(at, np.arange(len(noise_mv)), noise_mv) * recording.counts_per_mv
    return replace(recording, counts=np.rint(recording.counts + added_counts))


def truths(r_peaks: NDArray[np.int64], path: Path, rate_hz: float) -> NDArray[np.int64]:
    """Of beats that were found, at 250 Hz: 1 for a ventricular one, 0 for another or nobody's, UNKNOWN.

    An annotated beat is the nearest that was found within 150 ms; what else was found is nobody's; of what was found
    in ventricular flutter nothing is known. In vfdb and cudb what was found in tachycardia and fibrillation of the
    ventricles is ventricular, and nothing is known of the rest.
    """
    notes = read_annotations(path, "atr")
    if (database := path.parent.name) in OF_RHYTHMS:
        found = np.full(len(r_peaks), UNKNOWN)
        at = np.array([round(note.sample * RATE_HZ / rate_hz) for note in notes])
        for first, last, truth in rhythm_spans(database, int(r_peaks[-1]), at, [note.aux for note in notes]):
            if truth in (bits(VT), bits(VF), bits(VF, VT)):
                found[(first + RATE_HZ <= r_peaks) & (r_peaks < last - RATE_HZ)] = 1
        return found
    found = np.zeros(len(r_peaks), np.int64)
    for note in notes:
        if note.symbol in BEAT_OF or note.symbol in "F/fQ?":
            annotated = note.sample * RATE_HZ / rate_hz
            nearest = int(np.abs(r_peaks - annotated).argmin())
            if abs(r_peaks[nearest] - annotated) <= MATCH_S * RATE_HZ:
                found[nearest] = UNKNOWN if note.symbol not in BEAT_OF else BEAT_OF[note.symbol] == V
    begins, ends = ([note.sample * RATE_HZ / rate_hz for note in notes if note.symbol == mark] for mark in "[]")
    for begin, end in zip(begins, ends, strict=True):
        found[(begin <= r_peaks) & (r_peaks <= end)] = UNKNOWN
    return found


class Job(NamedTuple):
    """A copy of a recording, and the network that is to judge it."""

    record: Path
    model: Path
    seed: int  # of the noise; 0: without

    @property
    def share(self) -> float:
        """What the copy counts for."""
        if self.record.parent.name in OF_RHYTHMS:
            return SHARE_OF_RHYTHMS
        return SHARE_IN_NOISE if self.seed else 1.0


def heard(job: Job) -> tuple[Table, NDArray[np.int64]]:
    """Evidence and truths of the beats that were found."""
    path, model_path, seed = job
    recording, model = read(str(path)), load(model_path)
    if seed:
        beats = [note.sample for note in read_annotations(path, "atr") if note.symbol in BEAT_OF]
        at = np.round(np.array(beats) * RATE_HZ / recording.rate_hz).astype(np.int64)
        recording = in_noise(recording, at, seed)
    with open_backend("onnxruntime", model) as engine:
        judge = Watching(engine, model.manifest.heads, Alerts(), origin=path.name)
        for _ in judged(recording, judge):
            pass
    r_peaks, known = zip(*judge.told, strict=True)
    return np.array(known), truths(np.array(r_peaks), path, recording.rate_hz)


def jobs_of(models: list[str], data: Path) -> list[Job]:
    """For each FOLD:MODEL.onnx the copies of those whom it does not know, less who validates the shipped network."""
    tables, jobs = splits(data), []
    for place, each in enumerate(models):
        number, _, model = each.partition(":")
        for database in (*ANNOTATED, *OF_RHYTHMS):
            train, validation = (tables[database][part] for part in ("train", "validation"))
            names = sorted({*train, *validation})
            copies = 1 if database in OF_RHYTHMS else COPIES
            for name in names[int(number) :: FOLDS]:
                seeds = [copy and 1000 * place + 10 * names.index(name) + copy for copy in range(copies)]
                jobs += [Job(data / database / name, Path(model), seed) for seed in seeds if name in train]
    return jobs


def shares(truth: NDArray[np.int64], part: float) -> Table:
    """Of each beat of a copy: how often it is drawn."""
    drawn = np.zeros(len(truth))
    for kind, share in ((0, 1.0), (1, SHARE_OF_V)):
        count = np.count_nonzero(truth == kind)
        drawn[truth == kind] = part * share * count**POWER / max(count, 1)
    return drawn


def fitted(told: Table, truth: NDArray[np.int64], drawn: Table, seed: int) -> dict[str, Table]:
    """The weights, as `dsp.qrs_referee.Weighing` reads them: the mean of TRAININGS networks of one hidden layer."""
    import torch

    mean, spread = told.mean(axis=0), told.std(axis=0) + 1e-6
    values = torch.tensor(np.clip((told - mean) / spread, -FARTHEST, FARTHEST), dtype=torch.float32)
    wanted = torch.tensor(truth * (1 - SMOOTHING) + SMOOTHING / 2, dtype=torch.float32)
    edges = torch.tensor(np.cumsum(drawn) / drawn.sum())
    layers = [_trained(values, wanted, edges, TRAININGS * seed + number) for number in range(TRAININGS)]
    weights = [[layer.weight.detach().numpy().T.astype(np.float64) for layer in each] for each in layers]
    biases = [[layer.bias.detach().numpy().astype(np.float64) for layer in each] for each in layers]
    return {
        "beat_mean": mean,
        "beat_spread": spread,
        "beat_weight0": np.concatenate([hidden for hidden, _ in weights], axis=1),
        "beat_bias0": np.concatenate([hidden for hidden, _ in biases]),
        "beat_weight1": np.concatenate([last / TRAININGS for _, last in weights]),
        "beat_bias1": np.mean([last for _, last in biases], axis=0),
    }


def _trained(values: Tensor, wanted: Tensor, edges: Tensor, seed: int) -> list[Linear]:
    import torch

    torch.manual_seed(seed)
    layers = [torch.nn.Linear(values.shape[1], HIDDEN), torch.nn.Linear(HIDDEN, 1)]
    network = torch.nn.Sequential(layers[0], torch.nn.ReLU(), torch.nn.Dropout(DROPOUT), layers[1])
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in tqdm(range(STEPS), unit="step"):
        batch = torch.searchsorted(edges, torch.rand(BATCH, dtype=torch.float64)).clamp(max=len(wanted) - 1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(values[batch])[:, 0], wanted[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return layers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("models", nargs="+", metavar="FOLD:MODEL.onnx")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    jobs = jobs_of(arguments.models, data_folder())
    with ProcessPoolExecutor(arguments.jobs) as pool:
        asked = [pool.submit(heard, job) for job in jobs]
        found = [each.result() for each in tqdm(asked, unit="record")]
    told, truth = (np.concatenate(parts) for parts in zip(*found, strict=True))
    drawn = np.concatenate([shares(beats, job.share) for (_, beats), job in zip(found, jobs, strict=True)])
    people = len({job.record for job in jobs})
    print(f"{people} people, {len(truth):,} beats, {np.count_nonzero(truth == 1):,} ventricular")
    arrays: dict[str, Any] = fitted(told, np.maximum(truth, 0), drawn, arguments.seed)
    np.savez_compressed(arguments.output, **arrays)


if __name__ == "__main__":
    main()
