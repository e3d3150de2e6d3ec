"""What a message says. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from daemon.messages import Alert, Priority
from rhythmd.notify.config import DAEMON_LOST
from rhythmd.notify.rules import URGENCY, Case, Notice

MOST_LINES = 20


@dataclass(frozen=True, slots=True)
class Letter:
    """One message, ready to be sent."""

    title: str
    body: str
    priority: Priority
    over: bool  # it tells of nothing that calls


def letter(notices: Sequence[Notice], *, discreet: bool) -> Letter:
    """All that a contact is told now, of each alert the newest."""
    newest = {notice.case.key: notice for notice in notices}  # in the order in which they were first due
    told = [(notice, _all_of(notices, notice)) for notice in newest.values()]
    priority = min((notice.case.alert.priority for notice in newest.values()), key=URGENCY.index)
    lines = [_line(notice, also, discreet=discreet) for notice, also in told[:MOST_LINES]]
    if len(told) > MOST_LINES:
        lines.append(f"And {len(told) - MOST_LINES} more: `rhythmd listen --since 0` has all.")
    if len(told) == 1:
        title = _title(told[0][0].case, discreet=discreet)
    else:
        title = f"{len(told)} messages, the most urgent of {priority} priority"
    return Letter(title, "\n".join(lines), priority, all(not notice.case.calls for notice in newest.values()))


def _all_of(notices: Sequence[Notice], of: Notice) -> set[str]:
    return {notice.what for notice in notices if notice.case.key == of.case.key}


def _title(case: Case, *, discreet: bool) -> str:
    return f"{case.daemon}: {'alarm' if discreet else kind_in_words(case.alert.kind)} ({case.alert.priority})"


def _line(notice: Notice, also: set[str], *, discreet: bool) -> str:
    case, alert = notice.case, notice.case.alert
    name = f"Alarm of {alert.priority} priority" if discreet else kind_in_words(alert.kind)
    where = f" at {case.daemon}" if case.daemon == alert.patch else f" at {case.daemon} (patch {alert.patch})"
    told_first = bool(also & {"opened", "escalated"})
    evidence = "" if discreet or not (told_first or notice.what == "repeated") else _evidence(alert)
    return f"{name}{where}, {_clock(case.opened.utc)}{evidence}. {_news(notice)}[{alert.id}]"


def _news(notice: Notice) -> str:
    case = notice.case
    ended = {"ended": "It has ended. ", "interrupted": "The daemon stopped meanwhile: it may go on. "}
    news = ended[case.alert.ended_by or "ended"] if case.alert.state == "closed" else ""
    if case.alert.kind == DAEMON_LOST:
        return "It is heard again. " if news else "Nothing was heard of it since: nobody watches. "
    if notice.what == "answered":
        return f"{news}Acknowledged by {case.answered_by}. "
    if notice.what == "escalated":
        news = f"{news}Nobody has acknowledged it since. "
    if notice.what == "repeated":
        news = f"{news}Still nobody has acknowledged it (told {case.repeats + 1} times). "
    if notice.what == "pictured":
        news = f"The ECG around it. {news}"
    return f"{news}`rhythmd ack {case.alert.id}` " if case.calls else news


def kind_in_words(kind: str) -> str:
    """`atrial_fibrillation` as people write it."""
    return kind.replace("_", " ").replace(" pvc", " PVC").capitalize()


def _evidence(alert: Alert) -> str:
    parts = [f"{key.replace('_', ' ')} {value}" for key, value in alert.evidence.items()]
    return f" ({', '.join(parts)})" if parts else ""


def _clock(utc: datetime) -> str:
    return utc.astimezone().strftime("%d %b %H:%M:%S")
