"""Processes that use a ledger, for tests that need more than one of them or must kill one.

python -m springtide.testing.ledger_processes start URL     waits for a line on stdin, then starts and stops a ledger
python -m springtide.testing.ledger_processes insert URL    inserts jobs for ever; prints each id once `insert` returned
python -m springtide.testing.ledger_processes insert URL aside    the same, and a process of its own writes
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

from springtide.ledger.sql import SqlLedger
from springtide.ledger.writing import Writing
from springtide.runtime.ids import new_job_id
from springtide.testing.ledger_cases import job

CALLERS = 16


def ledger_process(what: str, url: str, *how: str) -> subprocess.Popen[str]:
    """Start one of the processes above. The caller ends it."""
    command = [sys.executable, "-m", __name__, what, url, *how]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def start_at_once(url: str, count: int) -> list[int]:
    """Exit codes of `count` processes that start a ledger on `url` at the same moment."""
    processes = [ledger_process("start", url) for _ in range(count)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()  # all imports are done
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
    return [process.returncode for process in processes]


async def _start(ledger: SqlLedger) -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    await ledger.start()
    await ledger.stop()


async def _insert(ledger: SqlLedger) -> None:
    async def caller() -> None:
        while True:
            (result,) = await ledger.insert([job(0, id=new_job_id())])
            sys.stdout.write(result.job.id + "\n")
            sys.stdout.flush()

    await ledger.start()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))


if __name__ == "__main__":
    _, what, url, *how = sys.argv
    aside = Writing(url, busy_per_s=0.0, window_s=0.0) if how == ["aside"] else None
    asyncio.run({"start": _start, "insert": _insert}[what](SqlLedger(url, aside=aside)))
