"""Every alert that somebody is being told of, of all daemons. Pure: times are handed in, in seconds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timezone

from msgspec.structs import replace

from daemon.messages import Alert, Answered, Message, Status
from rhythmd.notify.config import DAEMON_LOST, Rule
from rhythmd.notify.rules import Case, Notice, answered, begun, due, heard_again, pictured, rule_for

DIFFERENT_FOR_S = 10.0
"""The daemon's word on what calls counts after so long: a status may have been on its way when an answer came. A daemon
whose ledger began anew does not know of what had closed before, and nobody could acknowledge it any more."""

MOST_CASES = 500
"""Of those that nobody ever answers, the oldest closed ones are given up beyond so many."""


class Calls:
    """Remembers the cases, until when which daemon is silent, and when it was last heard."""

    def __init__(
        self, rules: Iterable[Rule], *, lost_s: float, cases: Iterable[Case] = (), silent: Mapping[str, float] = {}
    ) -> None:
        self._rules = tuple(rules)
        self._by_name = {rule.name: rule for rule in self._rules}
        self._lost_s = lost_s
        self._silent_until_s = dict(silent)
        self._heard_s: dict[str, float] = {}
        # A rule that is gone from the file takes its cases with it.
        self._cases = {case.key: case for case in cases if case.rule in self._by_name}
        self._unlike_s: dict[str, float] = {}  # since when of us and the daemon only one calls for it
        self.too_old = 0  # alerts that were older than their rule's expire_h when they were first heard

    @property
    def cases(self) -> dict[str, Case]:
        return dict(self._cases)

    @property
    def silent_until_s(self) -> dict[str, float]:
        return dict(self._silent_until_s)

    def follow(self, daemon: str, now_s: float) -> None:
        """From now on it is missed when it says nothing."""
        self._heard_s[daemon] = now_s

    def heard(self, daemon: str, message: Message, now_s: float, *, age_s: float) -> list[Notice]:
        """A message of a daemon that was `age_s` old when it was heard."""
        self._heard_s[daemon] = now_s
        if isinstance(message, Alert):
            return self._alert(daemon, message, now_s, age_s)
        if isinstance(message, Answered):
            return self._answered(daemon, message, now_s, age_s)
        if isinstance(message, Status):
            self._compare(daemon, message, now_s)
            return self._found(daemon, message.patch, now_s)
        return []

    def due(self, now_s: float) -> list[Notice]:
        """Whoever is to be told by now."""
        notices = [notice for daemon in self._missed(now_s) for notice in self._lost(daemon, now_s)]
        for key, case in self._cases.items():
            silent = now_s < self._silent_until_s.get(_of(case), now_s)
            self._cases[key], more = due(case, self._by_name[case.rule], now_s, silent=silent)
            notices += more
        return notices

    def without_picture(self) -> list[Case]:
        """Those that somebody was told of and whose ECG was not sent yet."""
        return [case for case in self._cases.values() if case.told and not case.picture]

    def pictured(self, key: str, now_s: float) -> list[Notice]:
        """The strip of this case is whole."""
        self._cases[key], notices = pictured(self._cases[key], self._rule(key), now_s)
        return notices

    def forget(self, now_s: float, *, linger_s: float) -> None:
        """Drop what is over, but for those whose picture may still come, and the oldest beyond the bound."""
        over = [
            key
            for key, case in self._cases.items()
            if case.over and (case.picture or not case.told or now_s > case.began_s + linger_s)
        ]
        closed = [key for key, case in self._cases.items() if case.alert.state == "closed" and key not in over]
        for key in [*over, *closed[: max(0, len(closed) - MOST_CASES)]]:
            del self._cases[key]

    def _alert(self, daemon: str, alert: Alert, now_s: float, age_s: float) -> list[Notice]:
        key = f"{daemon}/{alert.id}"
        if case := self._cases.get(key):
            self._cases[key], notices = heard_again(case, self._rule(key), alert, now_s)
            return notices
        rule = rule_for(self._rules, daemon, alert.kind, alert.priority, alert.action)
        if rule is None or (alert.state == "closed" and not (alert.latching and alert.action == "alarm")):
            return []
        if age_s > 3600 * rule.expire_h:
            self.too_old += 1
            return []
        breaks = alert.latching and now_s < self._silent_until_s.get(_place(daemon, alert), now_s)
        self._cases[key] = begun(daemon, rule, alert, now_s, breaks_silence=breaks)
        return []

    def _answered(self, daemon: str, message: Answered, now_s: float, age_s: float) -> list[Notice]:
        if message.how == "silenced":
            place = _place(daemon, message)
            self._silent_until_s[place] = now_s + (message.for_s or 0.0) - age_s
            self._cases = {
                key: replace(case, breaks_silence=False) if _of(case) == place else case
                for key, case in self._cases.items()
            }
            return []
        key = f"{daemon}/{message.id}"
        if key not in self._cases:
            return []
        self._cases[key], notices = answered(self._cases[key], self._rule(key), message.by, now_s)
        return notices

    def _compare(self, daemon: str, status: Status, now_s: float) -> None:
        """What the daemon calls for is called for, and what it has forgotten is not, where we differ for long."""
        place = _place(daemon, status)
        silent = now_s < self._silent_until_s.get(place, now_s)
        ours = {key: case for key, case in self._cases.items() if _of(case) == place and case.calls}
        unlike = {key: case for key, case in ours.items() if _differ(case, status.calling, silent=silent)}
        for key, case in unlike.items():
            if now_s > self._unlike_s.setdefault(key, now_s) + DIFFERENT_FOR_S:
                # A restart of the daemon ends a silence, and no message says so.
                self._cases[key] = replace(case, breaks_silence=True) if silent else replace(case, answered_by="")
        self._unlike_s = {
            key: at_s
            for key, at_s in self._unlike_s.items()
            if key in unlike or (key in self._cases and _of(self._cases[key]) != place)
        }

    def _rule(self, key: str) -> Rule:
        return self._by_name[self._cases[key].rule]

    def _missed(self, now_s: float) -> list[str]:
        return [name for name, heard_s in self._heard_s.items() if self._lost_s and now_s > heard_s + self._lost_s]

    def _lost(self, daemon: str, now_s: float) -> list[Notice]:
        """A case of our own: an alert that no daemon can raise."""
        if self._case_of_loss(daemon):
            return []
        heard_s = self._heard_s[daemon]
        return self._alert(daemon, _loss(daemon, heard_s), now_s, 0.0)

    def _found(self, daemon: str, patch: str, now_s: float) -> list[Notice]:
        case = self._case_of_loss(daemon)
        return self._alert(daemon, replace(case.alert, patch=patch, state="closed"), now_s, 0.0) if case else []

    def _case_of_loss(self, daemon: str) -> Case | None:
        cases = self._cases.values()
        found = (case for case in cases if case.daemon == daemon and case.alert.kind == DAEMON_LOST)
        return next((case for case in found if case.alert.state == "open"), None)


def _place(daemon: str, message: Message) -> str:
    """What is silenced together: the alarms of one patch."""
    return f"{daemon}/{message.patch}"


def _of(case: Case) -> str:
    return _place(case.daemon, case.alert)


def _differ(case: Case, calling: Collection[str], *, silent: bool) -> bool:
    """Whether of us, who call for this, and the daemon only one does. An open alert may be news to a status."""
    if silent:
        return not case.breaks_silence and case.alert.id in calling
    return case.alert.state == "closed" and case.alert.id not in calling


def _loss(daemon: str, heard_s: float) -> Alert:
    return Alert(
        seq=0,
        patch=daemon,
        sample=0,
        utc=datetime.fromtimestamp(heard_s, timezone.utc),
        id=f"{daemon}-lost-{heard_s:.0f}",
        kind=DAEMON_LOST,
        category="technical",
        priority="medium",
        action="alarm",
        state="open",
        latching=False,
        onset_sample=0,
        raised_sample=0,
        end_sample=None,
        ended_by=None,
        evidence={},
    )
