"""Run by run: each rule on a case small enough to count by hand.

Records are sampled at 100 Hz: the window is 15 samples, learning ends at 30,000. Beats stand 100 samples apart.
"""

import pytest

from ec57 import rxr
from ec57.annotations import Annotation, Annotations
from ec57.beats import ESCAPES_NORMAL
from ec57.rxr import RunScore

FS = 100.0
LENGTH = 100_000


def beats(symbols: str, first: int = 40_000) -> Annotations:
    """Beats in a row; `(` begins AF, `)` another rhythm, `u` an unreadable stretch and `-` leaves a beat out."""
    items = []
    for place, symbol in enumerate(symbols):
        sample = first + 100 * place
        if symbol in "()":
            items.append(Annotation(sample, "+", aux="(AFIB" if symbol == "(" else "(N"))
        elif symbol == "u":
            items.append(Annotation(sample, "~", 0x30))
        elif symbol != "-":
            items.append(Annotation(sample, symbol))
    return Annotations(tuple(items))


def counted(matrix) -> dict[tuple[int, int], int]:
    return {(row, column): n for row, line in enumerate(matrix) for column, n in enumerate(line) if n}


def ventricular(reference: str, test: str) -> RunScore:
    return rxr.compare(beats(reference), beats(test), fs=FS, length=LENGTH).ventricular


def supraventricular(reference: str, test: str) -> RunScore:
    return rxr.compare(beats(reference), beats(test), fs=FS, length=LENGTH).supraventricular


@pytest.mark.parametrize(
    ("run", "symbols"), [("couplet", "VV"), ("short run", "VVV"), ("short run", "VVVVV"), ("long run", "VVVVVV")]
)
def test_a_run_found_whole_is_right_both_ways(run, symbols):
    score = ventricular(f"N{symbols}N", f"N{symbols}N")
    assert [(name, ratio.part) for name, ratio in score.statistics().items() if ratio.whole] == [
        (f"{run} Se", 1),
        (f"{run} +P", 1),
    ]


def test_a_run_found_in_part_is_a_shorter_one():
    score = ventricular("NVVVN", "NVVNN")
    assert counted(score.sensitivity) == {(3, 2): 1}
    assert counted(score.predictivity) == {(2, 2): 1}  # where the test's two beats are, the reference has two
    assert (score.se("short run").part, score.se("short run").whole) == (0, 1)
    assert (score.ppv("couplet").part, score.ppv("couplet").whole) == (1, 1)


def test_a_run_cut_in_two_is_met_by_its_longest_piece_and_each_piece_is_true():
    score = ventricular("NVVVVVVN", "NVVNVVVN")
    assert counted(score.sensitivity) == {(6, 3): 1}
    assert counted(score.predictivity) == {(2, 2): 1, (3, 3): 1}


def test_a_run_of_nothing_is_false():
    score = ventricular("NNNNN", "NVVNN")
    assert counted(score.sensitivity) == {}
    assert (score.ppv("couplet").part, score.ppv("couplet").whole) == (0, 1)


def test_a_missed_beat_does_not_end_a_run_but_a_normal_one_does():
    assert counted(ventricular("NV-VN", "NN-NN").sensitivity) == {(2, 0): 1}
    assert counted(ventricular("NVNVN", "NNNNN").sensitivity) == {(1, 0): 2}


@pytest.mark.parametrize("end", "NQSu")
def test_ventricular_runs_end_with_other_beats_and_with_the_signal(end):
    assert counted(ventricular(f"NVV{end}VN", "NNNNNN").sensitivity) == {(2, 0): 1, (1, 0): 1}


def test_fusion_beats_are_ventricular_in_runs():
    assert counted(ventricular("NVFVN", "NVVVN").sensitivity) == {(3, 3): 1}


def test_runs_longer_than_six_are_six():
    assert counted(ventricular("NVVVVVVVVVN", "NVVVVVVVVN").sensitivity) == {(6, 6): 1}


def test_the_window_reaches_150_ms_beyond_the_run():
    late, too_late = beats("NVVN", first=40_015), beats("NVVN", first=40_016)
    assert counted(rxr.compare(beats("NVVN"), late, fs=FS, length=LENGTH).ventricular.sensitivity) == {(2, 2): 1}
    assert counted(rxr.compare(beats("NVVN"), too_late, fs=FS, length=LENGTH).ventricular.sensitivity) == {(2, 1): 1}


def test_ventricular_fibrillation_is_a_long_run():
    assert counted(ventricular("N[----]N", "NVVVVVVN").sensitivity) == {(6, 6): 1}
    assert counted(ventricular("NVVVVVVN", "N[----]N").sensitivity) == {(6, 6): 1}


def test_atrial_fibrillation_is_a_long_supraventricular_run():
    assert counted(supraventricular("N(NNN)N", "NNSSSNN").sensitivity) == {(6, 3): 1}
    assert counted(supraventricular("NNSSSNN", "N(NNN)N").sensitivity) == {(3, 6): 1}


def test_a_ventricular_beat_in_atrial_fibrillation_leaves_a_run_of_beats():
    assert counted(supraventricular("N(NNVNN)N", "NNNNNNNNN").sensitivity) == {(6, 0): 1, (2, 0): 1}


def test_fibrillation_that_began_while_learning_counts_from_the_start():
    reference = Annotations((Annotation(20_000, "+", aux="(AFIB"), Annotation(40_000, "+", aux="(N"), *beats("NN")))
    test = Annotations((Annotation(20_000, "+", aux="(AFIB"), Annotation(40_000, "+", aux="(N"), *beats("NN")))
    assert counted(rxr.compare(reference, test, fs=FS, length=LENGTH).supraventricular.sensitivity) == {(6, 6): 1}


def test_fibrillation_with_no_mark_after_the_start_counts():
    only = Annotations((Annotation(174, "+", aux="(AFIB"),))
    assert counted(rxr.compare(only, only, fs=FS, length=LENGTH).supraventricular.sensitivity) == {(6, 6): 1}


def test_a_run_that_the_record_cuts_off_is_left_out():
    reference = Annotations.of([40_000, 99_800, 99_900, 100_100], "NVVN")
    assert counted(rxr.compare(reference, reference, fs=FS, length=LENGTH).ventricular.sensitivity) == {}


def test_a_run_that_ends_with_the_annotations_counts():
    reference = Annotations.of([40_000, 99_800, 99_900], "NVV")
    assert counted(rxr.compare(reference, reference, fs=FS, length=LENGTH).ventricular.sensitivity) == {(2, 2): 1}


def test_so_it_does_where_the_length_is_unknown():
    reference = Annotations.of([40_000, 99_800, 99_900], "NVV")
    assert counted(rxr.compare(reference, reference, fs=FS).ventricular.sensitivity) == {(2, 2): 1}


def test_a_run_on_the_very_last_sample_counts():
    reference = Annotations.of([40_000, 99_900, 100_000], "NVV")
    assert counted(rxr.compare(reference, reference, fs=FS, length=LENGTH).ventricular.sensitivity) == {(2, 2): 1}


def test_runs_while_learning_are_not_compared():
    early = beats("NVVN", first=10_000)
    assert counted(rxr.compare(early, early, fs=FS, length=LENGTH).ventricular.sensitivity) == {}


def test_escape_beats_may_be_normal_as_in_papers():
    escapes = beats("NjjjN")
    assert counted(rxr.compare(escapes, escapes, fs=FS, length=LENGTH).supraventricular.sensitivity) == {(3, 3): 1}
    normal = rxr.compare(escapes, escapes, fs=FS, length=LENGTH, classes=ESCAPES_NORMAL)
    assert counted(normal.supraventricular.sensitivity) == {}


def test_records_add_up():
    score = ventricular("NVVN", "NVVN")
    assert counted((score + score).sensitivity) == {(2, 2): 2}
