"""No-op jobs from submit to done, durable, beside the job queues a user would pick instead; one worker process each.

Every round runs every system once, one at a time, each on fresh data, so that ratios compare the same minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial

from benchmarks.environments import PEERS, python_of, versions_in
from benchmarks.plan import REPOSITORY, Plan
from benchmarks.report import OURS, Goal, Report
from springtide.testing.postgres import postgres_server
from springtide.testing.servers import valkey_server

ROUND_LIMIT_S = 300.0
EVERYSEC = (
    "Valkey, append-only file, fsync each second: accepted and finished jobs survive kill -9; a power cut loses up to "
    "about a second of both"
)
PEER_TEXTS = {
    "arq": ("arq, 1 worker process, max_jobs 100, poll_delay 5 ms (default 500 ms)", EVERYSEC),
    "dramatiq": ("dramatiq, 1 worker process with 8 threads, results in Valkey", EVERYSEC),
    "huey": (
        "huey, 1 worker thread, results in Valkey",
        EVERYSEC + "; at most once: the job that runs when its worker dies is gone",
    ),
    "rq": ("rq, SimpleWorker (the default worker forks for each job), results in Valkey", EVERYSEC),
    "taskiq": ("taskiq, Redis stream with acknowledgements, 1 worker process, results in Valkey", EVERYSEC),
    "procrastinate": (
        "procrastinate, PostgreSQL, 1 worker process with concurrency 10",
        "PostgreSQL, synchronous commit: fsync before a job is accepted",
    ),
    "celery": (
        "celery, prefork -c 1, results in Valkey",
        EVERYSEC + "; acknowledged before it runs: the job that runs when its worker dies is gone",
    ),
}
SERVERS = "springtide+servers"  # PostgreSQL and Valkey instead of what is embedded
TIMES_FASTER = {"celery": 12, "rq": 12, "arq": 4, "taskiq": 4, "dramatiq": 2.5, "procrastinate": 20, "huey": 1.9}
GOALS = (
    Goal(metric="jobs_per_s", bound=4000, at_least=True, what="durable no-op jobs per second, embedded"),
    Goal(metric="done_p50_ms", bound=3, at_least=False, what="submit to done at low load, embedded, median"),
    Goal(metric="batch_submitted_per_s", bound=15_000, at_least=True, what="submitted in batches, embedded"),
    Goal(metric="jobs_per_s", bound=5000, at_least=True, system=SERVERS, what="the same on PostgreSQL and Valkey"),
    Goal(metric="ended_p50_ms", bound=5, at_least=False, system=SERVERS, what="submit to its end in Valkey, median"),
    Goal(metric="done_p50_ms", bound=15, at_least=False, system=SERVERS, what="submit to done in PostgreSQL, median"),
    *(
        Goal(
            metric="jobs_per_s",
            bound=times,
            at_least=True,
            system=SERVERS,
            over=peer,
            what=f"jobs a second over {peer}",
        )
        for peer, times in TIMES_FASTER.items()
    ),
)
NOTES = (
    "jobs_per_s: first submit to the moment at which every result is on record and readable; worker warm.",
    "done_*: submit to done seen by the client, jobs 20 ms apart. Springtide's client is told, as `Prefer: wait` is; "
    "the peers' clients look for the result key every 0.5 ms.",
    "ended_*: submit to the moment at which Valkey has the result (as the peers' clients see theirs), looked at every "
    "0.5 ms; done_* is later: by then it is in PostgreSQL too.",
    "batch_submitted_per_s: calls of 500 jobs, two in flight, before the worker starts. *_cpu_us_a_job: processor time "
    "of the parts during the throughput measurement.",
    "submitted_per_s: calls that returned. Springtide's jobs are on disk by then, the peers' in the server's memory.",
    "Clients: Springtide 512 submits in flight in the control plane's own process; arq 32 in flight; the others have "
    "no asynchronous client and submit one after the other, while their worker works.",
    "Ratios above 1 are in Springtide's favour for jobs_per_s, below 1 for latencies.",
)


def measure(plan: Plan) -> Report:
    report = Report("queue", title="No-op jobs end to end", goals=GOALS)
    report.compare = ("jobs_per_s", "done_p50_ms", "done_p99_ms")
    report.notes = list(NOTES)
    report.describe(
        OURS,
        "library, SQLite ledger and broker in the client's process, 1 worker process",
        durable="SQLite, WAL, synchronous=FULL: fsync before a job is accepted, and again before it counts as done",
    )
    report.describe(
        SERVERS,
        "library, recorder in the client's process, 1 worker process, PostgreSQL ledger, Valkey broker",
        durable="PostgreSQL, synchronous commit, before a job is accepted and before it counts as done; " + EVERYSEC,
    )
    peers = [name for name in PEER_TEXTS if plan.wants(name)]
    for name in peers:
        description, durable = PEER_TEXTS[name]
        report.describe(name, description, durable=durable)
        report.versions |= {f"{key} (with {name})": value for key, value in versions_in(python_of(name)).items()}
    for number in range(plan.rounds):
        for name in [own for own in (OURS, SERVERS) if plan.wants(own)] + peers:
            try:
                values = _RUN.get(name, partial(_peer, name=name))(plan, number=number)
            except (RuntimeError, subprocess.SubprocessError, ValueError) as error:
                report.fail(name, error)
                continue
            report.add(name, values)
            print(f"round {number + 1}: {name} {values}", file=sys.stderr, flush=True)
    return report


def _ours(plan: Plan, number: int) -> dict[str, float]:
    folder = plan.folder / f"{OURS}-{number}"
    return _driven([sys.executable, "-m", "benchmarks.drive_springtide", "--folder", str(folder)], plan, os.environ)


def _ours_with_servers(plan: Plan, number: int) -> dict[str, float]:
    folder = plan.folder / f"servers-{number}"  # short, and no "+": it becomes part of a URL and a socket
    folder.mkdir()
    command = [sys.executable, "-m", "benchmarks.drive_springtide", "--folder", str(folder / "home")]
    with valkey_server(dir=str(folder)) as valkey, postgres_server(folder, durable=True) as postgres:
        command += ["--broker", valkey.url, "--ledger", postgres.new_database()]
        command += ["--watch", f"valkey={valkey.pid}", "--watch", f"postgres={postgres.pid}"]
        return _driven(command, plan, os.environ)


def _peer(plan: Plan, number: int, name: str) -> dict[str, float]:
    folder = plan.folder / f"{name}-{number}"  # on the same disk as our own data, and empty
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        environment = {**os.environ}
        if name == "procrastinate":
            environment["BENCH_POSTGRES_URL"] = stack.enter_context(
                postgres_server(folder, durable=True)
            ).new_database()
        environment["BENCH_REDIS_URL"] = stack.enter_context(valkey_server(dir=str(folder))).url
        return _driven([str(python_of(name)), str(PEERS / "drive.py"), name], plan, environment)


_RUN: dict[str, Callable[..., dict[str, float]]] = {OURS: _ours, SERVERS: _ours_with_servers}


def _driven(command: list[str], plan: Plan, environment: os._Environ[str] | dict[str, str]) -> dict[str, float]:
    options = {"--seconds": plan.seconds, "--latency-jobs": plan.latency_jobs, "--spacing": plan.spacing_s}
    words = [text for pair in options.items() for text in map(str, pair)]
    done = subprocess.run(
        [*command, *words], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=ROUND_LIMIT_S
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[1:4]} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])
