"""Each link, live: a recording worn on a simulated board, through a pty, the real daemon, and what it says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.links import LINKS
from daemon.messages import Status
from rhythmd import rehearsal
from rhythmd.player import Faults, Player, Span, excerpt, on_the_wire
from rhythmd.recording import shipped
from tests.test_replay import PATIENT, analyzed, assert_equal

links = pytest.mark.parametrize("name", LINKS)
TRIES = 3


def heard_of(name: str, player: Player) -> list:
    """All that the daemon publishes. Where only time tells of losses, a machine that stalls looks like it: again."""
    for _ in range(TRIES):
        with rehearsal.daemon(f'{PATIENT}patch.link = "{name}"\n') as running:
            received = rehearsal.rehearse(running, player, speed=0)
        if not link_of(received).lost_samples:
            return received
    raise AssertionError(f"{name}: lost samples in each of {TRIES} tries")


def link_of(received: list):
    return [one.message for one in received if isinstance(one.message, Status)][-1].link


@links
def test_beats_are_those_of_the_recording_at_the_links_rate_and_resolution(name):
    """Exactly: every beat at its sample, with its class, as `rhythmd analyze` gives them."""
    recording = replace(excerpt(shipped(), 1550, 40), name="x")
    sent = on_the_wire(recording, name)
    sent = replace(sent, rails=(-LINKS[name].full_scale_counts - 1, LINKS[name].full_scale_counts))
    if name == "ad8232":  # the first line may have lost its beginning
        sent = replace(sent, counts=sent.counts[1:])
    received = heard_of(name, Player(recording, name))
    beats, _ = assert_equal(received, analyzed(sent))
    assert len(beats) > 40
    assert link_of(received).samples == sent.samples
    assert (link_of(received).damaged_frames, link_of(received).dropped_bytes) == (0, 0)


@pytest.mark.parametrize("name", ["rhythmd", "healthypi4", "ad8232", "cyton", "ads1292r"])
def test_a_lead_that_is_off_is_told_by_a_flag_or_by_the_rail_or_by_a_flat_line(name):
    player = Player(excerpt(shipped(), 300, 30), name, Faults(lead_off=(Span(10, 10),)))
    received = heard_of(name, player)
    raised = [one.message for one in received if one.topic == "alert.lead_off"]
    assert raised
    assert 9.5 < raised[0].onset_sample / LINKS[name].rate_hz < 13.5  # a flat line is one when two seconds are flat
