"""The ECG around an alert, as the recorder of the same machine keeps it (`rhythmd record`)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from rhythmd.notify.rules import URGENCY, Notice
from rhythmd.settings import Source
from rhythmd.strips import folder_of, strip_of

log = logging.getLogger(__name__)


class Album:
    """Pictures, one drawn at a time; the last one is kept, since several are sent it."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = {source.name: source for source in sources}
        self._drawing = threading.Lock()
        self._last: tuple[tuple[Path, str], bytes | None] | None = None
        self._told = False

    def has(self, daemon: str, alert_id: str) -> bool:
        """Whether the strip is there, with its last seconds."""
        source = self._sources.get(daemon)  # it may be gone from the configuration
        return source is not None and strip_of(folder_of(source), alert_id) in ("whole", "part")

    def of(self, notices: Sequence[Notice]) -> bytes | None:
        """PNG of the most urgent of them, where its strip is whole."""
        there = [one for one in notices if self.has(one.case.daemon, one.case.alert.id)]
        if not there:
            return None
        case = min(there, key=lambda one: URGENCY.index(one.case.alert.priority)).case
        wanted = folder_of(self._sources[case.daemon]), case.alert.id
        with self._drawing:
            if self._last is None or self._last[0] != wanted:
                self._last = wanted, self._drawn(*wanted)
            return self._last[1]

    def _drawn(self, folder: Path, alert_id: str) -> bytes | None:
        try:
            from rhythmd.records import png

            return png(alert_id, folder)
        except Exception as error:  # a picture that cannot be drawn must not keep the words from being sent
            if not self._told:
                log.warning("no picture is sent: %s: %s", type(error).__name__, error)
            self._told = True
            return None
