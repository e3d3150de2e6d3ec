"""Streaming R-peak detector.

After Hamilton, "Open source ECG analysis", CinC 2002 (OSEA): QRS energy, peaks that dominate their surroundings, two
adaptive thresholds, search-back. Deviations, each because it was better on mitdb DS1 and the paced records or because a
stream needs it:

- the band is 6 - 20 Hz by Butterworth filters, and the energy is averaged over 100 ms rather than 80;
- a peak is one that is the largest within 200 ms on both sides, so that every decision falls a fixed time after it;
- thresholds are halved when no beat was found for some seconds: an artefact or a loose electrode must not leave the
  detector deaf, and a real asystole has raised its alarm before;
- a peak within 360 ms of a beat is a T wave when it has less than half that beat's energy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from scipy.ndimage import maximum_filter1d
from scipy.signal import butter, upfirdn

from dsp.cascade import Cascade
from dsp.filters import DELAY_SAMPLES
from dsp.signal import RATE_HZ, Beat, Block

BAND_HZ = (6.0, 20.0)
SLOPE_SAMPLES = 2  # 8 ms
AVERAGE_SAMPLES = 25  # 100 ms
DOMINANCE_SAMPLES = 50  # 200 ms: the heart cannot beat again sooner
LOOK_BACK_SAMPLES = 40  # an R peak lies within 160 ms before the peak of its energy
LEARNING_S = 3
FLOOR_MV = 0.006  # of energy: a QRS complex of about 0.12 mV. IEC 60601-2-27 has 0.15 mV and less not counted

THRESHOLD = 0.30  # of the way from the noise level to the QRS level
SEARCH_BACK_THRESHOLD = 0.45  # of the threshold
SEARCH_BACK_RR = 1.5  # of the median RR interval
SEARCH_BACK_SAMPLES = 8 * RATE_HZ  # an older peak is history: nobody keeps its window
T_WAVE_SAMPLES = 90  # 360 ms
T_WAVE_ENERGY = 0.5  # of the beat before
DEAF_SAMPLES = 4 * RATE_HZ
PAUSE_SAMPLES = 2 * RATE_HZ  # longer intervals are no rhythm to search back by
MEMORY = 8  # beats
LOST_IN_RR = 50  # samples: an interval that lost more may hide a beat, and is not measured


class Energy:
    """The energy of QRS complexes, in mV: slopes of the 6 - 20 Hz band, rectified and averaged over 100 ms."""

    def __init__(self) -> None:
        self._cascade = Cascade(butter(1, BAND_HZ, "bandpass", fs=RATE_HZ, output="sos"))
        self._band = np.zeros(SLOPE_SAMPLES)  # the newest of the band
        self._slopes = np.zeros(AVERAGE_SAMPLES - 1)
        self._average = np.full(AVERAGE_SAMPLES, 1 / AVERAGE_SAMPLES)

    def __call__(self, ecg_mv: np.ndarray) -> np.ndarray:
        if not len(ecg_mv):
            return ecg_mv
        band = np.concatenate([self._band, self._cascade(ecg_mv)])
        slopes = np.concatenate([self._slopes, np.abs(band[SLOPE_SAMPLES:] - band[:-SLOPE_SAMPLES])])
        self._band, self._slopes = band[-SLOPE_SAMPLES:], slopes[-(AVERAGE_SAMPLES - 1) :]
        # upfirdn adds in one fixed order; numpy's convolve changes it with the length of the block.
        energy: np.ndarray = upfirdn(self._average, slopes)[AVERAGE_SAMPLES - 1 : len(slopes)]
        return energy


@dataclass(frozen=True, slots=True)
class Peak:
    """A peak of the energy, and the R peak it would be."""

    at: int  # sample that settled it
    energy: float
    r_peak: int
    lost: int  # samples missing from the stream up to here


class Peaks:
    """Finds the peaks that dominate 200 ms on both sides, and the largest deflection that belongs to each."""

    def __init__(self) -> None:
        self._energy = Energy()
        self._history: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None  # energy, clean ECG, samples lost so far
        self._start = 0  # index of the history's first sample
        self._lost = 0
        self._last = -DOMINANCE_SAMPLES - 1  # the last peak

    def __call__(self, clean: Block) -> list[Peak]:
        if not len(clean.ecg_mv):
            return []
        before = DOMINANCE_SAMPLES + LOOK_BACK_SAMPLES
        if self._history is None:
            self._history = np.zeros(before), np.zeros(before), np.zeros(before, int)
            self._start = clean.start - before
            self._last = self._start
        lost_so_far = self._lost + np.cumsum(clean.missing)
        self._lost = int(lost_so_far[-1])
        energy, ecg_mv, lost = (
            np.concatenate([old, new])
            for old, new in zip(self._history, (self._energy(clean.ecg_mv), clean.ecg_mv, lost_so_far), strict=True)
        )
        settled = slice(before, len(energy) - DOMINANCE_SAMPLES)
        dominant = energy == maximum_filter1d(energy, 2 * DOMINANCE_SAMPLES + 1, mode="constant")
        dominant &= energy > 0
        found = []
        for place in np.flatnonzero(dominant[settled]) + settled.start:
            index = int(place) + self._start
            if index - self._last > DOMINANCE_SAMPLES:  # of two equal peaks the first counts
                self._last = index
                found.append(self._peak(int(place), energy, ecg_mv, lost))
        done = max(0, len(energy) - before - DOMINANCE_SAMPLES)
        self._history = energy[done:], ecg_mv[done:], lost[done:]
        self._start += done
        return found

    def _peak(self, place: int, energy: np.ndarray, ecg_mv: np.ndarray, lost: np.ndarray) -> Peak:
        first = place - LOOK_BACK_SAMPLES
        deflection = first + int(np.argmax(np.abs(ecg_mv[first : place + 1])))
        return Peak(
            at=self._start + place + DOMINANCE_SAMPLES,
            energy=float(energy[place]),
            r_peak=self._start + deflection - DELAY_SAMPLES,
            lost=int(lost[place]),
        )


class Levels:
    """Where QRS complexes and where noise peaks have been of late; the threshold lies between."""

    def __init__(self, first: float) -> None:
        self._qrs = [first] * MEMORY
        self._noise = [0.0] * MEMORY
        self._set()

    def saw_qrs(self, energy: float) -> None:
        self._qrs = [*self._qrs[1:], energy]
        self._set()

    def saw_noise(self, energy: float) -> None:
        self._noise = [*self._noise[1:], energy]
        self._set()

    def halve(self) -> None:
        self._qrs = [energy / 2 for energy in self._qrs]
        self._noise = [energy / 2 for energy in self._noise]
        self._set()

    def _set(self) -> None:
        noise = median(self._noise)
        self.threshold = max(FLOOR_MV, noise + THRESHOLD * (median(self._qrs) - noise))


class Detector:
    """Clean ECG in, beats out: strictly increasing, each as soon as it is decided, 250 to 350 ms after its R peak."""

    def __init__(self) -> None:
        self._peaks = Peaks()
        self._learning: list[Peak] = []
        self._learned_at: int | None = None
        self._levels: Levels | None = None
        self._last: Peak | None = None  # the last beat
        self._passed_over: Peak | None = None  # the largest peak since, for search-back
        self._rr_samples = [RATE_HZ] * MEMORY
        self._halved_at = 0

    def __call__(self, clean: Block) -> list[Beat]:
        if self._learned_at is None:
            self._learned_at = clean.start + LEARNING_S * RATE_HZ
        peaks = self._peaks(clean)
        beats: list[Beat] = []
        if self._levels is None:
            while peaks and (peaks[0].at <= self._learned_at or not self._learning):
                self._learning.append(peaks.pop(0))  # after seconds without any, the first peak must do
            if not self._learning or clean.end <= self._learned_at:
                return []
            beats = self._learn(max(self._learned_at, self._learning[-1].at))
        assert self._levels is not None
        for peak in peaks:
            beats += self._decide(peak, self._levels)
        return beats

    def _learn(self, now: int) -> list[Beat]:
        """Levels from the first seconds, and the beats that were in them."""
        peaks, self._learning = self._learning, []
        loudest = sorted(peak.energy for peak in peaks)[-LEARNING_S:]  # about a beat for each second
        self._levels = Levels(median(loudest))
        self._halved_at = now
        return [replace(beat, at=now) for peak in peaks for beat in self._decide(peak, self._levels)]

    def _decide(self, peak: Peak, levels: Levels) -> list[Beat]:
        beats = self._search_back(peak, levels)
        since = peak.r_peak - self._last.r_peak if self._last else DEAF_SAMPLES
        is_t_wave = self._last and since < T_WAVE_SAMPLES and peak.energy < T_WAVE_ENERGY * self._last.energy
        if peak.energy > levels.threshold and not is_t_wave and since > 0:
            levels.saw_qrs(peak.energy)
            return [*beats, self._accept(peak, peak.at)]
        levels.saw_noise(peak.energy)
        if since >= T_WAVE_SAMPLES and (self._passed_over is None or peak.energy > self._passed_over.energy):
            self._passed_over = peak
        if since >= DEAF_SAMPLES and peak.at - self._halved_at >= DEAF_SAMPLES:
            self._halved_at = peak.at
            levels.halve()
        return beats

    def _search_back(self, peak: Peak, levels: Levels) -> list[Beat]:
        """A beat is overdue: the largest peak that was passed over may have been it."""
        missed, last = self._passed_over, self._last
        if missed is None or last is None:
            return []
        if peak.at - missed.r_peak > SEARCH_BACK_SAMPLES:
            self._passed_over = None
            return []
        overdue = peak.r_peak - last.r_peak > SEARCH_BACK_RR * median(self._rr_samples)
        if not overdue or missed.energy <= max(FLOOR_MV, SEARCH_BACK_THRESHOLD * levels.threshold):
            return []
        levels.saw_qrs(missed.energy)
        return [self._accept(missed, peak.at)]

    def _accept(self, peak: Peak, at: int) -> Beat:
        rr_s = None
        if self._last is not None and peak.lost - self._last.lost <= LOST_IN_RR:
            rr_samples = peak.r_peak - self._last.r_peak
            rr_s = rr_samples / RATE_HZ
            if rr_samples < PAUSE_SAMPLES:
                self._rr_samples = [*self._rr_samples[1:], rr_samples]
        self._last, self._passed_over = peak, None
        return Beat(peak.r_peak, at, rr_s)
