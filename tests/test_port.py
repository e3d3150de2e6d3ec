"""The reader, with pyserial, on real ptys and sockets."""

from __future__ import annotations

import logging
import os
import socket
import threading
import tty
from contextlib import ExitStack, contextmanager, suppress
from queue import Queue
from time import monotonic, sleep

import pytest

from daemon.patch import Patch
from daemon.port import SILENT_READ_S, PortError, Reader, open_port
from daemon.room import STOP


class Plug:
    """A pty behind a symlink, as udev would name a patch."""

    def __init__(self, path) -> None:
        self.path = path
        self.master, slave = os.openpty()
        tty.setraw(slave)
        path.symlink_to(os.ttyname(slave))
        self.slave = slave  # held, so that the master can be written to before the reader opens it

    def pull(self) -> None:
        os.close(self.slave)
        os.close(self.master)
        self.path.unlink()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "patch"


@contextmanager
def reading(port: str, room: int = 10_000, link: str = "rhythmd"):
    """A reader at work, the queue that it fills, and the event that it sets when it is broken."""
    outbox, stop, broken = Queue(room), threading.Event(), threading.Event()
    reader = Reader(Patch(port=str(port), link=link), outbox, stop, broken.set)
    reader.start()
    try:
        yield reader, outbox, broken
    finally:
        stop.set()
        while reader.is_alive():
            while not outbox.empty():
                outbox.get_nowait()
            reader.join(0.05)


def until(outbox: Queue, holds, within_s: float = 5.0):
    """The first reading for which it holds, and how long it took."""
    began = monotonic()
    while monotonic() - began < within_s:
        reading = outbox.get(timeout=within_s)
        if holds(reading):
            return reading, monotonic() - began
    raise AssertionError("it never came")


def test_bytes_arrive_in_order_however_they_were_written(path):
    plug = Plug(path)
    sent = bytes(range(256)) * 40
    with reading(path) as (_, outbox, _):
        until(outbox, lambda each: each.connected)
        for start in range(0, len(sent), 700):
            os.write(plug.master, sent[start : start + 700])
        got = b""
        while len(got) < len(sent):
            got += until(outbox, lambda each: each.data)[0].data
    assert got == sent
    plug.pull()


def test_silence_gives_empty_readings_at_a_steady_pace(path):
    plug = Plug(path)
    with reading(path) as (_, outbox, _):
        until(outbox, lambda each: each.connected)
        began = monotonic()
        assert [until(outbox, lambda _: True)[0].data for _ in range(4)] == [b""] * 4
        assert monotonic() - began == pytest.approx(4 * SILENT_READ_S, abs=0.2)
    plug.pull()


def test_a_patch_that_was_never_there_is_told_of_once_and_waited_for(path, caplog):
    with reading(path) as (_, outbox, broken):
        for _ in range(8):
            reading_, _ = until(outbox, lambda _: True)
            assert (reading_.data, reading_.connected, reading_.connections) == (b"", False, 0)
        assert not broken.is_set()
        plug = Plug(path)
        until(outbox, lambda each: each.connected)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    plug.pull()


def test_a_patch_that_goes_away_and_comes_back_is_told_of_once_and_followed(path, caplog):
    caplog.set_level(logging.INFO)
    plug = Plug(path)
    with reading(path) as (_, outbox, broken):
        until(outbox, lambda each: each.connected)
        plug.pull()
        until(outbox, lambda each: not each.connected)
        sleep(4.0)  # by now the back-off has grown
        plug = Plug(path)
        back, took_s = until(outbox, lambda each: each.connected)
        assert took_s < 2.0
        assert back.connections == 2
        os.write(plug.master, b"again")
        assert until(outbox, lambda each: each.data)[0].data == b"again"
        assert not broken.is_set()
    told = [record.getMessage().split(" (")[0].split(": ", 1)[1] for record in caplog.records]
    assert told == [f"{path} is open", f"{path} is away", f"{path} is open"]
    plug.pull()


def test_a_reader_whose_queue_is_full_drops_bytes_and_counts_them(path):
    plug = Plug(path)
    with reading(path, room=2) as (_, outbox, _):
        sleep(1.0)  # two empty readings fill it
        os.write(plug.master, bytes(100))
        sleep(0.2)
        os.write(plug.master, bytes(50))
        sleep(0.2)
        outbox.get()
        outbox.get()
        last, _ = until(outbox, lambda _: True)
        assert last.dropped_bytes == 150
    plug.pull()


def test_a_second_reader_is_refused_for_each_would_get_half_of_the_bytes(path):
    plug = Plug(path)
    with (
        open_port(Patch(port=str(path))),
        pytest.raises(OSError, match="exclusively lock"),
        open_port(Patch(port=str(path))),
    ):
        pass
    plug.pull()


def test_a_reader_takes_its_turn_when_the_port_is_free_again(path):
    plug = Plug(path)
    with open_port(Patch(port=str(path))), reading(path) as (_, outbox, _):
        assert not until(outbox, lambda _: True)[0].connected
    with reading(path) as (_, outbox, _):
        assert until(outbox, lambda each: each.connected)[0].connections == 1
    plug.pull()


def test_stop_is_the_last_that_a_reader_hands_on(path):
    plug = Plug(path)
    outbox, stop = Queue(), threading.Event()
    reader = Reader(Patch(port=str(path)), outbox, stop, lambda: None)
    reader.start()
    until(outbox, lambda each: each.connected)
    stop.set()
    reader.join(5.0)
    assert not reader.is_alive()
    assert (outbox.queue[-1], reader.error) == (STOP, None)
    plug.pull()


def test_a_link_is_told_to_start_and_to_stop(path):
    plug = Plug(path)
    with open_port(Patch(port=str(path), link="cyton")):
        assert os.read(plug.master, 10) == b"b"
    assert os.read(plug.master, 10) == b"s"
    plug.pull()


def test_a_line_that_takes_no_command_is_away_and_no_hang(path):
    """What is behind it has hung, and no room is left for a byte, until it works again."""
    plug = Plug(path)
    os.set_blocking(plug.slave, False)
    for _ in range(20):
        with suppress(BlockingIOError):
            while True:
                os.write(plug.slave, b"x")
        sleep(0.02)  # the kernel moves it on
    with reading(path, link="cyton") as (_, outbox, _):
        try:
            until(outbox, lambda each: not each.connected)
        finally:
            os.set_blocking(plug.master, False)
            for _ in range(20):
                with suppress(BlockingIOError):
                    while True:
                        os.read(plug.master, 4096)
                sleep(0.02)
        until(outbox, lambda each: each.connected)
    plug.pull()


def test_a_url_of_pyserial_is_a_port_too():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with reading(f"socket://127.0.0.1:{server.getsockname()[1]}") as (_, outbox, _):
            connection, _ = server.accept()
            until(outbox, lambda each: each.connected)  # pyserial throws away what comes before
            connection.sendall(b"hello")
            assert until(outbox, lambda each: each.data)[0].data == b"hello"  # though it tells of one byte at a time
            connection.close()
            until(outbox, lambda each: not each.connected)


def test_the_time_that_opening_takes_is_absence_too():
    """A machine that is off says nothing: pyserial tries for 5 s. A patch's number is believed by the time waited."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):  # then it takes no more, and says so to nobody
            full = stack.enter_context(socket.socket())
            full.setblocking(False)
            full.connect_ex(server.getsockname())
        _, outbox, _ = stack.enter_context(reading(f"socket://127.0.0.1:{server.getsockname()[1]}"))
        until(outbox, lambda each: not each.connected, within_s=10.0)
        began = monotonic()
        for _ in range(20):
            until(outbox, lambda each: not each.connected, within_s=10.0)
        assert monotonic() - began == pytest.approx(20 * SILENT_READ_S, abs=1.0)


def test_an_address_that_is_none_ends_the_reader_with_the_reason():
    with reading("nonsense://x") as (reader, _, broken):
        assert broken.wait(5.0)
        assert isinstance(reader.error, PortError)
        assert str(reader.error).startswith("patch.port: nonsense://x: ")


def test_what_trickles_gathers_and_what_floods_does_not_wait(path):
    plug = Plug(path)
    with reading(path) as (_, outbox, _):
        until(outbox, lambda each: each.connected)
        for _ in range(50):
            os.write(plug.master, b"a frame")
            sleep(0.02)
        sleep(0.2)
        trickled = [each.data for each in list(outbox.queue) if each.data]
        assert b"".join(trickled) == b"a frame" * 50
        assert len(trickled) <= 15
        while not outbox.empty():
            outbox.get()
        began = monotonic()
        writer = threading.Thread(target=lambda: [os.write(plug.master, bytes(2000)) for _ in range(100)])
        writer.start()
        got = 0
        while got < 200_000:
            got += len(until(outbox, lambda each: each.data)[0].data)
        assert monotonic() - began < 2.0
        writer.join()
    plug.pull()
