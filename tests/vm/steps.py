"""The steps, in their order: install as the notes say, look, listen, then do to it what happens to machines."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from time import monotonic, sleep

from daemon.app import find_model
from daemon.config import Config
from daemon.messages import Alert, Clock, Status
from daemon.reporting import TimeLine, alert_message
from engines.backend import open_backend
from rhythmd import patient
from rhythmd.analysis import analyze
from rhythmd.player import Player, excerpt, on_the_wire
from rhythmd.recording import Recording, shipped
from rhythmd.subscriber import Received
from tests.running import caught_up
from tests.vm import notes
from tests.vm.machine import GUEST_ADDRESS, GUEST_PORT
from tests.vm.rehearsal import PATIENCE_S, Rehearsal, forget, is_alert, is_status, read_access

GUEST = Path(__file__).parent / "guest"
DROP_IN = "/etc/systemd/system/rhythmd.service.d"
CONFIG = "/etc/rhythmd/rhythmd.toml"
LETHAL = "sinus 15, couplet 30, vt 10, sinus 8, vf 10, sinus 8, asystole 8, sinus 15"
REPLUGS, CUTS = 3, 3
EXPOSURE_AT_MOST = 1.7


def boots(on: Rehearsal) -> str:
    on.machine.boot()
    asked = "uname -r; systemctl --version | head -1; python3 --version; . /etc/os-release; echo $PRETTY_NAME"
    kernel, systemd, python, system = on.machine.run(asked).splitlines()
    return f"{system}, Linux {kernel}, {systemd}, {python}"


def is_installed_as_the_notes_say(on: Rehearsal) -> str:
    # All that is not as installed: an emulated processor takes a minute or two to import numpy, scipy and ONNX Runtime,
    # and a while for the window that it is at when it is told to stop.
    on.machine.write(f"{DROP_IN}/emulated.conf", "[Service]\nTimeoutStartSec=900\nTimeoutStopSec=300\n")
    on.machine.run("mkdir /root/rhythmd && tar -xf /dev/vdb -C /root/rhythmd")
    on.machine.run(f"set -e; cd /root/rhythmd\n{notes.install()}")
    version = on.machine.run(
        "/opt/rhythmd/bin/python -c 'import onnxruntime as o, zmq; print(o.__version__, zmq.__version__)'"
    )
    return "its commands as they stand there; onnxruntime {}, pyzmq {}".format(*version.split())


def is_active_once_it_is_ready(on: Rehearsal) -> str:
    state, sort, restarts = on.service("ActiveState", "Type", "NRestarts")
    assert (state, sort, restarts) == ("active", "notify", "0"), (state, sort, restarts)
    began_us, ready_us = map(int, on.service("ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic"))
    assert " ready: " in on.journal()
    memory, tasks = on.service("MemoryCurrent", "TasksCurrent")
    return (
        f"active {(ready_us - began_us) / 1e6:.0f} s after its process began; "
        f"{int(memory) / 2**20:.0f} MB with files, {tasks} tasks"
    )


def names_the_patch(on: Rehearsal) -> str:
    device = on.machine.run("readlink -f /dev/ecg/patch0")
    group = on.machine.run(f"stat -c %G {device}")
    properties = on.machine.run(f"udevadm info --query=property {device}").splitlines()
    assert (device, group) == ("/dev/ttyUSB0", "dialout"), (device, group)
    assert "ID_MM_DEVICE_IGNORE=1" in properties
    assert on.machine.run("systemctl is-active dev-ecg-patch0.device") == "active"
    assert "/dev/ecg/patch0 is open" in on.journal()
    (model,) = (each for each in properties if each.startswith("ID_MODEL="))
    return f"/dev/ecg/patch0 is {device} ({model}), group {group}; the daemon has it open"


def lets_the_daemon_work_and_no_more(on: Rehearsal) -> str:
    """In the unit's own sandbox, with another program in place of the daemon."""
    lines = on.machine.run("systemd-analyze security rhythmd --no-pager").splitlines()
    (exposure,) = (float(number) for number in re.findall(r"rhythmd.service: ([\d.]+) ", lines[-1]))
    on.machine.write("/run/rehearsal/probe.py", (GUEST / "probe.py").read_text())
    on.machine.run(
        "systemctl stop rhythmd\n"
        "sed -e 's|^ExecStart=.*|ExecStart=/opt/rhythmd/bin/python /run/rehearsal/probe.py|' "
        "-e 's/^Type=.*/Type=oneshot/' -e '/^Restart/d' -e '/^Watchdog/d' "
        "/etc/systemd/system/rhythmd.service > /run/systemd/system/probe.service\n"
        "systemctl daemon-reload && systemctl start probe"
    )
    found = json.loads(on.machine.run("journalctl -b -u probe -o cat --no-pager | grep unwanted"))
    on.machine.run("rm -f /var/lib/rhythmd/probe /var/cache/rhythmd/probe; systemctl start rhythmd")
    refused = {name: why for name, (let, why) in found["needed"].items() if not let}
    let_in = [name for name, (let, _) in found["unwanted"].items() if let]
    assert not refused, f"the daemon needs it: {refused}"
    assert not let_in, f"let: {let_in}"
    assert exposure <= EXPOSURE_AT_MOST, lines
    return (
        f"`systemd-analyze security rhythmd`: **{exposure}**; {len(found['needed'])} things that the daemon needs "
        f"were let, {len(found['unwanted'])} that it does not were refused: {', '.join(found['unwanted'])}"
    )


def lets_others_listen_with_a_key(on: Rehearsal) -> str:
    """The section of the notes on other machines; the host is one, behind QEMU's gateway."""
    on.machine.run(f"set -e\n{notes.let_others_listen()}")
    on.machine.run(
        f"""sed -i -e 's|^keys = ""|keys = "/etc/rhythmd/keys"|' """
        f"""-e 's|^bind = \\[|bind = ["tcp://{GUEST_ADDRESS}:{GUEST_PORT}", |' {CONFIG}"""
    )
    on.machine.write(f"{DROP_IN}/override.conf", "[Service]\nIPAddressAllow=10.0.2.0/24\n")
    on.machine.run("systemctl daemon-reload && systemctl restart rhythmd")
    with on.subscriber(topics=("status",)) as stranger:
        assert stranger.receive(10.0) is None, "a stranger was told"
    on.access = read_access(on.machine.run("cat /etc/rhythmd/keys/ward-3.json"))
    with on.subscriber() as subscriber:
        on.wait_for(subscriber, is_status(port="open"))
    return "with the key the host hears `status` through the forwarded port; without, nothing in 10 s"


def tells_what_analyze_finds(on: Rehearsal) -> str:
    recording = patient.make(LETHAL, seed=1).recording
    expected = found_on_the_host(recording)
    heard: dict[str, Alert] = {}

    def silent_again(one: Received) -> bool:
        """And not before the first sample."""
        return is_alert("signal_lost", "open")(one) and one.message.onset_sample > recording.samples // 2

    with on.subscriber(since=0) as subscriber:
        on.wait_for(subscriber, is_status(port="open"))
        with on.worn(Player(recording, "rhythmd"), patient=True) as wearer:
            wearer.wait()
            all_sent_s = monotonic()
            for one in on.until(subscriber, silent_again):
                if isinstance(one.message, Alert) and one.message.category == "physiological":
                    heard[one.message.id] = one.message
            late_s = monotonic() - all_sent_s
        status = on.wait_for(subscriber, is_status(silent=True)).message
    told = sorted(map(essence, heard.values()))
    assert told == expected, f"told {told}, analyze has {expected}"
    assert isinstance(status, Status)
    assert (status.link.lost_samples, status.link.skipped_bytes) == (0, 0), status
    kinds = Counter(alert.kind for alert in heard.values())
    return (
        f"{len(told)} alerts ({', '.join(f'{kind} {count}' for kind, count in sorted(kinds.items()))}) of "
        f"{recording.samples / recording.rate_hz:.0f} s of a simulated patient in real time: equal to `analyze`'s "
        f"on the host in kind, samples and evidence; {status.link.samples} samples, none lost; "
        f"silence told {late_s:.1f} s after the last"
    )


def found_on_the_host(recording: Recording) -> list[tuple]:
    """By what `rhythmd analyze` runs."""
    model, wire = find_model(Config().engine.model), on_the_wire(recording, "rhythmd")
    with open_backend("onnxruntime", model) as backend:
        found = analyze(wire, backend, model.manifest.heads, Config().alerts)
    line = TimeLine(wire.rate_hz, wire.begins)
    alerts = (alert_message(one, patch="", seq=0, line=line) for one in found.alerts)
    return sorted(essence(alert) for alert in alerts if alert.category == "physiological")


def essence(alert: Alert) -> tuple:
    """What must be equal; probabilities to a hundredth, for two processors may round the network's sums otherwise."""
    evidence = {name: round(value, 2) if name == "probability" else value for name, value in alert.evidence.items()}
    return alert.kind, alert.onset_sample, alert.raised_sample, alert.end_sample or -1, tuple(sorted(evidence.items()))


def comes_back_when_plugged_in_again(on: Rehearsal) -> str:
    gone_s, back_s, restarts = [], [], on.service("NRestarts")
    with (
        on.subscriber() as subscriber,
        on.worn(Player(patient.make("sinus 60", 1).recording, "rhythmd", loop=True)) as wearer,
    ):
        before = on.wait_for(subscriber, is_status(port="open", silent=False)).message
        for _ in range(REPLUGS):
            at_s, wearer.plugged = monotonic(), False
            on.machine.unplug()
            on.wait_for(subscriber, is_alert("patch_lost", "open"))
            gone_s.append(monotonic() - at_s)
            assert on.machine.run("ls /dev/ecg 2>/dev/null", check=False) == ""
            at_s, wearer.plugged = monotonic(), True
            on.machine.plug_in()
            on.wait_for(subscriber, is_alert("patch_lost", "closed"))
            on.wait_for(subscriber, is_status(port="open", silent=False))
            back_s.append(monotonic() - at_s)
        after = on.wait_for(subscriber, is_status(port="open", silent=False, quality="good")).message
        verdict = on.machine.run("rhythmd status", check=False)
    assert isinstance(before, Status)
    assert isinstance(after, Status)
    assert after.link.connections == before.link.connections + REPLUGS, (before, after)
    assert on.service("NRestarts") == restarts
    return (
        f"{REPLUGS} times: `patch_lost` told {max(gone_s):.1f} s after the plug was drawn at most, samples again "
        f"{max(back_s):.1f} s after it was back; no restart; `rhythmd status` there: {' / '.join(verdict.splitlines())}"
    )


def is_started_again_when_a_room_hangs(on: Rehearsal) -> str:
    on.machine.write("/run/rehearsal/hangs.py", (GUEST / "hangs.py").read_text())
    command = f"/opt/rhythmd/bin/python /run/rehearsal/hangs.py run --config {CONFIG}"
    on.machine.write(f"{DROP_IN}/hangs.conf", f"[Service]\nExecStart=\nExecStart={command}\n")
    try:
        on.machine.run("systemctl daemon-reload && systemctl restart rhythmd")
        restarted_s, watching_s = _hang(on)
    finally:
        on.machine.run(f"rm {DROP_IN}/hangs.conf; systemctl daemon-reload && systemctl restart rhythmd")
    return (
        f"an engine that never answers: where it hangs in the journal, watchdog, SIGABRT, started again after "
        f"{restarted_s:.0f} s, good signal again after {watching_s:.0f} s"
    )


def _hang(on: Rehearsal) -> tuple[float, float]:
    player = Player(patient.make("sinus 60", 1).recording, "rhythmd", loop=True)
    with on.subscriber() as subscriber, on.worn(player):
        on.wait_for(subscriber, is_status(port="open", silent=False, quality="good"))
        at_s = monotonic()
        (before,) = on.service("NRestarts")
        on.machine.run(
            "touch /run/rehearsal/hang\n"
            f"while [ $(systemctl show rhythmd -P NRestarts) = {before} ]; do sleep 0.5; done\n"
            "rm /run/rehearsal/hang"
        )
        restarted_s = monotonic() - at_s
        forget(subscriber)
        on.wait_for(subscriber, is_status(port="open", silent=False, quality="good"))
        watching_s = monotonic() - at_s
    journal = on.journal()
    assert "Watchdog timeout" in journal
    hung, _, _ = journal.partition("Watchdog timeout")
    assert "judge has been at one thing" in hung
    assert "in hangs_when_told" in hung
    return restarted_s, watching_s


def loses_no_alert_to_a_power_cut(on: Rehearsal) -> str:
    """QEMU killed, the same disk booted again. The guest's page cache is gone, as are its processes."""
    many_alerts(on)
    chance, told, boots_s = random.Random(5), {}, []
    for cut in range(1, CUTS + 1):
        with on.subscriber(since=0) as subscriber, on.worn(recorded()):
            left = chance.randint(1, 4)
            while left:
                one = on.wait_for(subscriber, lambda one: isinstance(one.message, Alert)).message
                assert isinstance(one, Alert)
                left -= one.serial not in told
                told[one.serial] = one
            sleep(chance.choice([0.0, 0.0, chance.uniform(0, 0.05)]))
            on.machine.cut_power()
            for one in iter(lambda: subscriber.receive(1.0), None):  # what was on its way
                if isinstance(one.message, Alert):
                    told[one.message.serial] = one.message
        at_s = monotonic()
        on.machine.boot()
        with on.subscriber(topics=("status",)) as subscriber:
            status = on.wait_for(subscriber, is_status(port="open")).message
            assert isinstance(status, Status)
            assert status.storage == "", status.storage
        boots_s.append(monotonic() - at_s)
        print(
            f"  power cut {cut} of {CUTS}: {len(told)} messages heard so far, back after {boots_s[-1]:.0f} s",
            flush=True,
        )
    with on.subscriber(since=0) as subscriber:
        kept = [one.message for one in caught_up(subscriber, PATIENCE_S) if isinstance(one.message, Alert)]
    by_serial = {alert.serial: alert for alert in kept}
    assert len(by_serial) == len(kept)
    lost = [alert for serial, alert in told.items() if by_serial.get(serial) != alert]
    assert not lost, lost
    states = {alert.id: alert for alert in kept}
    interrupted = sum(alert.ended_by == "interrupted" for alert in states.values())
    assert on.machine.run("ls /var/lib/rhythmd/*.broken-* 2>/dev/null", check=False) == ""
    return (
        f"{CUTS} times, up to 50 ms after an alert was heard: of {len(told)} messages heard before, 0 lost, 0 changed, "
        f"0 twice; {interrupted} alerts closed as interrupted; heard again {max(boots_s):.0f} s after power was "
        "back at most"
    )


def many_alerts(on: Rehearsal) -> None:
    """An alert every few seconds of the recording that comes along."""
    settings = {
        "ventricular_couplet": {"action": '"alarm"'},
        "frequent_pvc": {"per_minute": "2"},
        "pause": {"rr_s": "1.0"},
    }
    for kind, values in settings.items():
        for key, value in values.items():
            on.machine.run(f"sed -i '/^\\[alerts.{kind}\\]/,/^\\[/ s|^{key} = .*|{key} = {value}|' {CONFIG}")
    on.machine.run("systemctl restart rhythmd")


def recorded() -> Player:
    return Player(excerpt(shipped(), 300, 180), "rhythmd", loop=True)


def goes_on_while_the_disk_is_full(on: Rehearsal) -> str:
    """As full as it gets for all but root; on ext4 a twentieth is kept for that one."""
    with on.subscriber(since=0) as subscriber, on.worn(recorded()):
        received = on.until(subscriber, is_status(port="open", quality="good"))
        on.machine.run("fallocate -l $(df --output=avail -B1 / | tail -1) /filler")
        left = on.machine.run("df --output=avail -B1 / | tail -1")
        at_s = monotonic()
        received += on.until(subscriber, is_alert("storage_failing", "open"))
        opened_s = monotonic() - at_s
        while sum(isinstance(one.message, Alert) for one in received) < 6:
            received += on.until(subscriber, lambda one: isinstance(one.message, Alert))
        on.machine.run("rm /filler")
        at_s = monotonic()
        received += on.until(subscriber, is_alert("storage_failing", "closed"))
        closed_s = monotonic() - at_s
    told = [one.message for one in received if isinstance(one.message, Alert)]
    on.machine.run("systemctl restart rhythmd")
    with on.subscriber(since=0) as late:
        on.wait_for(late, is_status(port="open"))
    with on.subscriber(since=0) as late:
        kept = {
            one.message.serial: one.message for one in caught_up(late, PATIENCE_S) if isinstance(one.message, Alert)
        }
    lost = [alert for alert in told if kept.get(alert.serial) != alert]
    assert not lost, lost
    journal = on.journal()
    counts = [journal.count(words) for words in ("alerts cannot be stored", "alerts are stored again")]
    assert counts == [1, 1], counts
    return (
        f"{left} bytes left: `storage_failing` told {opened_s:.0f} s later, alerts went on; closed {closed_s:.1f} s "
        f"after there was room; all {len(told)} told were there after a restart"
    )


def keeps_its_samples_when_the_clock_is_set(on: Rehearsal) -> str:
    steps = []
    with on.subscriber(since=None) as subscriber, on.worn(recorded()):
        before = on.wait_for(subscriber, is_status(port="open", silent=False, quality="good")).message
        for step_s in (3600, -7200):
            on.machine.run(f"date -s '{step_s:+d} seconds'")
            clock = on.wait_for(
                subscriber, lambda one: isinstance(one.message, Clock) and one.message.why == "stepped"
            ).message
            assert isinstance(clock, Clock)
            assert abs(clock.by_s - step_s) < 5.0, clock
            steps.append(clock.by_s)
        later = lambda one: isinstance(one.message, Status) and one.message.sample > before.sample  # noqa: E731
        after = on.wait_for(subscriber, later).message
        alert = on.wait_for(
            subscriber, lambda one: isinstance(one.message, Alert) and one.message.state == "open"
        ).message
    assert isinstance(before, Status)
    assert isinstance(after, Status)
    assert isinstance(alert, Alert)
    assert after.link.connections == before.link.connections, (before, after)
    assert after.link.lost_samples == before.link.lost_samples, (before, after)
    off_s = (alert.utc - clock.utc).total_seconds() - (alert.sample - clock.sample) / clock.rate_hz
    assert abs(off_s) < 0.01, off_s
    on.machine.run("date -s '+3600 seconds'")
    return (
        f"`clock` told a step of {' and of '.join(f'{by_s:+.1f} s' for by_s in steps)}; samples ran on from "
        f"{before.sample} to {after.sample} without a loss; the next alert's UTC is by the new clock"
    )


def has_companions(on: Rehearsal) -> str:
    """The page and the recorder, each in a sandbox and with a user of its own."""
    exposures = {}
    with on.subscriber(since=None) as subscriber, on.worn(recorded()):
        on.wait_for(subscriber, is_status(port="open", silent=False, quality="good"))
        for unit, commands in notes.companions().items():
            on.machine.write(f"/etc/systemd/system/{unit}.service.d/emulated.conf", "[Service]\nTimeoutStartSec=900\n")
            on.machine.run(f"set -e; cd /root/rhythmd\n{commands}")
            line = on.machine.run(f"systemd-analyze security {unit} --no-pager").splitlines()[-1]
            exposures[unit] = re.findall(r"service: ([\d.]+) ", line)[0]
        on.machine.write("/root/look.py", (GUEST / "look.py").read_text())
        first = on.machine.run("/opt/rhythmd/bin/python /root/look.py")
        on.wait_for(subscriber, lambda one: isinstance(one.message, Alert) and one.message.state == "open")
        on.machine.run("until ls /var/lib/rhythmd-recorder/strips/*.json; do sleep 1; done")
    for unit in exposures:
        assert on.machine.run(f"systemctl show {unit} -P NRestarts -P ActiveState").split() == ["0", "active"], unit
    assert first == "event: hello", first
    found = ", ".join(f"{unit} ({exposure})" for unit, exposure in exposures.items())
    return f"active, by their own notes, with the exposure of each: {found}; the page streams, an alert has its strip"


def goes_as_the_notes_say(on: Rehearsal) -> str:
    on.machine.run(f"set -e\n{notes.uninstall()}")
    left = on.machine.run(
        "getent passwd rhythmd; ls -d /opt/rhythmd /etc/rhythmd* /var/*/rhythmd* /var/*/private/rhythmd* /run/rhythmd* "
        "/etc/systemd/system/rhythmd* "
        "/etc/systemd/system/*/rhythmd* /etc/udev/rules.d/70-rhythmd* /etc/sysusers.d/rhythmd* 2>/dev/null",
        check=False,
    )
    assert left == "", left
    return "no file, user or unit is left"


NEEDED_BY_ALL = ("boots", "is installed as the notes say", "lets others listen with a key")
STEPS = {
    function.__name__.replace("_", " "): function
    for function in (
        boots,
        is_installed_as_the_notes_say,
        is_active_once_it_is_ready,
        names_the_patch,
        lets_the_daemon_work_and_no_more,
        lets_others_listen_with_a_key,
        tells_what_analyze_finds,
        comes_back_when_plugged_in_again,
        is_started_again_when_a_room_hangs,
        loses_no_alert_to_a_power_cut,
        goes_on_while_the_disk_is_full,
        keeps_its_samples_when_the_clock_is_set,
        has_companions,
        goes_as_the_notes_say,
    )
}
