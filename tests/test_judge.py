"""From windows and changes of the signal to beats and alerts. The network's answers are made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import config as cfg
from daemon.alerts import AlertEvent
from daemon.episodes import Episode
from daemon.history import JudgedBeat
from daemon.judge import LETTERS, Condition, Judge
from daemon.kinds import KINDS
from daemon.premature import Premature
from dsp.beat_picture import POINTS
from dsp.half_minute import SAMPLES
from dsp.intervals import FEATURES
from dsp.signal import RATE_HZ, Beat, Fitness, Quality, Window
from dsp.windows import RR_FEATURES
from engines.model import Head

BEATS = ("normal", "supraventricular", "ventricular")
RHYTHMS = ("other", "atrial_fibrillation", "ventricular_fibrillation", "ventricular_tachycardia", "noise")
HEADS = (Head("beat", BEATS), Head("rhythm", RHYTHMS))
UNFIT = [fitness for fitness in Fitness if fitness is not Fitness.GOOD]
NO_SIGNAL = [fitness for fitness in UNFIT if fitness not in {Fitness.NOISY, Fitness.BLOCKED}]


_WAVES, _OTHER = (np.sin(np.arange(1000) / length).astype(np.float32).reshape(1, 1, 1, 1000) for length in (10.0, 3.0))
"""What every window looks like, and one in which the network may see a ventricular beat: its word says what it is."""


class Believing(Judge):
    """Takes what the network says of ventricular beats for true: tests/test_beat_referee.py has the referee."""

    def is_ventricular(self, window, beat, rhythm):
        return max(beat, key=beat.__getitem__) == "ventricular"


class Doubting(Judge):
    """Has a referee who holds no beat for ventricular."""

    def is_ventricular(self, window, beat, rhythm):
        return False


class Whole:
    """A network of half a minute that says of atrial fibrillation what that of the beats said in the mean."""

    def __init__(self, said: list[tuple[int, float]]) -> None:
        self._said = said  # (at, probability)

    def infer(self, *_):
        lately = np.mean([probability for at, probability in self._said if at > self._said[-1][0] - SAMPLES])
        return (np.array([[lately, 1.0 - lately, 0.0, 0.0]]),)


class Follows:
    """A network that follows the beats and says what that of the beats says of each."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self.states = {}
        self.says = None  # something else: how likely a beat is of each class

    def infer(self, picture, rr):
        assert (picture.shape, rr.shape) == ((1, POINTS), (1, FEATURES))
        self.states = {"beats": self.states["beats"] + 1}
        return (self._told.head(BEATS) if self.says is None else np.array([self.says]),)

    def forget(self):
        self.states = {"beats": np.zeros(1)}


class Told:
    """A judge, told of windows; times in seconds."""

    def __init__(self, limits: cfg.Alerts | None = None, heads=HEADS, judge=Believing) -> None:
        self.answer = {}
        self.fibrillates: list[tuple[int, float]] = []
        self.forgot = 0
        self.follows = Follows(self)
        networks = {"whole": lambda: Whole(self.fibrillates), "follower": lambda: Premature(lambda: self.follows)}
        self.judge = judge(self, heads, limits or cfg.Alerts(), "test", **networks)
        self.fitness = Fitness.GOOD
        self.refused = 0
        self.at = 0
        self.r_peak = 0
        self.out: list[JudgedBeat | AlertEvent] = []
        self.episodes: list[Episode] = []

    def infer(self, ecg, rr):
        self.fibrillates.append((self.at, self.answer.get("atrial_fibrillation", 0.0)))
        return self.head(BEATS), self.head(RHYTHMS)

    def head(self, labels):
        rest = 1.0 - sum(self.answer.get(label, 0.0) for label in labels)
        return np.array([[self.answer.get(label, max(rest, 0.0) if label == labels[0] else 0.0) for label in labels]])

    def forget(self):
        self.forgot += 1

    def beats(self, count: int, rr_s=0.8, missing=0.0, looks=None, **answer) -> Told:
        usual = _OTHER if answer.get("ventricular") else _WAVES
        for interval_s in ([*rr_s] * count)[:count] if isinstance(rr_s, list) else [rr_s] * count:
            self.r_peak += round(interval_s * RATE_HZ)
            self.at, self.answer = self.r_peak + 150, answer
            beat = Beat(self.r_peak, self.at, interval_s if self.letters else None)
            self._window(beat, missing, usual if looks is None else looks)
        return self

    def silence(self, seconds, missing=0.0, **answer) -> Told:
        self.answer = answer
        for _ in range(int(seconds / 1.5)):
            self.at += 375
            self._window(None, missing)
        return self

    def becomes(self, fitness) -> Told:
        self.fitness = fitness
        self.hears(self.judge.quality(Quality(fitness, self.at)))
        return self

    def _window(self, beat, missing, ecg=_WAVES) -> None:
        rr = np.zeros((1, RR_FEATURES), np.float32)
        self.hears(self.judge.window(Window(self.at, beat, ecg, 1.0, missing, self.fitness, rr, self.refused)))

    def hears(self, told) -> None:
        self.out += [each for each in told if not isinstance(each, Episode)]
        self.episodes += [each for each in told if isinstance(each, Episode)]

    @property
    def letters(self) -> str:
        return "".join(each.beat for each in self.out if isinstance(each, JudgedBeat))

    @property
    def open(self) -> set[str]:
        return {event.kind for event in self.judge.book.open}

    @property
    def opened(self) -> list[str]:
        """Kinds of alerts in the order in which they opened."""
        return [each.kind for each in self.out if isinstance(each, AlertEvent) and each.end is None]


def test_a_beat_is_what_the_network_finds_most_likely():
    told = Told().beats(1).beats(1, ventricular=0.5, supraventricular=0.3).beats(1, supraventricular=0.9)
    assert told.letters == "NVS"
    assert [each.probability for each in told.out] == [1.0, 0.5, 0.9]


def test_a_beat_that_the_referee_holds_for_none_is_the_likelier_of_the_two_others():
    told = Told(judge=Doubting).beats(1, ventricular=0.6, supraventricular=0.3).beats(1, ventricular=0.6, normal=0.3)
    assert told.letters == "SN"
    assert [each.probability for each in told.out] == [0.3, 0.3]


def test_later_beats_are_compared_with_what_the_network_was_sure_of_and_not_the_referee():
    """It would hear itself otherwise, and what it learned from did not."""
    told = Told(judge=Doubting).beats(3, normal=0.6).beats(2, ventricular=0.8).beats(1, ventricular=0.6)
    assert [len(told.judge.shapes.likenesses(letter)) for letter in "NSV"] == [0, 0, 2]


def test_a_beat_with_half_of_its_window_missing_is_not_classified():
    told = Told().beats(1, ventricular=1.0, missing=0.5).beats(1, ventricular=1.0, missing=0.51)
    assert told.letters == "VQ"
    assert told.out[1].probability == 0.0


@pytest.mark.parametrize("probability", [0.1, 0.29, 0.31, 0.45, 0.59, 0.61])
def test_a_busy_line_without_beats_is_told_as_noise_or_as_fibrillation_however_the_network_doubts(probability):
    told = Told().beats(30)
    told.refused = 8
    told.silence(120, ventricular_fibrillation=probability)
    assert told.opened == ["ventricular_fibrillation" if probability >= 0.6 else "noise"]


def test_an_electrode_that_is_on_elsewhere_shows_smaller_beats_and_no_asystole():
    told = Told().beats(60).becomes(Fitness.LEAD_OFF).silence(9.0).becomes(Fitness.GOOD)
    told.r_peak = told.at
    told.beats(20, looks=-0.15 * _OTHER)
    assert "asystole" not in told.opened


def test_one_loss_is_told_once():
    told = Told().beats(10).becomes(Fitness.LOST).silence(3.0)
    told.hears(told.judge.skipped(told.at, told.at + 2500))
    assert told.opened == ["signal_lost"]


IRREGULAR_S = np.random.default_rng(1).uniform(0.5, 1.1, 60).round(2).tolist()


def test_no_beat_is_called_supraventricular_while_atrial_fibrillation_lasts_however_sure_the_network_is():
    told = Told().beats(60, IRREGULAR_S, atrial_fibrillation=0.6)
    told.beats(1, supraventricular=0.99, normal=0.01, atrial_fibrillation=0.6)
    assert (told.out[-1].beat, told.out[-1].probability) == ("N", 0.01)
    told = Told(judge=Doubting).beats(60, IRREGULAR_S, atrial_fibrillation=0.6)
    told.beats(1, ventricular=0.6, supraventricular=0.39, normal=0.01, atrial_fibrillation=0.6)
    assert told.letters[-1] == "N", "nor one that the network found ventricular"
    assert [each.kind for each in told.episodes] == ["atrial_fibrillation"]


@pytest.mark.parametrize(
    ("sees", "follows", "called"),
    [
        (0.01, 0.75, ("S", 0.75)),
        (0.01, 0.7, ("N", 0.3)),
        (0.75, 0.03, ("S", 0.75)),
        (0.75, 0.01, ("N", 0.99)),
        (0.7, 0.03, ("N", 0.97)),
    ],
)
def test_a_beat_is_supraventricular_if_one_network_is_sure_and_that_which_follows_the_beats_does_not_rule_it_out(
    sees, follows, called
):
    told = Told().beats(30)
    told.follows.says = [round(1 - follows, 2), follows, 0.0]
    told.beats(1, 0.6, supraventricular=sees, normal=1 - sees)
    assert (told.out[-1].beat, told.out[-1].probability) == called


def test_what_cannot_be_judged_is_not_followed_and_after_a_loss_all_is_forgotten():
    told = Told().beats(5)
    assert told.follows.states["beats"] == 5
    told.beats(3, missing=0.6).becomes(Fitness.NOISY).beats(2).becomes(Fitness.GOOD).beats(1)
    assert told.follows.states["beats"] == 6
    told.judge.skipped(told.at, told.at + 5000)
    assert told.beats(2).follows.states["beats"] == 2


@pytest.mark.parametrize(
    ("fitness", "kind"),
    [
        (Fitness.LEAD_OFF, "lead_off"),
        (Fitness.FLAT, "lead_off"),
        (Fitness.SATURATED, "lead_off"),
        (Fitness.LOST, "signal_lost"),
    ],
)
def test_a_signal_that_cannot_be_judged_is_a_technical_alarm_while_it_lasts(fitness, kind):
    told = Told().beats(5).becomes(fitness)
    assert told.open == {kind}
    assert told.becomes(Fitness.GOOD).open == set()


def test_from_one_reason_to_the_other_the_alarm_of_both_is_one():
    told = Told().becomes(Fitness.FLAT).becomes(Fitness.SATURATED).becomes(Fitness.LEAD_OFF).becomes(Fitness.LOST)
    assert told.opened == ["lead_off", "signal_lost"]
    assert told.open == {"signal_lost"}


@pytest.mark.parametrize("fitness", NO_SIGNAL)
def test_nothing_physiological_is_raised_from_a_signal_that_cannot_be_judged(fitness):
    told = Told().beats(10).becomes(fitness).silence(9.0, ventricular_fibrillation=1.0).beats(9, 0.4, ventricular=1.0)
    assert not [kind for kind in told.opened if KINDS[kind].category == "physiological"]
    assert told.letters == "N" * 10 + "Q" * 9


@pytest.mark.parametrize("fitness", [Fitness.NOISY, Fitness.BLOCKED])
def test_noise_that_comes_and_goes_silences_no_lethal_alarm(fitness):
    told = Told().beats(10)
    for _ in range(8):
        told.becomes(fitness).silence(6.0, ventricular_fibrillation=1.0)
        told.becomes(Fitness.GOOD).silence(2.9, ventricular_fibrillation=1.0)
    assert "ventricular_fibrillation" in told.opened


def test_in_noise_nothing_but_what_kills_is_asked():
    told = Told().beats(10).becomes(Fitness.NOISY).beats(30, 0.4, ventricular=1.0)
    assert told.opened == ["noise"]
    assert told.letters == "N" * 10 + "Q" * 30


@pytest.mark.parametrize("fitness", UNFIT)
def test_alerts_that_stand_go_on_standing_while_the_signal_cannot_be_judged(fitness):
    told = Told().beats(10, ventricular_fibrillation=0.95).silence(9.0, ventricular_fibrillation=0.95)
    told.becomes(fitness).silence(15.0).beats(20)
    assert "ventricular_fibrillation" in told.open
    told.becomes(Fitness.GOOD).beats(20)
    assert "ventricular_fibrillation" not in told.open


def test_beats_before_and_after_an_unfit_signal_make_no_run_couplet_or_rate():
    told = Told().beats(10).beats(2, 0.4, ventricular=1.0).becomes(Fitness.LEAD_OFF).silence(30.0)
    told.r_peak = told.at - 150
    told.becomes(Fitness.GOOD).beats(2, 0.4, ventricular=1.0).beats(1)
    assert told.opened == ["lead_off", "ventricular_couplet"]  # the two after it
    assert [each.rr_s for each in told.out if isinstance(each, JudgedBeat)][-3:] == [None, 0.4, 0.8]


@pytest.mark.parametrize("fitness", [*NO_SIGNAL, Fitness.BLOCKED])
def test_an_electrode_that_was_off_is_no_asystole_until_4_s_of_signal_had_no_beat(fitness):
    told = Told().beats(10).becomes(fitness).silence(30.0).becomes(Fitness.GOOD).silence(3.0)
    assert "asystole" not in told.open
    assert "asystole" in told.silence(1.5).open


def test_the_interval_over_an_electrode_that_was_off_is_no_asystole():
    told = Told().beats(10).becomes(Fitness.LEAD_OFF).silence(30.0).becomes(Fitness.GOOD)
    assert told.beats(5, [32.0, 0.8, 0.8, 0.8, 0.8]).opened == ["lead_off"]


def test_noise_that_comes_and_goes_does_not_put_off_an_asystole():
    """No technical alarm has been raised yet, so nothing else would tell."""
    told = Told().beats(10).silence(1.5).becomes(Fitness.NOISY).silence(3.0).becomes(Fitness.GOOD).silence(1.5)
    assert told.opened == ["asystole"]


def test_an_asystole_goes_on_standing_through_an_electrode_that_was_off_until_there_is_a_beat():
    told = Told().beats(10).silence(6.0).becomes(Fitness.LEAD_OFF).silence(9.0).becomes(Fitness.GOOD).silence(9.0)
    assert told.opened == ["asystole", "lead_off"]
    assert told.open == {"asystole"}
    assert told.beats(1, 30.0).open == set()


def test_noise_is_raised_after_10_s_whether_the_network_or_the_meter_sees_it():
    assert Told().beats(10).beats(20, noise=0.9).open == {"noise"}
    assert Told().beats(10).becomes(Fitness.NOISY).beats(20).open == {"noise"}
    assert Told().beats(10).becomes(Fitness.BLOCKED).silence(15.0).open == {"noise"}
    assert Told().beats(10).beats(5, noise=1.0).beats(20).opened == []


def test_an_asystole_counts_from_the_last_beat():
    told = Told().beats(10).silence(3.0)
    assert told.opened == []
    assert told.silence(1.5).opened == ["asystole"]


def test_an_electrode_that_is_off_is_not_told_as_noise_too():
    assert Told().beats(10).becomes(Fitness.LEAD_OFF).silence(60.0, noise=1.0).opened == ["lead_off"]


def test_signal_lost_stands_while_either_the_patch_is_silent_or_samples_are_missing():
    told = Told()
    told.judge.condition(Condition.SILENT, holds=True, at=100)
    told.becomes(Fitness.LOST)
    told.judge.condition(Condition.SILENT, holds=False, at=200)
    assert told.open == {"signal_lost"}
    assert told.becomes(Fitness.GOOD).open == set()


@pytest.mark.parametrize("condition", Condition)
def test_what_the_daemon_reports_of_patch_and_engine_is_an_alert_while_it_holds(condition):
    told = Told()
    told.hears(told.judge.condition(condition, holds=True, at=100))
    told.hears(told.judge.condition(condition, holds=False, at=200))
    opened, closed = told.out
    assert (opened.kind, opened.onset, opened.end) == (condition.value, 100, None)
    assert (closed.id, closed.end) == (opened.id, 200)


@pytest.mark.parametrize("condition", Condition)
def test_samples_that_are_here_are_judged_whatever_the_daemon_reports_of_patch_and_engine(condition):
    """A patch that is back has sent samples before the daemon says so."""
    told = Told().beats(10)
    told.judge.condition(condition, holds=True, at=told.at)
    assert "asystole" in told.silence(6.0).open


def test_samples_that_never_came_are_told_once():
    """By the one who noticed first: the silence while it lasted, or the jump of the sample numbers after it."""
    noticed = Told().beats(10)
    gone, to = noticed.at, noticed.at + 60 * RATE_HZ
    unnoticed = Told().beats(10)
    noticed.hears(noticed.judge.condition(Condition.SILENT, holds=True, at=gone))
    away = Told().beats(10)
    away.hears(away.judge.condition(Condition.ABSENT, holds=True, at=gone))
    for told in (noticed, unnoticed, away):
        told.hears(told.judge.skipped(gone, to))
    assert noticed.out[-2:] == unnoticed.out[-2:]
    assert [(event.kind, event.onset, event.raised, event.end) for event in noticed.out[-1:]] == [
        ("signal_lost", gone, gone, to)
    ]
    assert away.opened == ["patch_lost"]


def test_samples_that_never_came_are_no_asystole_and_end_what_the_signal_before_them_was():
    """After a jump the chain begins anew and tells of its fitness only when that is no longer good."""
    told = Told().beats(10).becomes(Fitness.LEAD_OFF)
    told.at += 60 * RATE_HZ
    told.hears(told.judge.skipped(told.at, told.at))
    told.fitness = Fitness.GOOD
    assert told.open == set()
    assert told.judge.fitness is Fitness.GOOD
    assert told.silence(3.0).open == set()
    assert told.silence(1.5).open == {"asystole"}
    assert told.beats(1, 70.0).out[-2].rr_s is None


def test_the_network_forgets_with_the_session_whose_beats_it_remembers():
    told = Told().beats(10).becomes(Fitness.LEAD_OFF).silence(30.0)
    assert told.forgot == 0  # the same person goes on
    told.hears(told.judge.skipped(told.at, told.at + 60 * RATE_HZ))
    assert told.forgot == 1


@pytest.mark.parametrize(
    "heads", [(), HEADS[:1], (HEADS[0], Head("rhythm", RHYTHMS[:4])), (Head("beat", (*BEATS, "paced")), HEADS[1])]
)
def test_a_model_with_other_heads_is_refused_at_the_start(heads):
    with pytest.raises(cfg.ConfigError, match=r"engine\.model: the manifest must have"):
        Told(heads=heads)


MISHAPS = st.one_of(
    st.tuples(st.just("beats"), st.integers(1, 12), st.sampled_from([0.3, 0.5, 0.9, 1.7, 4.5]), st.sampled_from(BEATS)),
    st.tuples(
        st.just("silence"), st.sampled_from([1.5, 6.0]), st.sampled_from([0.0, 0.4, 1.0]), st.sampled_from(RHYTHMS)
    ),
    st.tuples(st.just("becomes"), st.sampled_from(Fitness)),
    st.tuples(st.just("condition"), st.sampled_from(Condition), st.booleans()),
    st.tuples(st.just("skipped"), st.integers(1, 10_000)),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(MISHAPS, max_size=30))
def test_whatever_happens_every_alert_opens_once_and_closes_once_in_the_order_of_time(mishaps):
    told = Told(cfg.Alerts(atrial_fibrillation=cfg.AtrialFibrillation(persistence_s=0.0)))
    for what, *how in mishaps:
        told.r_peak = max(told.r_peak, told.at - 150)
        if what == "beats":
            told.beats(how[0], how[1], **{how[2]: 0.9})
        elif what == "silence":
            told.silence(how[0], how[1], **{how[2]: 0.9})
        elif what == "becomes":
            told.becomes(how[0])
        elif what == "condition":
            told.hears(told.judge.condition(how[0], holds=how[1], at=told.at))
        else:
            told.at += how[0]
            told.hears(told.judge.skipped(told.at, told.at))
            told.fitness = Fitness.GOOD
    told.out += told.judge.book.interrupt(told.at)
    events = [each for each in told.out if isinstance(each, AlertEvent)]
    for kind in KINDS:
        of_kind = [event for event in events if event.kind == kind]
        opened, closed = of_kind[::2], of_kind[1::2]
        assert [event.id for event in opened] == [event.id for event in closed]
        assert all(event.end is None for event in opened)
        assert all(event.onset <= event.raised and event.onset <= event.end <= told.at for event in closed)
    assert len({event.id for event in events}) == len(events) // 2
    assert told.letters.translate(dict.fromkeys(map(ord, [*LETTERS.values(), "Q"]))) == ""
