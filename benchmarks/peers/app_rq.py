"""RQ: SimpleWorker, which runs jobs in its own process; the default forks for each job and is ten times slower."""

from __future__ import annotations

import os

from noop import noop
from redis import Redis
from rq import Queue

URL = os.environ["BENCH_REDIS_URL"]
WORKER = ["-m", "rq.cli", "worker", "--url", URL, "--worker-class", "rq.SimpleWorker", "--quiet"]


class Client:
    def __init__(self) -> None:
        self._queue = Queue(connection=Redis.from_url(URL))

    def submit(self) -> str:
        return self._queue.enqueue(noop).id

    def submit_many(self, count: int) -> list[str]:
        return [self.submit() for _ in range(count)]

    @staticmethod
    def result_key(job: str) -> str:
        return f"rq:results:{job}"
