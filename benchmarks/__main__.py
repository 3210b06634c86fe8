"""`python -m benchmarks [name ...] [--quick]`: run benchmarks one after the other and write results/<name>.json."""

from __future__ import annotations

import argparse
import importlib
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.machine import machine, versions
from benchmarks.plan import FOLDER, Plan, quick_plan
from benchmarks.report import Report, table, write

NAMES = (
    "queue",
    "broker",
    "http",
    "entrance",
    "sync",
    "fanout",
    "human",
    "matting",
    "restore",
    "screen",
    "speech",
    "startup",
    "life",
    "upload",
    "elasticity",
)
RESULTS = FOLDER / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 where every benchmark gave figures, else 1. A missed goal is on record, not an error."""
    options = _parser().parse_args(arguments)
    given = sys.argv[1:] if arguments is None else list(arguments)
    # Where the record is written is no part of what was measured, and names a folder of this machine.
    at = given.index("--results") if "--results" in given else len(given)
    command = shlex.join(["python", "-m", "benchmarks", *given[:at], *given[at + 2 :]])
    work = FOLDER / ".work"  # beside the code: a temporary folder may be in memory, where an fsync is free
    work.mkdir(exist_ok=True)
    failed = False
    for name in options.names or NAMES:
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=work))
        folder.chmod(0o711)  # a PostgreSQL started by root runs as somebody else, and must get to its own folder
        try:
            failed |= not run(name, _plan(options, folder), command=command, results=options.results)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return int(failed)


def run(name: str, plan: Plan, *, command: str, results: Path) -> bool:
    """Run one benchmark, write and print its record. False where it met problems."""
    facts = machine(plan.folder)
    report: Report = importlib.import_module(f"benchmarks.{name}").measure(plan)
    report.versions = {**versions(), **report.versions}
    shown = {key: value for key, value in msgspec.to_builtins(plan, enc_hook=str).items() if key != "folder"}
    document = report.document(plan=shown, machine=facts, command=command)
    write(document, results / f"{name}.json")
    print(table(document), flush=True)
    return not report.problems


def _plan(options: argparse.Namespace, folder: Path) -> Plan:
    plan = quick_plan(folder) if options.quick else Plan(folder=folder)
    given = {"rounds": options.rounds, "seconds": options.seconds, "only": tuple(options.only or ()) or None}
    return msgspec.structs.replace(plan, **{key: value for key, value in given.items() if value is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="name", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it works, not how fast")
    parser.add_argument("--rounds", type=int, help="interleaved rounds")
    parser.add_argument("--seconds", type=float, help="aimed length of one throughput measurement")
    parser.add_argument("--only", action="append", help="run only this system (repeatable), such as springtide")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
