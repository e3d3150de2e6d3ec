"""A recording becomes frames, and the frames go through a real pty into a real pyserial."""

import argparse
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import serial
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from daemon.links import LINKS
from dsp.gaps import Bridge
from dsp.resample import Resampler
from dsp.signal import Block
from rhythmd.commands import simulate as command
from rhythmd.player import Fate, Faults, Player, Span, excerpt, on_the_wire
from rhythmd.pty_port import play
from rhythmd.recording import RecordError, Recording, shipped

LINK_NAMES = sorted(LINKS)
FRAME_BYTES = LINKS["rhythmd"].frame_bytes
DRIVER = """
import argparse, sys
from rhythmd.commands import simulate
parser = argparse.ArgumentParser()
simulate.add_arguments(parser)
sys.exit(simulate.run(parser.parse_args()))
"""


def recording_of(counts, link_name="rhythmd", rate_hz=None):
    link = LINKS[link_name]
    return Recording("test", "II", rate_hz or link.rate_hz, np.asarray(counts, float), link.counts_per_mv)


def ramp(samples, link_name="rhythmd"):
    """Every sample another, so that an exchange or a repeat is seen; or, where the wire holds so few, each of 1000."""
    counts = np.arange(samples) - samples // 2
    return recording_of(counts if LINKS[link_name].full_scale_counts > samples else counts % 1000 - 500, link_name)


def decoded(turns, link_name="rhythmd"):
    return read(b"".join(turn.wire for turn in turns), link_name)


def read(wire, link_name="rhythmd"):
    """Its frames; where a first line is left out, since it may have lost its beginning, with one before it."""
    return LINKS[link_name].decoder(1).feed(b"\n" * (link_name == "ad8232") + wire)


def counts_of(frames):
    return [count for frame in frames for count in frame.counts]


# What is planned, without I/O


@pytest.mark.parametrize("link_name", LINK_NAMES)
def test_a_recording_of_the_links_rate_and_scale_is_sent_count_for_count(link_name):
    recording = ramp(3000, link_name)
    frames = decoded(Player(recording, link_name).turns(), link_name)
    assert counts_of(frames) == recording.counts.tolist()
    assert [frame.sequence for frame in frames] == [i % LINKS[link_name].sequence_modulus for i in range(len(frames))]
    assert not any(frame.saturated or frame.lead_off for frame in frames)


def test_another_scale_is_rounded_to_the_nearest_count():
    recording = replace(ramp(1000), counts_per_mv=200.0 / 3)
    sent = on_the_wire(recording, "rhythmd")
    np.testing.assert_array_equal(sent.counts, np.round(recording.ecg_mv * 400))


@pytest.mark.parametrize("rate_hz", [128.0, 360.0, 1000.0])
def test_another_rate_passes_the_daemons_own_resampler(rate_hz):
    recording = recording_of(np.random.default_rng(1).normal(0, 400, 20000).round(), rate_hz=rate_hz)
    whole = Resampler(rate_hz)(Bridge()(Block.of(0, recording.ecg_mv)))
    np.testing.assert_array_equal(on_the_wire(recording, "rhythmd").counts, np.rint(whole.ecg_mv * 400))


@pytest.mark.parametrize("link_name", LINK_NAMES)
def test_what_the_wire_cannot_hold_is_clipped_and_flagged(link_name):
    full_scale = LINKS[link_name].full_scale_counts
    recording = recording_of(np.repeat([0, full_scale + 1000, 5, full_scale - 1], 40), link_name)
    frames = decoded(Player(recording, link_name).turns(), link_name)
    assert counts_of(frames) == [0] * 40 + [full_scale] * 40 + [5] * 40 + [full_scale - 1] * 40
    assert {count for frame in frames if frame.saturated for count in frame.counts} == {full_scale}


@pytest.mark.parametrize("link_name", LINK_NAMES)
@pytest.mark.parametrize("rate_hz", [250.0, 360.0])
def test_a_wave_is_the_same_wave_at_the_rate_of_any_link(link_name, rate_hz):
    link = LINKS[link_name]
    counts = 100_000 * 0.7 * np.sin(2 * np.pi * 10 * np.arange(int(20 * rate_hz)) / rate_hz)
    sent = on_the_wire(Recording("test", "II", rate_hz, counts, 100_000.0), link_name)
    at_s = np.arange(sent.samples) / link.rate_hz
    assert sent.rate_hz == link.rate_hz
    assert at_s[-1] == pytest.approx(20, abs=0.15)
    error_mv = sent.ecg_mv - 0.7 * np.sin(2 * np.pi * 10 * at_s)
    assert np.abs(error_mv[300:-300]).max() < 0.5 / link.counts_per_mv + 0.025


def test_a_sample_that_is_lost_is_lost_at_the_rate_of_any_link():
    recording = recording_of(np.zeros(2500), rate_hz=250.0)
    recording.counts[1000:1250] = np.nan
    lost = np.flatnonzero(np.isnan(on_the_wire(recording, "healthypi5").counts))
    assert (lost[0], len(lost)) == pytest.approx((4 * 128, 128), abs=1)


def test_a_lost_sample_costs_its_frame_whose_number_is_used():
    recording = ramp(100)
    recording.counts[37] = np.nan
    turns = list(Player(recording, "rhythmd").turns())
    assert [turn.sequence for turn in turns if turn.fate is Fate.MISSING] == [3]
    assert [frame.sequence for frame in decoded(turns)] == [0, 1, 2, 4, 5, 6, 7, 8, 9]


@settings(deadline=None)
@given(arrays(float, st.integers(10, 300), elements=st.integers(-32768, 32767) | st.just(float("nan"))))
def test_whatever_the_counts_each_frame_arrives_exactly_or_is_missing(counts):
    frames = {frame.sequence: frame for frame in decoded(Player(recording_of(counts), "rhythmd").turns())}
    for sequence in range(len(counts) // 10):
        expected = counts[sequence * 10 : sequence * 10 + 10]
        if np.isnan(expected).any():
            assert sequence not in frames
        else:
            assert list(frames[sequence].counts) == expected.tolist()


def test_a_lost_sample_costs_a_resampled_recording_only_its_own_frame():
    recording = recording_of(np.zeros(3600), rate_hz=360.0)
    recording.counts[1800] = np.nan  # at 5 s, in the middle
    assert [turn.sequence for turn in Player(recording, "rhythmd").turns() if turn.fate is not Fate.SENT] == [125]


def test_the_decoder_accounts_for_every_dropped_and_damaged_frame():
    turns = list(Player(ramp(20000), "rhythmd", Faults(drop=0.1, corrupt=0.1), seed=5).turns())
    fates = Counter(turn.fate for turn in turns)
    assert 150 < fates[Fate.DROPPED] < 250
    assert 130 < fates[Fate.DAMAGED] < 230
    arrived = [frame.sequence for frame in decoded(turns)]
    assert arrived == [turn.sequence for turn in turns if turn.fate is Fate.SENT]
    assert len(arrived) + fates[Fate.DROPPED] + fates[Fate.DAMAGED] == len(turns)


def test_the_same_seed_gives_the_same_turns_and_another_seed_others():
    def turns(seed):
        faults = Faults(drop=0.2, corrupt=0.2, lead_off=(Span(1, 2),))
        return list(Player(ramp(2000), "rhythmd", faults, seed=seed).turns())

    assert turns(3) == turns(3)
    assert turns(3) != turns(4)


def test_one_fault_more_leaves_the_others_where_they_were():
    def fates(faults):
        return [turn.fate for turn in Player(ramp(2000), "rhythmd", faults, seed=1).turns()]

    dropped = fates(Faults(drop=0.2))
    both = fates(Faults(drop=0.2, corrupt=0.5, lead_off=(Span(0, 3),)))
    assert Fate.DAMAGED in both
    assert [fate is Fate.DROPPED for fate in dropped] == [fate is Fate.DROPPED for fate in both]


def test_lead_off_is_flagged_in_exactly_the_frames_it_touches_and_hides_the_heart():
    faults = Faults(lead_off=(Span(1.0, 0.5), Span(3.02, 0.01)))
    recording = ramp(1000)
    frames = decoded(Player(recording, "rhythmd", faults).turns())
    assert [frame.sequence for frame in frames if frame.lead_off] == [*range(25, 38), 75]
    for frame in frames:
        heart = recording.counts[frame.sequence * 10 : frame.sequence * 10 + 10].tolist()
        assert frame.lead_off != (list(frame.counts) == heart)


def test_a_cyton_whose_lead_is_off_sends_the_rail():
    frames = decoded(Player(ramp(500, "cyton"), "cyton", Faults(lead_off=(Span(1.0, 0.1),))).turns(), "cyton")
    assert [i for i, frame in enumerate(frames) if frame.counts == (2**23 - 1,)] == list(range(250, 275))


def test_an_unplugged_patch_goes_on_counting():
    turns = list(Player(ramp(1000), "rhythmd", Faults(unplug=(Span(1.0, 1.0),))).turns())
    assert [turn.sequence for turn in turns if turn.fate is Fate.UNPLUGGED] == list(range(25, 50))
    assert [frame.sequence for frame in decoded(turns)] == [*range(25), *range(50, 100)]


def test_turns_are_due_when_their_last_sample_is_there():
    assert [turn.due_s for turn in Player(ramp(30), "rhythmd").turns()] == pytest.approx([0.04, 0.08, 0.12])


def test_a_loop_repeats_the_samples_and_goes_on_counting():
    turns = list(islice(Player(ramp(25), "rhythmd", loop=True).turns(), 5))
    frames = decoded(turns)
    assert [frame.sequence for frame in frames] == [0, 1, 2, 3, 4]
    assert frames[0].counts == frames[2].counts == frames[4].counts != frames[1].counts


def test_an_excerpt_is_the_recording_sample_for_sample():
    recording = ramp(1000)
    np.testing.assert_array_equal(excerpt(recording, 1.0, 2.0).counts, recording.counts[250:750])
    with pytest.raises(RecordError, match=r"nothing to play from 9 s; it lasts 4\.0 s"):
        excerpt(recording, 9.0)


def test_a_recording_too_short_for_one_frame_is_refused():
    with pytest.raises(RecordError, match="too short"):
        Player(ramp(9), "rhythmd")


# Through a real pty


@contextmanager
def playing(player, path, **options):
    """Plays in the background; gives the list that will hold what `play` returned."""
    stop, result = threading.Event(), []
    thread = threading.Thread(target=lambda: result.append(play(player, path, stop=stop, **options)))
    thread.start()
    try:
        yield result
        thread.join(20)
        assert not thread.is_alive()
    finally:
        stop.set()
        thread.join()


def opened(path, link_name="rhythmd"):
    deadline_s = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    port = serial.Serial(str(path), 115200, timeout=0.05, exclusive=True)
    port.write(b"".join(LINKS[link_name].start_commands))
    return port


def read_until_hangup(port):
    data = bytearray()
    with port, suppress(serial.SerialException, OSError):
        while True:
            data += port.read(max(1, port.in_waiting))
    return bytes(data)


@pytest.mark.parametrize("link_name", LINK_NAMES)
def test_every_frame_arrives_in_order_and_decodes_to_the_counts(tmp_path, link_name):
    recording = ramp(20000, link_name)
    with playing(Player(recording, link_name), tmp_path / "patch", speed=0) as result:
        data = read_until_hangup(opened(tmp_path / "patch", link_name))
    assert counts_of(read(data, link_name)) == recording.counts.tolist()
    assert result == [Counter({Fate.SENT: 20000 // LINKS[link_name].samples_per_frame})]
    assert not (tmp_path / "patch").is_symlink()


def test_a_reader_slower_than_the_kernels_buffers_loses_nothing(tmp_path):
    recording = ramp(30000)
    with playing(Player(recording, "rhythmd"), tmp_path / "patch", speed=0):
        port = opened(tmp_path / "patch")
        time.sleep(1.0)  # the buffers fill up
        data = b"".join(port.read(977) for _ in range(20))
        time.sleep(0.2)
        data += read_until_hangup(port)
    assert counts_of(LINKS["rhythmd"].decoder(1).feed(data)) == recording.counts.tolist()


def test_a_reader_that_never_flushes_its_input_is_served_too():
    ports = []
    with playing(Player(ramp(1000), "rhythmd"), None, speed=0, plugged_in=ports.append):
        while not ports:
            time.sleep(0.005)
        data = b""
        with Path(ports[0]).open("rb", buffering=0) as port, suppress(OSError):  # as cat does
            while piece := port.read(4096):
                data += piece
    assert counts_of(LINKS["rhythmd"].decoder(1).feed(data)) == ramp(1000).counts.tolist()


def test_what_a_reader_flushes_while_it_opens_the_port_is_not_lost(tmp_path):
    with playing(Player(ramp(1000), "rhythmd"), tmp_path / "patch", speed=0):
        while not (tmp_path / "patch").exists():
            time.sleep(0.005)
        reader = os.open(tmp_path / "patch", os.O_RDWR | os.O_NOCTTY)
        time.sleep(0.2)  # on a busy machine pyserial may take this long from its open() to its tcflush()
        termios.tcflush(reader, termios.TCIFLUSH)
        data = b""
        with suppress(OSError):
            while piece := os.read(reader, 4096):
                data += piece
        os.close(reader)
    assert counts_of(LINKS["rhythmd"].decoder(1).feed(data)) == ramp(1000).counts.tolist()


def test_drops_and_damage_are_what_the_reader_counts_as_lost(tmp_path):
    player = Player(ramp(30000), "rhythmd", Faults(drop=0.05, corrupt=0.05), seed=2)
    with playing(player, tmp_path / "patch", speed=0) as result:
        frames = LINKS["rhythmd"].decoder(1).feed(read_until_hangup(opened(tmp_path / "patch")))
    (fates,) = result
    assert len(frames) == fates[Fate.SENT]
    assert len(frames) + fates[Fate.DROPPED] + fates[Fate.DAMAGED] == 3000


def test_after_an_unplug_the_same_path_goes_on_with_later_numbers(tmp_path):
    path = tmp_path / "patch"
    player = Player(ramp(6000), "rhythmd", Faults(unplug=(Span(2.0, 20.0),)))
    with playing(player, path, speed=20):
        before = read_until_hangup(opened(path))
        gone_at_s = time.monotonic()
        assert not path.exists()
        port = opened(path)
        gone_for_s = time.monotonic() - gone_at_s
        after = read_until_hangup(port)
    assert [frame.sequence for frame in LINKS["rhythmd"].decoder(1).feed(before)] == list(range(50))
    assert [frame.sequence for frame in LINKS["rhythmd"].decoder(1).feed(after)] == list(range(550, 600))
    assert 0.8 < gone_for_s < 4.0  # 20 s at 20 times real time


def test_a_reader_that_leaves_is_waited_for(tmp_path):
    path = tmp_path / "patch"
    decoder = LINKS["rhythmd"].decoder
    with playing(Player(ramp(5000), "rhythmd"), path, speed=10):
        with opened(path) as port:
            port.timeout = 5
            first = decoder(1).feed(port.read(10 * FRAME_BYTES))
        time.sleep(1.0)  # time stands still: 10 s of patch time would leave 250 frames out
        port, begun_s = opened(path), time.monotonic()
        second = decoder(1).feed(read_until_hangup(port))
        took_s = time.monotonic() - begun_s
    assert [frame.sequence for frame in first] == list(range(len(first)))
    assert second[-1].sequence == 499
    assert 0 < second[0].sequence - first[-1].sequence < 100
    assert took_s > 0.9 * 0.04 * len(second) / 10  # nor does the wait have to be made up for


def test_a_cyton_sends_from_its_start_command_to_its_stop_command_and_on(tmp_path):
    path, decoder = tmp_path / "patch", LINKS["cyton"].decoder(1)
    with playing(Player(ramp(600, "cyton"), "cyton"), path, speed=2), serial.Serial() as port:
        while not path.exists():
            time.sleep(0.005)
        port.port, port.timeout = str(path), 0.3
        port.open()
        assert port.read(1) == b""
        port.write(b"b")
        data = port.read(33 * 50)
        port.write(b"s")
        while piece := port.read(4096):
            data += piece
        assert len(data) < 33 * 400
        port.write(b"b")
        data += read_until_hangup(port)
    assert counts_of(decoder.feed(data)) == ramp(600).counts.tolist()


@pytest.mark.alone
@pytest.mark.parametrize("speed", [1.0, 8.0])
def test_playing_keeps_to_the_clock(tmp_path, speed):
    player = Player(ramp(round(400 * speed)), "rhythmd")
    with playing(player, tmp_path / "patch", speed=speed):
        port = opened(tmp_path / "patch")
        port.timeout = 5
        first, begun_s = port.read(FRAME_BYTES), time.monotonic()
        rest = port.read(round(400 * speed) // 10 * FRAME_BYTES - FRAME_BYTES)
        took_s = time.monotonic() - begun_s
        assert read_until_hangup(port) == b""
    assert len(first + rest) == round(400 * speed) // 10 * FRAME_BYTES
    assert 1.6 - 0.04 / speed - 0.05 < took_s < 2.6  # late only where the machine is


def test_stop_ends_it_though_nobody_reads(tmp_path):
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    assert play(Player(ramp(100), "rhythmd"), tmp_path / "patch", stop=stop) == Counter()
    assert not (tmp_path / "patch").is_symlink()


# The command


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(arguments)


@contextmanager
def simulate(*arguments):
    command = [sys.executable, "-c", DRIVER, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()  # or a failed test would wait for it for ever


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_cleanly(tmp_path, number):
    path = tmp_path / "patch"
    with simulate("shipped", "--pty", path) as process:
        line = process.stdout.readline()
        assert f"read it with: rhythmd run --port {path}" in line
        with opened(path) as port:
            port.timeout = 5
            assert port.read(FRAME_BYTES)
            process.send_signal(number)
            assert process.wait(10) == 0
    assert not path.is_symlink()


def test_the_shipped_recording_reaches_the_reader_count_for_count(tmp_path):
    path = tmp_path / "patch"
    with simulate("shipped", "--pty", path, "--speed", 0, "--start", 60, "--duration", 20) as process:
        frames = LINKS["rhythmd"].decoder(1).feed(read_until_hangup(opened(path)))
        assert process.wait(10) == 0
        assert "frames: 500 sent" in process.stdout.read()
    assert counts_of(frames) == shipped().counts[15000:20000].tolist()


def test_every_line_about_a_simulated_patient_says_so(tmp_path):
    path = tmp_path / "patch"
    arguments = ("--patient", "sinus 4, lead_off 4, vf 4", "--pty", path, "--speed", 0, "--unplug", "9:1", "--seed", 3)
    with simulate(*arguments) as process:
        frames = LINKS["rhythmd"].decoder(1).feed(read_until_hangup(opened(path)) + read_until_hangup(opened(path)))
        output, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert not errors
    assert len(output.splitlines()) == 3
    assert all("synthetic" in line for line in output.splitlines())
    assert [frame.sequence for frame in frames if frame.lead_off] == list(range(100, 200))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["shipped", "--drop", "1.5"], "'1.5' is not a probability"),
        (["shipped", "--unplug", "7"], "'7' is not AT:FOR in seconds"),
        (["shipped", "--speed", "fast"], "'fast' is not a speed"),
        (["shipped", "--pty", "/nowhere/at/all"], "/nowhere/at is not a folder"),
        (["shipped", "--pty", __file__], "exists already"),
        (["shipped", "--seed", "-1"], "'-1' is not a whole number"),
        (["shipped", "--rate-bpm", "0"], "'0' is not a rate"),
        (["--patient", "samba 60"], "no rhythm 'samba'; there are sinus"),
        (["shipped", "--patient", "sinus 60"], "not allowed with"),
        ([], "required"),
    ],
)
def test_a_wrong_argument_is_named(capsys, arguments, says):
    with pytest.raises(SystemExit) as ended:
        parsed(*arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_a_record_that_is_not_there_is_a_record_error():
    with pytest.raises(RecordError, match="nowhere/100"):
        command.run(parsed("nowhere/100"))


def test_stop_ends_a_recording_that_is_played_round_and_round(tmp_path):
    path, stop = tmp_path / "patch", threading.Event()
    looping = Player(excerpt(shipped(), 0, 1), "rhythmd", loop=True)
    thread = threading.Thread(target=play, args=(looping, path), kwargs={"speed": 20.0, "stop": stop}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 5
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    with path.open("rb", buffering=0) as reader:
        reader.read(28)
        stop.set()
        thread.join(5)
    assert not thread.is_alive()
