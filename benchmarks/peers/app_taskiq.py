"""taskiq on a Redis stream with acknowledgements, results in Redis; one worker process, defaults otherwise."""

from __future__ import annotations

import asyncio
import os

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

URL = os.environ["BENCH_REDIS_URL"]
WORKER = ["-m", "taskiq", "worker", "--workers", "1", "--log-level", "ERROR", "app_taskiq:broker"]
IN_FLIGHT = 32

broker = RedisStreamBroker(url=URL).with_result_backend(RedisAsyncResultBackend(redis_url=URL))


@broker.task
async def noop() -> int:
    return 1


class Client:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(broker.startup())

    def submit(self) -> str:
        return self._loop.run_until_complete(self._one())

    def submit_many(self, count: int) -> list[str]:
        return self._loop.run_until_complete(self._many(count))

    @staticmethod
    def result_key(job: str) -> str:
        return job

    async def _one(self) -> str:
        return (await noop.kiq()).task_id

    async def _many(self, count: int) -> list[str]:
        left = iter(range(count))
        found: list[str] = []

        async def lane() -> None:
            for _ in left:
                found.append(await self._one())

        await asyncio.gather(*(lane() for _ in range(IN_FLIGHT)))
        return found
