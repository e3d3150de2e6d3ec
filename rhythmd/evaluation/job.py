"""What is to be evaluated, and what every report says about how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from daemon.config import Config
from ec57.sets import SOURCES
from rhythmd.evaluation.report import Cell, Row, Section, Table
from rhythmd.evaluation.store import Maker
from rhythmd.recording import RecordError


class EvaluationError(RecordError):
    """Nothing can be scored. The message names what is missing and the remedy."""


@dataclass(frozen=True, slots=True)
class Job:
    """One call of `rhythmd evaluate`."""

    folder: Path
    results: Path  # where analyses are kept
    records: Sequence[str] | None  # None: all
    reference: str
    groups: Sequence[str] | None
    start_s: float
    jobs: int
    config: Config
    config_file: Path | None

    @property
    def database(self) -> str:
        return self.folder.resolve().name

    def facts(self) -> dict[str, str]:
        """For people."""
        maker = Maker.of(self.config)
        source = SOURCES.get(self.database)
        cited = {"data": f"{source}; by way of PhysioNet, ODC-By 1.0"} if source else {}
        return cited | {
            "model": maker.model,
            "rhythmd": f"{maker.rhythmd}, sources {maker.code}",
            "configuration": f"{self.config_file or 'the defaults'}, {maker.config}",
            "engine": self.config.engine.backend,
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        }

    def data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "schema": 1,
            "database": self.database,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "made_by": asdict(Maker.of(self.config)),
            "config": {
                "engine": msgspec.to_builtins(self.config.engine),
                "alerts": msgspec.to_builtins(self.config.alerts),
            },
        }

    def thresholds(self) -> Section:
        """Every threshold that was in force."""
        rows = []
        for kind, limits in msgspec.to_builtins(self.config.alerts).items():
            action = limits.pop("action")
            text = ", ".join(f"{name} {value:g}" for name, value in limits.items())
            rows.append(Row(kind, (Cell(action), Cell(text or "–"))))
        table = Table("Alerts: what is done, from which threshold on", "kind", ("action", "thresholds"), tuple(rows))
        return Section("Thresholds in force", (table,), folded=True)
