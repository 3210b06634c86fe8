"""Huey: one thread, results in Redis. At most once: a job that was running when its worker died is gone."""

from __future__ import annotations

import os

from huey import RedisHuey

URL = os.environ["BENCH_REDIS_URL"]
WORKER = ["-m", "huey.bin.huey_consumer", "app_huey.huey", "-w", "1", "-k", "thread", "-q"]

huey = RedisHuey("bench", url=URL)


@huey.task()
def noop() -> int:
    return 1


class Client:
    hash_of_results = huey.storage.result_key  # results are fields of one hash

    def submit(self) -> str:
        return noop().id

    def submit_many(self, count: int) -> list[str]:
        return [self.submit() for _ in range(count)]

    @staticmethod
    def result_key(job: str) -> str:
        return job
