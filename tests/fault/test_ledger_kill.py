"""The promise of `insert`, held against kill -9."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from springtide.domain.ids import JobId
from springtide.ledger.sql import SqlLedger
from springtide.testing.ledger_processes import ledger_process


@pytest.mark.parametrize("how", [[], ["aside"]], ids=["one process", "with a writer"])
async def test_every_job_whose_insert_returned_is_there_after_kill_9(tmp_path: Path, how: list[str]) -> None:
    path = tmp_path / "ledger.db"
    printed: list[JobId] = []
    for _ in range(2):  # the second process starts on what the first one's death left behind
        process = ledger_process("insert", f"sqlite:///{path}", *how)
        assert process.stdout is not None
        printed += [JobId(process.stdout.readline().strip()) for _ in range(300)]
        process.kill()  # in the middle of its inserts
        rest, _ = process.communicate(timeout=240)
        printed += [JobId(line) for line in rest.split("\n")[:-1]]
    ledger = SqlLedger(f"sqlite:///{path}")
    await ledger.start()
    found = await ledger.get(printed)
    await ledger.stop()
    assert len(printed) >= 600
    assert [job for job, row in zip(printed, found, strict=True) if row is None] == []
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
