"""Beat by beat: each rule of the comparison on a case small enough to count by hand.

Records are sampled at 100 Hz, so the match window is 15 samples, and the five minutes of learning end at 30,000.
"""

import os
import re
from pathlib import Path

import pytest

from ec57 import annotations, header
from ec57.annotations import Annotation, Annotations
from ec57.beats import ESCAPES_NORMAL
from ec57.bxb import BeatScore, compare, pair_beats, samples

DATA = Path(os.environ.get("RHYTHMD_DATA", Path(__file__).parents[2] / "shared/data"))

FS = 100.0
LENGTH = 100_000


def marks(text: str) -> Annotations:
    """`100N 200~48`: a sample, a symbol, a subtype if any."""
    found = re.findall(r"(\d+)([^\s\d])(-?\d+)?", text)
    return Annotations(tuple(Annotation(int(sample), symbol, int(subtype or 0)) for sample, symbol, subtype in found))


def pairs(reference: str, test: str, **options) -> dict[str, int]:
    options = {"fs": FS, "length": LENGTH} | options
    return dict(compare(marks(reference), marks(test), **options).pairs)


class TestMatching:
    def test_a_beat_within_150_ms_is_found(self):
        assert pairs("40000N", "40015N") == {"Nn": 1}
        assert pairs("40000N", "39985N") == {"Nn": 1}

    def test_a_beat_further_off_is_missed_and_extra(self):
        assert pairs("40000N", "40016N") == {"No": 1, "On": 1}
        assert pairs("40000N", "39984N") == {"No": 1, "On": 1}

    def test_the_window_is_rounded_to_samples(self):
        assert samples(0.15, 250) == 38
        assert samples(0.15, 128) == 19
        assert pairs("90000N", "90038N", fs=250.0) == {"Nn": 1}

    def test_of_two_tests_the_nearer_is_taken_and_the_other_extra(self):
        assert pairs("40000N", "39990N 40005V") == {"On": 1, "Nv": 1}
        assert pairs("40000N", "39995V 40010N") == {"Nv": 1, "On": 1}

    def test_of_two_tests_as_near_the_later_is_taken(self):
        assert pairs("40000N", "39990V 40010S") == {"Ov": 1, "Ns": 1}

    def test_of_two_references_as_near_the_later_is_taken(self):
        assert pairs("39990V 40010S", "40000N") == {"Vo": 1, "Sn": 1}

    def test_a_nearer_neighbour_that_has_its_own_partner_is_no_rival(self):
        # The example in bxb's own notes: without this rule 96 and 128 would both be alone.
        assert pairs("40096N 40160N", "40128V 40185N", fs=250.0, start_s=60) == {"Nv": 1, "Nn": 1}

    def test_pairing_is_in_order_of_time_with_no_second_thoughts(self):
        assert pairs("40000N 40020V", "40014N 40034V") == {"No": 1, "Vn": 1, "Ov": 1}


class TestPeriod:
    def test_the_first_five_minutes_are_not_counted(self):
        assert pairs("29000N 29999V 30100N", "29000N 29999V 30100N") == {"Nn": 1}

    def test_a_reference_just_after_the_start_may_match_a_test_just_before_it(self):
        assert pairs("30001N 30100N", "29990V 30100N") == {"Nv": 1, "Nn": 1}

    def test_unless_the_one_after_is_as_near(self):
        assert pairs("30005N", "29995V 30015S") == {"Ns": 1}

    def test_a_test_just_after_the_start_may_belong_to_a_reference_before_it(self):
        assert pairs("29995N 30100N", "29995N 30005V 30100N") == {"Nn": 1}

    def test_a_test_later_than_the_window_is_extra(self):
        assert pairs("29995N 30100N", "29995N 30016V 30100N") == {"Ov": 1, "Nn": 1}

    def test_only_one_test_is_forgiven_at_the_start(self):
        assert pairs("30100N", "30005V 30010V 30100N") == {"Ov": 1, "Nn": 1}

    def test_beats_up_to_the_last_sample_count(self):
        assert pairs("40000N 100000N 100001N", "40000N 100001V") == {"Nn": 1, "No": 1}

    def test_without_a_length_the_reference_ends_the_comparison(self):
        assert pairs("40000N", "40000N 50000N 60000N", length=None) == {"Nn": 1}
        assert pairs("40000N", "40000N 50000N 60000N") == {"Nn": 1, "On": 2}

    def test_a_record_that_ends_while_learning_is_refused(self):
        with pytest.raises(ValueError, match="ends before the comparison starts"):
            pairs("1N", "1N", length=29_999)
        assert pairs("30000N", "30000N", length=30_000) == {"Nn": 1}

    def test_no_learning_means_every_beat(self):
        assert pairs("50N 150V", "50N 150V", start_s=0) == {"Nn": 1, "Vv": 1}

    def test_no_beats_at_all_are_no_pairs(self):
        assert pairs("", "") == {}
        assert pairs("40000N", "") == {"No": 1}
        assert pairs("", "40000N") == {"On": 1}


class TestClasses:
    @pytest.mark.parametrize(
        ("label", "symbols"), [("N", "NLRB"), ("S", "AaJSejn"), ("V", "VEr"), ("F", "F"), ("Q", "Q/f?")]
    )
    def test_each_symbol_has_its_class(self, label, symbols):
        for symbol in symbols:
            assert pairs(f"40000{symbol}", "40000V") == {f"{label}v": 1}
            assert pairs("40000V", f"40000{symbol}") == {f"V{label.lower()}": 1}

    def test_escape_beats_may_be_normal_as_in_papers(self):
        for symbol in "ejn":
            assert pairs(f"40000{symbol}", "40000N") == {"Sn": 1}
            assert pairs(f"40000{symbol}", "40000N", classes=ESCAPES_NORMAL) == {"Nn": 1}
        assert pairs("40000A", "40000N", classes=ESCAPES_NORMAL) == {"Sn": 1}

    def test_other_marks_are_no_beats(self):
        assert pairs("40000N 40100| 40200+ 40300x 40400~1", "40000N 40500| 40600~0") == {"Nn": 1}

    def test_a_flutter_wave_is_a_place_without_a_class(self):
        assert pairs("40000!", "40000N") == {"On": 1}
        assert pairs("40000N", "40000!") == {"No": 1}
        assert pairs("40000!", "40000!") == {}


class TestFibrillation:
    def test_extra_beats_during_the_reference_s_fibrillation_are_not_counted(self):
        assert pairs("40000N 40100[ 41000] 41100N", "40000N 40100V 40500V 41000V 41100N") == {"Nn": 2}

    def test_beats_outside_of_it_are(self):
        assert pairs("40000N 40100[ 41000] 41100N", "40000N 40099V 41001V 41100N") == {"Nn": 2, "Ov": 2}

    def test_marks_within_it_are_not_read(self):
        assert pairs("40000N 40100[ 40500N 41000] 41100N", "40000N 41100N") == {"Nn": 2}

    def test_beats_of_the_reference_during_the_test_s_fibrillation_are_missed(self):
        assert pairs("40000N 40500N 41100N", "40000N 40100[ 40500N 41000] 41100N") == {"Nn": 2, "No": 1}

    def test_one_that_never_ends_lasts_to_the_end(self):
        assert pairs("40000N 40100[", "40000N 50000V 99000V") == {"Nn": 1}

    def test_a_second_one_that_never_ends_is_forgotten_as_by_bxb(self):
        assert pairs("40000N 40100[ 41000] 41100N 41200[", "40000N 41100N 50000V") == {"Nn": 2, "Ov": 1}


class TestShutdown:
    def test_beats_missed_during_the_test_s_shutdown_are_x(self):
        score = compare(
            marks("40000N 40100N 40200V 40300N"), marks("40000N 40050~48 40250~0 40300N"), fs=FS, length=LENGTH
        )
        assert score.pairs == {"Nn": 2, "Nx": 1, "Vx": 1}
        assert score.shutdown_s == 2
        assert (score.qrs_se.part, score.qrs_se.whole) == (2, 4)  # not excused

    def test_extra_beats_during_the_reference_s_shutdown_are_x(self):
        assert pairs("40000N 40050~48 40250~0 40300N", "40000N 40100V 40300N") == {"Nn": 2, "Xv": 1}

    def test_noise_in_one_signal_is_no_shutdown(self):
        assert pairs("40000N 40100N 40300N", "40000N 40050~16 40250~0 40300N") == {"Nn": 2, "No": 1}

    def test_a_noise_mark_of_subtype_minus_one_is_one(self):
        assert pairs("40000N 40100N 40300N", "40000N 40050~-1 40250~0 40300N") == {"Nn": 2, "Nx": 1}

    def test_a_mark_alone_stands_for_the_whole_gap_between_beats(self):
        score = compare(marks("40000N 40100N 40900N 41000N"), marks("40000N 40500~48 41000N"), fs=FS, length=LENGTH)
        assert score.pairs == {"Nn": 2, "Nx": 2}
        assert score.shutdown_s == 10  # 40015 to 40985, and half a second to round

    def test_one_that_never_ends_lasts_to_the_end_of_the_record(self):
        score = compare(marks("40000N 50000N"), marks("40000N 45000~48"), fs=FS, length=LENGTH)
        assert score.pairs == {"Nn": 1, "Nx": 1}
        assert score.shutdown_s == 550

    def test_a_second_one_that_never_ends_excuses_nothing_as_in_bxb(self):
        test = "40000N 40010~48 40090~0 40100N 45000~48"
        assert pairs("40000N 40050N 40100N 50000N", test) == {"Nn": 2, "Nx": 1, "No": 1}

    def test_one_of_the_reference_that_never_ends_covers_the_second_too(self):
        reference = "40000N 40010~48 40090~0 40100N 45000~48"
        assert pairs(reference, "40000N 40050N 40100N 50000N") == {"Nn": 2, "Xn": 2}

    def test_shutdowns_hold_their_last_sample_the_one_before_the_latest_too(self):
        test = "40000N 40050~48 40100~0 40150~48 40200~0 40300N"
        assert pairs("40000N 40100N 40200N 40300N", test) == {"Nn": 2, "Nx": 2}
        assert pairs("40000N 40101N 40201N 40300N", test) == {"Nn": 2, "No": 2}


class TestRhythmIntervals:
    def error_ms(self, reference: str, test: str) -> float | None:
        return compare(marks(reference), marks(test), fs=FS, length=LENGTH).rr_error_ms

    def test_the_error_is_the_root_of_the_mean_square(self):
        # Errors of -3 and 4 samples of 10 ms: the root of (900 + 1600) / 2.
        assert self.error_ms("29900N 30100N 30200N", "29900N 30103N 30199N") == pytest.approx(1250**0.5)

    def test_intervals_that_hold_shutdown_or_fibrillation_are_left_out(self):
        assert self.error_ms("29900N 30000~48 30050~0 30100N", "29900N 30103N") is None
        assert self.error_ms("29900N 30100N", "29900N 30000[ 30050] 30103N") is None

    def test_so_are_intervals_at_whose_first_beat_one_begins_be_it_the_latest_or_the_one_before(self):
        assert self.error_ms("29900N 29900~48 29950~0 30100N", "29900N 30103N") is None
        assert self.error_ms("29900N 29900~48 29950~0 30100~48 30100~0 30100N", "29900N 30103N") is None

    def test_but_not_those_at_whose_last_beat_one_begins(self):
        for noisy in ("30100~48 30100~0 30100N", "30100~48 30100~0 30100~48 30100~0 30100N", "30100N 30100~48 30150~0"):
            assert self.error_ms(f"29900N {noisy}", "29900N 30103N") == pytest.approx(30.0)

    def test_there_is_none_before_the_second_beat(self):
        assert self.error_ms("30100N", "30100N") is None

    def test_a_missed_beat_compares_what_does_not_correspond_as_bxb_does(self):
        # 30100 is missed while the test stands at 30200: 100 against 300; then 100 against 300 again.
        assert self.error_ms("29900N 30000N 30100N 30200N", "29900N 30200N") == pytest.approx(2000.0)


class TestFigures:
    # fmt: off
    score = BeatScore({
        "Nn": 900, "Ns": 5, "Nv": 7, "No": 3,
        "Sn": 4, "Ss": 40, "Sv": 2, "Sx": 1,
        "Vn": 6, "Vs": 3, "Vv": 80, "Vf": 2, "Vo": 1,
        "Fs": 2, "Fv": 8, "Ff": 9,
        "Qs": 3, "Qv": 4, "Qq": 10,
        "On": 11, "Os": 1, "Ov": 2,
        "Xn": 2, "Xv": 1,
    })
    # fmt: on

    def test_detection_counts_every_class(self):
        assert (self.score.qrs_se.part, self.score.qrs_se.whole) == (1085, 1090)
        assert (self.score.qrs_ppv.part, self.score.qrs_ppv.whole) == (1085, 1102)

    def test_fusion_and_unclassifiable_beats_called_ventricular_are_not_held_against_the_test(self):
        assert (self.score.veb_se.part, self.score.veb_se.whole) == (80, 92)
        assert (self.score.veb_ppv.part, self.score.veb_ppv.whole) == (80, 80 + 7 + 2 + 2 + 1)
        assert (self.score.veb_fpr.part, self.score.veb_fpr.whole) == (12, 12 + 905 + 44 + 11 + 13 + 12 + 2)

    def test_only_unclassifiable_beats_called_supraventricular_are_not(self):
        assert (self.score.sveb_se.part, self.score.sveb_se.whole) == (40, 47)
        assert (self.score.sveb_ppv.part, self.score.sveb_ppv.whole) == (40, 40 + 5 + 3 + 2 + 1)

    def test_records_add_up(self):
        assert (self.score + self.score).count("N", "n") == 1800

    def test_nothing_to_count_is_no_percentage(self):
        assert BeatScore({}).veb_se.percent is None


def test_errors_can_be_looked_up():
    found = pair_beats(marks("40000N 40100V 40200N"), marks("40002N 40102N 40300N"), fs=FS, length=LENGTH)
    assert [(pair.reference + pair.test.lower(), pair.sample) for pair in found] == [
        ("Nn", 40000),
        ("Vn", 40100),
        ("No", 40200),
        ("On", 40300),
    ]


def test_the_test_may_have_its_own_clock():
    reference = Annotations.of([144_000], "N")
    test = Annotations.of([100_000], "N", rate_hz=250.0)
    assert compare(reference, test, fs=360.0, length=200_000).pairs == {"Nn": 1}


needs_mitdb = pytest.mark.skipif(
    not (DATA / "mitdb").is_dir(),
    reason=f"no {DATA / 'mitdb'}: python -c \"import wfdb; wfdb.dl_database('mitdb', 'mitdb')\"",
)


@needs_mitdb
def test_mitdb_has_the_beats_that_everybody_counts():
    """91,285 after five minutes, 6,101 of them ventricular: what EP Limited and clinical papers report."""
    total = BeatScore({})
    for path in sorted((DATA / "mitdb").glob("*.atr")):
        record = path.with_suffix("")
        clock, beats = header.read(record), annotations.read(record, "atr")
        total += compare(beats, beats, fs=clock.rate_hz, length=clock.length)
    assert total.qrs_se.part == total.qrs_se.whole == total.qrs_ppv.whole == 91_285
    assert total.veb_se.part == total.veb_se.whole == 6_101
    assert total.rr_error_ms == 0.0
