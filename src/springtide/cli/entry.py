"""Where the `springtide` command begins. `springtide up` alone needs no parser: 4 MB held for as long as it runs."""

from __future__ import annotations

import sys


def main() -> None:
    if sys.argv[1:] == ["up"]:
        from springtide.cli.up import main as run
    else:
        from springtide.cli.main import main as run
    run()
