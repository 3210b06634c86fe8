"""Workers of a server on this machine, to be killed: only below the process that the caller names, only by its id."""

from __future__ import annotations

import contextlib
from random import Random

import psutil


class LocalWorkers:
    """The worker processes below one `springtide up`. SIGKILL: a worker that is asked to leave would finish its job."""

    def __init__(self, root_pid: int, *, seed: int = 1) -> None:
        self._root_pid = root_pid
        self._chance = Random(seed)  # noqa: S311 - which worker dies can be repeated, no secret

    def count(self) -> int:
        """Workers that are up."""
        return len(self._workers())

    def kill(self) -> str | None:
        """Kill one by its id; says which. None where none is up."""
        workers = self._workers()
        if not workers:
            return None
        one = self._chance.choice(workers)
        with contextlib.suppress(psutil.NoSuchProcess):
            what = _model(one)
            one.kill()
            return f"worker of {what}, process {one.pid}"
        return None

    def _workers(self) -> list[psutil.Process]:
        try:
            below = psutil.Process(self._root_pid).children()
        except psutil.NoSuchProcess:
            return []
        found: list[psutil.Process] = []
        for one in below:
            with contextlib.suppress(psutil.Error):
                if "springtide" in (words := one.cmdline()) and words[words.index("springtide") + 1] == "worker":
                    found.append(one)
        return sorted(found, key=lambda one: one.pid)


def _model(process: psutil.Process) -> str:
    words = process.cmdline()
    return next((words[at + 1] for at, word in enumerate(words) if word in ("--model", "--pool")), "?")
