"""The ledger's contract where a process of its own writes, and what becomes of writes when that process fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import make_url

from springtide.domain.errors import InvalidInput, OutcomeUnknown
from springtide.domain.job import Job, JobStatus
from springtide.ledger.protocol import Ledger
from springtide.ledger.sql import SqlLedger
from springtide.ledger.writing import MOST_REFUSED, Writing
from springtide.testing.ledger_cases import ACME, NOW_S, Reopen, job, outcome
from springtide.testing.ledger_processes import ledger_process
from springtide.testing.ledger_suite import LedgerSuite

DIES_UNHEARD = """
import os
from springtide.ledger import writer
answer = writer.answer
def answer_and_die(*given):
    answer(*given)
    os._exit(9)
writer.answer = answer_and_die
writer.main()
"""
REFUSES = """
from springtide.ledger import writer
writer.answer = lambda *given: []
writer.main()
"""
LIMIT_S = 60.0
GROUPS = 30
GROUP = 20
DAY = int(NOW_S // 86_400)


class Written:
    """A ledger with what decides about its writer."""

    def __init__(self, url: str, **settings: Any) -> None:
        given: dict[str, Any] = {"busy_per_s": 0.0, "window_s": 0.0, **settings}
        self.writing = Writing(url, **given)
        self.ledger = SqlLedger(url, aside=self.writing)

    async def writer(self) -> psutil.Process:
        """Once it can be asked. Writes nothing, but often."""
        async with asyncio.timeout(LIMIT_S):
            while self.writing.pid is None:
                await self.ledger.drop_blobs([])
                await asyncio.sleep(0.01)
        return psutil.Process(self.writing.pid)

    async def until_gone(self, writer: psutil.Process) -> None:
        async with asyncio.timeout(LIMIT_S):
            while writer.is_running():
                await asyncio.sleep(0.01)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'folder with spaces' / 'ledger.db'}"


@pytest.fixture
async def opened() -> AsyncIterator[list[Written]]:
    opened: list[Written] = []
    yield opened
    for written in opened:
        await written.ledger.stop()


async def start(url: str, opened: list[Written], **settings: Any) -> Written:
    written = Written(url, **settings)
    await written.ledger.start()
    opened.append(written)
    return written


@pytest.fixture
async def written(url: str, opened: list[Written]) -> Written:
    return await start(url, opened)


class TestWithAWriter(LedgerSuite):
    """Nothing is different."""

    @pytest.fixture
    async def ledger(self, written: Written) -> Ledger:
        await written.writer()
        return written.ledger

    @pytest.fixture
    async def reopen(self, url: str, opened: list[Written]) -> Reopen:
        async def again() -> Ledger:
            await opened.pop().ledger.stop()
            written = await start(url, opened)
            await written.writer()
            return written.ledger

        return again


def writers(url: str) -> list[psutil.Process]:
    """Of the ledger there, among all that this process has begun."""
    found: list[psutil.Process] = []
    for each in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if each.status() != psutil.STATUS_ZOMBIE and url in each.cmdline():
                found.append(each)
    return found


def jobs(group: int, count: int = GROUP) -> list[Job]:
    return [job(group * 1000 + n, input_files=()) for n in range(count)]


async def test_the_writer_does_what_it_is_asked_for(written: Written) -> None:
    writer = await written.writer()
    before = writer.cpu_times().user
    for group in range(GROUPS):
        assert all(each.is_new for each in await written.ledger.insert(jobs(group)))
    assert writer.cpu_times().user > before


async def test_few_writes_need_no_writer(url: str, opened: list[Written]) -> None:
    written = await start(url, opened, busy_per_s=1e9)
    for group in range(GROUPS):
        await written.ledger.insert(jobs(group))
    assert written.writing.pid is None
    assert not writers(url)


async def test_one_that_has_little_to_do_is_ended_and_another_one_begun(url: str, opened: list[Written]) -> None:
    written = await start(url, opened, idle_s=0.2)
    first = await written.writer()
    await written.until_gone(first)
    await written.ledger.insert(jobs(0))
    second = await written.writer()  # at once: it did not fail
    assert second.pid != first.pid
    assert len(await written.ledger.get([each.id for each in jobs(0)])) == GROUP


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_nothing_is_lost_or_counted_twice_when_it_dies_or_stands_still(
    url: str, opened: list[Written], number: signal.Signals
) -> None:
    written = await start(url, opened, answer_s=1.0)
    ledger = written.ledger
    new: list[bool] = []
    ended: list[bool] = []

    async def one(group: int) -> None:
        new.extend(each.is_new for each in await ledger.insert(jobs(group)))
        ended.extend(await ledger.record([outcome(each, JobStatus.COMPLETED) for each in jobs(group)]))

    for turn in range(3):
        writer = await written.writer()
        groups = [asyncio.create_task(one(turn * GROUPS + group)) for group in range(GROUPS)]
        await asyncio.sleep(0.005 * turn)  # in the middle, each time at another place
        writer.send_signal(number)
        await asyncio.gather(*groups)
        await written.until_gone(writer)
    assert new == ended == [True] * (3 * GROUPS * GROUP)
    every = [each.id for group in range(3 * GROUPS) for each in jobs(group)]
    assert {each.status for each in await ledger.get(every) if each} == {JobStatus.COMPLETED}
    (used,) = await ledger.usage.used(ACME, since_day=0, until_day=DAY * 2)
    assert used.completed == len(every)


async def test_what_it_did_before_it_died_is_answered_as_done(url: str, opened: list[Written]) -> None:
    written = await start(url, opened, command=[sys.executable, "-c", DIES_UNHEARD])
    first, second = jobs(0), jobs(1)
    await written.ledger.insert(second)
    await written.writer()
    assert all(each.is_new for each in await written.ledger.insert(first))
    await written.writer()
    ends = [outcome(each, JobStatus.COMPLETED) for each in second]
    assert await written.ledger.record(ends) == [True] * GROUP
    assert await written.ledger.record(ends) == [False] * GROUP  # and no end is told twice


async def test_what_may_be_on_record_is_not_told_as_refused(url: str, opened: list[Written]) -> None:
    """It did it, died, and then another process has the file."""
    written = await start(url, opened, command=[sys.executable, "-c", DIES_UNHEARD])
    await written.writer()
    await written.ledger._database.write(lambda on: on.exec_driver_sql("PRAGMA busy_timeout = 100").close())  # type: ignore[attr-defined]
    inserting = asyncio.create_task(written.ledger.insert(jobs(0)))
    with contextlib.closing(sqlite3.connect(make_url(url).database or "")) as other:
        other.execute("PRAGMA busy_timeout = 10000")
        async with asyncio.timeout(LIMIT_S):
            while not other.execute("SELECT count(*) FROM jobs").fetchone()[0]:
                await asyncio.sleep(0)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutcomeUnknown, match="locked"):
            await inserting
        other.rollback()


async def test_one_that_does_nothing_is_given_up(
    url: str, opened: list[Written], caplog: pytest.LogCaptureFixture
) -> None:
    """Its code is another version's, say."""
    written = await start(url, opened, command=[sys.executable, "-c", REFUSES])
    groups = 0
    async with asyncio.timeout(LIMIT_S):
        while "the ledger's writer ended" not in caplog.text:
            await written.writer()
            assert all(each.is_new for each in await written.ledger.insert(jobs(groups)))
            groups += 1
    assert groups >= MOST_REFUSED


async def test_a_writer_of_another_version_is_not_asked(url: str, opened: list[Written]) -> None:
    other = "import springtide; springtide.__version__ = '0.0.0'; from springtide.ledger.writer import main; main()"
    written = await start(url, opened, command=[sys.executable, "-c", other])
    for group in range(GROUPS):
        await written.ledger.insert(jobs(group))
        await asyncio.sleep(0.05)
        assert written.writing.pid is None


async def test_long_inputs_are_written_where_they_are(written: Written) -> None:
    writer = await written.writer()
    most = psutil.Process(writer.pid).memory_info().rss
    long = [job(n, inputs={"note": "x" * 300_000}, input_files=()) for n in range(GROUP)]
    assert all(each.is_new for each in await written.ledger.insert(long))
    assert psutil.Process(writer.pid).memory_info().rss < most + 3_000_000


async def test_a_write_that_the_database_refuses_fails_alone(written: Written) -> None:
    await written.writer()
    good, bad = jobs(0), job(7, model_version="\ud800", input_files=())  # half of a pair: no text
    results = await asyncio.gather(written.ledger.insert(good), written.ledger.insert([bad]), return_exceptions=True)
    assert isinstance(results[1], InvalidInput)
    assert all(each is not None for each in await written.ledger.get([each.id for each in good]))


async def test_a_job_that_is_known_comes_back_as_it_is_on_record(written: Written) -> None:
    await written.writer()
    first = job(1, idempotency_key="once", fingerprint="a", input_files=())
    await written.ledger.insert([first])
    again = job(2, idempotency_key="once", fingerprint="b", input_files=())
    (found,) = await written.ledger.insert([again])
    assert not found.is_new
    assert found.job == first


async def test_a_writer_that_cannot_begin_is_done_without(
    url: str, opened: list[Written], caplog: pytest.LogCaptureFixture
) -> None:
    for command in (["/nonexistent/python"], [sys.executable, "-c", "raise SystemExit(3)"]):
        caplog.clear()
        written = await start(url, opened, command=command)
        for _ in range(3):
            await written.ledger.ask_cancel(job(1).id, NOW_S)
        async with asyncio.timeout(LIMIT_S):
            while "the ledger's writer ended" not in caplog.text:
                await asyncio.sleep(0.01)
        await written.ledger.insert(jobs(1))  # and it is not tried again at once
        assert written.writing.pid is None
        await opened.pop().ledger.stop()


async def test_stopping_while_it_begins_leaves_nothing(url: str, opened: list[Written]) -> None:
    written = await start(url, opened)
    await written.ledger.insert(jobs(0))
    await opened.pop().ledger.stop()
    assert not writers(url)


async def test_it_ends_with_its_owner_however_that_went(url: str) -> None:
    owner = ledger_process("insert", url, "aside")
    try:
        assert owner.stdout is not None
        writer = None
        async with asyncio.timeout(LIMIT_S):
            while writer is None:
                await asyncio.to_thread(owner.stdout.readline)
                writer = next(iter(psutil.Process(owner.pid).children()), None)
    finally:
        os.kill(owner.pid, signal.SIGKILL)
        owner.communicate(timeout=LIMIT_S)
    with contextlib.suppress(psutil.NoSuchProcess):
        writer.wait(LIMIT_S)
    assert not writer.is_running()
