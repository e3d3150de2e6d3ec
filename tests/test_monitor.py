"""The live page's server: who may see and answer, what a page is told, and that no viewer costs another anything."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest

from daemon.requests import Acknowledge, Silence
from rhythmd import patient
from rhythmd.cli import main
from rhythmd.commands.monitor import add_arguments
from rhythmd.monitor import relay as relay_module
from rhythmd.monitor.kept import kept_strip
from rhythmd.monitor.relay import MOST_VIEWERS
from rhythmd.monitor.server import MOST_CONNECTIONS, WEB, Page
from rhythmd.player import Player
from tests import test_deploy
from tests.bed import BLOCK, COUNTS, RATE_HZ, serving
from tests.lateness import assert_that_none_delays_an_alert
from tests.ports import free_port
from tests.recording import Daemon as Recorder
from tests.running import Place, eventually

OWN = "http://127.0.0.1:{port}"


def ask(port: int, path: str, method: str = "GET", body: str | None = None, **headers: str):
    """Status, headers and text."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.headers, text


class Looking:
    """A viewer: what its stream has told, read on demand."""

    def __init__(self, port: int, path: str = "/stream") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        self._file = self._socket.makefile("rb")
        self.status = int(self._file.readline().split()[1])
        while self._file.readline().strip():
            pass

    def next(self, name: str) -> dict:
        """The next event of that name."""
        while True:
            line = self._file.readline()
            assert line, "the stream ended"
            if line == f"event: {name}\n".encode():
                return json.loads(self._file.readline().removeprefix(b"data: "))

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@contextmanager
def looking(port: int, path: str = "/stream"):
    with closing(Looking(port, path)) as viewer:
        yield viewer, viewer.next("hello")


def test_the_page_and_what_it_names_is_served_and_nothing_else():
    with serving() as (_, port):
        status, headers, page = ask(port, "/")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        named = set(re.findall(r'(?:src|href)="([^"#]+)"', page))
        for script in (WEB / "js").glob("*.js"):
            named |= {f"js/{name}" for name in re.findall(r'from "\./([^"]+)"', script.read_text())}
        assert len(named) > 10
        assert {ask(port, f"/{name}")[0] for name in named} == {200}
        for path in (
            "/../pyproject.toml",
            "/%2e%2e/cli.py",
            "//etc/passwd",
            "/js/",
            "/js",
            "/..",
            "/monitor/server.py",
        ):
            assert ask(port, path)[0] == 404


def test_nothing_comes_from_elsewhere_and_the_browser_is_told_to_hold_it_to_that():
    for path in WEB.rglob("*.*"):
        assert set(re.findall(r"(?:https?:)?//[a-z][\w.-]+\.\w+", path.read_text())) <= {"http://www.w3.org"}, path
    with serving() as (_, port):
        policy = ask(port, "/")[1]["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy  # no other site may lay its own buttons over ours
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8250", "127.0.0.1.evil.example", "localhost.evil.example", ""]
)
@pytest.mark.parametrize("path", ["/", "/stream", "/strip?id=a", "/page.css"])
def test_a_name_that_another_site_may_have_rebound_is_refused(host, path):
    with serving() as (_, port):
        assert ask(port, path, Host=host)[0] == 403


@pytest.mark.parametrize(
    "host", ["127.0.0.1:1", "localhost", "LOCALHOST:8250", "[::1]:8250", "192.168.1.5:8250", "ward.local:80"]
)
def test_its_own_names_and_any_address_are_served(host):
    """Another port too: `ssh -L`."""
    with serving(names=("Ward.local",)) as (_, port):
        assert ask(port, "/", Host=host)[0] == 200


def test_other_sites_pages_neither_look_on_nor_answer():
    with serving() as (bed, port), looking(port) as (_, hello):
        own = OWN.format(port=port)
        assert ask(port, "/stream", Sec_Fetch_Site="cross-site")[0] == 403
        assert ask(port, "/page.css", Sec_Fetch_Site="cross-site")[0] == 403
        assert ask(port, "/", Sec_Fetch_Site="cross-site")[0] == 200  # a link from elsewhere
        body = '{"ask": "silence", "for_s": 600, "by": "evil"}'
        good = {"Origin": own, "X_Guard": hello["guard"]}
        for bad in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"X_Guard": "x"},
            {"X_Guard": ""},
            {"Sec_Fetch_Site": "same-site"},
        ):
            assert ask(port, "/answer", "POST", body, **{**good, **bad})[0] == 403
        assert bed.answered == []
        assert ask(port, "/answer", "POST", body, **good)[0] == 200
        assert [request.by for request in bed.answered] == ["evil"]


def test_what_is_no_answer_to_an_alarm_is_refused_and_does_nothing():
    with serving() as (bed, port), looking(port) as (_, hello):
        for body in (
            "",
            "{}",
            '{"ask": "since", "serial": 0, "topics": [""]}',
            '{"ask": "silence", "for_s": 1e9, "by": "x"}',
            "\x00",
        ):
            assert ask(port, "/answer", "POST", body, X_Guard=hello["guard"])[0] == 400
        assert ask(port, "/answer", "POST", "x" * 5000, X_Guard=hello["guard"])[0] == 413
        assert ask(port, "/elsewhere", "POST", "", X_Guard=hello["guard"])[0] == 404
        assert bed.answered == []


def test_with_a_token_nothing_is_told_without_it():
    token = "correct horse battery"
    with serving(token) as (bed, port):
        bed.wave()
        for path in ("/", "/stream", "/strip?id=a", "/js/main.js", "/index.html"):
            status, _, text = ask(port, path)
            assert (status, "Token of this monitor" in text) == (401, True)
        assert ask(port, "/answer", "POST", '{"ask": "silence", "for_s": 1, "by": "x"}')[0] == 403
        began_s = monotonic()
        assert ask(port, "/login", "POST", "token=wrong")[0] == 401
        assert monotonic() - began_s > 0.9  # guessing takes time
        status, headers, _ = ask(port, "/login", "POST", "token=correct+horse+battery")
        assert (status, headers["Location"]) == (303, "/")
        assert all(word in headers["Set-Cookie"] for word in ("HttpOnly", "SameSite=Strict"))
        assert token not in headers["Set-Cookie"]
        cookie = headers["Set-Cookie"].partition(";")[0]
        assert "Acknowledge" in ask(port, "/", Cookie=cookie)[2]
        for forged in (f"{cookie}x", cookie.partition("=")[0] + "=", "nonsense;;=", f"rhythmd_0={token}"):
            assert ask(port, "/", Cookie=forged)[0] == 401


def test_any_other_address_is_refused_without_a_token(tmp_path, capsys):
    assert main(["monitor", "--host", "0.0.0.0", "--port", "0"]) == 2
    assert "--token-file" in capsys.readouterr().err
    for content, mode, says in (("short", 0o600, "at least 16"), ("x" * 20, 0o644, "chmod 600")):
        file = tmp_path / says.split()[0]
        file.write_text(content)
        file.chmod(mode)
        assert main(["monitor", "--token-file", str(file), "--port", "0"]) == 2
        assert says in capsys.readouterr().err


def test_what_cannot_be_served_is_one_line_with_the_remedy(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["monitor", "--port", str(taken.getsockname()[1])]) == 2
    assert "choose another with --port" in capsys.readouterr().err
    assert main(["monitor", "--port", "0", "--connect", "nonsense"]) == 2
    assert "--connect" in capsys.readouterr().err
    assert main(["monitor", "--port", "0", "--certificate", str(tmp_path / "none.pem")]) == 2
    assert "--certificate" in capsys.readouterr().err


def test_with_a_certificate_it_goes_encrypted(tmp_path):
    pem = tmp_path / "both.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=127.0.0.1",
        "-keyout",
        pem,
        "-out",
        tmp_path / "c",
    ]
    with suppress(FileNotFoundError):
        subprocess.run(command, check=True, capture_output=True)
    if not pem.exists():
        pytest.skip("openssl is not installed: apt-get install openssl")
    pem.write_text(pem.read_text() + (tmp_path / "c").read_text())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    trusting = ssl.create_default_context(cafile=str(tmp_path / "c"))
    trusting.check_hostname = False
    with ExitStack() as stack:
        _, port = stack.enter_context(serving("correct horse battery", tls=tls))
        stack.enter_context(socket.create_connection(("127.0.0.1", port)))  # says nothing, and keeps nobody waiting
        connection = stack.enter_context(closing(HTTPSConnection("127.0.0.1", port, timeout=10, context=trusting)))
        connection.request("POST", "/login", "token=correct+horse+battery")
        assert "; Secure" in connection.getresponse().headers["Set-Cookie"]


def test_who_joins_late_is_told_how_everything_stands():
    with serving() as (bed, port):
        bed.clock()
        for _ in range(60):
            bed.wave()
        bed.alert("asystole", "a", evidence={"no_beat_s": 5.0})
        bed.alert("noise", "n", "low")
        bed.answer(Acknowledge(id="n", by="night nurse"))
        bed.tell_status()
        with looking(port) as (viewer, hello):
            assert [alert["kind"] for alert in hello["alerts"]] == ["asystole", "noise"]
            assert hello["alerts"][1]["answered_by"] == "night nurse"
            assert hello["statuses"][0]["calling"] == ["a"]
            assert hello["wave"]["counts"] == COUNTS[: 60 * BLOCK].tolist()
            assert len(hello["beats"]) >= 5
            bed.wave()
            assert viewer.next("wave")["counts"] == COUNTS[60 * BLOCK : 61 * BLOCK].tolist()


def test_a_silence_of_before_is_told_by_what_is_left_of_it_and_one_that_is_over_not_at_all():
    """A monitor that has just begun hears of it from the ledger, ahead of the first status."""
    for ago_s, left_s in ((20.0, [100.0]), (18_000.0, [])):
        with serving() as (bed, port):
            bed.answer(Silence(for_s=120.0, by="night nurse"))
            bed.sample += round(ago_s * RATE_HZ)
            with looking(port) as (viewer, hello):
                assert hello["silences"] == []
                bed.tell_status()
                if left_s:
                    assert viewer.next("silence")["left_s"] == pytest.approx(100.0, abs=2.0)
            with looking(port) as (_, hello):
                assert [each["left_s"] for each in hello["silences"]] == pytest.approx(left_s, abs=2.0)


def test_a_restart_of_the_daemon_ends_a_silence_on_the_page_too():
    with serving() as (bed, port):
        bed.clock(origin="patch0-a")
        bed.tell_status()
        bed.answer(Silence(for_s=120.0, by="night nurse"))
        with looking(port) as (viewer, hello):
            assert len(hello["silences"]) == 1
            bed.clock(origin="patch0-b")
            with looking(port) as (_, after):
                assert after["silences"] == []
            assert viewer.next("silence")["left_s"] == 0.0


def test_places_are_seconds_of_patch_time_whatever_the_patchs_rate():
    with serving() as (bed, port):
        bed.clock(rate_hz=500)
        with looking(port) as (viewer, _):
            bed.beat(1000)
            assert viewer.next("beat")["at_s"] == 2.0
            bed.alert("pause", "p", onset_sample=500, raised_sample=1500)
            alert = viewer.next("alert")
            assert (alert["onset_s"], alert["raised_s"]) == (1.0, 3.0)


def test_alerts_of_before_are_placed_by_the_patchs_rate_though_it_is_told_after_them():
    with serving() as (bed, port):
        bed.alert("pause", "p", onset_sample=500, raised_sample=1500)
        bed.clock(rate_hz=500)
        with looking(port) as (_, hello):
            (alert,) = hello["alerts"]
            assert (alert["onset_s"], alert["raised_s"]) == (1.0, 3.0)


def test_an_alert_has_its_strip_from_before_the_onset_on_with_lost_samples_told():
    with serving() as (bed, port):
        for _ in range(100):
            bed.wave()
        bed.wave(np.full(BLOCK, -32768))
        bed.alert("asystole", "a", onset_sample=bed.sample - 2 * RATE_HZ)
        early = json.loads(ask(port, "/strip?id=a")[2])
        assert (early["complete"], early["at_s"]) == (False, pytest.approx(10.1 - 8))
        assert early["counts"] == [*COUNTS[525:2500].tolist(), *[None] * BLOCK]
        for _ in range(80):
            bed.wave()
        whole = json.loads(ask(port, "/strip?id=a")[2])
        assert (whole["complete"], whole["at_s"], len(whole["counts"])) == (True, early["at_s"], 14 * RATE_HZ)
        assert len(whole["beats"]) > 10
        for _ in range(1500):
            bed.wave()  # the tape has forgotten it
        assert json.loads(ask(port, "/strip?id=a")[2]) == whole


def test_an_alert_of_before_has_no_strip_of_now():
    with serving() as (bed, port):
        for _ in range(100):
            bed.wave()
        bed.alert("asystole", "old", onset_sample=100_000, raised_sample=101_000)
        assert ask(port, "/strip?id=old")[2] == ask(port, "/strip?id=nobody")[2] == "null"


def test_an_alert_of_another_run_of_the_daemon_has_no_strip_though_its_samples_have_the_same_numbers():
    with serving() as (bed, port):
        bed.clock(origin="patch0-b")
        for _ in range(100):
            bed.wave()
        for alert_id in ("patch0-a-1", "patch0-b-1"):
            bed.alert("asystole", alert_id)
        assert ask(port, "/strip?id=patch0-a-1")[2] == "null"
        assert json.loads(ask(port, "/strip?id=patch0-b-1")[2])["counts"]


def test_a_patch_that_begins_anew_begins_a_new_tape_and_keeps_the_strips():
    with serving() as (bed, port):
        for _ in range(100):
            bed.wave()
        bed.alert("asystole", "a")
        bed.sample = 0
        bed.wave()
        assert len(json.loads(ask(port, "/strip?id=a")[2])["counts"]) > 6 * RATE_HZ
        with looking(port) as (_, hello):
            assert len(hello["wave"]["counts"]) == BLOCK


def test_no_more_alerts_that_are_over_are_kept_than_a_page_can_show():
    with serving() as (bed, port):
        bed.wave()
        for number in range(150):
            bed.alert("pause", f"p{number}", end_sample=bed.sample)
        with looking(port) as (_, hello):
            assert [alert["id"] for alert in hello["alerts"]] == [f"p{number}" for number in range(50, 150)]


def test_a_page_gets_the_waves_of_its_patch_and_the_alarms_of_all():
    with serving() as (bed, port):
        other = type(bed)(bed.relay, "patch1")
        bed.wave()
        other.wave()
        with looking(port, "/stream?patch=patch1") as (viewer, hello):
            assert hello["patch"] == "patch1"
            bed.wave()
            bed.alert("asystole", "a")
            assert viewer.next("alert")["patch"] == "patch0"
            bed.wave()
            other.wave()
            assert viewer.next("wave")["patch"] == "patch1"
        with looking(port, "/stream?patch=patch2") as (viewer, hello):  # as after a new start, before it is heard
            assert (hello["patch"], hello["wave"]) == ("patch2", None)
            bed.wave()
            type(bed)(bed.relay, "patch2").wave()
            assert viewer.next("wave")["patch"] == "patch2"


def test_while_the_daemon_says_nothing_the_page_is_told_for_how_long():
    with serving() as (bed, port), looking(port) as (viewer, _):
        bed.wave()
        assert 0.9 <= viewer.next("tick")["silent_s"] <= 1.6
        assert 1.8 <= viewer.next("tick")["silent_s"] <= 3.0


def test_many_look_on_and_each_gets_all_and_one_too_many_is_told_so():
    with serving() as (bed, port), ExitStack() as stack:
        viewers = [stack.enter_context(closing(Looking(port))) for _ in range(MOST_VIEWERS)]
        for viewer in viewers:
            viewer.next("hello")
        with closing(Looking(port)) as beyond:
            assert beyond.status == 503
        for _ in range(40):
            bed.wave()
        for viewer in viewers:
            assert [viewer.next("wave")["at_s"] for _ in range(40)] == [pytest.approx(0.1 * n) for n in range(40)]
    with serving() as (bed, port), looking(port):
        eventually(lambda: bed.relay.viewers == 1)  # who leaves makes room


@pytest.mark.alone
def test_one_who_never_reads_is_shown_out_and_costs_the_others_nothing(monkeypatch):
    monkeypatch.setattr(Page, "timeout", 1.0)
    with serving() as (bed, port), socket.socket() as idler, looking(port) as (viewer, _):
        idler.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idler.connect(("127.0.0.1", port))
        idler.sendall(b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        eventually(lambda: bed.relay.viewers == 2)
        told, slowest_s = 0, 0.0
        while bed.relay.viewers == 2:
            began_s = monotonic()
            bed.wave()
            viewer.next("wave")
            slowest_s = max(slowest_s, monotonic() - began_s)
            told += 1
            assert told < 100_000
        bed.alert("asystole", "a")
        assert viewer.next("alert")["id"] == "a"
        assert slowest_s < 0.5


def test_who_falls_behind_is_sent_away_to_begin_anew(monkeypatch):
    monkeypatch.setattr(relay_module, "QUEUED_EVENTS", 5)
    with serving() as (bed, _), bed.relay.viewer(None) as viewer:
        for _ in range(5):
            bed.wave()
        assert viewer.behind
        assert list(bed.relay.events(viewer)) == []


def test_a_throng_of_connections_is_bounded_and_passes(monkeypatch):
    monkeypatch.setattr(Page, "timeout", 1.0)
    with serving() as (_, port), ExitStack() as stack:
        throng = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(MOST_CONNECTIONS + 30)
        ]
        turned_away = 0
        for each in throng:
            each.settimeout(0.05)
            with suppress(TimeoutError):
                turned_away += each.recv(1) == b""
        assert turned_away >= 30
        sleep(1.2)
        assert ask(port, "/")[0] == 200


def test_visitors_who_got_no_thread_take_no_place_from_later_ones(monkeypatch):
    def refused(_thread) -> None:
        raise RuntimeError("can't start new thread")

    with serving() as (_, port):
        with monkeypatch.context() as scarce:
            scarce.setattr(threading.Thread, "start", refused)
            for _ in range(MOST_CONNECTIONS):
                with socket.create_connection(("127.0.0.1", port), timeout=10) as visitor:
                    assert visitor.recv(1) == b""
        assert ask(port, "/")[0] == 200


@pytest.mark.parametrize("sign", ["SIGTERM", "SIGINT"])
def test_it_ends_as_asked_also_where_no_daemon_is(sign, tmp_path):
    port, file = free_port(), tmp_path / "token"
    command = [
        sys.executable,
        "-m",
        "rhythmd",
        "monitor",
        "--port",
        str(port),
        "--connect",
        f"ipc://{tmp_path}/nobody",
        "--token-file",
        str(file),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    said = [process.stdout.readline(), process.stdout.readline()]
    assert f"http://127.0.0.1:{port}/" in said[1]
    assert file.stat().st_mode & 0o777 == 0o600
    assert ask(port, "/")[0] == 401
    with closing(Looking(port)) as stranger:
        assert stranger.status == 401
    process.send_signal(signal.Signals[sign])
    assert process.wait(10) == 0
    process.stdout.close()


def test_of_an_alarm_from_before_the_recorders_strip_is_shown(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.starts()
    recorder.signal(62)
    alert = recorder.alert(1, 60.0)
    recorder.beat(61 * RATE_HZ, "V")
    recorder.signal(31)
    with serving(kept=lambda alert_id: kept_strip(alert_id, tmp_path)) as (_, port):
        strip = json.loads(ask(port, f"/strip?id={alert.id}")[2])
        assert (strip["at_s"], len(strip["counts"]), strip["complete"]) == (30.0, 62 * RATE_HZ, True)
        assert [(beat["at_s"], beat["beat"]) for beat in strip["beats"]] == [(61.0, "V")]
        for stranger in ("../../etc/passwd", "", "%00", alert.id + "x"):
            assert ask(port, f"/strip?id={stranger}")[2] == "null"
    assert kept_strip(alert.id, tmp_path / "nowhere") is None


def test_a_recorded_strip_is_asked_for_again_only_while_more_of_it_is_to_come(tmp_path):
    recorder = Recorder(tmp_path)
    recorder.starts()
    recorder.signal(62)
    alert = recorder.alert(1, 60.0)
    assert not kept_strip(alert.id, tmp_path).complete
    recorder.signal(10)
    recorder.starts("p-2")  # the daemon died: the last 20 s never come
    recorder.recorder.tick(None)
    strip = kept_strip(alert.id, tmp_path)
    assert strip.complete
    assert len(strip.counts) == (72 - 30) * RATE_HZ


def cpu_s(process: subprocess.Popen) -> float:
    """What it has used so far, of all cores."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def monitor(address: str):
    """`rhythmd monitor` in its own process, and the page's port."""
    port = free_port()
    command = [sys.executable, "-m", "rhythmd", "monitor", "--port", str(port), "--connect", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert b"The page" in process.stdout.readline()
            yield process, port
        finally:
            process.kill()


def test_with_one_viewer_it_takes_less_than_5_percent_of_a_core(tmp_path):
    place = Place(tmp_path)
    player = Player(patient.make("sinus 60", seed=1).recording, "rhythmd")
    with (
        place.running() as running,
        place.patch(player, 1.0),
        monitor(place.address) as (process, port),
        looking(port) as (viewer, _),
    ):
        viewer.next("beat")
        both = (process, running.process)
        before_s, began_s = [cpu_s(each) for each in both], monotonic()
        for _ in range(100):
            viewer.next("wave")
        passed_s = monotonic() - began_s
        page, daemon = ((cpu_s(each) - used_s) / passed_s for each, used_s in zip(both, before_s, strict=True))
        print(f"one viewer: {100 * page:.1f} % of a core, the daemon {100 * daemon:.1f} %")
        assert page < 0.05


@pytest.mark.alone
def test_a_monitor_that_hangs_or_is_killed_delays_no_alert(tmp_path):
    @contextmanager
    def beside(place):
        with monitor(place.address) as (process, port), looking(port) as (viewer, _):
            yield [process], lambda: viewer.next("alert")

    assert_that_none_delays_an_alert(tmp_path, beside)


UNIT = Path(__file__).parents[1] / "systemd" / "rhythmd-monitor.service"


def test_the_unit_is_without_fault_and_exposes_little(tmp_path):
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"(?m)^ExecStart=.*$", "ExecStart=/bin/true", UNIT.read_text()))
    analyze = test_deploy.tool("systemd-analyze", "apt-get install systemd")
    assert test_deploy.run(analyze, "verify", unit) == ""
    keys = test_deploy.settings(UNIT)
    assert keys.keys() & test_deploy.NEWER_THAN_JETPACK_6 == set()
    assert "ProcSubset" not in keys
    assert int(keys["TasksMax"][0]) > MOST_CONNECTIONS + 10
    if "--offline" in test_deploy.run(analyze, "--help"):
        test_deploy.run(analyze, "security", "--offline=yes", "--threshold=15", unit)  # tenths


def test_the_units_command_line_is_one_that_the_command_takes():
    (line,) = test_deploy.settings(UNIT)["ExecStart"]
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(line.split()[2:])
    assert (args.port, args.host) == (8250, "127.0.0.1")


def test_the_demo_keeps_the_page_open_until_it_is_asked_to_end():
    program = "import sys; from rhythmd.commands.demo import show_page; sys.exit(show_page(''))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as demo:
        line = next(line for line in demo.stdout if line.startswith("The page"))
        port = int(re.search(r"http://127.0.0.1:(\d+)/", line)[1])
        with looking(port) as (viewer, _):
            assert viewer.next("wave")["rate_hz"] == RATE_HZ
        demo.send_signal(signal.SIGINT)
        assert demo.wait(20) == 0


@pytest.mark.alone
def test_a_daemon_that_is_started_again_is_followed_again_with_what_the_one_before_left_open(tmp_path):
    place = Place(tmp_path)
    player = Player(patient.make("sinus 3, asystole 60", seed=1).recording, "rhythmd")
    with monitor(place.address) as (_, port), looking(port) as (viewer, hello):
        assert (hello["patch"], hello["statuses"]) == (None, [])
        with place.running() as first, place.patch(player, 4.0):
            assert viewer.next("wave")["at_s"] < 5
            opened = viewer.next("alert")
            assert (opened["kind"], opened["state"]) == ("asystole", "open")
            first.kill()
        assert viewer.next("tick")["silent_s"] > 0
        with place.running(), place.patch(player, 1.0):
            closed = viewer.next("alert")
            assert (closed["id"], closed["ended_by"]) == (opened["id"], "interrupted")
            assert viewer.next("wave")["at_s"] < 1
            with looking(port) as (_, late):
                assert [alert["id"] for alert in late["alerts"]] == [opened["id"]]
                assert late["statuses"][0]["calling"] == [opened["id"]]  # latching, and nobody has seen it
                assert len(late["wave"]["counts"]) < 2 * RATE_HZ
