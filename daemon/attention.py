"""Which alarms call for someone, and who has answered. Pure; times are host time (monotonic) in seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace

from daemon.messages import Alert

MOST_CALLS = 200
"""Of alarms that nobody acknowledges, the oldest closed ones are given up beyond so many."""


@dataclass(frozen=True, slots=True)
class Call:
    """One alarm that has been raised."""

    alert: Alert  # as last published
    answered: bool = False
    breaks_silence: bool = False  # a lethal alarm that came after the silence began

    @property
    def calls(self) -> bool:
        return not self.answered and (self.alert.state == "open" or self.alert.latching)


class Attention:
    """Alarms from raised to answered: a latching one goes on calling after it closed, until it is acknowledged."""

    def __init__(self) -> None:
        self._calls: dict[str, Call] = {}
        self._silent_until_s = float("-inf")

    def alert(self, alert: Alert, now_s: float) -> tuple[str, ...]:
        """An alert opened or closed. Ids of those that are given up for it."""
        if alert.action != "alarm":
            return ()
        call = self._calls.get(alert.id) or Call(alert, breaks_silence=alert.latching and now_s < self._silent_until_s)
        self._keep(replace(call, alert=alert))
        return self._give_up()

    def acknowledge(self, alert_id: str) -> bool:
        """Someone has seen it. False when no such alarm calls or stands."""
        call = self._calls.get(alert_id)
        if call:
            self._keep(replace(call, answered=True))
        return call is not None

    def silence(self, now_s: float, for_s: float) -> None:
        """Nothing that calls now is heard for a while, nor what is less than lethal."""
        self._silent_until_s = now_s + for_s
        self._calls = {key: replace(call, breaks_silence=False) for key, call in self._calls.items()}

    def calling(self, now_s: float) -> tuple[str, ...]:
        """Ids of the alarms to be signalled now, the oldest first."""
        silent = now_s < self._silent_until_s
        return tuple(key for key, call in self._calls.items() if call.calls and (call.breaks_silence or not silent))

    def kept(self, alert_id: str) -> bool:
        """Whether it still concerns anybody: it is open, or calls."""
        return alert_id in self._calls

    def _keep(self, call: Call) -> None:
        if call.calls or call.alert.state == "open":
            self._calls[call.alert.id] = call
        else:
            self._calls.pop(call.alert.id, None)

    def _give_up(self) -> tuple[str, ...]:
        closed = [key for key, each in self._calls.items() if each.alert.state == "closed"]
        beyond = tuple(closed[: max(0, len(closed) - MOST_CALLS)])
        for key in beyond:
            del self._calls[key]
        return beyond
