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
