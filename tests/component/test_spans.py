"""What becomes of a job's spans where it did not go straight, and where nobody takes them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from gateway_world import gateway_world
from test_openai_routes import ENGINES

from springtide.controller.spans import tell_job
from springtide.domain.errors import ConfigError
from springtide.domain.ids import DEFAULT_TENANT, JobId, ModelName, WorkerId, job_in_batch, step_id
from springtide.domain.job import Job, JobError, JobStatus, Priority
from springtide.domain.lease import Lease, Outcome
from springtide.ledger.protocol import Attempt
from springtide.telemetry import tracing
from springtide.telemetry.settings import TelemetrySettings
from springtide.telemetry.trace_ids import span_id_of
from springtide.testing.collector import Collector
from springtide.worker.phases import Phases

NOW_S = 1_800_000_000.0
M = ModelName("m")
JOB = JobId("job_01a203ec4e5074a9909aa24061e56b00")
LOST = JobError(code="worker_lost", message="The worker stopped answering.", retryable=True)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        tracing.begin("controller", TelemetrySettings(otlp_endpoint=made.url))
        yield made
        tracing.end()


def job(name: JobId = JOB, **changed: object) -> Job:
    made = Job(
        id=name,
        tenant=DEFAULT_TENANT,
        model=M,
        model_version="1",
        status=JobStatus.COMPLETED,
        inputs={},
        input_files=(),
        priority=Priority.STANDARD,
        max_attempts=3,
        timeout_s=9,
        predicted_s=1,
        created_at_s=NOW_S,
    )
    return msgspec.structs.replace(made, **changed)


def outcome(name: JobId = JOB, **changed: object) -> Outcome:
    made = Outcome(
        seq="1",
        id=name,
        model=M,
        status=JobStatus.COMPLETED,
        attempt=1,
        finished_at_s=NOW_S + 9,
        started_at_s=NOW_S + 7,
        worker=WorkerId("w-2"),
    )
    return msgspec.structs.replace(made, **changed)


def test_a_lost_attempt_and_the_waits_around_it_are_told_by_the_record(collector: Collector) -> None:
    lost = Attempt(job=JOB, attempt=1, worker="w-1", started_at_s=NOW_S + 2, finished_at_s=NOW_S + 5, error=LOST)
    tell_job(job(), outcome(attempt=2), [lost], NOW_S + 9.1)
    tracing.end()
    found = collector.wait_for(JOB.removeprefix("job_"), {"job m", "attempt 1", "attempt 2", "record"})
    assert found["attempt 1"].error == LOST.message and not found["attempt 2"].error and not found["job m"].error
    assert found["attempt 1"].attributes["worker"] == "w-1"
    assert found["queue"].start_ns == int((NOW_S + 5) * 1e9), "the second wait begins where the first attempt ended"
    assert found["job m"].attributes["attempts"] == 2


def test_a_job_that_never_ran_is_a_wait_and_a_step_hangs_below_its_pipeline(collector: Collector) -> None:
    step = step_id(JOB, 1)
    tell_job(job(), outcome(status=JobStatus.EXPIRED, attempt=0, started_at_s=None), [], NOW_S + 9)
    tell_job(job(step), outcome(step), [], NOW_S + 9)
    tracing.end()
    found = collector.wait_for(JOB.removeprefix("job_"), {"job m", "queue", "attempt 1"})
    assert found["job m"].parent in ("", span_id_of(JOB))
    assert found["attempt 1"].parent == span_id_of(step)


async def test_the_way_in_is_told_of_every_way_in(collector: Collector, tmp_path: Path) -> None:
    no_op = {"model": "synthetic", "inputs": {}}
    async with gateway_world(tmp_path, engines=ENGINES) as world:
        alone = (await world.http.post("/v1/jobs", json=no_op)).json()["id"]
        batch = (await world.http.post("/v1/jobs/batches", json={"jobs": [no_op, no_op]})).json()["id"]
        film = (await world.http.post("/v1/videos", json={"prompt": "pan"})).json()["id"]
        await world.http.post(f"/v1/jobs/{alone}/cancel")
        await world.record()
        again = (await world.http.post(f"/v1/jobs/{alone}/retry")).json()["id"]
    for name in (alone, job_in_batch(batch, 0), job_in_batch(batch, 1), film, again):
        found = collector.wait_for(name.removeprefix("job_"), {"accept"})
        assert found["accept"].parent == span_id_of(JobId(name)), name
        assert found["accept"].start_ns < found["accept"].end_ns


def test_stages_lie_in_their_run_and_a_start_in_its_wait(collector: Collector) -> None:
    lease = Lease(
        id=JOB,
        model=M,
        tenant=DEFAULT_TENANT,
        worker=WorkerId("w-1"),
        attempt=1,
        max_attempts=3,
        payload=b"",
        timeout_s=9,
        enqueued_at_s=NOW_S,
    )
    phases = Phases(lease, None, NOW_S + 5)
    phases.waited_for_start(NOW_S - 9, NOW_S + 4)
    phases.waited_for_start(NOW_S - 9, NOW_S - 1)  # it was ready before the job came: no part of its wait
    for name, at_s in (("cut", 6.0), ("cut", 7.0), ("mark", 8.0)):
        phases.at_stage(name, NOW_S + at_s)
    phases.over("run", NOW_S + 9, error="out of memory")
    tracing.end()
    found = collector.wait_for(JOB.removeprefix("job_"), {"cold start", "stage cut", "stage mark", "run"})
    assert (found["cold start"].start_ns, found["cold start"].parent) == (int(NOW_S * 1e9), span_id_of(JOB, "queue", 1))
    assert {found[name].parent for name in ("stage cut", "stage mark")} == {found["run"].span_id}
    assert found["stage cut"].end_ns == found["stage mark"].start_ns
    assert found["run"].error == "out of memory"


def test_what_the_caller_does_not_sample_is_not_told(collector: Collector) -> None:
    quiet = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-00"
    tell_job(job(traceparent=quiet), outcome(), [], NOW_S + 9)
    tell_job(job(), outcome(), [], NOW_S + 9)
    tracing.end()
    collector.wait_for(JOB.removeprefix("job_"), {"record"})
    with pytest.raises(AssertionError):
        collector.wait_for("ab" * 16, {"record"}, timeout_s=0.0)
    assert tracing.handed_on(JOB, quiet) == quiet, "off, what a caller sent is handed on as it came"


def test_those_who_are_called_for_a_job_hang_below_it(collector: Collector) -> None:
    assert tracing.handed_on(JOB, None) == f"00-{JOB.removeprefix('job_')}-{span_id_of(JOB)}-01"
    tracing.end()
    assert tracing.handed_on(JOB, None) is None


def test_without_an_endpoint_nothing_of_opentelemetry_is_loaded() -> None:
    program = (
        "import sys; import springtide.cli.worker_main, springtide.cli.gateway_main, springtide.worker.service;"
        "import springtide.gateway.app; from springtide.telemetry import tracing, settings;"
        "tracing.begin('x', settings.TelemetrySettings()); assert not tracing.is_on();"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_extra_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"springtide\[tracing\]"):
        tracing.begin("gateway", TelemetrySettings(otlp_endpoint="http://127.0.0.1:9"))
