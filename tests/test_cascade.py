"""Recursive filters over a stream: what scipy's public function gives, bit for bit, however scipy is reached."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
from scipy.signal import sosfilt, sosfilt_zi

from dsp import cascade
from dsp.filters import _sections
from rhythmd.recording import shipped


@pytest.fixture(params=["as scipy is", "scipy without its inner function"])
def cascade_of(request, monkeypatch):
    if request.param == "as scipy is":
        return cascade.Cascade
    monkeypatch.setitem(sys.modules, "scipy.signal._sosfilt", None)  # importing it fails
    spec = importlib.util.spec_from_file_location("another_cascade", cascade.__file__)
    another = importlib.util.module_from_spec(spec)  # the one that others have stays as it is
    spec.loader.exec_module(another)
    return another.Cascade


@pytest.mark.parametrize("size", [1, 7, 20, 2500])
@pytest.mark.parametrize("offset_mv", [0.0, 82.0])
def test_it_gives_what_scipy_gives_for_the_whole(cascade_of, size, offset_mv):
    ecg_mv = shipped().ecg_mv[:5000] + offset_mv
    whole, _ = sosfilt(_sections(), ecg_mv, zi=sosfilt_zi(_sections()) * ecg_mv[0])
    part = cascade_of(_sections())
    part.settle(ecg_mv[0])
    pieces = [part(ecg_mv[start : start + size]) for start in range(0, len(ecg_mv), size)]
    assert np.concatenate(pieces).tobytes() == whole.tobytes()


def test_it_leaves_what_it_is_given_as_it_was(cascade_of):
    ecg_mv = shipped().ecg_mv[:500]
    before = ecg_mv.copy()
    filtered = cascade_of(_sections())(ecg_mv)
    assert ecg_mv.tobytes() == before.tobytes() != filtered.tobytes()


def test_the_inner_function_of_scipy_is_there_today():
    """Without it all goes on, at three times the cost a live block: then look for another way in."""
    assert cascade._filter_in_place.__module__ == "scipy.signal._sosfilt"
