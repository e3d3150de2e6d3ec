"""The configuration: the default file is the manual, and what cannot be used is refused in one line."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from daemon.config import DEFAULT_FILE, Config, ConfigError, load
from daemon.kinds import KINDS
from daemon.links import LINKS
from engines.backend import BACKENDS

DEFAULTS = {name: section for name, section in msgspec.to_builtins(Config()).items() if name != "patches"}
SECTIONS = {
    **{name: section for name, section in DEFAULTS.items() if name != "alerts"},
    **{f"alerts.{kind}": section for kind, section in DEFAULTS["alerts"].items()},
}
KEYS = [(section, key) for section, values in SECTIONS.items() for key in values]


def leaves(tree: dict, place: str = "") -> dict:
    """Each key with its full name."""
    found = {}
    for key, value in tree.items():
        found |= leaves(value, f"{place}{key}.") if isinstance(value, dict) else {place + key: value}
    return found


@pytest.fixture
def refusal(tmp_path):
    """What loading a file with this text complains of: file and what is wrong, in one line."""

    def complaint(text: str | bytes) -> str:
        path = tmp_path / "rhythmd.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        with pytest.raises(ConfigError) as raised:
            load(path)
        message = str(raised.value)
        assert "\n" not in message
        assert message.startswith(f"{path}: ")
        return message.removeprefix(f"{path}: ")

    return complaint


def test_the_default_file_has_every_key_with_its_default():
    on_file = msgspec.toml.decode(DEFAULT_FILE.read_bytes())
    defaults = leaves(DEFAULTS)
    defaults["publish.bind"] = list(defaults["publish.bind"])
    assert leaves(on_file) == defaults


def test_the_default_file_is_a_valid_configuration():
    assert load(DEFAULT_FILE) == Config()


def test_every_default_keeps_its_own_ranges():
    """Defaults are not checked when the structs are made, so they are here."""
    assert msgspec.convert(DEFAULTS, Config) == Config()


@pytest.mark.parametrize(("section", "key"), KEYS, ids=[".".join(each) for each in KEYS])
def test_a_key_given_alone_leaves_all_others_at_their_defaults(tmp_path, section, key):
    path = tmp_path / "rhythmd.toml"
    value = json.dumps(SECTIONS[section][key])  # what JSON calls these values, TOML calls them too
    path.write_text(f"[{section}]\n{key} = {value}\n")
    assert load(path) == Config()


def test_every_kind_of_alert_can_be_configured_and_no_other():
    assert set(DEFAULTS["alerts"]) == set(KINDS)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("pach = 1", "pach: unknown key; `rhythmd config` explains every key"),
        ("[patch]\nprot = 'x'", "patch.prot: unknown key"),
        ("[alerts.asystol]\naction = 'alarm'", "alerts.asystol: unknown key"),
        ("[alerts.asystole]\nno_beats_s = 4.0", "alerts.asystole.no_beats_s: unknown key"),
        ("patch = 3", "patch: expected `object`, got `int`"),
        ("[patch]\nrate_hz = '250 Hz'", "patch.rate_hz: expected `float`, got `str`"),
        ("[patch]\nchannel = 1.5", "patch.channel: expected `int`"),
        ("[patch]\nid = 'two words'", "patch.id: expected `str` matching regex"),
        ("[patch]\nsilence_limit_s = 2000", "patch.silence_limit_s: expected `float` <= 60"),
        ("[alerts.asystole]\nno_beat_s = 4000", "alerts.asystole.no_beat_s: expected `float` <= 10"),
        ("[alerts.asystole]\nno_beat_s = nan", "alerts.asystole.no_beat_s: expected `float`"),
        ("[alerts.asystole]\naction = 'loud'", "alerts.asystole.action: invalid enum value 'loud'"),
        (
            "[alerts.extreme_tachycardia]\nrate_bpm = inf",
            "alerts.extreme_tachycardia.rate_bpm: expected `float` <= 300",
        ),
        ("[alerts.extreme_bradycardia]\nbeats = 31", "alerts.extreme_bradycardia.beats: expected `int` <= 30"),
        ("[alerts.atrial_fibrillation]\non_probability = 60", "alerts.atrial_fibrillation.on_probability: expected"),
        ("[publish]\nbind = 'tcp://127.0.0.1:1'", "publish.bind: expected `array`, got `str`"),
        ("[publish]\nbind = [1]", "publish.bind[0]: expected `str`"),
    ],
)
def test_what_the_types_refuse_is_named_by_its_key_with_a_remedy(refusal, text, complaint):
    message = refusal(text)
    assert message.startswith(complaint)
    assert message.endswith("; `rhythmd config` explains every key")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[patch]\nlink = 'morse'", f"patch.link: 'morse' is not one of {', '.join(sorted(LINKS))}"),
        ("[patch]\nrate_hz = 50", "patch.rate_hz: expected 100 to 1000, or 0 for what rhythmd usually sends"),
        ("[patch]\nlink = 'bitalino'\nrate_hz = 100", "patch.rate_hz: bitalino is told to send 1000 samples a second;"),
        ("[patch]\nlink = 'ad8232'\nbaud = 9600", "patch.baud: at 9600 no patch can send 250 samples a second as ad82"),
        ("[patch]\nlink = 'cyton'\nrate_hz = 1000", "patch.baud: at 115200 no patch can send 1000 samples a second"),
        ("[patch]\nchannel = 2", "patch.channel: rhythmd has channels 1 to 1"),
        ("[patch]\nlink = 'cyton'\nchannel = 99", "patch.channel: cyton has channels 1 to 8"),
        ("[engine]\nbackend = 'abacus'", f"engine.backend: 'abacus' is not one of {', '.join(sorted(BACKENDS))}"),
        ("[publish]\nbind = ['localhost:8251']", "publish.bind: 'localhost:8251' is neither tcp://ADDRESS:PORT nor"),
        ("[publish]\nbind = ['tcp://127.0.0.1']", "publish.bind: 'tcp://127.0.0.1' is neither"),
        ("[publish]\nbind = []", "publish.bind: give at least one address"),
        (
            "[alerts.atrial_fibrillation]\noff_probability = 0.98",
            "alerts.atrial_fibrillation: off_probability must be below on_probability",
        ),
        ("[alerts.pause]\nrr_s = 4.0", "alerts.pause: rr_s must be below alerts.asystole no_beat_s"),
    ],
)
def test_what_types_alone_cannot_tell_is_refused_with_its_remedy(refusal, text, complaint):
    assert refusal(text).startswith(complaint)


BEDS = """
[alerts.asystole]
no_beat_s = 5.0
[[patches]]
id = "bed-1"
port = "/dev/ecg/patch1"
[[patches]]
id = "bed-2"
port = "/dev/ecg/patch2"
link = "cyton"
alerts.extreme_bradycardia.rate_bpm = 30.0
alerts.pause = {action = "silent"}
"""


def test_several_patches_have_each_its_own_keys_and_the_wards_limits_where_they_say_nothing(tmp_path):
    path = tmp_path / "rhythmd.toml"
    path.write_text(BEDS)
    (one, ward), (other, own) = load(path).wearers
    assert (one.id, one.port, one.link) == ("bed-1", "/dev/ecg/patch1", "rhythmd")
    assert (other.id, other.wire.baud) == ("bed-2", LINKS["cyton"].baud)
    assert ward == load(path).alerts
    assert (ward.asystole.no_beat_s, own.asystole.no_beat_s) == (5.0, 5.0)
    assert (ward.extreme_bradycardia.rate_bpm, own.extreme_bradycardia.rate_bpm) == (40.0, 30.0)
    assert (own.extreme_bradycardia.beats, own.pause.action, own.pause.rr_s) == (4, "silent", 3.0)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("[alerts.asystole]", "[patch]\n[alerts.asystole]"), "[patch] and [[patches]] exclude each other: make"),
        (("bed-2", "bed-1"), "patches: id 'bed-1' is there twice; give each its own"),
        (("patch2", "patch1"), "patches: port '/dev/ecg/patch1' is there twice; give each its own"),
        (('port = "/dev/ecg/patch2"', ""), "patches: one has no port; `rhythmd doctor` lists"),
        (("cyton", "morse"), "patches[1].link: 'morse' is not one of"),
        (("link", "lnik"), "patches[1].lnik: unknown key"),
        (("extreme_bradycardia", "bradycardia"), "patches[1].alerts.bradycardia: unknown key"),
        (("30.0", "'slow'"), "patches[1].alerts.extreme_bradycardia.rate_bpm: expected `float`"),
        (('{action = "silent"}', "{rr_s = 6.0}"), "patches[1].alerts.pause: rr_s must be below alerts.asystole"),
    ],
)
def test_what_is_wrong_with_one_of_several_patches_is_named_by_its_place(refusal, change, complaint):
    assert refusal(BEDS.replace(*change)).startswith(complaint)


def test_the_manual_shows_several_patches_as_they_are_written(tmp_path):
    manual = DEFAULT_FILE.read_text()
    shown = [line.removeprefix("# ") for line in manual.splitlines() if "# [[patches]]" in manual and _of_beds(line)]
    path = tmp_path / "rhythmd.toml"
    path.write_text("\n".join(shown))
    assert len(load(path).patches) == 2


def _of_beds(line: str) -> bool:
    return re.match(r"# (\[\[patches\]\]|(id|port|alerts[.a-z_]*) = )", line) is not None


@pytest.mark.parametrize("name", LINKS)
def test_rate_scale_and_speed_are_the_links_own_unless_the_file_says_otherwise(tmp_path, name):
    path = tmp_path / "rhythmd.toml"
    path.write_text(f"patch.link = '{name}'\n")
    assert load(path).patch.wire == LINKS[name]
    path.write_text(f"[patch]\nlink = '{name}'\ncounts_per_mv = 7.0\nbaud = 921600\n")
    wire = load(path).patch.wire
    assert (wire.counts_per_mv, wire.baud, wire.rate_hz) == (7.0, 921600, LINKS[name].rate_hz)


def test_a_network_port_has_no_speed_that_could_be_too_low(tmp_path):
    path = tmp_path / "rhythmd.toml"
    path.write_text("[patch]\nport = 'socket://patch:3000'\nlink = 'cyton'\nrate_hz = 1000\n")
    assert load(path).patch.rate_hz == 1000


def test_a_file_that_is_not_toml_says_where(refusal):
    assert re.match(r"not valid TOML: .*line 2.*; `rhythmd config` prints a file that is$", refusal("[patch]\nid =\n"))


def test_a_file_that_is_not_even_text_is_refused(refusal):
    assert refusal(b"\xff\xfe\x00").startswith("not valid TOML: ")


def test_an_empty_file_is_refused_since_it_tells_of_a_full_disk(refusal):
    assert refusal("\n").startswith("is empty; `rhythmd config > ")


def test_a_file_that_is_not_there_is_named_with_the_command_that_writes_one(tmp_path):
    path = tmp_path / "none.toml"
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert str(raised.value) == (
        f"{path}: No such file or directory; `rhythmd config > {path}` writes one to start from"
    )


def test_a_directory_is_not_a_configuration(tmp_path):
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path)
