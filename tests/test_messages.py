"""The published language: schemas that are current, messages that keep them, and a page that tells the truth."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import jsonschema
import msgspec
import pytest

from daemon import config as cfg
from daemon.alerts import AlertBook
from daemon.history import History
from daemon.kinds import KINDS
from daemon.messages import Alert, Answered, Beat, Clock, Latency, LinkCounts, Status, Wave, schemas, type_of
from daemon.moment import Finding
from daemon.reporting import TimeLine, alert_message, beat_message, topic_of
from tests.house import open_daemon, served

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "alerts.md").read_text()
BEGAN = datetime(2026, 1, 1, tzinfo=timezone.utc)
COMMON = {"seq": 1, "patch": "p", "sample": 0, "utc": BEGAN}


def alerts(kind: str, rate_hz: float = 250.0) -> list[Alert]:
    """As it opens and as it closes."""
    book, line = AlertBook(cfg.Alerts(), "p"), TimeLine(rate_hz, BEGAN)
    events = [*book.note(kind, Finding(250, {"rate_bpm": 30.5, "beats": 5, "fitness": "flat"}), at=500)]
    events += book.note(kind, None, at=1000)
    return [alert_message(event, patch="p", seq=1, line=line) for event in events]


def beats(rate_hz: float = 250.0) -> list[Beat]:
    history, line = History(), TimeLine(rate_hz, BEGAN)
    judged = [history.add(100, 250, None, "N", 0.9), history.add(350, 500, 1.0, "Q", 0.0)]
    return [beat_message(beat, patch="p", seq=1, line=line) for beat in judged]


STATUS = Status(
    port="open", silent=False, quality="good", battery_low=False, rhythm="N", heart_rate_bpm=71.5, open_alerts=("p-1",),
    engine="onnxruntime", model="m", link=LinkCounts(), uptime_s=1.0,
    latency=Latency.of(engine_ms=[1.5, 1.5], read_to_sent_ms=[]), **COMMON,
)  # fmt: skip
WAVE = Wave(rate_hz=250, samples=1, counts_per_mv=1000, missing=-32768, **COMMON)
ANSWERED = Answered(how="acknowledged", by="night nurse", id="p-1", **COMMON)
CLOCK = Clock(why="stepped", rate_hz=250.0, by_s=-3600.0, **COMMON)
MESSAGES = [*(alert for kind in KINDS for alert in alerts(kind)), *beats(), ANSWERED, CLOCK, STATUS, WAVE]


def schema_of(message) -> dict:
    return json.loads((DOCS / "schema" / f"{type(message).__name__.lower()}.json").read_text())


def test_the_schemas_on_file_are_those_of_the_classes():
    """`python -m daemon.messages docs/schema` writes them."""
    assert {path.name: path.read_text() for path in (DOCS / "schema").iterdir()} == schemas()


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_is_published_keeps_its_schema_and_reads_back(message):
    sent = msgspec.json.encode(message)
    jsonschema.Draft202012Validator(schema_of(message)).validate(json.loads(sent))
    assert msgspec.json.decode(sent, type=type(message)) == message


@pytest.mark.parametrize(
    "message", [MESSAGES[0], *beats(), ANSWERED, CLOCK, STATUS, WAVE], ids=lambda message: type(message).__name__
)
def test_the_schema_refuses_a_message_that_lacks_a_field(message):
    sent = json.loads(msgspec.json.encode(message))
    del sent["sample"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(sent, schema_of(message))


def test_an_alert_speaks_of_its_samples_at_the_patchs_own_rate_and_of_utc():
    opened, closed = alerts("asystole", rate_hz=500.0)
    assert (opened.onset_sample, opened.end_sample, closed.end_sample) == (500, None, 2000)
    assert 1000 <= opened.raised_sample <= 1050  # what the resampler needed besides
    assert (opened.sample, closed.sample) == (opened.raised_sample, 2000)
    assert (closed.utc - BEGAN).total_seconds() == 4.0
    assert (opened.state, closed.state, closed.ended_by) == ("open", "closed", "ended")


def test_after_a_jump_utc_is_that_of_the_new_anchor():
    line = TimeLine(250.0, BEGAN)
    line.anchor(1000, datetime(2026, 1, 2, tzinfo=timezone.utc))
    assert line.utc(1250) == datetime(2026, 1, 2, 0, 0, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(("action", "topic"), [("alarm", "alert.pause"), ("record", "event.pause")])
def test_the_action_chooses_the_topic(action, topic):
    book = AlertBook(cfg.Alerts(pause=cfg.Pause(action=action)), "p")
    assert topic_of(book.note("pause", Finding(0), at=0)[0]) == topic


@pytest.mark.parametrize(
    ("topic", "kind"),
    [("alert.noise", Alert), ("event.pause", Alert), ("beat", Beat), ("status", Status), ("wave", Wave), ("x", None)],
)
def test_the_topic_tells_what_a_message_is(topic, kind):
    assert type_of(topic) is kind


ROWS = {row[0]: row[1:] for row in re.findall(r"^\| `(\w+)` \| (\w+) \| (yes|no) \| (\w+) \| (.*) \|$", PAGE, re.M)}


def test_the_page_has_every_kind_and_no_other():
    assert set(ROWS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_tells_the_priority_latching_action_and_thresholds_of_every_kind(kind):
    priority, latching, action, definition = ROWS[kind]
    known, limits = KINDS[kind], getattr(cfg.Alerts(), kind)
    assert (priority, latching, action) == (known.priority, "yes" if known.latching else "no", limits.action)
    numbers = {float(number) for number in re.findall(r"\d+(?:\.\d+)?", definition)}
    assert numbers >= {value for value in msgspec.to_builtins(limits).values() if not isinstance(value, str)}


def test_the_page_names_every_topic_and_field_that_an_alert_has():
    topics = ["alert.<kind>", "event.<kind>", "answered", "beat", "status", "wave"]
    alert = [
        "id",
        "onset_sample",
        "raised_sample",
        "end_sample",
        "ended_by",
        "latching",
        "state",
        "schema",
        "serial",
        "previous",
    ]
    wave = ["rate_hz", "counts_per_mv", "missing", "samples"]
    assert not [word for word in [*topics, *COMMON, *alert, *wave] if f"`{word}`" not in PAGE]


def test_the_example_of_the_page_prints_an_alert_that_is_open(tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    address = f"ipc://{tmp_path}/alerts.ipc"
    code = example.replace("tcp://127.0.0.1:8251", address)
    with open_daemon(address, tmp_path) as house:
        house.opens("asystole", "p-1")
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            try:
                line = served(house, process.stdout.readline)
            finally:
                process.kill()
    assert line.startswith("2026-01-01 00:00:01+00:00 high asystole open {")
