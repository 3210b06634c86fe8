"""From what a load test saw to figures, verdicts and the page."""

from __future__ import annotations

import msgspec
import pytest

from springtide.loadtest.expecting import judged, read_expectations
from springtide.loadtest.figures import busy, figures, percentiles
from springtide.loadtest.page import Result, page, span
from springtide.loadtest.record import Entry, Failure, Growth, Kill, Look, Run, Submit
from springtide.loadtest.scenarios import Lane, Plan, Scenario

PLAN = Plan(scenario=Scenario.FAILOVER, lanes=(Lane(model="synthetic"),), rate=1.0, seconds=10.0, kills=1)


def entry(number: int, created_s: float, started_s: float, finished_s: float, **more: object) -> Entry:
    given = {"status": "completed", "attempt": 1, "used_s": finished_s - started_s, **more}
    times = {"created_s": created_s, "started_s": started_s, "finished_s": finished_s}
    return msgspec.convert({"job": f"job_{number}", "lane": 0, **times, **given}, Entry)


def look(at_s: float, ready: int, queued: int = 0) -> Look:
    return Look(at_s=at_s, model="synthetic", queued=queued, running=1, ready=ready, busy=0, starting=0, draining=0)


def submit(number: int, at_s: float, *failures: Failure, accepted: bool = True) -> Submit:
    job = f"job_{number}" if accepted else None
    return Submit(lane=0, due_s=at_s, sent_s=at_s, answered_s=at_s + 0.01, job=job, failures=failures)


def run(**changed: object) -> Run:
    """Four jobs: one is refused, one is hit by a kill at 4 s, one fails. Two workers, one of them killed."""
    given = {
        "began_at_s": 1e9,
        "span_s": 10.0,
        "submits": (
            submit(1, 0.0),
            submit(2, 1.0, Failure(1.2, "unreachable", again=True)),
            submit(3, 2.0),
            submit(4, 3.0, Failure(3.0, "queue_full", again=False), accepted=False),
        ),
        "looks": (look(0, 2), look(1, 2, queued=3), look(4.5, 1), look(6, 1), look(7, 2), look(10, 2)),
        "kills": (Kill(at_s=4.0, what="worker of synthetic, process 7", workers=2),),
        "entries": (
            entry(1, 0.0, 0.0, 2.0),
            entry(2, 1.0, 5.5, 8.0, attempt=2),
            entry(3, 2.0, 2.0, 3.0, status="failed", error="engine_failed"),
        ),
        "missing": (),
        "growth": (Growth(at_s=1, model="synthetic", before=1, replicas=2, reason="queue", message="2 <wait>"),),
    }
    return Run(**{**given, **changed})  # pyright: ignore[reportArgumentType] - what a test changes


def test_counts_add_up_and_nothing_is_counted_twice() -> None:
    found = figures(PLAN, run(), planned=4)
    assert (found.submitted, found.accepted, found.refused, found.repeated) == (4, 3, 1, 1)
    assert (found.completed, found.failed, found.unfinished, found.lost) == (2, 1, 0, 0)
    assert found.problems == {"unreachable": 1, "queue_full": 1}
    assert found.errors == {"engine_failed": 1}
    assert found.success == 0.5
    assert found.peak_queue == 3
    assert found.throughput == pytest.approx(2 / 8.0)
    assert found.latency.max == 7.0
    assert found.wait.max == 4.5


def test_a_job_that_is_not_on_record_is_lost_whatever_else_went_well() -> None:
    lossy = figures(PLAN, run(missing=("job_9",)), planned=4)
    assert lossy.lost == 1
    assert "1 WERE LOST" in page(_result(lossy, run(missing=("job_9",))))
    assert not _result(lossy, run()).kept


def test_recovery_is_until_the_hit_jobs_run_again_and_the_workers_are_back() -> None:
    found = figures(PLAN, run(), planned=4)
    [one] = found.recoveries
    assert (one.hit, one.resumed_s, one.workers_s) == (1, 1.5, 3.0)
    assert found.recovery_s == 3.0


def test_workers_that_do_not_come_back_are_a_recovery_as_long_as_the_rest_of_the_test() -> None:
    gone = run(looks=(look(0, 2), look(5, 1), look(10, 1)))
    found = figures(PLAN, gone, planned=4)
    assert found.recoveries[0].workers_s is None
    assert found.recovery_s == 6.0


def test_utilisation_is_what_jobs_were_charged_for_over_the_workers_that_were_up() -> None:
    found = figures(PLAN, run(), planned=4)
    assert found.worker_s == pytest.approx(2 + 7 + 1.5 + 1 + 6)
    assert found.utilization == pytest.approx((2 + 2.5 + 1) / 17.5)
    together = run(entries=(entry(1, 0, 0, 2, used_s=1.0), entry(2, 0, 0, 2, used_s=1.0)))  # in one batch
    assert dict(busy(together))[1] == 1.0


def test_percentiles_are_values_that_were_measured() -> None:
    assert percentiles([1.0] * 99 + [7.0]).p99 == 1.0
    assert percentiles([]).count == 0


def test_expectations_are_at_most_or_at_least_as_their_figure_asks() -> None:
    texts = ["p95=7s", "p95=6s", "success=50%", "success=51%", "lost=0", "recovery=3s", "wait_mean=1ms"]
    verdicts = judged(figures(PLAN, run(), planned=4), read_expectations(texts))
    assert [one.kept for one in verdicts] == [True, False, True, False, True, True, False]


def test_a_figure_that_was_not_measured_keeps_no_expectation() -> None:
    idle = figures(PLAN, run(entries=(), kills=(), looks=()), planned=4)
    assert not any(one.kept for one in judged(idle, read_expectations(["p95=9s", "recovery=9s", "utilization=0"])))


def test_the_page_tells_all_of_it_loads_nothing_and_escapes_what_it_shows() -> None:
    text = page(_result(figures(PLAN, run(), planned=4), run()))
    assert text.count("<svg") == 7  # arrivals, queue, workers, latency twice, utilisation, errors
    for heading in ("What was lost", "Workers", "Kills and recovery", "Errors", "Why the fleet moved"):
        assert f"<h2>{heading}</h2>" in text
    assert "2 &lt;wait&gt;" in text
    assert "http" not in text.replace("http://127.0.0.1:1", "")
    assert "<script" not in text
    assert "prefers-color-scheme:dark" in text


def test_a_page_of_nothing_is_a_page() -> None:
    nothing = run(submits=(), entries=(), looks=(), kills=(), growth=(), span_s=0.0)
    assert "0 of 0 jobs" in page(_result(figures(PLAN, nothing, planned=4), nothing))


def test_times_are_told_as_people_read_them() -> None:
    assert [span(one) for one in (0.0123, 1.26, 1234.0)] == ["12 ms", "1.3 s", "1,234 s"]


def _result(found: object, one: Run) -> Result:
    return Result(
        scenario=PLAN.scenario,
        server="http://127.0.0.1:1",
        command="springtide loadtest failover",
        date_utc="2026-11-22 15:00 UTC",
        machine={"processors": "2"},
        plan=PLAN,
        figures=found,  # pyright: ignore[reportArgumentType] - made just before
        verdicts=judged(found, read_expectations(["p95=1s"])),  # pyright: ignore[reportArgumentType] - the same
        run=one,
    )
