"""The report's tables: the hours, the kinds of events, the events."""

from __future__ import annotations

from daemon.kinds import KINDS
from rhythmd.report.findings import Findings, Hour
from rhythmd.report.observed import Event, Observed
from rhythmd.report.words import count, evidence, lasting, name_of, rate, share

MOST_LISTED = 200


def by_hour(seen: Observed, found: Findings) -> str:
    heads = ("Hour", "Beats", "Slowest", "Mean", "Fastest", "Longest RR", "SVEB", "VEB", "V runs", "AF", "Judged")
    rows = "".join(_hour(seen, hour) for hour in found.hours)
    v_runs = sum(hour.ventricular_runs for hour in found.hours)
    slow, fast, longest = found.slowest, found.fastest, found.longest_rr
    total = (
        "All", count(found.beats), rate(slow.value if slow else None), rate(found.mean_bpm),
        rate(fast.value if fast else None), f"{longest.value:.2f} s" if longest else "–",
        count(found.supraventricular.beats), count(found.ventricular.beats), count(v_runs),
        lasting(found.af.total_s) if found.af.total_s else "0", share(found.readable_s, seen.duration_s),
    )  # fmt: skip
    head = "".join(f"<th>{text}</th>" for text in heads)
    foot = "".join(f"<td>{text}</td>" for text in total)
    return (
        f"<h2>Hour by hour</h2><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>"
        f"<tfoot><tr>{foot}</tr></tfoot></table>"
        '<p class="note">Slowest and fastest over 8 consecutive RR intervals, per minute. No interval counts across '
        "signal that is missing or cannot be read, or in ventricular fibrillation. SVEB, VEB: supraventricular and "
        "ventricular beats as the program calls them. V runs: three or more in a row.</p>"
    )


def _hour(seen: Observed, hour: Hour) -> str:
    span = f"{seen.clock(hour.span.begin_s, seconds=False)} – {seen.clock(hour.span.end_s, seconds=False)}"
    cells = (
        count(hour.beats), rate(hour.slowest_bpm), rate(hour.mean_bpm), rate(hour.fastest_bpm),
        f"{hour.longest_rr_s:.2f} s" if hour.longest_rr_s else "–", count(hour.supraventricular),
        count(hour.ventricular), count(hour.ventricular_runs), lasting(hour.af_s) if hour.af_s >= 0.5 else "0",
        share(hour.readable_s, hour.span.length_s),
    )  # fmt: skip
    drawn = "".join(f"<td{' class=zero' if text == '0' else ''}>{text}</td>" for text in cells)
    return f"<tr><td>{span}</td>{drawn}</tr>"


def by_kind(seen: Observed) -> str:
    if not seen.events:
        return "<h2>Events by kind</h2><p>None.</p>"
    rows = []
    for kind, events in kinds_of(seen):
        lengths = [event.length_s for event in events if event.length_s is not None]
        first = events[0].alert
        grave = ' class="high"' if first.priority == "high" else ""
        rows.append(
            f'<tr><td{grave}>{name_of(kind)}</td><td class="l">{first.priority}</td><td class="l">{first.action}</td>'
            f"<td>{count(len(events))}</td><td>{lasting(sum(lengths))}</td>"
            f"<td>{lasting(max(lengths, default=None))}</td>"
            f"<td>{seen.moment(events[0].onset_s)}</td><td>{seen.moment(events[-1].onset_s)}</td></tr>"
        )
    return (
        '<section class="whole"><h2>Events by kind</h2><table><thead><tr><th>Kind</th><th class="l">Priority</th>'
        '<th class="l">Action</th>'
        "<th>Number</th><th>In all</th><th>Longest</th><th>First</th><th>Last</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></section>"
    )


_URGENCY = {kind: place for place, kind in enumerate(KINDS)}


def kinds_of(seen: Observed) -> list[tuple[str, list[Event]]]:
    """The most urgent first, technical ones last."""
    kinds: dict[str, list[Event]] = {}
    for event in seen.events:
        kinds.setdefault(event.alert.kind, []).append(event)

    return sorted(kinds.items(), key=lambda item: (item[1][0].alert.category == "technical", _URGENCY[item[0]]))


def events(seen: Observed) -> str:
    if not seen.events:
        return ""
    alarms = [event for event in seen.events if event.alert.action == "alarm"]
    recorded = [event for event in seen.events if event.alert.action == "record"]
    return "".join(
        _listed(seen, f"{title} events", events) for title, events in (("Alarmed", alarms), ("Recorded", recorded))
    )


def _listed(seen: Observed, title: str, events: list[Event]) -> str:
    if not events:
        return ""
    rows = "".join(_event(seen, event) for event in events[:MOST_LISTED])
    left = len(events) - MOST_LISTED
    more = f'<p class="note">And {count(left)} more, which the tables above count.</p>' if left > 0 else ""
    return (
        f'<h2>{title}</h2><table><thead><tr><th>Onset</th><th class="l">Kind</th><th class="l">Priority</th>'
        f'<th>Lasted</th><th class="l">By what</th></tr></thead><tbody>{rows}</tbody></table>{more}'
    )


def _event(seen: Observed, event: Event) -> str:
    alert = event.alert
    grave = " high" if alert.priority == "high" else ""
    ended = " (interrupted)" if alert.ended_by == "interrupted" else ""
    return (
        f'<tr><td>{seen.moment(event.onset_s)}</td><td class="l{grave}">{name_of(alert.kind)}</td>'
        f'<td class="l">{alert.priority}</td><td>{lasting(event.length_s)}{ended}</td>'
        f'<td class="l w">{evidence(event)}</td></tr>'
    )
