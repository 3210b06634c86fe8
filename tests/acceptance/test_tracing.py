"""One trace a job, over all processes that had a part in it, at a real collector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from springtide.domain.ids import JobId, step_id
from springtide.telemetry.trace_ids import span_id_of
from springtide.testing.collector import Collector
from springtide.testing.media_makers import video_without_sound

from .conftest import Server

pytestmark = pytest.mark.xdist_group("acceptance")
CONFIG = """
[models.thumbnail]
engine = "thumbnail"
[models.synthetic]
engine = "synthetic"
"""
WHOLE = {"accept", "job thumbnail", "queue", "cold start", "attempt 1", "download", "run", "upload", "record"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        yield made


def test_a_job_is_one_trace_from_the_callers_request_to_the_record(tmp_path: Path, collector: Collector) -> None:
    (tmp_path / "springtide.toml").write_text(CONFIG)
    server = Server(tmp_path, {"SPRINGTIDE_TELEMETRY__OTLP_ENDPOINT": collector.url})
    try:
        caller = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
        server.http.headers["traceparent"] = caller
        answer = server.submit("thumbnail", {"video": video_without_sound(tmp_path)})
        assert answer.json()["status"] == "completed", answer.text
        job = JobId(answer.json()["id"])
        found = collector.wait_for("ab" * 16, WHOLE)
        parents = {name: span.parent for name, span in found.items()}
        root, attempt = span_id_of(job), span_id_of(job, "attempt", 1)
        assert parents["job thumbnail"] == "cd" * 8
        assert {parents[name] for name in ("accept", "queue", "attempt 1", "record")} == {root}
        assert parents["cold start"] == found["queue"].span_id
        assert {parents[name] for name in ("download", "run", "upload")} == {attempt}
        whole = found["job thumbnail"]
        for name, span in found.items():
            assert span.start_ns <= span.end_ns, name
            assert span.attributes["job_id"] == job, name
            assert name == "accept" or whole.start_ns - 2e6 <= span.start_ns <= whole.end_ns, name
        order = ["queue", "download", "run", "upload", "record"]
        assert sorted(order, key=lambda name: found[name].start_ns) == order
        assert found["queue"].end_ns <= found["download"].start_ns + 2e6
        assert {found[name].role for name in ("accept", "record", "queue")} == {"gateway"}
        assert {found[name].role for name in ("download", "run", "cold start")} == {"worker thumbnail"}
        del server.http.headers["traceparent"]
        other = server.run("synthetic", seconds=0.3)
        own = collector.wait_for(other["id"].removeprefix("job_"), {"job synthetic", "run", "stage work"})
        assert own["job synthetic"].parent == ""
        assert own["stage work"].parent == own["run"].span_id
        both = {"model": "synthetic", "then": [{"model": "synthetic", "inputs": {"seconds": 0.1}}]}
        pipeline = server.finished(server.http.post("/v1/jobs", json=both).json()["id"])
        assert pipeline["status"] == "completed", pipeline
        _see_a_pipeline(JobId(pipeline["id"]), collector)
    finally:
        server.close()


def _see_a_pipeline(pipeline: JobId, collector: Collector) -> None:
    """One root, below it the pipeline's own way in and a job for each step, below those what is theirs."""
    trace = pipeline.removeprefix("job_")
    whole, step = "job synthetic > synthetic", "job synthetic"
    found = collector.wait_for_all(trace, {"accept": 1, whole: 1, step: 2, "run": 2, "record": 2})
    parents = {span.span_id: span.parent for span in found if span.name in (whole, step, "accept")}
    root = span_id_of(pipeline)
    steps = [span_id_of(step_id(pipeline, place)) for place in range(2)]
    assert parents == {root: "", **dict.fromkeys([*steps, span_id_of(pipeline, "accept")], root)}
    [around] = [span for span in found if span.span_id == root]
    # Its way in begins before it is made, and its end is written down after it: both as long as the machine is busy.
    near_ns = 2e6
    assert all(around.start_ns - near_ns <= span.start_ns for span in found if span.name != "accept")
    assert all(span.start_ns <= span.end_ns for span in found)
    assert all(span.end_ns <= around.end_ns + near_ns for span in found if span.name != "record")
