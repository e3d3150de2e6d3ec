"""The command line: `rhythmd COMMAND`. Here only what all commands share."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from importlib import import_module

COMMANDS = {  # name -> what the list says of it; the module rhythmd.commands.<name> is imported only when asked for
    "demo": "see it work: a real recording and a simulated patient, through the real daemon",
    "run": "the daemon: read the patch, judge every beat, publish alerts",
    "listen": "follow what a daemon publishes",
    "record": "keep a strip around every alert on disk, or everything",
    "export": "what was recorded, as WFDB, EDF+, CSV, PNG, PDF or FHIR",
    "report": "a recording, or what was recorded, as a page for a clinician",
    "status": "how a daemon is, in one screen; its exit code says whether it watches",
    "ack": "acknowledge or silence alarms",
    "monitor": "the live page: the heart in a browser, alarms answered there",
    "notify": "tell people of alerts: SMS, push, mail, chat",
    "bridge": "publish alerts, status and strips to an MQTT broker",
    "analyze": "the same judgement of recordings, as fast as the machine goes",
    "evaluate": "score it on recordings whose truth is known, by the rules of EC57",
    "simulate": "play a recording or a simulated patient through a pty, as a patch would",
    "keys": "who may listen from another machine",
    "doctor": "what is wrong with this machine, and what to do",
    "config": "print the configuration file, which is its own manual",
    "engine": "build and look at TensorRT engines",
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; 0 when all went well, 1 when it failed, 2 when the user can mend it."""
    # Before anything imports numpy: the detector's matrices are so small that a second thread only triples the cost.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(
        prog="rhythmd",
        description="Reads single-lead ECG from a serial patch and publishes arrhythmia alerts. Not a medical device.",
        epilog="\n".join(["commands:", *(f"  {name:<10} {text}" for name, text in COMMANDS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"rhythmd {_version()}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="`rhythmd COMMAND --help` says more")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    try:
        return _run(chosen.command, chosen.arguments)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130


def _run(name: str, arguments: list[str]) -> int:
    interrupted = signal.signal(signal.SIGINT, signal.SIG_DFL)  # in an import the exception may be lost
    try:
        from daemon.config import ConfigError
        from daemon.port import PortError
        from engines.errors import EngineError
        from rhythmd.recording import RecordError

        module = import_module(f"rhythmd.commands.{name}")
        parser = argparse.ArgumentParser(
            prog=f"rhythmd {name}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(parser)
        parsed = parser.parse_args(arguments)
    finally:
        signal.signal(signal.SIGINT, interrupted)
    try:
        return int(module.run(parsed))
    except (ConfigError, EngineError, PortError, RecordError) as error:
        print(f"rhythmd: {error}", file=sys.stderr)
        return 2


def _version() -> str:
    from rhythmd import __version__

    return __version__
