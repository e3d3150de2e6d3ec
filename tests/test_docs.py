"""What the documents claim and a machine can check."""

from __future__ import annotations

import argparse
import re
import shlex
import textwrap
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from daemon.history import History
from daemon.kinds import Kind
from daemon.likeness import Shapes
from daemon.links import LINKS, UNNUMBERED, Frame, Link
from daemon.moment import Finding, Moment

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]


def test_the_example_frame_of_the_protocol_is_a_frame():
    text = (ROOT / "docs" / "protocol.md").read_text()
    (line,) = re.findall(r"^    (a5 5a [0-9a-f ]+)$", text, re.MULTILINE)
    assert LINKS["rhythmd"].decoder(1).feed(bytes.fromhex(line)) == [Frame(1, tuple(range(10)))]


def test_the_table_of_links_is_the_table_of_links():
    rows = re.findall(r"^\| `([\w-]+)` \|(.*)\|$", (DOCS / "protocol.md").read_text(), re.MULTILINE)
    assert [name for name, _ in rows] != []
    assert {name for name, _ in rows} == set(LINKS)
    for name, row in rows:
        link = LINKS[name]
        _, rate, scale, baud, frame, _, losses, lead_off = (cell.strip() for cell in row.split("|"))
        assert float(rate) == link.rate_hz
        assert int(scale.split()[0].replace(",", "")) == round(link.counts_per_mv)
        full_scale_mv = float(re.search(r"±([\d.]+) mV", scale)[1])
        assert full_scale_mv == pytest.approx(link.full_scale_counts / link.counts_per_mv, rel=0.03)
        assert baud in {str(link.baud), "USB"}
        assert frame.startswith((f"{link.frame_bytes} B", "`512`"))
        assert ("samples" in frame) == (link.samples_per_frame > 1)
        assert (losses == "by time") == (link.sequence_modulus == UNNUMBERED)
        assert link.tells_lead_off == any(word in lead_off for word in ("flag", "byte", "!"))


def examples_of(page: str, language: str) -> list[str]:
    blocks = re.findall(rf"^ *```{language}\n(.*?)^ *```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in blocks]


def test_the_format_that_the_page_adds_is_one():
    module, row, *_ = examples_of("extending.md", "python")
    dollar = ModuleType("dollar")
    exec(module.replace("from __future__", "# "), dollar.__dict__)
    table = eval("{" + row + "}", {"Link": Link, "UNNUMBERED": UNNUMBERED, "dollar": dollar})
    link = table["dollar"]
    sent = [Frame(0, (count,)) for count in (0, -5, 32766, -32767, 12)]
    decoder = link.decoder(1)
    assert decoder.feed(b"12\r\n" + b"$ECG,7\n".join(map(link.encode, sent)) + b"$EC") == sent
    assert decoder.skipped_bytes == 4 + 7 * 4
    assert len(link.encode(sent[0])) == link.frame_bytes


def test_the_rule_that_the_page_adds_is_one():
    _, _, kind, _, rule, *_ = examples_of("extending.md", "python")
    assert list(eval("{" + kind + "}", {"Kind": Kind})) == ["bigeminy"]
    names = {"cfg": SimpleNamespace(Bigeminy=object), "Moment": Moment, "Finding": Finding}
    exec(rule, names)
    found = names["Bigeminy"](SimpleNamespace(beats=6))
    history, told = History(), []
    for n, letter in enumerate("NNNNVNVNVVN"):
        at = 200 * (n + 1)
        beat = history.add(at, at + 150, 0.8, letter, 0.9, 0.0)
        told.append(found(Moment(at + 150, beat, at, {}, 0.0, history, set(), Shapes(), np.zeros(1000))))
    assert [each and (each.onset, each.evidence) for each in told[7:]] == [
        None,
        (800, {"beats": 6}),
        None,
        None,
    ]


def test_the_commands_of_the_first_hour_are_commands():
    """Every line of its shell examples that begins with rhythmd: the command is there and takes these arguments."""
    said = [line.partition("#")[0] for block in examples_of("quickstart.md", "sh") for line in block.splitlines()]
    asked = [shlex.split(line.partition(">")[0])[1:] for line in said if line.startswith("rhythmd ")]
    assert len(asked) > 8
    for command, *arguments in asked:
        module = import_module(f"rhythmd.commands.{command}")
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        parser.parse_args(arguments)


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_files_that_pages_name_exist():
    for page in PAGES:
        for name in re.findall(r"`((?:daemon|dsp|engines|rhythmd|tests|docs|systemd)/[\w./]+\.\w+)`", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


def test_every_claim_of_the_threat_model_names_a_test_that_there_is():
    text = (ROOT / "docs" / "security.md").read_text()
    there = {
        name
        for file in (ROOT / "tests").glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)
    }
    named = set(re.findall(r"`(test_[a-z]\w+)`", text))
    assert len(named) > 20
    assert named - there == set()
    covered = text[text.index("\n## ") : text.index("## Not covered")]
    for claim in re.findall(r"^- (.*?)(?=^[-#\n]|\Z)", covered, re.M | re.S):
        assert "`test_" in claim or "by choice" in claim, claim


def test_every_page_that_people_land_on_says_what_it_is_not():
    for page in ("README.md", "docs/operations.md", "docs/alerts.md"):
        assert "not a medical device" in (ROOT / page).read_text().lower()
