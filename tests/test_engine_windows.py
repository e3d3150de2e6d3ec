"""Windows with their true classes: the daemon's own, named by the annotations of the record."""

import dataclasses

import msgspec
import numpy as np
import pytest

from ec57.annotations import Annotation, Annotations, write
from engines.errors import EngineError
from engines.examples import UNKNOWN, Example, counts
from engines.model import SHIPPED, State, load
from rhythmd import labelled, patient
from rhythmd.labelled import of_folder, of_recording, shipped, thinned
from tests.conftest import write_record

MODEL = load(SHIPPED / "ecg1.onnx")
BEAT, RHYTHM = (head.labels for head in MODEL.manifest.heads)


def of_patient(script, seed=3):
    """A simulated patient: the recording, and beats annotated as a person would."""
    made = patient.make(script, seed=seed)
    letters = {"S": "A"}
    return made.recording, [
        Annotation(beat.sample, letters.get(beat.label, beat.label)) for beat in made.beats if beat.label != "Q"
    ]


def named(examples):
    return [
        tuple(
            "" if label == UNKNOWN else head.labels[label]
            for head, label in zip(MODEL.manifest.heads, each.labels, strict=True)
        )
        for each in examples
    ]


def test_a_window_bears_the_class_of_its_beat_and_of_the_rhythm_that_fills_it():
    recording, beats = of_patient("sinus 20, af 20")
    notes = [Annotation(0, "+", aux="(N"), *beats, Annotation(20 * 250, "+", aux="(AFIB")]
    notes.sort(key=lambda note: note.sample)
    examples = list(of_recording(recording, Annotations(tuple(notes), 250.0), MODEL))
    found = named(examples)
    assert examples[0].begins
    assert not any(each.begins for each in examples[1:])
    assert {beat for beat, _ in found} <= {"normal", ""}
    rhythms = [rhythm for _, rhythm in found]
    changed = rhythms.index("atrial_fibrillation")
    assert set(rhythms[:changed]) == {"", "other"}
    assert set(rhythms[changed:]) == {"atrial_fibrillation"}
    assert "" in rhythms[changed - 4 : changed]  # while both are in the window it is neither


def test_ventricular_beats_are_told_from_normal_ones():
    recording, beats = of_patient("bigeminy 60")
    found = named(of_recording(recording, Annotations(tuple(beats), 250.0), MODEL))
    truth = [note.symbol for note in beats]
    assert sum(beat == "ventricular" for beat, _ in found) == pytest.approx(truth.count("V"), abs=2)
    assert sum(beat == "normal" for beat, _ in found) == pytest.approx(truth.count("N"), abs=3)
    assert {rhythm for _, rhythm in found} == {""}


def test_a_beat_that_no_annotation_lies_near_has_no_class():
    recording, beats = of_patient("sinus 20")
    far = Annotations(tuple(note._replace(sample=note.sample + 60) for note in beats), 250.0)
    assert {beat for beat, _ in named(of_recording(recording, far, MODEL))} == {""}
    near = Annotations(tuple(note._replace(sample=note.sample + 30) for note in beats), 250.0)
    assert "normal" in {beat for beat, _ in named(of_recording(recording, near, MODEL))}


def test_flutter_and_unclassifiable_beats_teach_nothing():
    recording, beats = of_patient("sinus 20")
    notes = [Annotation(0, "+", aux="(AFL"), *(note._replace(symbol="Q") for note in beats)]
    assert set(named(of_recording(recording, Annotations(tuple(notes), 250.0), MODEL))) == {("", "")}


def test_windows_are_those_that_the_daemon_feeds_its_engine():
    from daemon.config import Alerts
    from rhythmd.analysis import analyze

    recording, beats = of_patient("sinus 20")
    fed = []

    class Feeding:
        def infer(self, *inputs):
            fed.append(inputs)
            return tuple(np.eye(1, len(head.labels)) for head in MODEL.manifest.heads)

        def forget(self):
            pass

    analyze(recording, Feeding(), MODEL.manifest.heads, Alerts())
    found = list(of_recording(recording, Annotations(tuple(beats), 250.0), MODEL))
    assert len(found) == len(fed) > 15
    for example, inputs in zip(found, fed, strict=True):
        for ours, daemons in zip(example.inputs, inputs, strict=True):
            np.testing.assert_array_equal(ours, daemons)


def test_the_shipped_recording_has_normal_and_ventricular_beats_and_no_rhythm():
    found = counts(shipped(MODEL), MODEL.manifest)
    assert found["beat"]["normal"] >= 500
    assert found["beat"]["ventricular"] > 100
    assert sum(found["beat"].values()) < 2000
    assert found["beat"]["supraventricular"] == 0
    assert sum(found["rhythm"].values()) == 0


@pytest.fixture
def folder(tmp_path):
    """Two annotated records, one below the other, and one without annotations."""
    for name, script in (("a", "sinus 60"), ("deeper/b", "bigeminy 60"), ("bare", "sinus 10")):
        recording, beats = of_patient(script)
        place = (tmp_path / name).parent
        place.mkdir(exist_ok=True)
        write_record(place, name.rpartition("/")[2], recording.counts * 400 / recording.counts_per_mv)
        if name != "bare":
            write(Annotations(tuple(beats), 250.0), tmp_path / name, "atr")
    return tmp_path


def test_a_folder_gives_the_windows_of_every_annotated_record_in_it(folder):
    pytest.importorskip("wfdb")
    told = []
    found = of_folder(folder, None, MODEL, 1000, told.append)
    assert [text.split()[2] for text in told] == ["a,", "b,"]
    assert sum(each.begins for each in found) >= 2
    assert counts(found, MODEL.manifest)["beat"]["ventricular"] > 3
    assert [text.split()[2] for text in told] == ["a,", "b,"]
    assert len(of_folder(folder, ["b"], MODEL, 1000, told.append)) < len(found)


def test_of_each_class_and_record_only_so_many_are_taken(folder):
    pytest.importorskip("wfdb")
    forgetful = dataclasses.replace(MODEL, manifest=msgspec.structs.replace(MODEL.manifest, states=()))
    found = counts(of_folder(folder, None, forgetful, 5, lambda _: None), MODEL.manifest)["beat"]
    assert (found["normal"], found["supraventricular"]) == (10, 0)
    assert 3 < found["ventricular"] <= 10
    whole = len(of_folder(folder, None, MODEL, 1000, lambda _: None))
    assert 50 <= len(of_folder(folder, None, MODEL, 5, lambda _: None)) < whole  # it remembers: whole stretches


def test_a_record_or_folder_that_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(EngineError, match="no annotated record bare, c"):
        of_folder(folder, ["a", "c", "bare"], MODEL, 5, lambda _: None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(EngineError, match="empty: no WFDB records with annotations"):
        of_folder(tmp_path / "empty", None, MODEL, 5, lambda _: None)


@pytest.mark.parametrize(("suffix", "content"), [("hea", b"no header"), ("atr", b"\x01")])
def test_a_record_that_cannot_be_read_is_named(folder, suffix, content):
    pytest.importorskip("wfdb")
    (folder / f"a.{suffix}").write_bytes(content)
    with pytest.raises(EngineError, match=r"/a\.hea: "):
        of_folder(folder, ["a"], MODEL, 5, lambda _: None)


def test_every_class_that_the_shipped_model_tells_has_a_name_in_the_annotations():
    assert set(BEAT) <= set(labelled.BEATS.values())
    assert set(RHYTHM) <= set(labelled.RHYTHMS.values())


def test_for_a_network_that_remembers_whole_stretches_are_taken_the_rarest_class_first():
    states = (State("h", "h_next", (1, 8)),)
    manifest = msgspec.structs.replace(MODEL.manifest, states=states)
    window = (np.zeros((1, 1, 1, 1000), np.float32), np.zeros((1, 24), np.float32))
    labels = [(0, UNKNOWN)] * 3000
    labels[1234], labels[1240], labels[2990] = (2, UNKNOWN), (2, UNKNOWN), (1, UNKNOWN)
    examples = [Example(window, each, begins=index == 0) for index, each in enumerate(labels)]
    found = thinned(examples, manifest, 100)
    assert len(found) <= 200  # two stretches for the rare beats hold nearly all the normal ones that are wanted
    assert counts(found, manifest)["beat"] == {"normal": len(found) - 3, "supraventricular": 1, "ventricular": 2}
    starts = [index for index, each in enumerate(found) if each.begins]
    assert starts == list(range(0, len(found), 50))
    assert len(thinned(examples, MODEL.manifest if MODEL.manifest.states == () else manifest, 5)) <= 150
