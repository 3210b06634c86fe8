"""procrastinate on PostgreSQL with synchronous commit; one worker process, 10 jobs at once.

A job has no result: done is its row's status.
"""

from __future__ import annotations

import asyncio
import os

import procrastinate
import psycopg

URL = os.environ["BENCH_POSTGRES_URL"]
WORKER = ["-m", "procrastinate", "--app", "app_procrastinate.app", "worker", "--concurrency", "10"]
IN_FLIGHT = 32

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=URL, min_size=4, max_size=16))


@app.task
async def noop() -> int:
    return 1


class Client:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(app.open_async())
        self._looks = psycopg.connect(URL, autocommit=True)

    @staticmethod
    def prepare() -> None:
        """Make the tables, before the worker starts."""
        connector = procrastinate.SyncPsycopgConnector(conninfo=URL)
        with procrastinate.App(connector=connector).open() as setup:
            setup.schema_manager.apply_schema()

    def submit(self) -> str:
        return self._loop.run_until_complete(self._one())

    def submit_many(self, count: int) -> list[str]:
        return self._loop.run_until_complete(self._many(count))

    def are_done(self, jobs: list[str]) -> bool:
        query = "SELECT count(*) FROM procrastinate_jobs WHERE id = ANY(%s) AND status = 'succeeded'"
        found = self._looks.execute(query, ([int(job) for job in jobs],)).fetchone()
        return found is not None and found[0] == len(jobs)

    async def _one(self) -> str:
        return str(await noop.defer_async())

    async def _many(self, count: int) -> list[str]:
        left = iter(range(count))
        found: list[str] = []

        async def lane() -> None:
            for _ in left:
                found.append(await self._one())

        await asyncio.gather(*(lane() for _ in range(IN_FLIGHT)))
        return found
