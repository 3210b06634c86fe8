"""arq: poll_delay 5 ms instead of 500 ms and 100 jobs at once, which is its best measured setting."""

from __future__ import annotations

import asyncio
import os

from arq import create_pool
from arq.connections import RedisSettings

URL = os.environ["BENCH_REDIS_URL"]
WORKER = ["-m", "arq", "app_arq.WorkerSettings"]
IN_FLIGHT = 32


async def noop(ctx: dict) -> int:
    return 1


class WorkerSettings:
    functions = (noop,)
    redis_settings = RedisSettings.from_dsn(URL)
    poll_delay = 0.005
    max_jobs = 100


class Client:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._pool = self._loop.run_until_complete(create_pool(WorkerSettings.redis_settings))

    def submit(self) -> str:
        return self._loop.run_until_complete(self._one())

    def submit_many(self, count: int) -> list[str]:
        return self._loop.run_until_complete(self._many(count))

    @staticmethod
    def result_key(job: str) -> str:
        return f"arq:result:{job}"

    async def _one(self) -> str:
        job = await self._pool.enqueue_job("noop")
        return job.job_id

    async def _many(self, count: int) -> list[str]:
        left = iter(range(count))
        found: list[str] = []

        async def lane() -> None:
            for _ in left:
                found.append(await self._one())

        await asyncio.gather(*(lane() for _ in range(IN_FLIGHT)))
        return found
