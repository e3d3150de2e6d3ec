"""When who is told what of one alert. Pure: a case and the time in; a case and the notices that are due out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from daemon.messages import Action, Alert, Priority
from rhythmd.notify.config import Rule

What = Literal["opened", "escalated", "repeated", "pictured", "ended", "answered"]

CALLS: tuple[What, ...] = ("escalated", "repeated")
"""What nobody needs any more once somebody has answered."""


URGENCY: tuple[Priority, ...] = ("high", "medium", "low")


class Case(Struct, frozen=True, kw_only=True):
    """An alert that somebody is, or is to be, told of. Times are the program's own, in seconds."""

    daemon: str
    rule: str
    opened: Alert  # as first heard
    alert: Alert  # as last heard
    began_s: float
    told: int = 0  # how many of the rule's contacts, in their order
    next_told_s: float
    next_repeat_s: float
    repeats: int = 0
    answered_by: str | None = None
    breaks_silence: bool = False  # a lethal alarm that came after the silence began
    picture: bool = False  # the picture has been sent

    @property
    def key(self) -> str:
        return f"{self.daemon}/{self.alert.id}"

    @property
    def calls(self) -> bool:
        """Whether somebody should answer."""
        alarm = self.alert.action == "alarm" and self.answered_by is None
        return alarm and (self.alert.state == "open" or self.alert.latching)

    @property
    def over(self) -> bool:
        return self.alert.state == "closed" and not self.calls


class Notice(Struct, frozen=True, kw_only=True):
    """Something to be told to one contact. The same key is never told twice, as far as that can be helped."""

    key: str
    contact: str
    what: What
    case: Case  # as it was then
    expires_s: float

    @property
    def priority(self) -> Priority:
        """What is over does not hurry."""
        return "low" if self.what in ("ended", "answered") else self.case.alert.priority


def rule_for(rules: Iterable[Rule], daemon: str, kind: str, priority: Priority, action: Action) -> Rule | None:
    """The first that fits."""
    for rule in rules:
        if (
            (not rule.daemons or daemon in rule.daemons)
            and (not rule.kinds or kind in rule.kinds)
            and (not rule.priorities or priority in rule.priorities)
            and action in rule.actions
        ):
            return rule
    return None


def begun(daemon: str, rule: Rule, alert: Alert, now_s: float, *, breaks_silence: bool) -> Case:
    """A case for an alert that was not heard of before."""
    return Case(
        daemon=daemon,
        rule=rule.name,
        opened=alert,
        alert=alert,
        began_s=now_s,
        next_told_s=now_s,
        next_repeat_s=now_s,
        breaks_silence=breaks_silence,
    )


def due(case: Case, rule: Rule, now_s: float, *, silent: bool) -> tuple[Case, list[Notice]]:
    """Who is to be told by now, for the first time or again."""
    notices: list[Notice] = []
    silenced = silent and not case.breaks_silence
    over = case.alert.state == "closed" and case.answered_by is None  # before anybody was told
    first = case.told == 0 and (case.alert.action == "record" or over)
    if silenced or not (first or case.calls) or now_s > case.began_s + 3600 * rule.give_up_h:
        return case, notices
    if case.told and rule.repeat_min and now_s >= case.next_repeat_s:
        case = replace(case, repeats=case.repeats + 1, next_repeat_s=now_s + 60 * rule.repeat_min)
        notices += _to(told(case, rule), "repeated", case, rule, now_s, f"repeated {case.repeats}")
    most = 1 if case.alert.action == "record" and rule.escalate_min else len(rule.contacts)
    while case.told < most and now_s >= case.next_told_s:
        contact, what = rule.contacts[case.told], _first_told(case, rule)
        repeat_s = case.next_repeat_s if case.told else now_s + 60 * rule.repeat_min
        case = replace(case, told=case.told + 1, next_told_s=now_s + 60 * rule.escalate_min, next_repeat_s=repeat_s)
        notices += _to((contact,), what, case, rule, now_s, "told")
    return case, notices


def heard_again(case: Case, rule: Rule, alert: Alert, now_s: float) -> tuple[Case, list[Notice]]:
    """The alert has closed, or is told again."""
    ended = case.alert.state == "open" and alert.state == "closed"
    case = replace(case, alert=alert) if ended else case
    notices = _to(told(case, rule), "ended", case, rule, now_s, "ended") if ended and rule.follow_up else []
    return case, notices


def answered(case: Case, rule: Rule, by: str, now_s: float) -> tuple[Case, list[Notice]]:
    """Somebody has seen it."""
    if case.answered_by is not None:
        return case, []
    case = replace(case, answered_by=by)
    return case, _to(told(case, rule), "answered", case, rule, now_s, "answered") if rule.follow_up else []


def pictured(case: Case, rule: Rule, now_s: float) -> tuple[Case, list[Notice]]:
    """The strip around it is whole."""
    if case.picture:
        return case, []
    case = replace(case, picture=True)
    return case, _to(told(case, rule), "pictured", case, rule, now_s, "pictured")


def told(case: Case, rule: Rule) -> tuple[str, ...]:
    """The contacts that know of it."""
    return rule.contacts[: case.told]


def _first_told(case: Case, rule: Rule) -> What:
    return "escalated" if case.told and rule.escalate_min else "opened"


def _to(contacts: Iterable[str], what: What, case: Case, rule: Rule, now_s: float, key: str) -> list[Notice]:
    expires_s = now_s + 3600 * rule.expire_h
    return [
        Notice(key=f"{case.key} {key}", contact=each, what=what, case=case, expires_s=expires_s) for each in contacts
    ]
