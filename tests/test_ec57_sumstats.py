"""Pooling records, and the command that scores a folder."""

import json

import pytest

from ec57 import annotations, sumstats
from ec57.__main__ import main
from ec57.annotations import Annotation, Annotations
from ec57.bxb import BeatScore
from ec57.epicmp import EpisodeScore
from ec57.ratio import Ratio, f1_percent

BUSY = BeatScore({"Nn": 98, "No": 2, "Vv": 9, "Vn": 1})
QUIET = BeatScore({"Nn": 10, "On": 10})


def test_gross_pools_the_counts():
    total = sumstats.gross([BUSY, QUIET])
    assert (total.qrs_se.part, total.qrs_se.whole) == (118, 120)
    assert (total.qrs_ppv.part, total.qrs_ppv.whole) == (118, 128)


def test_average_weighs_each_record_alike():
    means = sumstats.average([BUSY, QUIET])
    assert means["QRS Se"] == pytest.approx((100 * 108 / 110 + 100) / 2)
    assert means["QRS +P"] == 75.0


def test_average_leaves_out_records_with_nothing_to_count():
    means = sumstats.average([BUSY, QUIET])
    assert means["VEB Se"] == 90.0
    assert means["SVEB Se"] is None


def test_rr_errors_and_shutdown_pool_too():
    total = BeatScore({}, 1, 300.0, 3) + BeatScore({}, 3, 100.0, 4)
    assert total.rr_error_ms == 10.0
    assert total.shutdown_s == 7


def test_episodes_pool_their_seconds():
    total = sumstats.gross([EpisodeScore(reference_s=10, reference_overlap_s=1), EpisodeScore(reference_s=90)])
    assert total.statistics()["duration Se"].percent == 1.0


def test_a_table_shows_records_gross_and_average():
    lines = sumstats.format_table({"100": BUSY, "101": QUIET}).splitlines()
    assert lines[0].startswith("| record | QRS Se | QRS +P | VEB Se |")
    assert lines[2].startswith("| 100 | 98.18 (108/110) | 100.00 (108/108) | 90.00 (9/10) |")
    assert lines[3].startswith("| 101 | 100.00 (10/10) | 50.00 (10/20) | - (0/0) |")
    assert lines[4].startswith("| **gross** | 98.33 (118/120) |")
    assert lines[5].startswith("| **average** | 99.09 | 75.00 | 90.00 |")


def test_a_matrix_shows_what_was_taken_for_what():
    lines = sumstats.format_matrix(BUSY).splitlines()
    assert lines[2] == "| N | 98 | 0 | 0 | 0 | 0 | 2 | 0 |"
    assert lines[7] == "| O | 0 | 0 | 0 | 0 | 0 |  |  |"


def test_f1_is_the_harmonic_mean():
    assert f1_percent(Ratio(1, 2), Ratio(1, 1)) == pytest.approx(200 / 3)
    assert f1_percent(Ratio(0, 0), Ratio(1, 1)) is None
    assert f1_percent(Ratio(0, 1), Ratio(0, 1)) is None


@pytest.fixture
def folders(tmp_path):
    """Two records of 400 s at 100 Hz, annotated by a test that misses one ventricular beat of the first."""
    reference, test = tmp_path / "reference", tmp_path / "test"
    reference.mkdir()
    test.mkdir()
    for name in ("100", "101"):
        (reference / f"{name}.hea").write_text(f"{name} 1 100 40000\n")
        beats = [Annotation(31_000, "N"), Annotation(31_100, "V"), Annotation(31_200, "N")]
        rhythm = [Annotation(32_000, "+", aux="(AFIB"), Annotation(33_000, "+", aux="(N"), Annotation(34_000, "N")]
        fibrillation = [Annotation(35_000, "+", aux="(VF"), Annotation(36_000, "+", aux="(N")]
        truth = [*beats, *rhythm, *fibrillation]
        annotations.write(Annotations(tuple(truth)), reference / name, "atr")
        claim = truth[:1] + truth[2:] if name == "100" else truth
        annotations.write(Annotations(tuple(claim)), test / name, "rhy")
    return reference, test


def test_the_command_prints_every_table(folders, capsys):
    assert main([str(folder) for folder in folders]) == 0
    out = capsys.readouterr().out
    assert "| 100 | 75.00 (3/4) | 100.00 (3/3) | 0.00 (0/1) |" in out
    assert "| **gross** | 87.50 (7/8) |" in out
    assert "2 records." in out
    assert out.count("## ") == 5


def test_the_command_writes_json(folders, capsys):
    assert main([*(str(folder) for folder in folders), "--json", "--records", "100"]) == 0
    tables = json.loads(capsys.readouterr().out)
    assert tables["beats"]["records"]["100"]["pairs"] == {"Nn": 3, "Vo": 1}
    assert tables["beats"]["gross"]["figures"]["QRS Se"] == {"part": 3, "whole": 4, "percent": 75.0}
    assert tables["beats"]["average"]["VEB Se"] == 0.0
    assert tables["af"]["gross"]["reference_s"] == 10.0
    assert tables["vf"]["gross"]["reference_episodes"] == 0


def test_fibrillation_may_be_marked_by_rhythm(folders, capsys):
    assert main([*(str(folder) for folder in folders), "--json", "--vf-rhythm"]) == 0
    assert json.loads(capsys.readouterr().out)["vf"]["gross"]["reference_found"] == 2


def test_another_start_than_the_standard_s_is_said(folders, capsys):
    assert main([*(str(folder) for folder in folders), "--start-s", "315"]) == 0
    assert "not the standard's comparison: it starts at 315 s" in capsys.readouterr().err


def test_other_classes_than_bxb_s_are_said(folders, capsys):
    escape = annotations.read(folders[0] / "100", "atr").items
    escape = (escape[0]._replace(symbol="j"), *escape[1:])
    annotations.write(Annotations(escape), folders[0] / "100", "atr")
    matrices = []
    for flags in ([], ["--escapes-normal"]):
        assert main([*(str(folder) for folder in folders), "--json", "--records", "100", *flags]) == 0
        printed = capsys.readouterr()
        matrices.append(json.loads(printed.out)["beats"]["gross"]["pairs"])
        assert ("not bxb's classes" in printed.err) == bool(flags)
    assert matrices == [{"Sn": 1, "Nn": 2, "Vo": 1}, {"Nn": 3, "Vo": 1}]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--test", "none"], "no *.none in"),
        (["--records", "999"], "999.hea"),
        (["--start-s", "500"], "ends before the comparison starts"),
    ],
)
def test_what_cannot_be_scored_is_said_in_one_line(folders, capsys, arguments, complaint):
    assert main([*(str(folder) for folder in folders), *arguments]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("ec57: ")
    assert complaint in said


def test_a_broken_file_is_named(folders, capsys):
    (folders[1] / "101.rhy").write_bytes(b"\1")
    assert main([str(folder) for folder in folders]) == 1
    assert "101.rhy: ends after 1 bytes" in capsys.readouterr().err
