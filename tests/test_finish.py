"""The end of a session: no beat is forgotten because the future that its window waits for never comes."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.links import LINKS
from daemon.listening import Listener, Skipped
from daemon.patch import Patch
from daemon.port import Reading
from dsp.chain import Chain
from dsp.signal import R_INDEX, WINDOW_SAMPLES, Block, Window
from rhythmd.player import Player, excerpt
from rhythmd.recording import shipped, shipped_beats

FIRST_S = 300
BEATS = [sample - FIRST_S * 250 for sample in shipped_beats()[0] if sample > FIRST_S * 250 + 1000][:20]


def windows(items) -> list[Window]:
    return [item for item in items if isinstance(item, Window) and item.beat]


@pytest.mark.parametrize("after", [20, 60, 140])
def test_the_last_beats_have_their_windows_with_the_missing_future_masked(after):
    end = BEATS[10] + after
    ecg_mv = excerpt(shipped(), FIRST_S, 60).ecg_mv[:end]
    chain = Chain(250.0)
    _, events = chain(Block.of(0, ecg_mv))
    before = windows(events)
    last = chain.finish()
    assert abs(last[-1].beat.r_peak - BEATS[10]) <= 37
    assert all(window.at == end - 1 and window.beat.at <= end - 1 for window in last)
    future = WINDOW_SAMPLES - R_INDEX - (end - last[-1].beat.r_peak) + 2  # the band-pass is 2 samples late
    assert last[-1].missing == pytest.approx(future / WINDOW_SAMPLES, abs=0.004)
    assert np.all(last[-1].ecg[0, 0, 0, -future + 4 :] == 0.0)
    found = [window.beat.r_peak for window in (*before, *last)]
    assert found == sorted(set(found))


def test_nothing_is_made_up_after_the_last_sample():
    chain = Chain(250.0)
    chain(Block.of(0, excerpt(shipped(), FIRST_S, 20).ecg_mv))
    assert all(window.beat is not None and window.beat.r_peak < 5000 for window in chain.finish())
    assert Chain(250.0).finish() == []


@pytest.mark.parametrize("how", ["unplugged", "a long loss"])
def test_a_session_that_ends_gives_its_last_beats_before_what_comes_next(how):
    wires = [turn.wire for turn in Player(excerpt(shipped(), FIRST_S, 60), "rhythmd").turns()]
    cut = BEATS[10] // 10 + 4
    size = LINKS["rhythmd"].samples_per_frame

    def reading(data: bytes, connected: bool = True) -> Reading:  # noqa: FBT001, FBT002
        return Reading(data, connected=connected, connections=1, dropped_bytes=0, read_s=0.0)

    listener = Listener(Patch(port="x"))
    list(listener([reading(b"".join(wires[:cut]))]))
    after = [reading(b"", connected=False)] if how == "unplugged" else [reading(b"".join(wires[cut + 60 : cut + 70]))]
    items = list(listener(after))
    (last, *_) = windows(items)
    assert abs(last.beat.r_peak - BEATS[10]) <= 37
    assert last.at == cut * size - 1
    if how == "a long loss":
        assert items.index(last) < next(place for place, item in enumerate(items) if isinstance(item, Skipped))
