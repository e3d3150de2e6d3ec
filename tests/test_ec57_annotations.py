"""Reading and writing WFDB annotation files and headers."""

import contextlib
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ec57 import annotations, header
from ec57.annotations import Annotation, AnnotationError, Annotations

DATA = Path(os.environ.get("RHYTHMD_DATA", Path(__file__).parents[2] / "shared/data"))


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}H", *values)


NORMAL, PVC = 1 << 10, 5 << 10
SKIP, NUM, SUB, CHN, AUX = (code << 10 for code in range(59, 64))


def test_intervals_add_up_to_samples():
    assert annotations.decode(words(NORMAL | 100, PVC | 1023, 0)).items == (Annotation(100, "N"), Annotation(1123, "V"))


def test_a_skip_is_signed_and_has_its_high_word_first():
    forth_and_back = words(SKIP, 1, 2, NORMAL | 3, SKIP, 0xFFFF, 0xFFFF, PVC, 0)
    assert [item.sample for item in annotations.decode(forth_and_back)] == [65541, 65540]


def test_subtype_belongs_to_one_mark_while_channel_and_number_hold():
    read = annotations.decode(words(NORMAL | 1, SUB | 7, CHN | 2, NUM | 3, NORMAL | 1, 0))
    assert read.items == (Annotation(1, "N", 7, 2, 3), Annotation(2, "N", 0, 2, 3))


def test_subtype_is_a_signed_byte():
    (item,) = annotations.decode(words(14 << 10 | 1, SUB | 0x3FF, 0))
    assert item == Annotation(1, "~", -1)


def test_text_of_odd_length_is_padded_and_ends_at_its_first_zero():
    read = annotations.decode(words(28 << 10, AUX | 3) + b"(N\0\0" + words(NORMAL | 9, 0))
    assert read.items == (Annotation(0, "+", aux="(N"), Annotation(9, "N"))


def test_codes_without_a_mnemonic_are_written_in_brackets():
    assert [item.symbol for item in annotations.decode(words(15 << 10, 50 << 10, 0))] == ["[15]", "[50]"]


def test_what_follows_the_end_mark_is_not_read():
    assert len(annotations.decode(words(NORMAL | 1, 0, PVC | 1, 0))) == 1


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (words(NORMAL | 1), "without its end mark"),
        (b"", "without its end mark"),
        (words(SUB | 1, 0), "no annotation before it"),
        (b"\0N" + bytes(14), "AHA format"),
        (
            annotations.encode(Annotations((Annotation(0, '"', aux="## time resolution: fast"),))),
            "time resolution: fast",
        ),
        (annotations.encode(Annotations((Annotation(0, '"', aux="## time resolution: 0"),))), "time resolution: 0"),
    ],
)
def test_a_file_that_is_none_is_refused(data, complaint):
    with pytest.raises(AnnotationError, match=complaint):
        annotations.decode(data)


def test_the_refusal_names_the_file(tmp_path):
    (tmp_path / "100.atr").write_bytes(b"")
    with pytest.raises(AnnotationError, match=r"100\.atr: ends"):
        annotations.read(tmp_path / "100", "atr")


def test_ticks_of_another_rate_become_samples_of_the_record():
    daemon = Annotations.of([250, 251, 375], "NNN", rate_hz=250.0)
    read = annotations.decode(annotations.encode(daemon))
    assert read.rate_hz == 250.0
    assert [item.sample for item in read.at(360.0)] == [0, 360, 361, 540]  # the first is the note of the rate
    assert [item.sample for item in Annotations.of([1, 3], "NN", rate_hz=2.0).at(1.0)] == [1, 2]  # halves go up


def test_without_a_stated_rate_ticks_are_samples():
    beats = Annotations.of([100], "N")
    assert beats.at(360.0).items == beats.items


def test_a_rate_noted_after_the_first_beat_is_only_a_note():
    late = Annotations((Annotation(5, "N"), Annotation(6, '"', aux="## time resolution: 99")))
    assert annotations.decode(annotations.encode(late)).rate_hz is None


ITEMS = st.lists(
    st.builds(
        Annotation,
        sample=st.integers(0, 2**31 - 1),
        symbol=st.sampled_from([*"NVAF/~+[]! ", "[42]"]),
        subtype=st.integers(-128, 127),
        channel=st.integers(0, 255),
        number=st.integers(-128, 127),
        aux=st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=255),
    )
).map(lambda items: tuple(sorted(items, key=lambda item: item.sample)))


@given(ITEMS)
def test_what_was_written_is_read(items):
    assert annotations.decode(annotations.encode(Annotations(items))).items == items


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data):
    with contextlib.suppress(AnnotationError):
        annotations.decode(data)


def test_files_are_those_of_wfdb(tmp_path):
    wfdb = pytest.importorskip("wfdb")
    beats = Annotations((Annotation(70, "+", aux="(AFIB"), Annotation(99, "V", 3, 1, 2), Annotation(99999, "N")))
    annotations.write(beats, tmp_path / "one", "rhy")
    theirs = wfdb.rdann(str(tmp_path / "one"), "rhy")
    assert list(theirs.sample) == [70, 99, 99999]
    assert theirs.symbol == ["+", "V", "N"]
    assert theirs.aux_note == ["(AFIB", "", ""]
    assert list(theirs.subtype) == [0, 3, 0]


@pytest.mark.skipif(
    not (DATA / "mitdb").is_dir(),
    reason=f"no {DATA / 'mitdb'}: python -c \"import wfdb; wfdb.dl_database('mitdb', 'mitdb')\"",
)
@pytest.mark.parametrize("record", ["100", "107", "203", "207"])
def test_mitdb_reads_as_wfdb_reads_it(record):
    wfdb = pytest.importorskip("wfdb")
    theirs = wfdb.rdann(str(DATA / "mitdb" / record), "atr")
    ours = annotations.read(DATA / "mitdb" / record, "atr")
    assert [item.sample for item in ours] == list(theirs.sample)
    assert [item.symbol for item in ours] == theirs.symbol
    assert [item.subtype for item in ours] == list(theirs.subtype)
    assert [item.aux for item in ours] == [aux.rstrip("\0") for aux in theirs.aux_note]


@pytest.mark.parametrize(
    ("line", "rate_hz", "length"),
    [
        ("100 2 360 650000", 360.0, 650000),
        ("# a remark\n\n04015 2 250 9205760  9:00:00 1/1/2000", 250.0, 9205760),
        ("x/3 1 128.5/128.5(0) 10", 128.5, 10),
        ("00735 0 250 0", 250.0, None),
        ("x 1 500", 500.0, None),
        ("x 1", 250.0, None),
    ],
)
def test_a_header_tells_rate_and_length(tmp_path, line, rate_hz, length):
    (tmp_path / "x.hea").write_text(line + "\nx.dat 16\n")
    assert header.read(tmp_path / "x") == header.Header(rate_hz, length)


@pytest.mark.parametrize(("text", "complaint"), [("", "no record line"), ("x 1 fast", "cannot read the record line")])
def test_a_header_that_is_none_is_refused(tmp_path, text, complaint):
    (tmp_path / "x.hea").write_text(text)
    with pytest.raises(ValueError, match=complaint):
        header.read(tmp_path / "x")
