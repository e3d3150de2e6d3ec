"""Which records a folder, a list or a URL stands for, how they come here, and the table at the end."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from daemon.alerts import AlertEvent
from daemon.config import Config, Engine
from daemon.episodes import Episode
from rhythmd.archive import RESULTS, Job, do, facts_of, place
from rhythmd.batch.figures import figures
from rhythmd.batch.files import files_of
from rhythmd.batch.records import Asked, asked
from rhythmd.batch.summary import rows, write_summary
from rhythmd.batch.temporary import temporary_folder
from rhythmd.batch.worker import Worker, on_cpu
from rhythmd.evaluation.store import Maker
from rhythmd.recording import RecordError, find, shipped
from tests.conftest import write_record

SEGMENTED = "whole/2 1 250 5000\nwhole_1 2500\nwhole_2 2500\n"


@pytest.fixture
def database(tmp_path) -> Path:
    """Three records, one of them of two segments, in a folder with a folder."""
    folder = tmp_path / "database"
    (folder / "p1").mkdir(parents=True)
    counts = shipped().counts * 400 / shipped().counts_per_mv
    write_record(folder, "100", counts[:5000])
    write_record(folder / "p1", "200", counts[5000:10000])
    for number in (1, 2):
        write_record(folder / "p1", f"whole_{number}", counts[2500 * number :][:2500])
    (folder / "p1" / "whole.hea").write_text(SEGMENTED)
    (folder / "RECORDS").write_text("# of this database\n100\n\np1/200\n")
    return folder


@pytest.fixture(params=["file", "memory", "http"])
def url(request, database):
    """The database as each of three filesystems has it."""
    if request.param == "file":
        yield f"file://{database}"
    elif request.param == "memory":
        memory = fsspec.filesystem("memory")
        memory.put(f"{database}/", "/database/", recursive=True)
        yield "memory://database"
        memory.rm("/database", recursive=True)
    else:
        with serving(database.parent) as server:
            yield f"{server}/database"


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder))) as server:
        Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_a_folder_stands_for_the_records_beneath_it_and_not_for_their_segments(database):
    assert asked([str(database)]) == [
        Asked(f"{database}/100"),
        Asked(f"{database}/p1/200", "p1"),
        Asked(f"{database}/p1/whole", "p1"),
    ]


@pytest.mark.parametrize("given", [".", "./", "p1/.."])
def test_the_folder_one_is_in_may_be_given(database, monkeypatch, given):
    monkeypatch.chdir(database)
    assert [each.record for each in asked([given])] == [
        f"{given.rstrip('/')}/{name}" for name in ("100", "p1/200", "p1/whole")
    ]


def test_an_empty_name_is_no_record():
    with pytest.raises(RecordError, match="RECORD is empty"):
        asked([""])


def test_a_list_stands_for_its_lines(database, tmp_path):
    assert asked([str(database / "RECORDS")]) == [Asked(f"{database}/100"), Asked(f"{database}/p1/200", "p1")]
    mixed = tmp_path / "mixed.txt"
    mixed.write_text(f"{database}/100\nmemory://a/b\n../elsewhere/7\n")
    assert asked([str(mixed)]) == [Asked(f"{database}/100"), Asked("memory://a/b"), Asked(f"{tmp_path}/../elsewhere/7")]


def test_a_record_is_one_whatever_lies_beside_it(database):
    (database / "100").write_text("not a list\n")
    given = [f"{database}/100", f"{database}/p1/200.hea", "shipped", "nowhere/1"]
    assert [each.record for each in asked(given)] == given


def test_a_url_stands_for_what_a_path_would(url):
    names = {each.record.removeprefix(url): each.under for each in asked([url])}
    assert names == {"/100": "", "/p1/200": "p1", "/p1/whole": "p1"}
    assert asked([f"{url}/RECORDS"]) == [Asked(f"{url}/100"), Asked(f"{url}/p1/200", "p1")]
    assert asked([f"{url}/100"]) == [Asked(f"{url}/100")]


HOSTILE = """<a href="../../../tmp/x.hea">x</a> <a href="/database//tmp/y.hea">y</a>"""


def test_a_servers_index_leads_nowhere_out_of_the_output_directory(database):
    (database / "index.html").write_text(HOSTILE)
    (database / "tmp").mkdir()
    for folder, name in ((database.parent / "tmp", "x"), (database / "tmp", "y")):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.hea").write_text(f"{name} 1 250 5000\n")
    with serving(database.parent) as server:
        found = asked([f"{server}/database"])
    assert {each.record[-1] for each in found} == {"x", "y"}
    assert {each.under for each in found} == {""}


@pytest.mark.parametrize("record", ["100", "p1/whole"])
def test_a_record_at_a_url_is_read_as_one_here(url, database, record):
    there = find(f"{database}/{record}").piece(0, 5000)
    with files_of(f"{url}/{record}") as files:
        found = find(files.record)
        assert not list(Path(files.record).parent.glob("*.dat"))  # whether there is anything to do the header says
        files.fetch()
        np.testing.assert_array_equal(found.piece(0, 5000).ecg_mv, there.ecg_mv)
    assert not Path(files.record).parent.exists()


def test_a_record_at_a_url_is_done_once(url, tmp_path):
    def outcome() -> str:
        return do(Job(f"{url}/100", None, tmp_path, Config()))

    assert outcome() == "done"
    assert all((tmp_path / f"100{suffix}").exists() for suffix in RESULTS)
    assert outcome() == "there already"


@pytest.mark.timeout(20)
def test_a_header_that_names_itself_ends(database):
    (database / "loop.hea").write_text("loop/2 1 250 5000\nloop 2500\nloop 2500\n")
    with files_of(f"file://{database}/loop") as files:
        assert files.source().keys() == {"loop.hea"}


class Unsteady(MemoryFileSystem):
    """A network that fails at the last question."""

    protocol = "unsteady"

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("unsteady://"))

    def modified(self, path):
        raise ConnectionResetError("reset by peer")


def test_a_network_that_fails_costs_its_record_alone(tmp_path, database):
    fsspec.register_implementation("unsteady", Unsteady, clobber=True)
    Unsteady().put(f"{database}/", "/unsteady/", recursive=True)
    with pytest.raises(RecordError, match=r"unsteady/100: 100\.\w+ cannot be looked at: reset by peer"):
        do(Job("unsteady://unsteady/100", None, tmp_path, Config()))


def test_a_record_at_a_url_that_has_changed_is_done_again(database, tmp_path):
    job = Job(f"file://{database}/100", None, tmp_path, Config())
    assert do(job) == "done"
    (database / "100.dat").write_bytes((database / "100.dat").read_bytes()[::-1])
    assert do(job) == "done"


BAD = {  # what is asked for -> what is said
    "memory://none/7": "no such record (no 7.hea beside it)",
    "nosuch://bucket/7": "fsspec cannot open it: Protocol not known: nosuch",
    "s3://bucket/7": "fsspec cannot open it: Install s3fs to access S3",
}


@pytest.mark.parametrize("record", BAD)
def test_a_url_that_gives_no_record_is_named_with_the_reason(tmp_path, record):
    if record.startswith("s3"):
        try:
            import s3fs  # noqa: F401
        except ImportError:
            pass
        else:
            pytest.skip("s3fs is installed")
    with pytest.raises(RecordError) as error:
        do(Job(record, None, tmp_path, Config()))
    assert str(error.value).startswith(record)
    assert BAD[record] in str(error.value)


def test_a_bucket_that_is_not_there_is_said_to_be_none():
    with pytest.raises(RecordError, match=r"^memory://nobody-has-this: no such bucket or folder$"):
        asked(["memory://nobody-has-this"])


def test_a_copy_that_cannot_be_read_is_called_by_its_url(database, tmp_path):
    (database / "100.dat").write_bytes(b"short")
    url = f"file://{database}/100"
    with pytest.raises(RecordError, match=f"^{url}: wfdb cannot read its signals"):
        do(Job(url, None, tmp_path, Config()))


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_nothing_asked_for_is_told(tmp_path, text):
    (tmp_path / "empty").mkdir()
    (tmp_path / "list").write_text(text)
    with pytest.raises(RecordError, match="no WFDB record in it"):
        asked([str(tmp_path / "empty")])
    with pytest.raises(RecordError, match="it should name one a line"):
        asked([str(tmp_path / "list")])


def test_two_records_whose_results_would_be_one_are_refused(database):
    with pytest.raises(RecordError, match="0201: given twice"):
        asked(["shipped", f"{database}/p1", "0201"])
    assert len(asked([f"{database}/100", f"{database}/p1"])) == 3


def alert(kind: str, onset: int, end: int | None = None) -> AlertEvent:
    return AlertEvent(f"{kind}-{onset}", kind, "alarm", onset, onset, {}, end)


def test_burden_is_the_share_of_the_time_and_what_overlaps_counts_once():
    episodes = [
        Episode("atrial_fibrillation", -100, 2500),
        Episode("atrial_fibrillation", 2000, 5000),
        Episode("noise", 20000),  # to the end
        Episode("lead_off", 22000, 23000),
    ]
    alerts = [alert("pause", 100, 600), alert("atrial_fibrillation", 500), alert("noise", 20500)]
    found = figures(b"NNSVVQ", alerts, episodes, 100.0)
    assert found["beats"] == {"N": 2, "S": 1, "V": 2, "Q": 1}
    assert found["hours"] == 0.028
    assert found["burden"] == {
        "atrial_fibrillation": {"count": 2, "share": 0.2},
        "pause": {"count": 1, "share": 0.02},
        "lead_off": {"count": 1, "share": 0.04},
        "noise": {"count": 1, "share": 0.2},
    }
    assert found["unfit"] == 0.2


def test_the_summary_has_a_row_for_each_record_that_is_whole(database, tmp_path):
    records, output = asked([str(database)]), tmp_path / "output"
    for each in records:
        (output / each.under).mkdir(parents=True, exist_ok=True)
        do(Job(each.record, None, output / each.under, Config()))
    (output / "p1" / "200.rhy").unlink()
    written = write_summary(output, records)
    assert written[0] == output / "summary.csv"
    with written[0].open() as file:
        table = list(csv.DictReader(file))
    assert [row["record"] for row in table] == ["100", "p1/whole"]
    facts = json.loads((output / "100.analysis.json").read_text())
    assert int(table[0]["beats"]) == sum(facts["beats"].values()) > 20
    assert {key: table[0][key] for key in facts["made_by"]} == facts["made_by"]
    assert table[0]["engine"] == "onnxruntime"


def test_the_summary_as_parquet_is_the_same_table(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed: pip install pyarrow")
    do(Job("shipped", "0", tmp_path, Config()))
    assert write_summary(tmp_path, [Asked("shipped")])[1:] == [tmp_path / "summary.parquet"]
    assert parquet.read_table(tmp_path / "summary.parquet").to_pylist() == list(rows(tmp_path, [Asked("shipped")]))


def test_where_there_is_no_gpu_the_cpu_does_it_and_a_second_run_is_content(tmp_path):
    config = Config(engine=Engine(backend="tensorrt"))
    worker = Worker(config, gpu=False, host="here")
    assert worker.open().maker == Maker.of(config)
    asked_for = Job("shipped", None, tmp_path, config)
    reply = worker.do(asked_for)
    assert reply.outcome == "done"
    place(asked_for, "0201", reply.results)
    (row,) = rows(tmp_path, [Asked("shipped")])
    assert row["engine"] == "onnxruntime"
    again = worker.do(replace(asked_for, known=facts_of(tmp_path, "0201")))
    assert (again.outcome, again.results) == ("there already", ())
    on_gpu = do(replace(asked_for, as_good=(on_cpu(config),)))  # which would need TensorRT to do it again
    assert on_gpu == "there already"


KILLED = """
import os, signal
from rhythmd.batch.temporary import temporary_folder
with temporary_folder() as folder:
    (folder / "100.dat").write_bytes(b"somebody's")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_worker_leaves_the_next_one_removes_and_nothing_in_use(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    subprocess.run([sys.executable, "-c", KILLED], env=os.environ | {"TMPDIR": str(tmp_path)}, check=False)
    (left,) = tmp_path.iterdir()
    with temporary_folder() as ours:
        Worker(Config(), gpu=False, host="here")
        assert list(tmp_path.iterdir()) == [ours]
    assert not left.exists()
    assert not ours.exists()
