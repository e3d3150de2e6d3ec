"""Episode by episode: each rule on a case small enough to count by hand.

Records are sampled at 1 Hz and last 2,000 s.
"""

import re

from ec57 import epicmp
from ec57.annotations import Annotation, Annotations
from ec57.epicmp import AF, VF, VF_RHYTHM, EpisodeScore

LENGTH = 2000


def rhythms(text: str) -> Annotations:
    """`400AFIB 500N 600[ 700]`: where a rhythm, or fibrillation, begins and ends."""
    found = re.findall(r"(\d+)(\S+)", text)
    return Annotations(
        tuple(
            Annotation(int(sample), name) if name in "[]" else Annotation(int(sample), "+", aux=f"({name}")
            for sample, name in found
        )
    )


def score(reference: str, test: str, kind: epicmp.Kind = AF, **options) -> EpisodeScore:
    options = {"length": LENGTH} | options
    return epicmp.compare(rhythms(reference), rhythms(test), kind=kind, fs=1.0, **options)


def counts(found: EpisodeScore) -> tuple[int, int, int, int]:
    """Found, of the reference's; true, of the test's."""
    return found.reference_found, found.reference_episodes, found.test_true, found.test_episodes


def test_any_overlap_finds_an_episode():
    found = score("400AFIB 500N", "499AFIB 900N")
    assert counts(found) == (1, 1, 1, 1)
    figures = found.statistics()
    assert (figures["duration Se"].part, figures["duration Se"].whole) == (1, 100)
    assert (figures["duration +P"].part, figures["duration +P"].whole) == (1, 401)


def test_to_touch_is_not_to_overlap():
    assert counts(score("400AFIB 500N", "500AFIB 600N")) == (0, 1, 0, 1)


def test_one_episode_of_the_test_may_find_several():
    assert counts(score("400AFIB 500N 600AFIB 700N", "450AFIB 650N")) == (2, 2, 1, 1)


def test_several_of_the_test_may_find_one_and_their_durations_add_up():
    found = score("400AFIB 700N", "410AFIB 420N 500AFIB 530N 690AFIB 710N 800AFIB 810N")
    assert counts(found) == (1, 1, 3, 4)
    assert found.reference_overlap_s == found.test_overlap_s == 50


def test_a_rhythm_said_twice_is_one_episode():
    assert counts(score("400AFIB 450AFIB 500N", "400AFIB 500N")) == (1, 1, 1, 1)


def test_flutter_is_not_fibrillation():
    assert counts(score("400AFL 500N", "400AFIB 500N")) == (0, 0, 0, 1)
    assert counts(score("400AFIB 500AFL 600N", "400AFIB 600N")) == (1, 1, 1, 1)
    assert score("400AFIB 500AFL 600N", "400AFIB 600N").test_overlap_s == 100


def test_time_in_the_learning_period_does_not_count():
    found = score("100AFIB 200N 250AFIB 400N", "100AFIB 200N 310AFIB 400N")
    assert counts(found) == (1, 1, 1, 1)
    assert (found.reference_s, found.reference_overlap_s) == (100, 90)


def test_an_episode_that_ends_as_the_comparison_starts_is_an_empty_one_and_missed():
    assert counts(score("200AFIB 300N", "200AFIB 300N")) == (0, 1, 0, 1)


def test_an_episode_that_does_not_end_lasts_to_the_end_of_the_record():
    found = score("1900AFIB", "1950AFIB")
    assert (found.reference_s, found.test_s, found.reference_overlap_s) == (100, 50, 50)


def test_or_to_the_last_annotation_where_that_is_later_or_the_length_unknown():
    assert list(epicmp.episodes(rhythms("100AFIB 900AFIB"), AF, 500)) == [(100, 900)]
    assert score("100N 400AFIB 700AFIB", "400AFIB 500N", length=None).reference_s == 300


def test_episodes_after_the_end_of_the_record_do_not_count():
    assert counts(score("2000AFIB 2100N", "2000AFIB 2100N")) == (0, 0, 0, 0)
    assert score("1990AFIB 2100N", "1990AFIB 2100N").reference_s == 10


def test_without_a_length_the_reference_ends_the_comparison():
    found = score("400AFIB 500N 600AFIB 700N", "450AFIB 900N", length=None)
    assert counts(found) == (2, 2, 1, 1)
    assert found.test_s == 250


def test_short_episodes_may_be_left_out_but_still_overlap():
    found = score("400AFIB 500N 600AFIB 610N", "420AFIB 430N 600AFIB 640N", minimum_s=30)
    assert counts(found) == (1, 1, 1, 1)
    assert (found.reference_overlap_s, found.test_overlap_s) == (10, 10)


def test_fibrillation_of_the_ventricles_stands_in_brackets():
    assert counts(score("400[ 500]", "450[ 600]", VF)) == (1, 1, 1, 1)
    assert counts(score("400VF 500N", "400VF 500N", VF)) == (0, 0, 0, 0)


def test_or_is_a_rhythm_where_the_database_has_no_brackets():
    assert counts(score("400VFL 450VFIB 500N", "450VF 600N", VF_RHYTHM)) == (1, 1, 1, 1)


def test_no_annotations_are_no_episodes():
    assert counts(score("", "", length=None)) == (0, 0, 0, 0)
    assert score("", "").statistics()["episode Se"].percent is None


def test_records_add_up():
    found = score("400AFIB 500N", "450AFIB 600N")
    total = found + found
    assert counts(total) == (2, 2, 2, 2)
    assert total.reference_s == 200
