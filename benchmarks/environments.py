"""Each peer in a virtual environment of its own, made when it is first wanted: their needs contradict one another."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.plan import FOLDER

PEERS = FOLDER / "peers"
ENVIRONMENTS = FOLDER / ".peers"


def python_of(peer: str) -> Path:
    """The interpreter of `peer`'s environment, created or renewed where its requirements have changed."""
    requirements = PEERS / "requirements" / f"{peer}.txt"
    folder = ENVIRONMENTS / peer
    python = folder / "bin" / "python"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    stamp = folder / "requirements.sha256"
    if stamp.exists() and stamp.read_text() == digest and python.exists():
        return python
    print(f"making an environment for {peer} ...", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]
    subprocess.run(pip, check=True)
    stamp.write_text(digest)
    return python


def versions_in(python: Path) -> dict[str, str]:
    """Every package of an environment with its version."""
    listing = [python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    found = json.loads(subprocess.run(listing, check=True, capture_output=True, text=True).stdout)
    return {item["name"]: item["version"] for item in found if item["name"] not in {"pip", "setuptools"}}
