"""The parts of the DSP chain: cut the signal anywhere, or feed them anything, and nothing changes or breaks."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dsp.chain import Chain
from dsp.filters import DELAY_SAMPLES, Bandpass
from dsp.gaps import LIMIT_MV, Bridge
from dsp.qrs import Detector
from dsp.qrs_network import Network, load
from dsp.qrs_scale import Scale
from dsp.quality import QualityMeter
from dsp.resample import Resampler
from dsp.signal import LEAD_OFF, MISSING, RATE_HZ, SATURATED, Block, Window
from dsp.windows import WindowCutter
from rhythmd.recording import shipped

SHIPPED_MV = shipped().ecg_mv[: 60 * RATE_HZ]
Part = Callable[[Block], Any]


def detector_and_cutter() -> Part:
    detector, cutter = Detector(), WindowCutter()
    return lambda block: list(cutter(block, detector(block)))


class Opinions:
    """The detector's network, what it says as a signal of its own."""

    def __init__(self) -> None:
        self._scale, self._network, self._end = Scale(), Network(load()), 0

    def __call__(self, block: Block) -> Block:
        said = Block.of(self._end, self._network(self._scale(block.ecg_mv)).reshape(-1).astype(float))
        self._end = said.end
        return said


def meter() -> Part:
    part = QualityMeter()
    return lambda block: part(block, block)


PARTS: dict[str, Callable[[], Part]] = {
    "bridge": Bridge,
    **{
        f"resampler {rate_hz}": lambda rate_hz=rate_hz: Resampler(rate_hz)
        for rate_hz in (128, 257, 300, 360, 500, 1000)
    },
    "bandpass": Bandpass,
    "opinions": Opinions,
    "detector": Detector,
    "windows": detector_and_cutter,
    "quality": meter,
    **{f"chain {rate_hz}": lambda rate_hz=rate_hz: Chain(rate_hz) for rate_hz in (128, 250, 257, 360, 1000)},
}
UNBRIDGED = ("bridge", "chain")  # the others are promised a bridged signal
parts = pytest.mark.parametrize("name", PARTS)


def given_out(name: str, blocks: Iterable[Block]) -> tuple[list[Block], list[Any]]:
    """What a part gives for these blocks: blocks of signal, and whatever else."""
    part, bridge = PARTS[name](), Bridge()
    signal: list[Block] = []
    events: list[Any] = []
    for block in blocks:
        out = part(block if name.startswith(UNBRIDGED) else bridge(block))
        clean, others = out if isinstance(out, tuple) else (out, []) if isinstance(out, Block) else (None, out)
        signal += [clean] if clean is not None else []
        events += others
    return signal, events


def as_bytes(signal: list[Block], events: list[Any]) -> tuple[Any, ...]:
    """Everything in it, to the last bit."""
    samples = [block for block in signal if len(block.ecg_mv)]
    flat = [
        replace(event, ecg=event.ecg.tobytes(), rr=event.rr.tobytes()) if isinstance(event, Window) else event
        for event in events
    ]
    fields = [tuple(getattr(event, field) for field in event.__slots__) for event in flat]
    return (
        samples[0].start if samples else None,
        b"".join(block.ecg_mv.tobytes() for block in samples),
        b"".join(block.marks.tobytes() for block in samples),
        fields,
    )


def cut(whole: Block, at: Iterable[int]) -> list[Block]:
    """The same signal in pieces; two cuts at one place leave an empty one between them."""
    edges = [0, *sorted(at), len(whole.ecg_mv)]
    return [Block(whole.start + a, whole.ecg_mv[a:b], whole.marks[a:b]) for a, b in pairwise(edges)]


def troubled(rng: Random, samples: int) -> Block:
    """Real ECG with losses, artefacts and flags."""
    first = rng.randrange(len(SHIPPED_MV) - samples)
    ecg_mv = SHIPPED_MV[first : first + samples].copy()
    flags = np.zeros((2, samples), bool)
    for _ in range(rng.randrange(5)):
        begin = rng.randrange(samples)
        span = slice(begin, begin + rng.choice([1, 5, 60, 400, 900]))
        ecg_mv[span] = rng.choice([np.nan, np.inf, 0.0, 30.0, -1e300])
        flags[rng.randrange(2), span] = True
    return Block.of(rng.choice([0, 1, 777_777]), ecg_mv, lead_off=flags[0], saturated=flags[1])


@parts
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
@example(seed=0)
def test_cutting_the_signal_anywhere_changes_nothing(name, seed):
    rng = Random(seed)
    whole = troubled(rng, rng.choice([1, 90, 1000, 3000]))
    at = rng.choices(range(len(whole.ecg_mv) + 1), k=rng.randrange(12))
    pieces = cut(whole, at + at[:2])
    assert as_bytes(*given_out(name, pieces)) == as_bytes(*given_out(name, [whole]))


@parts
def test_one_sample_at_a_time_gives_the_same(name):
    whole = troubled(Random(1), 2600)
    signal, events = given_out(name, cut(whole, range(1, 2600)))
    assert as_bytes(signal, events) == as_bytes(*given_out(name, [whole]))
    assert signal or events
    ends = [block.end for block in signal if len(block.ecg_mv)]
    assert [block.start for block in signal if len(block.ecg_mv)][1:] == ends[:-1]


@pytest.mark.parametrize("name", ["detector", "windows", "quality", "chain 250"])
def test_where_the_time_line_begins_shifts_everything_and_changes_nothing(name):
    _, at_zero = given_out(name, [Block.of(0, SHIPPED_MV)])
    _, later = given_out(name, [Block.of(10**7, SHIPPED_MV)])
    assert [event.at + 10**7 for event in at_zero] == [event.at for event in later]
    assert name == "quality" or len(later) > 50


N = 3000
SQUARE = np.sign(np.sin(np.arange(N) / 17) + 0.01)
EXTREMES = {
    "nan": np.full(N, np.nan),
    "infinite": np.full(N, np.inf),
    "both infinities": SQUARE * np.inf,
    "1e300": np.full(N, 1e300),
    "swinging 1e300": SQUARE * 1e300,
    "from rail to rail": SQUARE * 187.5,
    "zero": np.zeros(N),
    "negative zero": np.full(N, -0.0),
    "constant": np.full(N, 82.0),
    "subnormal": SQUARE * 5e-324,
    "one impulse": np.where(np.arange(N) == 1500, 1e300, 0.0),
    "gone and back": np.where(np.arange(N) // 500 % 2, np.nan, SHIPPED_MV[:N]),
    "every other one lost": np.where(np.arange(N) % 2, np.nan, SHIPPED_MV[:N]),
    "inverted": -SHIPPED_MV[:N],
}


@parts
@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("flagged", [False, True])
def test_no_input_breaks_a_part_or_comes_out_infinite(name, extreme, flagged):
    """Warnings are errors here, so a silent overflow fails too."""
    whole = Block.of(0, EXTREMES[extreme], lead_off=flagged, saturated=flagged)
    signal, events = given_out(name, cut(whole, [0, 1, 1400, 1400]))
    for block in signal:
        assert np.isfinite(block.ecg_mv).all()
        assert len(block.marks) == len(block.ecg_mv)
        assert np.max(np.abs(block.ecg_mv), initial=0) < 10 * LIMIT_MV
    for event in events:
        if isinstance(event, Window):
            assert np.isfinite(event.ecg).all()
            assert 0 <= event.missing <= 1


class TestBridge:
    def test_the_last_good_value_is_held_over_a_loss_and_the_mark_stays(self):
        block = Bridge()(Block.of(0, np.array([1.0, np.nan, np.inf, 2.0, np.nan])))
        assert block.ecg_mv.tolist() == [1, 1, 1, 2, 2]
        assert block.marks.tolist() == [0, MISSING, MISSING, 0, MISSING]

    def test_what_a_lost_sample_reads_is_not_looked_at(self):
        block = Block(0, np.array([1.0, 500.0, 3.0]), np.array([0, MISSING, LEAD_OFF], np.uint8))
        assert Bridge()(block).ecg_mv.tolist() == [1, 1, 3]

    def test_before_the_first_good_value_there_is_zero(self):
        assert Bridge()(Block.of(0, np.array([np.nan, 4.0]))).ecg_mv.tolist() == [0, 4]

    def test_what_no_electrode_can_give_is_clipped(self):
        assert Bridge()(Block.of(0, np.array([-1e300, 999.0, 1e300]))).ecg_mv.tolist() == [-LIMIT_MV, 999, LIMIT_MV]


class TestBandpass:
    @pytest.mark.parametrize(
        ("hz", "least_db", "most_db"),
        [
            (0.05, -120, -38),  # wander of breath and electrodes
            (0.5, -3.5, -2.5),  # the corner
            (5, -1, 0.1),  # QRS complexes
            (10, -1, 0.1),
            (15, -1, 0.1),
            (50, -400, -60),  # mains
            (60, -400, -60),
            (100, -120, -20),
        ],
    )
    def test_it_takes_wander_and_hum_and_leaves_the_qrs_complex(self, hz, least_db, most_db):
        at_s = np.arange(120 * RATE_HZ) / RATE_HZ
        out = Bandpass()(Block.of(0, np.sin(2 * np.pi * hz * at_s))).ecg_mv[-40 * RATE_HZ :]
        gain_db = 20 * np.log10(max(np.sqrt(2 * np.mean(out**2)), 1e-20))
        assert least_db <= gain_db <= most_db

    @pytest.mark.parametrize("offset_mv", [-300.0, 0.0, 82.0])
    def test_it_starts_settled_on_any_electrode_offset(self, offset_mv):
        out = Bandpass()(Block.of(0, np.full(500, offset_mv)))
        np.testing.assert_allclose(out.ecg_mv, 0, atol=1e-9)

    @pytest.mark.parametrize("qrs_ms", [10, 12, 15, 20])
    def test_it_delays_an_r_peak_by_what_it_says(self, qrs_ms):
        at_ms = (np.arange(1000) - 500) * 4.0
        pulse = np.exp(-((at_ms / qrs_ms) ** 2) / 2) - 0.3 * np.exp(-(((at_ms - 2.5 * qrs_ms) / qrs_ms) ** 2) / 2)
        assert abs(np.argmax(Bandpass()(Block.of(0, pulse)).ecg_mv) - 500 - DELAY_SAMPLES) <= 1

    def test_marks_and_places_go_through_untouched(self):
        block = Block.of(42, SHIPPED_MV[:99], lead_off=np.arange(99) > 50, saturated=np.arange(99) < 9)
        out = Bandpass()(block)
        assert out.start == 42
        assert out.marks is block.marks
        assert set(out.marks.tolist()) == {0, LEAD_OFF, SATURATED}


def test_events_come_in_the_order_of_the_samples_that_settled_them():
    off = np.arange(len(SHIPPED_MV)) // 2000 % 2 == 1
    _, events = given_out("chain 250", [Block.of(0, SHIPPED_MV, lead_off=off)])
    ats = [event.at for event in events]
    assert ats == sorted(ats)
    assert len({type(event) for event in events}) == 2
