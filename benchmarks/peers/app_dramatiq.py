"""Dramatiq: one process with 8 threads, results in Redis so that a client can see the end."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

URL = os.environ["BENCH_REDIS_URL"]
WORKER = ["-m", "dramatiq", "app_dramatiq", "--processes", "1", "--threads", "8"]

backend = RedisBackend(url=URL)
broker = RedisBroker(url=URL)
broker.add_middleware(Results(backend=backend))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def noop() -> int:
    return 1


class Client:
    def submit(self) -> str:
        return backend.build_message_key(noop.send())

    def submit_many(self, count: int) -> list[str]:
        return [self.submit() for _ in range(count)]

    @staticmethod
    def result_key(job: str) -> str:
        return job
