"""How an engine comes up: what went wrong in a row, when that is failing, and when nobody should wait any more."""

from __future__ import annotations

import logging
import re

from springtide.domain.job import JobError
from springtide.runtime.backoff import Backoff
from springtide.worker.frames import LoadFailed

log = logging.getLogger(__name__)

FAILING_AFTER = 3  # loads in a row that went wrong: one may be bad luck, two a slow disk
SETTLED_S = 60.0  # a child that dies idle before this is counted as one that did not load
_ADDRESS = re.compile("0x[0-9a-f]+")  # of an object: another one in every process


class Starts:
    """One engine's, life after life."""

    def __init__(self, load_attempts: int) -> None:
        self.is_failing = False
        self.problem: JobError | None = None  # why the engine did not load the last time
        self.refused: LoadFailed | None = None  # what the process said of its load, in this life
        self._load_attempts = load_attempts
        self._backoff = Backoff(0.5, 60.0)
        self._failed = 0  # in a row, loads and quick deaths after them
        self._failed_loads = 0
        self._told_trace: str | None = None
        self._has_run = False

    @property
    def is_given_up(self) -> bool:
        """As long as it is not loaded."""
        return self._failed_loads >= self._load_attempts

    def next_pause_s(self) -> float:
        """Before the next one: longer each time."""
        return self._backoff.next_s() if self._failed > 1 else 0.0  # the first time at once

    def begin(self) -> None:
        """A new life."""
        self.refused = None
        self._has_run = False

    def loaded(self) -> None:
        self.is_failing, self.problem = False, None
        self._told_trace = None
        self._failed_loads = 0

    def has_run(self) -> None:
        """A run has come to its end: the process is good."""
        self._has_run = True
        self._failed = 0
        self._backoff.reset()

    def refuse(self, said: LoadFailed) -> None:
        """The process says that it does not load. In full where it is news; retries are told in one line each."""
        self.refused = said
        known = _ADDRESS.sub("0x…", said.trace or "")
        if said.trace and known != self._told_trace:
            log.error("the engine does not load:\n%s", said.trace)
        self._told_trace = known

    def died_loading(self, error: JobError) -> None:
        if self.refused is not None:
            self.fail_load(self.refused.code, self.refused.message)
        elif error.code == "load_timed_out":
            self.fail_load(error.code, error.message)
        else:
            self.fail_load("load_failed", f"{error.message} while it loaded the engine")

    def died_idle(self, error: JobError, lived_s: float) -> None:
        if not self._has_run and lived_s < SETTLED_S:
            self._fail("load_failed", f"it loaded, then its idle process died: {error.message}")
        else:
            log.warning("the engine's idle process has ended: %s", error.message)

    def fail_load(self, code: str, message: str) -> None:
        self._failed_loads += 1
        self._fail(code, message)

    def _fail(self, code: str, message: str) -> None:
        self._failed += 1
        is_config = self.refused is not None and self.refused.is_config
        self.is_failing = self.is_failing or is_config or self.is_given_up or self._failed >= FAILING_AFTER
        counts = {"failed_loads": self._failed_loads, "load_attempts": self._load_attempts}
        # Retryable: the very same job will run once the operator has mended it.
        self.problem = JobError(code=code, message=message, retryable=True, details=counts)
        log.error("the engine is not up (%d in a row): %s", self._failed, message)
