"""Verification: what is measured between a plan and its reference, against numbers worked out by hand."""

import numpy as np
import pytest

from engines.backend import open_backend
from engines.examples import Example, answers, spread
from engines.model import Head, Manifest, Tensor
from engines.verdict import LARGEST_F1_CHANGE, LARGEST_KL, Verdict
from engines.verify import compare, divergence, f1
from tests.test_backends import remembering, some_beats  # noqa: F401 - a fixture
from tests.test_engine_plans import NOON

HEAD = Head("beat", ("normal", "ventricular"))
MANIFEST = Manifest("", "1", 250, (Tensor("ecg", (1, 1, 1, 4)),), 2, "rms", (HEAD,))


def examples(labels):
    window = np.zeros((1, 1, 1, 4), np.float32)
    return [Example((window,), (label,), begins=index == 0) for index, label in enumerate(labels)]


def verdict(expected, found, labels):
    heads = compare(MANIFEST, [np.array(expected)], [np.array(found)], examples(labels))
    return Verdict("ab", "cd", "here", len(labels), heads, "reference", NOON)


def test_the_limits_are_those_that_were_asked_for():
    assert (LARGEST_KL, LARGEST_F1_CHANGE) == (0.05, 0.8)


def test_divergence_is_kullback_leiblers_of_each_window():
    found = divergence(np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.25, 0.75], [0.9, 0.1]]))
    assert found == pytest.approx([0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75), 0.0])


def test_a_probability_of_zero_does_not_make_it_infinite():
    found = divergence(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    assert 10 < found[0] < 20


def test_f1_is_of_one_class_in_per_cent():
    truth, called = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0])
    assert f1(truth, called, 1) == pytest.approx(100 * 2 * 2 / (2 * 2 + 1 + 1))
    assert f1(truth, called, 7) == 100.0


def test_what_is_reported_is_mean_worst_agreement_and_f1_of_windows_whose_class_is_known():
    expected = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]
    found = [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]]
    head = verdict(expected, found, [0, 1, 0, -1]).heads["beat"]
    kl = 0.6 * np.log(0.6 / 0.4) + 0.4 * np.log(0.4 / 0.6)
    assert (head.kl_mean, head.kl_worst) == pytest.approx((kl / 4, kl))
    assert head.agreement == 0.75
    assert head.windows == {"normal": 2, "ventricular": 1}
    assert head.f1["normal"] == pytest.approx((100.0, 100 * 2 / 3))
    assert head.f1["ventricular"] == pytest.approx((100.0, 100 * 2 / 3))


@pytest.mark.parametrize(("flips", "passes"), [(0, True), (3, True), (4, False)])
def test_a_class_may_lose_less_than_a_point(flips, passes):
    """200 of each: four windows that change sides move F1 by a point. They lie at the border: hardly any divergence."""
    expected = np.tile([[0.51, 0.49], [0.49, 0.51]], (200, 1))
    found = expected.copy()
    found[: 2 * flips : 2] = [0.49, 0.51]
    judged = verdict(expected, found, [0, 1] * 200)
    assert judged.heads["beat"].kl_mean < LARGEST_KL
    assert (judged.faults == []) == passes


def test_probabilities_that_stray_are_refused_though_no_class_changes():
    judged = verdict([[0.99, 0.01]] * 100, [[0.75, 0.25]] * 100, [0] * 100)
    assert judged.heads["beat"].agreement == 1.0
    assert judged.faults == ["beat: the KL divergence is 0.2427, more than 0.05"]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_refused(wrong):
    judged = verdict([[0.9, 0.1]] * 100, [[wrong, wrong]] * 100, [0] * 100)
    assert any("KL divergence" in fault for fault in judged.faults)


def test_sessions_are_run_in_order_each_with_nothing_remembered(remembering):  # noqa: F811
    beats = some_beats(4)
    twice = [Example(beat, (0, 0), begins=index == 0) for _ in range(2) for index, beat in enumerate(beats)]
    with open_backend("onnxruntime", remembering) as backend:
        beat, _ = answers(backend, twice, 2)
        going_on, _ = answers(backend, [Example(each.inputs, each.labels, begins=False) for each in twice], 2)
    np.testing.assert_array_equal(beat[:4], beat[4:])
    assert np.abs(going_on[4:] - beat[4:]).max() > 1e-3


def test_what_is_chosen_is_spread_over_all_there_is_and_keeps_its_order():
    chosen = spread(examples([0] * 100 + [1] * 10), MANIFEST, 5)
    assert chosen == [0, 24, 49, 74, 99, 100, 102, 104, 106, 109]
