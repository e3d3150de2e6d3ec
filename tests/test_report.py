"""The report: what it counts, from a record and from a recorder's folder; its page is whole, and true to scale."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from daemon.config import Config
from rhythmd.analysis import analyze
from rhythmd.cli import main
from rhythmd.player import excerpt
from rhythmd.recording import shipped
from rhythmd.report import of_folder
from rhythmd.report.findings import find
from rhythmd.report.observed import Event, Observed, Span, cut_out
from rhythmd.report.page import Wish, as_html
from rhythmd.report.words import lasting
from tests.conftest import write_record
from tests.recording import BEGAN, Daemon


def observed(kinds: str, rr_s: list[float] | float = 1.0, **more) -> Observed:
    """Beats of these kinds, each `rr_s` after the one before, the first at 1 s."""
    steps = [rr_s] * (len(kinds) - 1) if isinstance(rr_s, float) else rr_s
    at_s = 1.0 + np.concatenate(([0.0], np.cumsum(steps)))
    duration_s = more.pop("duration_s", float(at_s[-1]) + 1.0)
    values = {
        "title": "t", "begins": datetime(2026, 3, 1, 22, 30, tzinfo=timezone.utc), "dated": True,
        "rhythms": ((0.0, "N"),), "events": (), "received": (Span(0.0, duration_s),), "strip": lambda _: None,
        "facts": {},
    }  # fmt: skip
    return Observed(duration_s=duration_s, beat_s=at_s, beat_kind=np.array(list(kinds), dtype=str), **(values | more))


def event(tmp_path, kind: str, onset_s: float, end_s: float | None, **more) -> Event:
    daemon = Daemon(tmp_path)
    return Event(daemon.alert(1, onset_s, kind, **more), onset_s, end_s)


def test_rates_are_those_of_eight_intervals():
    found = find(observed("N" * 41, [1.0] * 16 + [0.5] * 8 + [2.0] * 8 + [1.0] * 8))
    assert (found.fastest.value, found.slowest.value) == (120.0, 30.0)
    assert (found.fastest.span, found.slowest.span) == (Span(17.0, 21.0), Span(21.0, 37.0))
    assert found.mean_bpm == pytest.approx(60 * 40 / (24 + 4 + 16))
    assert (found.longest_rr.value, found.pauses) == (2.0, 8)


def test_an_interval_across_a_gap_or_an_electrode_that_was_off_is_none(tmp_path):
    rr_s = [1.0] * 10 + [9.0] + [1.0] * 10 + [5.0] + [1.0] * 10
    whole = observed("N" * 33, rr_s)
    assert find(whole).longest_rr.value == 9.0
    gap = observed("N" * 33, rr_s, received=(Span(0.0, 12.0), Span(19.0, 46.0)))
    assert find(gap).longest_rr.value == 5.0
    off = observed("N" * 33, rr_s, events=(event(tmp_path, "lead_off", 11.5, 21.5),))
    assert find(off).longest_rr.value == 5.0
    assert find(off).readable_s == pytest.approx(whole.duration_s - 10.0)
    assert find(off).unreadable == {"lead off": 10.0}


def test_what_is_found_in_fibrillation_is_no_rate():
    seen = observed("N" * 20 + "V" * 10 + "N" * 20, 1.0)
    assert find(seen).ventricular.runs == 1
    fast = observed("N" * 20 + "V" * 12 + "N" * 20, [1.0] * 20 + [0.25] * 12 + [1.0] * 19)
    assert find(fast).fastest.value == 240.0
    called = observed(
        "N" * 20 + "V" * 12 + "N" * 20,
        [1.0] * 20 + [0.25] * 12 + [1.0] * 19,
        rhythms=((0.0, "N"), (20.9, "VF"), (24.5, "N")),
    )
    assert find(called).fastest.value == 60.0


def test_ectopy_is_counted_by_how_many_come_in_a_row():
    found = find(observed("NNVNNVVNNVVVNNVVVVVNSNSSNSSSNQN", 0.5))
    assert (found.ventricular.beats, found.ventricular.singles, found.ventricular.couplets) == (11, 1, 1)
    assert (found.ventricular.runs, found.ventricular.longest, found.ventricular.fastest_bpm) == (2, 5, 120.0)
    assert (found.supraventricular.beats, found.supraventricular.couplets, found.supraventricular.runs) == (6, 1, 1)
    assert sum(hour.ventricular_runs for hour in found.hours) == 2


def test_a_run_does_not_go_across_a_gap():
    found = find(observed("NNVVVVNN", 1.0, received=(Span(0.0, 4.5), Span(4.6, 9.0))))
    assert (found.ventricular.runs, found.ventricular.couplets) == (0, 2)


def test_af_burden_is_a_share_of_the_time_that_could_be_judged():
    seen = observed(
        "N" * 100, 1.0, rhythms=((0.0, "N"), (20.0, "AFIB"), (40.0, "N"), (60.0, "AFIB"), (80.0, "AFIB")),
        received=(Span(0.0, 70.0), Span(90.0, 101.0)),
    )  # fmt: skip
    af = find(seen).af
    assert af.episodes == (Span(20.0, 40.0), Span(60.0, 101.0))
    assert af.total_s == pytest.approx(20 + 10 + 11)
    assert af.share == pytest.approx(41 / 81)


def test_hours_are_those_of_the_clock_and_add_up():
    kinds = "".join(np.random.default_rng(1).choice(list("NNNNNNVS"), 7000))
    found = find(observed(kinds, 1.0))
    assert [round(hour.span.length_s) for hour in found.hours] == [1800, 3600, 1601]
    assert sum(hour.beats for hour in found.hours) == found.beats == 7000
    assert sum(hour.ventricular for hour in found.hours) == found.ventricular.beats == kinds.count("V")
    assert sum(hour.readable_s for hour in found.hours) == pytest.approx(found.readable_s)
    assert sum(hour.ventricular_runs for hour in found.hours) == found.ventricular.runs


def test_cutting_out_what_could_not_be_judged():
    spans, holes = (Span(0, 10), Span(20, 30)), (Span(2, 4), Span(8, 22), Span(29, 40))
    assert cut_out(spans, holes) == (Span(0, 2), Span(4, 8), Span(22, 29))


@pytest.mark.parametrize(
    ("seconds", "shown"), [(4.04, "4.0 s"), (59.4, "59 s"), (61.0, "1 min 01 s"), (7500.0, "2 h 05 min")]
)
def test_lengths_of_time_as_people_say_them(seconds, shown):
    assert lasting(seconds) == shown


def test_an_empty_recording_makes_a_page_too():
    nothing = Observed("t", BEGAN, True, 60.0, np.zeros(0), np.zeros(0, str), ((0.0, "N"),), (), (), lambda _: None, {})
    assert "could be judged" in as_html(nothing, find(nothing), Wish())


class Page(HTMLParser):
    """What a page says, and whether its elements close as they open."""

    EMPTY = frozenset({"meta", "br", "path", "rect"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.cells: list[list[str]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(text)
        assert self.opened == []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.EMPTY:
            self.opened.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in {"td", "th"}:
            self.cells[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.opened.pop() == tag

    def handle_data(self, data):
        if self.opened and self.opened[-1] in {"td", "th"}:
            self.cells[-1][-1] += data


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("record")
    counts = excerpt(shipped(), 300, 300)
    write_record(folder, "0201", counts.counts / counts.counts_per_mv * 400)
    return folder / "0201"


def picture(page: Path, output: Path, height: int) -> None:
    """The top of a page, as a browser shows it."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    command = [
        chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        f"--user-data-dir={page.parent}/chromium", f"--window-size=840,{height}", f"--screenshot={output}", f"file://{page}",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def test_it_looks_as_the_documents_show_it(request, record, tmp_path):
    """A picture is made in any case; with --update-pictures it becomes that of docs/records.md."""
    write_record(tmp_path, "aha0201", (whole := shipped()).counts / whole.counts_per_mv * 400)
    source = tmp_path / "aha0201" if request.config.getoption("--update-pictures") else record
    page = tmp_path / "report.html"
    assert main(["report", str(source), "--output", str(page)]) == 0
    picture(page, tmp_path / "report.png", 1150)
    shown = imread(BytesIO((tmp_path / "report.png").read_bytes()))[:, :, :3]
    assert shown.shape[:2] == (1150, 840)
    assert (shown.max(axis=2) < 0.3).mean() > 0.005  # ink
    assert len(np.unique((255 * shown[300:]).astype(int).reshape(-1, 3), axis=0)) > 50  # and colours of charts
    if request.config.getoption("--update-pictures"):
        shutil.copy(tmp_path / "report.png", Path(__file__).parents[1] / "docs" / "img" / "report.png")


@pytest.fixture(scope="module")
def page(record, tmp_path_factory) -> str:
    output = tmp_path_factory.mktemp("page") / "report.html"
    assert main(["report", str(record), "--output", str(output), "--patient", "A. <Nobody>"]) == 0
    return output.read_text()


def test_the_page_counts_what_the_analysis_says(page, record):
    from daemon.app import find_model
    from engines.backend import open_backend
    from rhythmd.recording import find as find_record

    model = find_model("ecg1")
    with open_backend("onnxruntime", model) as backend:
        analysis = analyze(find_record(str(record)), backend, model.manifest.heads, Config().alerts)
    kinds = [beat.beat for beat in analysis.beats]
    (total,) = [row for row in Page(page).cells if row[0] == "All"]
    assert total[1] == str(len(kinds))
    assert total[6:8] == [str(kinds.count("S")), str(kinds.count("V"))]
    assert model.id in page
    listed = [row[1] for row in Page(page).cells if len(row) == 5 and row[0] != "Onset"]
    assert len(listed) == len(analysis.alerts)


def test_the_page_needs_nothing_from_elsewhere_and_says_what_it_is_not(page):
    names = {(name, value) for _, name, value in Page(page).attributes if name in {"src", "href", "action"}}
    assert names == set()
    assert "<script" not in page
    assert "url(" not in page
    assert "not a medical device" in page.lower()
    assert "A. &lt;Nobody&gt;" in page


def test_strips_are_true_to_scale(page):
    boxes = re.findall(
        r'<svg class="strip" role="img" width="([\d.]+)mm" height="([\d.]+)mm" viewBox="0 0 ([\d.]+) ([\d.]+)"', page
    )
    assert len(boxes) > 3
    assert all((width, height) == (wide, high) for width, height, wide, high in boxes)
    scales = set(re.findall(r'class="trace" transform="translate\(0 [\d.]+\) scale\(([\d.]+) (-[\d.]+)\)"', page))
    assert scales == {("0.100000", "-0.1")}  # of a sample at 250 Hz, of a hundredth of a millivolt: 25 mm/s, 10 mm/mV


def test_a_folder_of_a_recorder_is_reported_as_it_was_recorded(tmp_path):
    daemon = Daemon(tmp_path)
    daemon.starts()
    for second in range(100):
        daemon.signal(1, tick=False)
        daemon.beat(second * 250 + 100, "V" if second in {50, 51, 52} else "N")
    daemon.at += 30 * 250
    daemon.signal(5)
    daemon.beat(131 * 250)
    daemon.alert(1, 50.0, "ventricular_run")
    daemon.signal(40)
    daemon.alert(1, 50.0, "ventricular_run", state="closed")
    daemon.recorder.close()
    seen = of_folder.observe(tmp_path, None)
    found = find(seen)
    assert (found.beats, found.ventricular.runs, found.longest_rr.value) == (101, 1, pytest.approx(1.0))
    assert found.readable_s == pytest.approx(145.0, abs=0.2)
    assert found.unreadable == {"nothing received": pytest.approx(30.0, abs=0.2)}
    assert [(each.alert.kind, each.onset_s) for each in seen.events] == [("ventricular_run", 50.0)]
    strip = seen.strip(Span(48.0, 62.0))
    np.testing.assert_allclose(strip.ecg_mv, (np.arange(48 * 250, 62 * 250) % 1000) / 1000)
    assert [mark.symbol for mark in strip.marks if mark.symbol in "NV"] == list("NNVVV" + "N" * 9)


def test_a_run_goes_on_across_the_hour_of_the_clock(tmp_path):
    daemon = Daemon(tmp_path)
    daemon.starts(began=BEGAN + timedelta(minutes=59, seconds=30))
    for second in range(60):
        daemon.signal(1, tick=False)
        daemon.beat(second * 250 + 100, "V" if 27 <= second < 33 else "N")
    daemon.recorder.close()
    found = find(of_folder.observe(tmp_path, None))
    assert len(list((tmp_path / "hours").glob("*.hea"))) == 2
    assert (found.ventricular.runs, found.ventricular.longest) == (1, 6)
    assert len(found.readable) == 1
    assert [hour.beats for hour in found.hours] == [30, 30]


def test_where_the_hours_gave_up_their_signal_the_strips_still_have_it(tmp_path):
    daemon = Daemon(tmp_path, full=False)
    daemon.starts()
    daemon.signal(62, tick=False)
    daemon.alert(1, 60.0)
    daemon.signal(40)
    daemon.recorder.close()
    assert list((tmp_path / "hours").glob("*.dat")) == []
    seen = of_folder.observe(tmp_path, None)
    assert seen.strip(Span(20.0, 34.0)) is None
    strip = seen.strip(Span(56.0, 70.0))
    np.testing.assert_allclose(strip.ecg_mv, (np.arange(56 * 250, 70 * 250) % 1000) / 1000)
    assert "No signal of it was kept" in as_html(seen, find(seen), Wish()) or find(seen).fastest is None


def test_a_period_is_cut_out_of_the_folder(tmp_path, capsys):
    daemon = Daemon(tmp_path)
    daemon.starts()
    for second in range(120):
        daemon.signal(1, tick=False)
        daemon.beat(second * 250 + 100)
    daemon.recorder.close()
    seen = of_folder.observe(tmp_path, (BEGAN + timedelta(seconds=30), BEGAN + timedelta(seconds=90)))
    assert (len(seen.beat_s), seen.duration_s, seen.rhythms[0]) == (60, 60.0, (0.0, "N"))
    output = tmp_path / "report.html"
    assert main(["report", str(tmp_path), "--output", str(output), "--period", "yesterday"]) == 2
    assert (
        main(["report", str(tmp_path), "--output", str(output), "--period", "2020-01-01T00:00:2020-01-02T00:00"]) == 2
    )
    assert main(["report", str(tmp_path / "nothing"), "--output", str(output)]) == 2
    assert capsys.readouterr().err.count("\n") == 3


def test_it_prints_on_a4(page, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    (tmp_path / "report.html").write_text(page)
    command = [
        chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer",
        f"--user-data-dir={tmp_path}/c", f"--print-to-pdf={tmp_path}/report.pdf", f"file://{tmp_path}/report.html",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    pdf = (tmp_path / "report.pdf").read_bytes()
    boxes = {tuple(float(value) for value in box.split()) for box in re.findall(rb"/MediaBox \[([^\]]+)\]", pdf)}
    assert {tuple(round(value * 25.4 / 72) for value in box) for box in boxes} == {(0, 0, 210, 297)}
