"""What the documents claim and a machine can check."""

from __future__ import annotations

import re
from pathlib import Path

from daemon.links import LINKS, Frame

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]


def test_the_example_frame_of_the_protocol_is_a_frame():
    text = (ROOT / "docs" / "protocol.md").read_text()
    (line,) = re.findall(r"^    (a5 5a [0-9a-f ]+)$", text, re.MULTILINE)
    assert LINKS["rhythmd"].decoder(1).feed(bytes.fromhex(line)) == [Frame(1, tuple(range(10)))]


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
