"""What the worker tells of progress: whatever is new, once; and again where the broker could not hear it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from springtide.broker.memory import MemoryBroker
from springtide.domain.errors import Unavailable
from springtide.domain.ids import JobId
from springtide.domain.lease import Held, Progress
from springtide.runtime.clock import SystemClock
from springtide.testing.broker_cases import ANN, MODEL, done, job, leased, progress, ref
from springtide.testing.clock import ManualClock
from springtide.worker.reporter import Reporter


class Odd(MemoryBroker):
    """Raises what nobody thought of, the first time it is asked of a job."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def peek(self, jobs, now_s):  # type: ignore[no-untyped-def]
        self.asked += 1
        if self.asked == 1:
            raise ValueError("not an error of the platform's")
        return await super().peek(jobs, now_s)


class Heard(MemoryBroker):
    """Keeps what was published; deaf while `is_deaf`."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[JobId, float, str | None]] = []
        self.is_deaf = False

    async def publish(self, model, worker, progress, now_s):  # type: ignore[no-untyped-def]
        if self.is_deaf:
            raise Unavailable("the broker is down")
        self.heard += [(one.id, one.fraction, one.stage) for one in progress]
        return await super().publish(model, worker, progress, now_s)


@pytest.fixture
async def broker() -> Heard:
    return Heard()


@pytest.fixture
async def reporter(broker: Heard) -> AsyncGenerator[Reporter]:
    made = Reporter(MODEL, ANN, broker=broker, clock=SystemClock(), on_settled=lambda _: None)
    await made.start()
    yield made
    await made.stop()


async def say(reporter: Reporter, *told: Progress) -> None:
    """One after the other, each with the time to be sent."""
    for one in told:
        reporter.progress(one)
        await reporter._flush()


async def test_progress_that_says_nothing_new_is_not_published(broker: Heard, reporter: Reporter) -> None:
    await leased(broker, "a")
    again = progress("a", 0.5, stage="work")
    await say(reporter, again, again, again, progress("a", 0.5, stage="save"), progress("a", 0.6, stage="save"))
    assert broker.heard == [(job("a"), 0.5, "work"), (job("a"), 0.5, "save"), (job("a"), 0.6, "save")]
    events = await broker.read_events(ref("a"), None)
    assert [event.kind for event in events] == ["queued", "started", "progress", "progress", "progress"]


async def test_the_same_progress_of_another_attempt_is_news(broker: Heard, reporter: Reporter) -> None:
    await leased(broker, "a")
    await say(reporter, progress("a", 0.5), progress("a", 0.5, attempt=2))
    assert len(broker.heard) == 2


async def test_progress_that_the_broker_did_not_hear_is_told_again(broker: Heard, reporter: Reporter) -> None:
    await leased(broker, "a")
    broker.is_deaf = True
    await say(reporter, progress("a", 0.5))
    broker.is_deaf = False
    await say(reporter, progress("a", 0.5))
    assert broker.heard == [(job("a"), 0.5, None)]


async def test_nothing_is_remembered_of_a_job_that_was_reported_or_lost(broker: Heard, reporter: Reporter) -> None:
    await leased(broker, "a", "b")
    await say(reporter, progress("a", 0.5), progress("b", 0.5))
    reporter.complete(done("a"), size=1)
    reporter.forget(job("b"))
    await reporter.drained()
    assert reporter._told == {}


async def test_an_error_that_nobody_thought_of_does_not_end_the_reports() -> None:
    """The broker lacks the job, and then cannot say so."""
    clock, broker, settled = ManualClock(), Odd(), list[Held]()
    reporter = Reporter(MODEL, ANN, broker=broker, clock=clock, on_settled=settled.extend)
    await reporter.start()
    reporter.complete(done("a"), size=1)
    await clock.advance(2.0)
    await leased(broker, "a")
    await clock.advance(10.0)
    assert settled == [Held(job("a"), 1)]
    await reporter.stop()
