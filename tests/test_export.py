"""What was recorded, read back by other people's software."""

from __future__ import annotations

import csv
import json
import re
import shutil
import struct
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path

import edfio
import jsonschema
import numpy as np
import pytest
import wfdb
from matplotlib.image import imread

from rhythmd.cli import main
from rhythmd.records import png, strip
from tests.recording import BEGAN, Daemon

SCHEMA = json.loads((Path(__file__).parent / "schema" / "fhir-r4-observation.json").read_text())
ID = "p-1-1"
FIRST, LAST = 30 * 250, 92 * 250  # of the strip
GAP = slice(20 * 250, 23 * 250)  # in the strip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A recorder's, with one alarm; 3 s of its strip are missing."""
    made = tmp_path_factory.mktemp("records")
    daemon = Daemon(made)
    daemon.starts()
    daemon.signal(50)
    daemon.at += 3 * 250
    daemon.signal(9)
    daemon.beat(40 * 250, "V")
    daemon.alert(1, 60.0)
    daemon.signal(31)
    daemon.recorder.close()
    return made


@pytest.fixture
def exported(folder, tmp_path, capsys):
    def export(what: str, form: str, name: str) -> Path:
        assert (
            main(["export", what, "--format", form, "--directory", str(folder), "--output", str(tmp_path / name)]) == 0
        )
        assert Path(capsys.readouterr().out.strip()).exists()
        return tmp_path / name

    return export


def expected_mv() -> np.ndarray:
    ecg_mv = (np.arange(FIRST, LAST) % 1000) / 1000
    ecg_mv[GAP] = np.nan
    return ecg_mv


def test_wfdb_reads_the_same_strip(exported):
    path = exported(ID, "wfdb", "strip.hea").with_suffix("")
    record = wfdb.rdrecord(str(path))
    np.testing.assert_allclose(record.p_signal[:, 0], expected_mv())
    assert record.sig_name == ["ECG"]
    assert any("NOT A MEDICAL DEVICE" in line for line in record.comments)
    marks = wfdb.rdann(str(path), "rhy")
    assert list(zip(marks.sample.tolist(), marks.symbol, strict=True)) == [
        (0, "+"),
        (2500, "V"),
        (7500, "+"),
        (7500, '"'),
    ]


def test_edfio_reads_the_same_strip(exported):
    edf = edfio.read_edf(exported(ID, "edf", "strip.edf"))
    (signal,) = edf.signals
    assert (signal.label, signal.physical_dimension, signal.sampling_frequency) == ("ECG", "uV", 250)
    there = np.isfinite(expected_mv())
    np.testing.assert_allclose(signal.data[there] / 1000, expected_mv()[there], atol=1e-9)
    assert (signal.data[~there] == signal.physical_min).all()  # at the rail: a line at 0 would look like asystole
    begins = BEGAN + timedelta(seconds=30)
    assert (edf.startdate, edf.starttime) == (begins.date(), begins.time())
    said = {(mark.onset, mark.duration, mark.text) for mark in edf.annotations}
    assert (20.0, 3.0, "no signal: the values here are none") in said
    assert (10.0, None, "V") in said
    assert (30.0, None, f'" alarm asystole open, {ID}') in said
    assert any("Not a medical device" in text for _, _, text in said)


def test_the_table_has_a_line_for_each_sample(exported):
    with exported(ID, "csv", "strip.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shown = [float(row["ecg_mv"]) if row["ecg_mv"] else np.nan for row in rows]
    np.testing.assert_allclose(shown, expected_mv())
    assert datetime.fromisoformat(rows[2500]["utc"]) == BEGAN + timedelta(seconds=40)
    assert rows[2500]["annotation"] == "V"


def test_the_observation_is_one_by_the_schema_of_fhir_r4(exported):
    observation = json.loads(exported(ID, "fhir", "strip.json").read_text())
    jsonschema.Draft6Validator(SCHEMA).validate(observation)
    assert {"status", "code"} <= observation.keys()  # which the JSON schema leaves to the specification's text
    sampled = observation["valueSampledData"]
    assert {"origin", "period", "dimensions"} <= sampled.keys()
    assert re.fullmatch(r"(-?\d+|E)( (-?\d+|E))*", sampled["data"])
    assert observation["code"]["coding"][0]["code"] == "131328"
    values = [np.nan if one == "E" else float(one) for one in sampled["data"].split(" ")]
    np.testing.assert_allclose(np.array(values) * sampled["factor"] + sampled["origin"]["value"], expected_mv())
    assert sampled["period"] == 4.0
    start, end = (datetime.fromisoformat(observation["effectivePeriod"][key]) for key in ("start", "end"))
    assert (end - start).total_seconds() == (LAST - FIRST - 1) / 250


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: one["valueSampledData"].update(period="fast"),
        lambda one: one.update(status="looks fine"),
        lambda one: one.update(valueECG=1),
        lambda one: one["code"].update(coding="131328"),
        lambda one: one["effectivePeriod"].update(start="yesterday"),
    ],
)
def test_the_schema_finds_what_is_wrong(exported, spoil):
    observation = json.loads(exported(ID, "fhir", "strip.json").read_text())
    spoil(observation)
    assert not jsonschema.Draft6Validator(SCHEMA).is_valid(observation)


def chunks(data: bytes) -> dict[bytes, bytes]:
    found, at = {}, 8
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        found[kind] = found.get(kind, b"") + data[at + 8 : at + 8 + size]
        at += size + 12
    return found


def test_the_picture_is_true_to_scale(folder):
    data = png(ID, folder)
    per_m = struct.unpack(">IIB", chunks(data)[b"pHYs"])
    assert per_m == (5906, 5906, 1)  # pixels a metre: 150 to the inch
    pixels = 255 * imread(BytesIO(data))[:, :, :3]
    bold = (np.abs(pixels - np.array([0xE2, 0x9C, 0x9C])).sum(axis=2) < 60).mean(axis=0)
    lines = np.flatnonzero((bold > 0.5 * bold.max()) & (bold >= np.roll(bold, 1)) & (bold > np.roll(bold, -1)))
    steps_mm = np.diff(lines) / 5.906
    assert len(lines) == 51  # 250 mm of paper in boxes of 5 mm: 10 s at 25 mm/s
    assert abs((lines[-1] - lines[0]) / 5.906 - 250.0) < 0.4
    assert np.abs(steps_mm - 5.0).max() < 0.25


def test_the_pages_are_a4(exported):
    data = exported(ID, "pdf", "strip.pdf").read_bytes()
    assert data.startswith(b"%PDF-")
    boxes = {tuple(float(value) for value in box.split()) for box in re.findall(rb"/MediaBox \[ ([^\]]+) \]", data)}
    assert len(boxes) == 1
    assert tuple(round(value * 25.4 / 72) for value in boxes.pop()) == (0, 0, 297, 210)


@pytest.mark.parametrize(
    "what",
    [
        "2026-03-01T12:00:10:2026-03-01T12:00:20",
        "20260301T120010Z:20260301T120020Z",
        "2026-03-01T13:00:10+01:00:2026-03-01T12:00:20Z",
    ],
)
def test_a_stretch_of_time_is_cut_from_the_hours(exported, what):
    path = exported(what, "wfdb", "stretch")
    record = wfdb.rdrecord(str(path))
    np.testing.assert_allclose(record.p_signal[:, 0], (np.arange(2500, 5000) % 1000) / 1000)
    assert record.base_datetime.replace(tzinfo=timezone.utc) == BEGAN + timedelta(seconds=10)


def test_the_list_names_what_can_be_exported(folder, capsys):
    assert main(["export", "--directory", str(folder)]) == 0
    event, stretch = capsys.readouterr().out.splitlines()
    assert ID in event.split()
    assert main(["export", stretch, "--directory", str(folder), "--format", "csv", "--output", "-"]) == 0
    assert main(["export", "--directory", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-2])["id"] == ID


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("p-1-9", "neither an alert"),
        ("2026-03-01T10:00:2026-03-01T11:00", "it begins 2026-03-01T12:00:00"),
        ("2026-03-01T12:00:2026-03-01T11:00", "ends before it begins"),
        ("2026-03-01T12:00:2026-04-01T11:00", "a day at a time"),
    ],
)
def test_what_is_not_there_costs_one_line(folder, capsys, what, says):
    assert main(["export", what, "--directory", str(folder)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("suffix", "content"), [(".hea", b""), (".hea", b"\xff\xfe"), (".hea", None), (".dat", None), (".rhy", b"\x17")]
)
def test_the_file_of_a_strip_that_is_spoiled_is_named(folder, capsys, tmp_path, suffix, content):
    copy = shutil.copytree(folder, tmp_path / "records")
    spoiled = copy / "strips" / f"{ID}{suffix}"
    spoiled.unlink() if content is None else spoiled.write_bytes(content)
    assert main(["export", ID, "--directory", str(copy)]) == 2
    error = capsys.readouterr().err
    assert str(spoiled) in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("output", ["-", "."])
def test_a_record_of_three_files_is_not_written_where_no_name_is(folder, capsys, tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main(["export", ID, "--directory", str(folder), "--output", output]) == 2
    assert "wfdb is three files" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_the_strip_knows_its_alert(folder):
    assert strip(ID, folder).alert.kind == "asystole"
