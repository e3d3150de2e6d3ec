"""See it work, in two parts: a recording and a simulated patient are played, faster than real time, through a serial
port (a pty) into the real daemon, and a subscriber prints the alerts that it receives.

1. AHA sample record 0201: 35 minutes with 114 ventricular beats, which cardiologists annotated. How many beats the
   daemon found and named rightly is counted by the rules of ANSI/AAMI EC57 at the end.
2. A synthetic patient: atrial fibrillation, ventricular tachycardia and fibrillation, asystole, a lead that falls off.
3. With --page the live page stays open on another such patient, in real time, until Ctrl-C.
"""

from __future__ import annotations

import argparse
import socket
import sys

from daemon.messages import Alert, Beat
from ec57 import bxb
from ec57.annotations import Annotations
from rhythmd import patient, rehearsal
from rhythmd.commands import monitor
from rhythmd.commands.listen import in_words
from rhythmd.player import Faults, Player, Span
from rhythmd.recording import shipped, shipped_beats
from rhythmd.subscriber import Received

SCRIPT = "sinus 15, af 60, sinus 15, vt 10, sinus 8, vf 8, asystole 8, sinus 21"
PAGE_SCRIPT = "sinus 30, pvc 40, af 60, sinus 20, vt 12, sinus 25, vf 9, asystole 8, sinus 30, lead_off 10, sinus 20"
LEAD_OFF = Span(at_s=131.0, for_s=8.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--speed", type=float, default=120.0, help="times real time (default: %(default)g)")
    parser.add_argument("--page", action="store_true", help="then keep the live page open, until Ctrl-C")
    parser.add_argument("--model", help="another model than the shipped one")


def run(args: argparse.Namespace) -> int:
    settings = f'engine.model = "{args.model}"\n' if args.model else ""
    try:
        recording = shipped()
        _title(
            f"1. {recording.name}, AHA database sample by way of PhysioNet (ODC-By 1.0), at {args.speed:g} x real time"
        )
        with rehearsal.daemon(settings) as running:
            received = rehearsal.rehearse(running, Player(recording, "rhythmd"), speed=args.speed, heard=_show)
        _score(received)
        speed = min(args.speed, 10.0)
        _title(f"2. A synthetic patient, not a person, at {speed:g} x real time: {SCRIPT}")
        simulated = patient.make(SCRIPT, seed=1)
        faults = Faults(lead_off=(LEAD_OFF,))
        with rehearsal.daemon(settings) as running:
            player = Player(simulated.recording, "rhythmd", faults)
            received = rehearsal.rehearse(running, player, speed=speed, heard=_show)
    except rehearsal.RehearsalError as error:
        print(f"rhythmd demo: {error}", file=sys.stderr)
        return 1
    kinds = sorted({one.message.kind for one in received if isinstance(one.message, Alert)})
    print(f"\nKinds of alerts received: {', '.join(kinds)}")
    print("Next: `rhythmd simulate --help`, `rhythmd run --help`, docs/overview.md. Not a medical device.")
    if args.page:
        return show_page(settings)
    print(f"See it in a browser: `DEMO_PAGE=1 make demo` keeps http://127.0.0.1:{monitor.PORT}/ open.")
    return 0


def show_page(settings: str) -> int:
    """The live page of a patient who goes through everything, again and again."""
    _title("3. The live page of another synthetic patient, in real time")
    player = Player(patient.make(PAGE_SCRIPT, seed=2).recording, "rhythmd", loop=True)
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", monitor.PORT)) == 0
    parser = argparse.ArgumentParser()
    monitor.add_arguments(parser)
    with rehearsal.daemon(settings) as running, rehearsal.worn(player, running.port):
        port = 0 if taken else monitor.PORT
        return monitor.run(parser.parse_args([f"--port={port}", f"--connect={running.address}"]))


def _title(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def _show(received: Received) -> None:
    if isinstance(received.message, Alert):
        print(in_words(received), flush=True)


def _score(received: list[Received]) -> None:
    beats = sorted((one.message.sample, one.message.beat) for one in received if isinstance(one.message, Beat))
    recording, (samples, symbols) = shipped(), shipped_beats()
    found = Annotations.of([sample for sample, _ in beats], [beat for _, beat in beats])
    truth = Annotations.of(samples, symbols)
    score = bxb.compare(truth, found, fs=recording.rate_hz, length=len(recording.counts))
    print(f"\nAgainst the recording's {len(samples)} annotated beats (EC57: within 150 ms, after the first 5 minutes):")
    for name, ratio in score.statistics().items():
        if ratio.whole and name != "VEB FPR":
            print(f"  {name:<8} {ratio.percent:6.2f} %   {ratio.part:g} of {ratio.whole:g}")
