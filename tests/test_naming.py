"""What the rhythm was called, brought together with what was known afterwards."""

from __future__ import annotations

import pytest

from rhythmd.records.naming import Episode, named

AF = Episode(100.0, 200.0, "AFIB")


@pytest.mark.parametrize(
    ("changes", "episodes", "expected"),
    [
        ([(0, "N")], [], [(0, "N")]),
        ([(0, "N"), (50, "AFIB"), (60, "N")], [], [(0, "N"), (50, "AFIB"), (60, "N")]),  # never alerted: as it was told
        ([(0, "N"), (140, "AFIB"), (230, "N")], [AF], [(0, "N"), (100, "AFIB"), (200, "N")]),  # told late, ended late
        ([(0, "N"), (140, "AFIB")], [Episode(100.0, None, "AFIB")], [(0, "N"), (100, "AFIB")]),  # goes on
        ([(0, "N"), (205, "AFIB"), (206, "N")], [AF], [(0, "N"), (100, "AFIB"), (200, "N")]),  # told when it was over
        ([(0, "N"), (300, "AFIB")], [AF], [(0, "N"), (100, "AFIB"), (200, "N"), (300, "AFIB")]),  # another one
        (
            [(0, "N"), (140, "AFIB"), (152, "VT"), (155, "AFIB"), (210, "N")],
            [AF, Episode(150.0, 153.0, "VT")],
            [(0, "N"), (100, "AFIB"), (150, "VT"), (153, "AFIB"), (200, "N")],
        ),
        (
            [(0, "N"), (12, "VF"), (26, "ASYS"), (33, "N")],
            [Episode(10.0, 20.0, "VF"), Episode(20.0, 30.0, "ASYS")],
            [(0, "N"), (10, "VF"), (20, "ASYS"), (30, "N")],
        ),
    ],
)
def test_an_episode_holds_from_its_onset_to_its_end(changes, episodes, expected):
    assert named(changes, episodes, late=15.0) == expected
