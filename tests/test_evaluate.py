"""`rhythmd evaluate`: the numbers are those of ec57, the page stands alone, nothing stale is scored."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import daemon
from daemon.config import Alerts, Asystole, Config
from ec57.__main__ import as_json
from ec57.annotations import Annotation, Annotations, read, write
from ec57.bxb import BeatScore
from ec57.record import compare
from ec57.sets import MITDB_DS1, MITDB_DS2, MITDB_PACED
from rhythmd import cli
from rhythmd.evaluation import alarms, anchors, challenge2015, cinc2017, scores, store, strips
from rhythmd.evaluation.alarms import Alarm
from rhythmd.evaluation.challenge2015 import Case
from rhythmd.evaluation.scores import Reference
from rhythmd.recording import shipped, shipped_beats
from tests.conftest import write_record
from training.splits import data_folder, names, splits

SECONDS = 500  # of the shipped recording: its beats are annotated from 300 s on, where scoring begins


def database(folder: Path, *names: str, seconds: int = SECONDS) -> Path:
    """A folder of WFDB records, each the shipped recording with its annotations."""
    folder.mkdir()
    samples, symbols = shipped_beats()
    kept = sum(sample < seconds * 250 for sample in samples)
    marks = [Annotation(0, "+", aux="(N"), *Annotations.of(samples[:kept], symbols[:kept]).items]
    for name in names:
        write_record(folder, name, shipped().counts[: seconds * 250])
        write(Annotations(tuple(marks)), folder / name, "atr")
    return folder


def evaluate(folder: Path, *arguments: object) -> tuple[int, Path]:
    page = folder.parent / "report.html"
    return cli.main(["evaluate", str(folder), "--jobs", "1", "--output", str(page), *map(str, arguments)]), page


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of one evaluation of two records, which lie beside it in `ecg`; the second's reference errs once."""
    folder = database(tmp_path_factory.mktemp("evaluated") / "ecg", "one", "two")
    marks = read(folder / "two", "atr").items
    write(Annotations(tuple(mark for mark in marks if mark != marks[-100])), folder / "two", "atr")
    code, page = evaluate(folder)
    assert code == 0
    return page


def test_on_two_processes_the_command_says_the_figures_and_where_the_page_is(tmp_path):
    folder = database(tmp_path / "ecg", "one", "two", seconds=320)
    command = [sys.executable, "-m", "rhythmd", "evaluate", folder, "--jobs", "2", "--output", tmp_path / "r.html"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("ecg: 2 records, ecg1-")
    assert any(line.startswith("all (2)") for line in lines)
    assert lines[-1] == f"{tmp_path / 'r.html'} (also r.md, r.json)"


class Outline(HTMLParser):
    """Checks that elements close in the order in which they opened, and collects what the tests ask for."""

    VOID = ("meta",)

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.anchors: list[str] = []
        self.ids: list[str] = []
        self.feed(page.read_text())
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        self.anchors += [found["href"]] if "href" in found else []
        self.ids += [found["id"]] if "id" in found else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_numbers_are_those_of_ec57(evaluated):
    data = json.loads(evaluated.with_suffix(".json").read_text())
    truth = {
        name: compare(
            evaluated.parent / "ecg" / name,
            evaluated.with_suffix(".analysis") / name,
            reference_extension="atr",
            test_extension="rhy",
            vf=scores.VF_BOTH,
        )
        for name in ("one", "two")
    }
    assert data["tables"] == json.loads(json.dumps(as_json(truth)))
    pooled = data["by_group"]["all"]["beats"]["gross"]
    assert pooled == data["tables"]["beats"]["gross"]
    assert pooled["figures"]["QRS Se"]["whole"] > 400


def test_the_page_and_the_markdown_say_what_was_measured_and_by_what(evaluated):
    data = json.loads(evaluated.with_suffix(".json").read_text())
    page, markdown = evaluated.read_text(), evaluated.with_suffix(".md").read_text()
    figure = data["tables"]["beats"]["gross"]["figures"]["VEB Se"]
    for text in (page, markdown):
        assert f"{figure['percent']:.2f}" in text
        assert f"{figure['part']:.0f}/{figure['whole']:.0f}" in text
        assert data["made_by"]["model"] in text
        assert data["made_by"]["config"] in text
        assert "not a medical device" in text.lower()
        assert "no_beat_s 4" in text


def test_the_page_is_one_well_formed_file_that_fetches_nothing(evaluated):
    text = evaluated.read_text()
    assert not re.search(r"https?://|<script|<link|<img|@import|url\(", text)
    outline = Outline(evaluated)
    assert all(anchor.removeprefix("#") in outline.ids for anchor in outline.anchors)
    assert len(outline.ids) == len(set(outline.ids))


def test_the_page_can_be_read_without_seeing_it(evaluated):
    outline = Outline(evaluated)
    assert outline.tags.count("h1") == 1
    assert outline.tags.count("caption") == outline.tags.count("table") > 5
    assert outline.tags.count("svg") == outline.tags.count("figure") == outline.tags.count("figcaption") > 1
    assert evaluated.read_text().count("<title>") == outline.tags.count("svg") + 1


def test_the_first_errors_are_drawn_with_both_sides_labels(evaluated):
    page = evaluated.read_text()
    assert "two, wrong beats: 1" in page
    assert re.search(r"Record two, lead ECG, \d:\d\d to \d:\d\d: extra beat, called N at", page)
    (strip,) = re.findall(r'<svg class="strip".*?</svg>', page)
    assert strip.count('<text class="label wrong"') == 1
    assert strip.count('<text class="label"') > 10


def test_what_has_been_analysed_is_not_analysed_again(evaluated, monkeypatch):
    monkeypatch.setattr(store, "_analyze", None)
    folder = evaluated.parent / "ecg"
    assert store.refresh([folder / "one", folder / "two"], evaluated.with_suffix(".analysis"), Config(), jobs=1) == {}


OTHER = {
    "another configuration": lambda maker: replace(maker, config="other"),
    "another model": lambda maker: replace(maker, model="other"),
    "another version": lambda maker: replace(maker, rhythmd="0"),
    "other sources": lambda maker: replace(maker, code="other"),
}


@pytest.mark.parametrize("what", OTHER)
def test_results_of_another_maker_are_stale(evaluated, what):
    record, results, maker = (
        evaluated.parent / "ecg" / "one",
        evaluated.with_suffix(".analysis"),
        store.Maker.of(Config()),
    )
    assert store.is_fresh(record, results, maker)
    assert not store.is_fresh(record, results, OTHER[what](maker))


def test_stale_results_are_done_again(tmp_path):
    folder = database(tmp_path / "ecg", "one", seconds=320)
    evaluate(folder)
    results = tmp_path / "report.analysis"
    first = (results / "one.rhy").read_bytes()
    (results / "one.rhy").write_bytes(b"\0\0")
    evaluate(folder)
    assert (results / "one.rhy").read_bytes() == b"\0\0"  # fresh by its maker: it is not looked into
    config = tmp_path / "c.toml"
    config.write_text("alerts.pause.rr_s = 2.5")
    evaluate(folder, "--config", config)
    assert (results / "one.rhy").read_bytes() == first
    write_record(folder, "one", shipped().counts[1000 : 1000 + 320 * 250])
    evaluate(folder, "--config", config)
    assert (results / "one.rhy").read_bytes() != first
    (results / "one.run.json").write_text("{")
    assert not store.is_fresh(folder / "one", results, store.Maker.of(Config()))


@pytest.mark.parametrize("file", ["judge.py", "beat_referee.npz"])
def test_other_sources_and_other_weights_judge_otherwise(tmp_path, monkeypatch, file):
    before = store.Maker.of(Config())
    room = shutil.copytree(daemon.__path__[0], tmp_path / "daemon")
    monkeypatch.setattr(daemon, "__path__", [str(room)])
    assert store.Maker.of(Config()) == before
    (room / file).write_bytes((room / file).read_bytes() + b"#")
    assert store.Maker.of(Config()) != before


def test_records_without_reference_are_one_line_and_exit_code_2(tmp_path, capsys):
    folder = database(tmp_path / "ecg", "one")
    assert evaluate(folder, "--reference", "qrs")[0] == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert ".qrs" in line
    assert "--reference" in line


def test_a_folder_without_records_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert evaluate(tmp_path)[0] == 2
    assert cli.main(["evaluate", str(tmp_path / "none")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_record_that_cannot_be_scored_is_named_and_the_others_are(tmp_path, capsys):
    folder = database(tmp_path / "ecg", "good", "cut", "torn", "short", seconds=320)
    (folder / "cut.dat").unlink()
    (folder / "torn.atr").write_bytes(b"\x01")
    write_record(folder, "short", shipped().counts[:5000])
    code, page = evaluate(folder)
    error = capsys.readouterr().err
    assert code == 2
    assert "Traceback" not in error
    data = json.loads(page.with_suffix(".json").read_text())
    assert data["records"] == ["good"]
    for name in ("cut", "torn", "short"):
        assert name in error
        assert name in data["failures"]
        assert name in page.read_text()


def test_a_record_asked_for_by_name_must_have_its_reference(tmp_path, capsys):
    folder = database(tmp_path / "ecg", "one", "two", seconds=320)
    (folder / "two.atr").unlink()
    assert evaluate(folder)[0] == 0
    assert evaluate(folder, "--records", "one", "two")[0] == 2
    assert "two" in capsys.readouterr().err


def test_sets_of_mitdb_are_told_apart_by_the_folders_name():
    records = sorted([*MITDB_DS1, *MITDB_DS2, *MITDB_PACED])
    groups = scores.groups("mitdb", records, None)
    assert {name: len(names) for name, names in groups.items()} == {
        "all": 48, "ds1": 22, "ds2": 22, "ds2-without-232": 21, "unpaced": 44, "paced": 4,
    }  # fmt: skip
    assert list(scores.groups("mitdb", ["100", "101"], None)) == ["all", "ds1", "ds2", "ds2-without-232"]
    assert list(scores.groups("copy", records, ["ds2"])) == ["all", "ds2"]
    assert scores.groups("vfdb", ["418", "430"], ["trained"]) == {"all": ["418", "430"], "trained": ["418"]}
    assert list(scores.groups("elsewhere", records, None)) == ["all"]


def test_every_published_record_trained_a_network_or_did_not():
    for database, records in (("svdb", 78), ("vfdb", 22), ("cudb", 35)):
        sets = scores.SETS[database]
        assert len({*sets["trained"], *sets["not-trained"]}) == records == sum(map(len, sets.values()))


def test_the_sets_are_those_of_the_training():
    for database, records in (("svdb", 39), ("vfdb", 12), ("cudb", 18)):
        here = names(data_folder() / database)
        if len(here) != records:
            pytest.skip(f"{data_folder() / database} has not the {records} records that trained")
        both = splits(data_folder())[database]
        assert both["train"] == scores.SETS[database]["trained"]
        assert set(both["validation"]) <= set(scores.SETS[database]["not-trained"])


def test_ours_stands_beside_others_when_the_records_are_theirs():
    beats = {name: BeatScore({"Nn": 999, "No": 1}) for name in ("118e06", "119e06")}
    table = anchors.section("nstdb", {"all": list(beats), "6db": list(beats)}, beats, {}).parts[0]
    assert [[cell.text for cell in row.cells] for row in table.rows] == [["99.95", "86.17"], ["99.95", "94.75"]]
    assert anchors.section("nstdb", {"all": ["118e06"], "6db": ["118e06"]}, beats, {}) is None


def test_an_unknown_set_is_refused_with_those_there_are(tmp_path, capsys):
    assert evaluate(database(tmp_path / "ecg", "one", seconds=320), "--groups", "ds3")[0] == 2
    assert "ds2" in capsys.readouterr().err


def reference(symbols: str, rr_s: float = 0.8, rhythm: str = "(N", begin: int = 250) -> Reference:
    """Beats of these classes at this interval, at 250 Hz; a space is a beat that does not come."""
    step = round(rr_s * 250)
    beats = [Annotation(begin + at * step, symbol) for at, symbol in enumerate(symbols) if symbol != " "]
    marks = Annotations((Annotation(0, "+", aux=rhythm), *beats), 250.0)
    return Reference(Path("x"), marks, 250.0, begin + (len(symbols) + 1) * step)


EPISODES = {  # what the reference's beats tell: (reference, kind, its episodes as beats from and to)
    "five fast ventricular beats": (reference("NNVVVVVN", 0.5), "ventricular_tachycardia", [(2, 6)]),
    "five slow ones are none": (reference("NNVVVVVN", 0.7), "ventricular_tachycardia", []),
    "four are none": (reference("NNVVVVNN", 0.5), "ventricular_tachycardia", []),
    "but a run": (reference("NNVVVVNN", 0.5), "ventricular_run", [(2, 5)]),
    "a couplet is two": (reference("NVVNVVVNV"), "ventricular_couplet", [(1, 2)]),
    "a beat that stays away breaks no couplet off": (reference("NVVN"), "ventricular_run", []),
    "supraventricular": (reference("NAAANA"), "supraventricular_run", [(1, 3)]),
    "but not in atrial fibrillation": (reference("NAAANA", rhythm="(AFIB"), "supraventricular_run", []),
    "slow": (reference("NNNNNNN", 1.6), "extreme_bradycardia", [(0, 6)]),
    "not slow enough": (reference("NNNNNNN", 1.4), "extreme_bradycardia", []),
    "a normal rhythm with one pause is not slow": (reference("NNNN    NNNN", 0.7), "extreme_bradycardia", []),
    "a slow one with a pause is": (reference("NNNN NNNN", 1.5), "extreme_bradycardia", [(1, 7)]),
    "fast": (reference("N" * 20, 0.4), "extreme_tachycardia", [(0, 19)]),
    "not fast for long enough": (reference("N" * 12, 0.4), "extreme_tachycardia", []),
    "a pause": (reference("NN  NN", 1.0), "pause", [(1, 4)]),
    "asystole": (reference("NN   NN", 1.0), "asystole", [(1, 5)]),
    "often": (reference("NVNVNVNVNVNVNVNVNVNV"), "frequent_pvc", [(1, 19)]),
    "not often": (reference("NVNVNVNVNVNVNVNVNVN"), "frequent_pvc", []),
}


@pytest.mark.parametrize("case", EPISODES)
def test_the_references_episodes_follow_the_kinds_definitions(case):
    truth, kind, expected = EPISODES[case]
    found = alarms.episodes(truth, Alerts(), truth.rhythms)
    beats = [item.sample for item in truth.marks if item.symbol != "+"]
    everywhere = range(beats[0], truth.length, beats[1] - beats[0])
    assert [(everywhere[first], everywhere[last]) for first, last in expected] == found[kind]


def test_thresholds_of_the_configuration_define_the_reference_too():
    truth = reference("NN   NN", 1.0)
    assert len(alarms.episodes(truth, Alerts(), set())["asystole"]) == 1
    assert alarms.episodes(truth, Alerts(asystole=Asystole(no_beat_s=5.0)), set())["asystole"] == []


def test_a_reference_without_beats_tells_only_of_the_rhythms_that_its_database_marks():
    truth = Reference(Path("x"), Annotations((Annotation(0, "+", aux="(N"),), 250.0), 250.0, 10_000)
    assert set(alarms.episodes(truth, Alerts(), {"(N", "(VF"})) == {"ventricular_fibrillation"}
    assert set(alarms.episodes(truth, Alerts(), {"(VFL", "(VT", "(AFIB"})) == {
        "atrial_fibrillation",
        "ventricular_fibrillation",
        "ventricular_tachycardia",
    }


def test_alarms_are_found_true_false_and_late():
    fibrillating = Annotations((Annotation(0, "+", aux="(N"), Annotation(2500, "+", aux="(VF")), 250.0)
    quiet = Annotations((Annotation(0, "+", aux="(N"),), 250.0)
    references = [
        Reference(Path(name), marks, 250.0, 21_600_000) for name, marks in (("a", fibrillating), ("b", quiet))
    ]
    kind = "ventricular_fibrillation"
    heard = [[Alarm(kind, 2600, 3500, None), Alarm(kind, 100, 900, 1000)], [Alarm(kind, 50, 800, 900)]]
    found = alarms.score(references, heard, Alerts())[kind]
    assert (found.episodes, found.found, found.true, found.alerts) == (1, 1, 1, 3)
    assert found.delays_s == (4.0,)
    assert (found.free_records, found.false_in_free, found.false_per_day) == (1, 1, 1.0)
    assert found.alerts_per_day == 1.5


def test_fast_beats_called_within_flutter_are_neither_true_nor_false():
    marks = [Annotation(0, "+", aux="(N"), *(Annotation(250 * at, "N") for at in range(1, 20))]
    marks += [Annotation(5000, "["), Annotation(7500, "]"), Annotation(8000, "N"), Annotation(8250, "N")]
    flutters = Reference(Path("x"), Annotations(tuple(marks), 250.0), 250.0, 10_000)
    heard = [Alarm("extreme_tachycardia", 5100, 6500, 7600), Alarm("extreme_tachycardia", 1000, 2000, 2500)]
    found = alarms.score([flutters], [heard], Alerts())["extreme_tachycardia"]
    assert (found.alerts, found.true, found.neutral, found.false_in_free) == (2, 0, 1, 1)


def test_errors_are_those_that_the_standard_counts():
    marks = [Annotation(at * 250, symbol) for at, symbol in enumerate("NVSFQVN", 301)]
    truth = Reference(Path("x"), Annotations(tuple(marks), 250.0), 250.0, 400 * 250)
    same = Annotations.of([mark.sample for mark in marks], "NVSVVVN", rate_hz=250.0)
    assert strips.beat_errors(truth, same) == []  # a fusion or unclassifiable beat called V is no error
    wrong = Annotations.of([*(mark.sample for mark in marks[:-1]), 390 * 250], "SNNSVSN", rate_hz=250.0)
    found = [(error.sample // 250, error.what) for error in strips.beat_errors(truth, wrong)]
    assert found == [
        (301, "N called S"),
        (302, "V called N"),
        (303, "S called N"),
        (304, "F called S"),
        (306, "V called S"),
        (307, "missed beat (N)"),
        (390, "extra beat, called N"),
    ]


def test_strips_show_the_first_error_of_each_of_the_commonest_kinds():
    at = {"missed beat (N)": [100, 9000, 9500], "V called N": [5000, 8000], "S called N": [5010]}
    errors = sorted(
        (strips.Error(sample, what) for what, each in at.items() for sample in each), key=lambda e: e.sample
    )
    assert [error.sample for error in strips.first_of_each(errors, 250.0)] == [100, 5000]


def test_episode_errors_are_what_one_side_has_and_the_other_has_not():
    def fibrillation(*spans):
        marks = [
            Annotation(at, "+", aux=label) for span in spans for at, label in zip(span, ("(VF", "(N"), strict=True)
        ]
        return Annotations(tuple(marks), 250.0)

    truth = Reference(Path("x"), fibrillation((2500, 5000)), 250.0, 25_000)
    found = strips.episode_errors(truth, fibrillation((3000, 6000), (7500, 10_000)), scores.VF_BOTH, 0.0)
    assert [(error.sample, error.size, error.what.split()[0]) for error in found] == [
        (2500, 2.0, "ventricular"),
        (5000, 4.0, "false"),
        (7500, 10.0, "false"),
    ]


def test_the_challenge_of_2015_counts_a_missed_alarm_five_times():
    outcomes = [(True, True)] * 6 + [(False, False)] * 2 + [(False, True)] * 3 + [(True, False)]
    assert challenge2015.score([Case("x", "Asystole", *each) for each in outcomes]) == 100 * 8 / (8 + 3 + 5)
    assert challenge2015.score([]) is None


@pytest.mark.parametrize(
    ("raised", "end", "ours"),
    [
        (29_000, None, True),
        (100, None, True),  # stands open
        (30_500, None, True),
        (30_501, None, False),
        (100, 26_750, True),
        (100, 26_749, False),
    ],
)
def test_an_alarm_is_ours_when_ours_stands_open_around_it(raised, end, ours):
    assert challenge2015.is_ours([Alarm("asystole", 50, raised, end)], "asystole", 250.0) == ours
    assert not challenge2015.is_ours([Alarm("asystole", 50, raised, end)], "pause", 250.0)


def test_a_folder_with_labels_is_the_challenge_of_2015(tmp_path):
    folder = tmp_path / "icu"
    folder.mkdir()
    for name in ("a1", "b2"):
        write_record(folder, name, shipped().counts[: 130 * 250])
    (folder / "labels.csv").write_text("a1,Asystole,0\nb2,Bradycardia,1\n")
    code, page = evaluate(folder)
    data = json.loads(page.with_suffix(".json").read_text())
    assert code == 0
    assert {name: data["all"][name] for name in ("TP", "FP", "FN", "TN")} == {"TP": 0, "FP": 0, "FN": 1, "TN": 1}
    assert data["all"]["score"] == pytest.approx(100 / 6)
    assert "Bradycardia, true alarm missed" in page.read_text()
    Outline(page)


def test_an_unknown_alarm_is_refused(tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("a1,Hiccup,0\n")
    assert evaluate(tmp_path)[0] == 2
    assert "Hiccup" in capsys.readouterr().err


def test_a_folder_with_train_npz_is_the_challenge_of_2017(tmp_path):
    folder = tmp_path / "hand"
    folder.mkdir()
    counts = np.resize(shipped().counts, 60 * 300).astype("<i2")
    delta = np.diff(np.concatenate([counts, counts]), prepend=np.int16(0)).astype("<i2")
    lengths = [len(counts), len(counts)]
    np.savez(folder / "train.npz", delta=delta, lengths=lengths, names=["A1", "A2"], labels=["N", "A"])
    code, page = evaluate(folder)
    data = json.loads(page.with_suffix(".json").read_text())
    assert code == 0
    assert {name: one["label"] for name, one in data["records"].items()} == {"A1": "N", "A2": "A"}
    assert data["records"]["A1"]["ours"] == data["records"]["A2"]["ours"]
    assert "not trained" not in page.read_text()  # nobody knows of these
    Outline(page)


def test_f1_of_2017_is_of_atrial_fibrillation_alone():
    truth = {"a": "A", "b": "A", "c": "N", "d": "O"}
    assert cinc2017.f1_percent(truth, {"a": "AFIB", "b": "N", "c": "AFIB", "d": "N"}) == 50.0
    assert cinc2017.f1_percent({"c": "N"}, {"c": "N"}) is None
