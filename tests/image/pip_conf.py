"""What an image build must know of this machine's pip: prints a pip.conf, and copies the certificate bundle.

An index behind a password or a private certificate authority works here because pip is set up for it; a build starts
without that. Paths on this machine mean nothing in there and are left out.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

KEPT = {"default-timeout", "extra-index-url", "index-url", "no-index", "proxy", "retries", "timeout", "trusted-host"}
CERT_IN_BUILD = "/run/secrets/ca_bundle"


def pip_settings() -> dict[str, str]:
    """Key to value, as pip itself merges files and environment; the later line wins, as it does there."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, text=True, check=False
    ).stdout
    found = {}
    for line in listed.splitlines():
        name, value = line.split("=", 1)
        found[name.rpartition(".")[2]] = str(ast.literal_eval(value))
    return found


def main(ca_bundle: Path) -> None:
    settings = pip_settings()
    print("[global]")
    for key in sorted(KEPT & settings.keys()):
        usable = [word for word in settings[key].split() if not word.startswith(("/", "file:"))]
        if usable:
            print(f"{key} = {' '.join(usable)}")
    certificate = settings.get("cert") or os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE")
    if certificate:
        shutil.copyfile(certificate, ca_bundle)
        print(f"cert = {CERT_IN_BUILD}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
