"""Celery: one prefork process, results in Redis, defaults otherwise."""

from __future__ import annotations

import os

from celery import Celery

URL = os.environ["BENCH_REDIS_URL"]
WORKER = ["-m", "celery", "-A", "app_celery", "worker", "-P", "prefork", "-c", "1", "--loglevel", "ERROR"]

app = Celery("bench", broker=URL, backend=URL)
app.conf.update(broker_connection_retry_on_startup=True)


@app.task
def noop() -> int:
    return 1


class Client:
    def submit(self) -> str:
        return noop.delay().id

    def submit_many(self, count: int) -> list[str]:
        return [self.submit() for _ in range(count)]

    @staticmethod
    def result_key(job: str) -> str:
        return f"celery-task-meta-{job}"
