"""Decisions tried again from a tape are those of the analysis; thresholds are chosen on other records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from daemon.app import find_model
from daemon.config import Alerts, Config, FrequentPvc
from engines.backend import open_backend
from rhythmd.analysis import analyze
from rhythmd.evaluation.challenge2015 import Case
from rhythmd.recording import shipped
from training.alarm_fit import Stretch, calibrated, fit
from training.alarms import FOLDS, chosen
from training.tapes import Tape


def test_a_tape_says_what_the_analysis_says_and_other_thresholds_other_things():
    recording = replace(shipped(), counts=shipped().counts[: 250 * 90])
    recording.counts[250 * 30 : 250 * 40] = np.nan  # two sessions
    model = find_model(Config().engine.model)
    with open_backend("onnxruntime", model) as backend:
        tape = Tape(recording, backend, model.manifest.heads)
    with open_backend("onnxruntime", model) as backend:
        often, seldom = (
            analyze(recording, backend, model.manifest.heads, alerts)
            for alerts in (Alerts(frequent_pvc=FrequentPvc(per_minute=2)), Alerts())
        )
    assert tape.judged_by(Alerts()) == replace(seldom, detections=())
    assert tape.judged_by(Alerts(frequent_pvc=FrequentPvc(per_minute=2))) == replace(often, detections=())
    assert often.alerts != seldom.alerts


def test_each_fifth_is_judged_by_what_is_best_for_the_others():
    fold = np.arange(10) % FOLDS
    usually_right = [Case(str(at), "Asystole", true=True, ours=fold[at] != 0) for at in range(10)]
    seldom_right = [Case(str(at), "Asystole", true=True, ours=fold[at] == 0) for at in range(10)]
    told = chosen([seldom_right, usually_right], fold)
    assert {case.record for case in told if not case.ours} == {"0", "5"}


def stretches(count: int, seed: int, *, true: bool, database: str = "mitdb") -> list[Stretch]:
    """Twenty moments each, alike but for the one that tells: there the first of three numbers is 4 higher."""
    rng = np.random.default_rng(seed)
    moments = rng.standard_normal((count, 20, 3))
    moments[:, 7, 0] += 4.0 * true
    return [Stretch(database, str(at), true, 1.0, each, certain=False) for at, each in enumerate(moments)]


def test_a_fit_finds_the_moment_that_tells_and_the_number_that_does():
    fitted = fit([*stretches(60, 1, true=True), *stretches(60, 2, true=False)])
    assert fitted.weights[0] > 5 * abs(fitted.weights[1:]).max()
    right = [fitted.log_odds(each) > 0 for each in stretches(60, 3, true=True)]
    wrong = [fitted.log_odds(each) > 0 for each in stretches(60, 4, true=False)]
    assert np.mean(right) > 0.9
    assert np.mean(wrong) < 0.2


def test_a_fit_is_calibrated_to_false_alarms_a_day_of_the_beat_databases():
    calm = stretches(200, 5, true=False) + stretches(50, 6, true=False, database="vfdb")
    fitted = fit([*stretches(60, 1, true=True), *calm])
    for a_day in (4.0, 10.0):
        rule = calibrated(fitted, calm, {"mitdb": 2.0, "svdb": 1.0}, a_day)
        assert sum(rule.log_odds(each) > 0 for each in calm if each.database == "mitdb") == 3 * a_day
