"""What an engine costs on this machine: how long it loads and runs, and the memory it takes, tried in its own process.

The process is new, so nothing that was loaded before makes the figures better; it ends with the trial, whatever the
engine does. What it finds is kept as JSON beside the ledger, and counts only for the same engine, version and settings.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

FILE = "checks.json"
SLOW_START = 2.0  # a first run this many times a later one should have been made by load()
NOTICED_S = 0.2  # below it nobody would notice
TEXT_MAX = 500


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What one trial of one model found. Seconds and 10^6 bytes; None where it did not get so far."""

    engine: str
    version: str = ""
    settings: str = ""  # fingerprint
    at_s: float = 0.0
    processors: int = 0
    import_s: float | None = None  # of the modules that workers have imported before a child starts
    load_s: float | None = None
    first_run_s: float | None = None
    run_s: float | None = None  # median of those after the first
    estimated_s: float | None = None  # what `estimate` says of the same job
    loaded_memory_mb: float | None = None
    peak_memory_mb: float | None = None
    problem: str | None = None

    @property
    def starts_slowly(self) -> bool:
        """Whether the first job waits for what `load` should have done."""
        first, later = self.first_run_s, self.run_s
        return first is not None and later is not None and first > SLOW_START * later and first - later > NOTICED_S

    def is_of(self, engine: str, settings: Mapping[str, Any]) -> bool:
        """Whether it was this engine with these settings that was tried."""
        return (self.engine, self.settings) == (engine, fingerprint(settings))


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the trial's process is told."""

    engine: str
    settings: dict[str, Any]
    weights_folder: str
    runs_within_s: float


def try_engine(
    reference: str, settings: Mapping[str, Any], weights_folder: Path, *, runs_within_s: float, timeout_s: float
) -> Trial:
    """Load the engine in a new process and run its example, again while `runs_within_s` are not over (at least twice).

    Never raises for what the engine does: `problem` says it, with the figures found until then lost.
    """
    order = Order(
        engine=reference, settings=dict(settings), weights_folder=str(weights_folder), runs_within_s=runs_within_s
    )
    command = [sys.executable, "-m", "springtide.engines.trial_main"]
    try:
        done = subprocess.run(
            command, input=msgspec.json.encode(order), capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return Trial(engine=reference, problem=f"did not load and run within {timeout_s:.0f} s")
    try:
        return msgspec.json.decode(done.stdout, type=Trial)
    except msgspec.MsgspecError:
        told = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return Trial(
            engine=reference, problem=f"{_how(done.returncode)}{': ' if told else ''}{''.join(told)}"[:TEXT_MAX]
        )


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Equal for equal settings."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def kept_trials(folder: Path) -> dict[str, Trial]:
    """By model, what was found when they were tried last; nothing where the file is absent or cannot be read."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=dict[str, Trial])
    except (OSError, msgspec.MsgspecError):
        return {}


def trial_of(
    trials: Mapping[str, Trial], model: str, *, engine: str, version: str, settings: Mapping[str, Any]
) -> Trial | None:
    """What is known of this model as it is configured now."""
    found = trials.get(model)
    return found if found is not None and found.version == version and found.is_of(engine, settings) else None


def keep_trials(folder: Path, trials: Mapping[str, Trial]) -> None:
    """Add these to what is kept. Raises OSError where the folder cannot be written."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{FILE}.{os.getpid()}"
    try:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode({**kept_trials(folder), **trials}), indent=1))
        partial.replace(folder / FILE)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _how(code: int) -> str:
    if code == -9:
        return "its process was killed, as the system does where memory runs out"
    return f"its process ended with {f'signal {-code}' if code < 0 else code}"
