"""`rhythmd` with an engine that never answers once /run/rehearsal/hang is there: what a broken driver would do."""

import sys
import threading
from pathlib import Path

import daemon.engine
from rhythmd.cli import main

infer = daemon.engine.Engine.infer


def hangs_when_told(*given):
    if Path("/run/rehearsal/hang").exists():
        threading.Event().wait()
    return infer(*given)


daemon.engine.Engine.infer = hangs_when_told
sys.exit(main(sys.argv[1:]))
