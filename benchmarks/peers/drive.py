"""One peer, one round: start its worker, measure throughput and latency, print one JSON line.

Runs in the peer's own environment: `python drive.py NAME --seconds 4 --latency-jobs 100`, the server in
$BENCH_REDIS_URL. What is timed is the same for every peer: from the first submit to the moment at which every result is
readable. The end is watched by the last job's result key (one EXISTS every 2 ms), which costs the peer next to nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

POLL_S = 0.002
LATENCY_POLL_S = 0.0005
DEADLINE_S = 120.0
FIRST_JOBS = 100
MOST_JOBS = 50_000


class Drive:
    """A client of one peer and its view of the results."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._redis = redis.Redis.from_url(os.environ["BENCH_REDIS_URL"])

    def throughput(self, count: int) -> tuple[float, float]:
        """Seconds until all are submitted, and until all results are readable."""
        began = time.perf_counter()
        jobs = self._client.submit_many(count)
        submitted = time.perf_counter() - began
        self._wait(jobs[-1], POLL_S)
        self._verify(jobs)
        return submitted, time.perf_counter() - began

    def latencies_s(self, count: int, spacing_s: float) -> list[float]:
        """Submit to result readable, one job at a time."""
        found: list[float] = []
        for _ in range(count):
            began = time.perf_counter()
            self._wait(self._client.submit(), LATENCY_POLL_S)
            found.append(time.perf_counter() - began)
            time.sleep(max(0.0, spacing_s - found[-1]))
        return found

    def _wait(self, job: str, poll_s: float) -> None:
        deadline = time.perf_counter() + DEADLINE_S
        while not self._are_done([job]):
            if time.perf_counter() > deadline:
                raise TimeoutError(f"no result of {job} within {DEADLINE_S:.0f} s")
            time.sleep(poll_s)

    def _verify(self, jobs: list[str]) -> None:
        for start in range(0, len(jobs), 500):
            chunk = jobs[start : start + 500]
            while not self._are_done(chunk):
                time.sleep(POLL_S)

    def _are_done(self, jobs: list[str]) -> bool:
        if hasattr(self._client, "are_done"):  # a peer that keeps no results in Redis
            return self._client.are_done(jobs)
        keys = [self._client.result_key(job) for job in jobs]
        in_hash = getattr(self._client, "hash_of_results", None)
        if in_hash is not None:
            return all(value is not None for value in self._redis.hmget(in_hash, keys))
        return self._redis.exists(*keys) == len(keys)


def round_of(module: Any, options: argparse.Namespace) -> dict[str, float]:
    """Warm up, find how many jobs fill the time, measure."""
    if hasattr(module.Client, "prepare"):
        module.Client.prepare()
    with worker(module.WORKER):
        drive = Drive(module.Client())
        drive.throughput(FIRST_JOBS)
        count = FIRST_JOBS
        for share in (0.25, 1.0):
            _, took = drive.throughput(count)
            count = max(FIRST_JOBS, min(MOST_JOBS, int(count / took * options.seconds * share)))
        submitted, took = drive.throughput(count)
        latencies = sorted(drive.latencies_s(options.latency_jobs, options.spacing))
    return {
        "jobs": count,
        "jobs_per_s": count / took,
        "submitted_per_s": count / submitted,
        "done_p50_ms": latencies[len(latencies) // 2] * 1e3,
        "done_p99_ms": latencies[round(0.99 * (len(latencies) - 1))] * 1e3,
    }


@contextlib.contextmanager
def worker(arguments: list[str]) -> Iterator[None]:
    """The peer's worker, in a process group of its own, which is ended whole."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=Path(__file__).parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--latency-jobs", type=int, default=100)
    parser.add_argument("--spacing", type=float, default=0.02)
    options = parser.parse_args()
    values = round_of(importlib.import_module(f"app_{options.name}"), options)
    print(json.dumps(values))


if __name__ == "__main__":
    main()
