"""What happened in a run, line by line: the evidence, and what two runs of one seed are compared by."""

from __future__ import annotations

import asyncio
import hashlib
import logging

from springtide.sim.nodes import current_name


class Trace:
    """Lines of `<virtual time> <process> <what>`. Keeps them only where somebody wants to read them."""

    def __init__(self, *, keep: bool) -> None:
        self._hash = hashlib.sha256()
        self._kept: list[str] | None = [] if keep else None
        self.lines = 0
        self.violations: list[str] = []

    def add(self, what: str, who: str | None = None) -> None:
        line = f"{asyncio.get_running_loop().time():12.6f} {who or current_name()} {what}\n"
        self._hash.update(line.encode())
        self.lines += 1
        if self._kept is not None:
            self._kept.append(line)

    def violation(self, what: str) -> None:
        """A broken promise: the run goes on, so that what follows from it can be read."""
        self.violations.append(f"{asyncio.get_running_loop().time():.6f} {current_name()}: {what}")
        self.add(f"VIOLATION {what}")

    def digest(self) -> str:
        """SHA-256 over every line so far."""
        return self._hash.hexdigest()

    def text(self) -> str:
        return "".join(self._kept or ())


class LogToTrace(logging.Handler):
    """What the product logs belongs to the trace; an exception that it did not expect is a violation."""

    def __init__(self, trace: Trace, private: str) -> None:
        """private: text that differs from run to run (a temporary folder), not to be shown."""
        super().__init__(logging.INFO)
        self._trace = trace
        self._private = private

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage().replace(self._private, "…")
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            self._trace.violation(f"unexpected {type(error).__name__} in {record.name}: {message}: {error}")
        else:
            self._trace.add(f"log {record.levelname.lower()} {message}")
