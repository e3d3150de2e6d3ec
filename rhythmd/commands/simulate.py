"""Pretend to be a patch: play a recording, or a simulated patient, through a pty into whatever opens it.

RECORD is any WFDB record, as a path without suffix, or `shipped` for the one that rhythmd brings along (AHA 0201).
Without a record, --patient describes what a synthetic patient's heart does, for example
    rhythmd simulate --patient "sinus 60, pvc 30, af 60 @120, vt 10, vf 8, asystole 6"
Playing begins when something opens the port (Cyton and BITalino: when it sends the start command), stands still while
nobody has it open, and ends when the reader has read everything.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.links import LINKS
from rhythmd import patient, recording
from rhythmd.player import Fate, Faults, Player, Span, excerpt
from rhythmd.pty_port import play
from rhythmd.recording import Recording


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "What a simulated patient can do (NAME SECONDS [@VALUE], separated by commas):\n" + patient.vocabulary()
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("record", metavar="RECORD", nargs="?", help="a WFDB record without suffix, or `shipped`")
    what.add_argument("--patient", metavar="SCRIPT", type=_script, help="play a synthetic patient; see below")
    parser.add_argument("--lead", help="name or index of the record's lead (default: its first ECG lead)")
    parser.add_argument("--start", metavar="S", type=_not_negative, default=0.0, help="where in the record to begin")
    parser.add_argument(
        "--duration", metavar="S", type=_not_negative, help="how much of it to play (default: to its end)"
    )
    parser.add_argument("--loop", action="store_true", help="play it again and again")
    parser.add_argument("--link", choices=sorted(LINKS), default="rhythmd", help="wire format (default: %(default)s)")
    parser.add_argument("--pty", metavar="PATH", type=_port_path, help="make PATH a symbolic link to the port")
    parser.add_argument(
        "--speed", metavar="X", type=_speed, default=1.0, help="times real time; 0: as fast as the reader reads"
    )
    parser.add_argument("--drop", metavar="P", type=_probability, default=0.0, help="probability that a frame is lost")
    parser.add_argument(
        "--corrupt", metavar="P", type=_probability, default=0.0, help="probability that a frame has a damaged bit"
    )
    for option, what_happens in (("--lead-off", "the electrode hangs in the air"), ("--unplug", "the port is gone")):
        parser.add_argument(
            option,
            metavar="AT:FOR",
            type=_span,
            action="append",
            default=[],
            help=f"{what_happens} AT seconds after the start, FOR seconds long; may be given several times",
        )
    parser.add_argument("--rate-bpm", metavar="BPM", type=_rate, default=70.0, help="the patient's sinus rate (70)")
    parser.add_argument(
        "--noise", metavar="UV", type=_not_negative, default=10.0, help="the patient's noise, uV RMS (10)"
    )
    parser.add_argument("--seed", metavar="N", type=_seed, default=0, help="of every random choice (0)")


def run(args: argparse.Namespace) -> int:
    played, faults = _what_to_play(args)
    played = excerpt(played, args.start, args.duration)
    player = Player(played, args.link, faults, seed=args.seed, loop=args.loop)

    def say(port: str) -> None:
        length = "for ever" if args.loop else f"{player.duration_s:.1f} s"
        speed = f"at {args.speed:g} times real time" if args.speed else "as fast as it is read"
        what = f"{played.name}, lead {played.lead}, {length}, {speed}"
        link = "" if args.link == "rhythmd" else f" --link {args.link}"
        print(f"{what}, on {port}; read it with: rhythmd run --port {port}{link}", flush=True)

    try:
        with _sigterm_as_interrupt(), _progress(player, played.name, shown=not args.loop) as progress:
            fates = play(player, args.pty, speed=args.speed, plugged_in=say, progress=progress)
    except KeyboardInterrupt:
        print(f"{played.name}: stopped", flush=True)
    else:
        print(f"{played.name}: played; frames: {_summary(fates)}", flush=True)
    return 0


def _what_to_play(args: argparse.Namespace) -> tuple[Recording, Faults]:
    lead_off = tuple(args.lead_off)
    if args.patient:
        simulated = patient.make(args.patient, args.seed, rate_bpm=args.rate_bpm, noise_uv=args.noise)
        played = simulated.recording
        lead_off += tuple(
            Span(segment.start_s - args.start, segment.end_s - segment.start_s)
            for segment in simulated.segments
            if segment.name == "lead_off"
        )
    else:
        played = recording.read(args.record, args.lead)
    return played, Faults(drop=args.drop, corrupt=args.corrupt, lead_off=lead_off, unplug=tuple(args.unplug))


def _summary(fates: Counter[Fate]) -> str:
    return ", ".join(f"{fates[fate]} {fate.value}" for fate in Fate if fates[fate])


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress(player: Player, name: str, *, shown: bool) -> Iterator[Callable[[float], None]]:
    """A bar on a terminal where tqdm is installed, otherwise nothing."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda _due_s: None
        return
    with tqdm(desc=name, total=round(player.duration_s), unit="s", disable=None if shown else True) as bar:
        yield lambda due_s: bar.update(int(due_s) - bar.n)


def _script(text: str) -> str:
    try:
        patient.parse(text)
    except patient.ScriptError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _port_path(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path.parent} is not a folder; make it first")
    if not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path.parent} may not be written to; choose another folder")
    stale = path.is_symlink() and str(path.readlink()).startswith("/dev/pts/")
    if not stale and (path.exists() or path.is_symlink()):
        raise argparse.ArgumentTypeError(f"{path} exists already; give a path that is free")
    return path


def _span(text: str) -> Span:
    match = re.fullmatch(r"(\d+(?:\.\d*)?):(\d+(?:\.\d*)?)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not AT:FOR in seconds, such as 60:2.5")
    return Span(float(match[1]), float(match[2]))


def _number(text: str, least: float, most: float, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")
    return value


def _probability(text: str) -> float:
    return _number(text, 0.0, 1.0, "a probability from 0 to 1")


def _not_negative(text: str) -> float:
    return _number(text, 0.0, 1e9, "a number of at least 0")


def _speed(text: str) -> float:
    return _number(text, 0.0, 1e6, "a speed: 1 is real time, 0 as fast as it is read")


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def _rate(text: str) -> float:
    return _number(text, 20.0, 300.0, "a rate from 20 to 300 bpm")
