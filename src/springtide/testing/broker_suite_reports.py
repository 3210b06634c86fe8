"""Broker suite, part two: who may report what, and what a report does."""

from __future__ import annotations

import pytest

from springtide.broker.protocol import Broker
from springtide.domain.ids import WorkerId
from springtide.domain.job import JobStatus
from springtide.domain.lease import LEASE_TTL_S
from springtide.testing.broker_cases import (
    ANN,
    BOB,
    FILE,
    MODEL,
    MODELS,
    T0,
    Rebuild,
    beat,
    done,
    failure,
    held,
    job,
    kinds,
    lease_names,
    leased,
    look,
    progress,
    ref,
    status,
    take_outcomes,
    ticket,
)

DEAD = T0 + LEASE_TTL_S + 1  # a worker that last spoke at T0 is dead by now


async def report(broker: Broker, verb: str, worker: WorkerId, name: str, attempt: int) -> bool:
    """One report of any kind."""
    match verb:
        case "complete":
            [accepted] = await broker.complete(MODEL, worker, [done(name, attempt)], T0)
        case "fail":
            [accepted] = await broker.fail(MODEL, worker, [failure(name, attempt, retry_after_s=0.0)], T0)
        case "release":
            [accepted] = await broker.release(MODEL, worker, [held(name, attempt)], T0)
        case _:
            [accepted] = await broker.publish(MODEL, worker, [progress(name, 0.5, attempt=attempt)], T0)
    return accepted


REPORTS = pytest.mark.parametrize("verb", ["complete", "fail", "release", "publish"])


class FencingContract:
    """A report from anybody but the owner changes nothing."""

    @REPORTS
    async def test_another_worker_cannot_report(self, broker: Broker, verb: str) -> None:
        await leased(broker, "a")
        assert await report(broker, verb, BOB, "a", 1) is False
        await self._still_first_attempt_of_ann(broker)

    @REPORTS
    @pytest.mark.parametrize("attempt", [0, 2])
    async def test_a_report_of_another_attempt_is_void(self, broker: Broker, verb: str, attempt: int) -> None:
        await leased(broker, "a")
        assert await report(broker, verb, ANN, "a", attempt) is False
        await self._still_first_attempt_of_ann(broker)

    @REPORTS
    async def test_a_report_of_a_queued_or_unknown_job_is_void(self, broker: Broker, verb: str) -> None:
        await broker.enqueue([ticket("a")], T0)
        assert await report(broker, verb, ANN, "a", 0) is False
        assert await report(broker, verb, ANN, "a", 2) is False
        assert await report(broker, verb, ANN, "nobody", 1) is False
        assert (await look(broker, "a")).attempt == 0
        assert await take_outcomes(broker) == []

    @REPORTS
    async def test_a_worker_that_lost_its_lease_cannot_report(self, broker: Broker, verb: str) -> None:
        await leased(broker, "a")
        await broker.reap(MODELS, DEAD)
        assert await report(broker, verb, ANN, "a", 1) is False
        assert await lease_names(broker, BOB, 1, DEAD) == [job("a")]
        assert await report(broker, verb, ANN, "a", 1) is False
        assert await report(broker, verb, ANN, "a", 2) is False
        assert await broker.complete(MODEL, BOB, [done("a", 2)], DEAD) == [True]

    @REPORTS
    async def test_a_worker_cannot_report_its_own_older_attempt(self, broker: Broker, verb: str) -> None:
        await leased(broker, "a")
        await broker.fail(MODEL, ANN, [failure("a", retry_after_s=0.0)], T0)
        await lease_names(broker, ANN, 1, T0)
        assert await report(broker, verb, ANN, "a", 1) is False
        assert await broker.complete(MODEL, ANN, [done("a", 2)], T0) == [True]

    @REPORTS
    async def test_an_ended_job_takes_no_report(self, broker: Broker, verb: str) -> None:
        await leased(broker, "a")
        await broker.fail(MODEL, ANN, [failure("a")], T0)
        assert await report(broker, verb, ANN, "a", 1) is False
        assert [outcome.status for outcome in await take_outcomes(broker)] == [JobStatus.FAILED]

    async def _still_first_attempt_of_ann(self, broker: Broker) -> None:
        found = await look(broker, "a")
        assert (found.status, found.worker, found.attempt) == (JobStatus.IN_PROGRESS, ANN, 1)
        assert found.fraction is None
        assert await take_outcomes(broker) == []
        assert await broker.complete(MODEL, ANN, [done("a")], T0) == [True]


class ResumeContract:
    """A broker that was rebuilt from the ledger knows less than its workers: what they hold goes on where nobody else
    has taken it up."""

    @pytest.fixture
    async def rebuilt(self, broker: Broker, rebuild: Rebuild) -> Broker:
        """Ann held attempt 1 of `a` when everything was forgotten; `a` waits again as if it had never begun."""
        await leased(broker, "a")
        rebuilt = await rebuild()
        assert await rebuilt.enqueue([ticket("a")], T0 + 1) == [True]
        return rebuilt

    async def test_an_attempt_goes_on_when_its_worker_names_it(self, rebuilt: Broker) -> None:
        assert await beat(rebuilt, ANN, "a", now_s=T0 + 2) == ()
        found = await look(rebuilt, "a")
        assert (found.status, found.worker, found.attempt) == (JobStatus.IN_PROGRESS, ANN, 1)
        assert await kinds(rebuilt, "a") == ["queued", "started"]
        assert await rebuilt.lease(MODEL, BOB, 9, T0 + 2) == []
        [view] = await rebuilt.queues([MODEL], T0 + 2)
        assert (view.queued, view.leased, view.predicted_s) == (0, 1, 0.0)
        assert await beat(rebuilt, BOB, "a", now_s=T0 + 2) == (job("a"),)
        assert await rebuilt.reap(MODELS, T0 + 2 + LEASE_TTL_S - 1) == []
        assert await rebuilt.reap(MODELS, T0 + 2 + LEASE_TTL_S + 1) == [job("a")]
        assert (await look(rebuilt, "a")).attempt == 1

    async def test_a_finished_result_is_taken(self, rebuilt: Broker) -> None:
        assert await rebuilt.complete(MODEL, ANN, [done("a")], T0 + 2) == [True]
        [outcome] = await take_outcomes(rebuilt)
        assert (outcome.status, outcome.worker, outcome.attempt) == (JobStatus.COMPLETED, ANN, 1)
        assert await rebuilt.lease(MODEL, BOB, 9, T0 + 2) == []
        assert await rebuilt.complete(MODEL, ANN, [done("a")], T0 + 2) == [True]
        assert await take_outcomes(rebuilt) == []

    async def test_a_failure_spends_the_attempt(self, rebuilt: Broker) -> None:
        assert await rebuilt.fail(MODEL, ANN, [failure("a", retry_after_s=0.0)], T0 + 2) == [True]
        [lease] = await rebuilt.lease(MODEL, BOB, 9, T0 + 2)
        assert lease.attempt == 2

    async def test_what_is_given_back_waits_and_is_not_taken_up_again(self, rebuilt: Broker) -> None:
        assert await rebuilt.release(MODEL, ANN, [held("a")], T0 + 2) == [True]
        assert await beat(rebuilt, ANN, "a", now_s=T0 + 2) == (job("a"),)
        [lease] = await rebuilt.lease(MODEL, BOB, 9, T0 + 2)
        assert lease.attempt == 1
        assert await rebuilt.complete(MODEL, ANN, [done("a")], T0 + 2) == [False]

    @REPORTS
    async def test_whoever_has_taken_the_job_up_meanwhile_keeps_it(self, rebuilt: Broker, verb: str) -> None:
        [lease] = await rebuilt.lease(MODEL, BOB, 9, T0 + 1)
        assert lease.attempt == 1
        assert await report(rebuilt, verb, ANN, "a", 1) is False
        assert await beat(rebuilt, ANN, "a", now_s=T0 + 2) == (job("a"),)
        assert await rebuilt.complete(MODEL, BOB, [done("a")], T0 + 2) == [True]

    async def test_of_two_that_name_the_same_attempt_the_first_has_it(self, rebuilt: Broker) -> None:
        assert await beat(rebuilt, BOB, "a", now_s=T0 + 2) == ()
        assert await beat(rebuilt, ANN, "a", now_s=T0 + 2) == (job("a"),)
        assert await rebuilt.complete(MODEL, ANN, [done("a")], T0 + 2) == [False]

    @pytest.mark.parametrize("attempt", [0, 2])
    async def test_only_the_next_attempt_goes_on(self, rebuilt: Broker, attempt: int) -> None:
        assert await beat(rebuilt, ANN, "a", now_s=T0 + 2, attempt=attempt) == (job("a"),)
        assert await status(rebuilt, "a") == JobStatus.QUEUED

    async def test_an_attempt_that_was_lost_here_does_not_go_on(self, rebuilt: Broker) -> None:
        await beat(rebuilt, ANN, "a", now_s=T0 + 2)
        await rebuilt.reap(MODELS, T0 + 2 + LEASE_TTL_S + 1)
        assert await beat(rebuilt, ANN, "a", now_s=T0 + 60) == (job("a"),)
        assert await rebuilt.complete(MODEL, ANN, [done("a")], T0 + 60) == [False]

    async def test_a_job_that_was_cancelled_meanwhile_does_not_go_on(self, rebuilt: Broker) -> None:
        assert await rebuilt.cancel([ref("a")], T0 + 2) == [JobStatus.CANCELLED]
        assert await rebuilt.complete(MODEL, ANN, [done("a")], T0 + 2) == [False]
        assert await beat(rebuilt, ANN, "a", now_s=T0 + 2) == (job("a"),)


class CompleteContract:
    """Results."""

    async def test_a_result_is_an_outcome_with_all_that_the_ledger_needs(self, broker: Broker) -> None:
        await leased(broker, "a", now_s=T0 + 1)
        assert await broker.complete(MODEL, ANN, [done("a")], T0 + 4) == [True]
        [outcome] = await broker.read_outcomes(9)
        assert (outcome.id, outcome.model, outcome.status) == (job("a"), MODEL, JobStatus.COMPLETED)
        assert (outcome.attempt, outcome.worker, outcome.run_s) == (1, ANN, 1.5)
        assert (outcome.started_at_s, outcome.finished_at_s) == (T0 + 1, T0 + 4)
        assert (outcome.outputs, outcome.output_files, outcome.error) == ({"image": FILE.id}, (FILE,), None)
        assert await status(broker, "a") == JobStatus.COMPLETED

    async def test_one_read_gives_all_there_is_up_to_what_was_asked(self, broker: Broker) -> None:
        names = [str(number) for number in range(230)]  # more than any broker hands over or takes in at once
        await leased(broker, *names)
        for first in range(0, len(names), 30):
            await broker.complete(MODEL, ANN, [done(name) for name in names[first : first + 30]], T0)
        assert len(await broker.read_outcomes(200)) == 200
        assert [outcome.id for outcome in await broker.read_outcomes(512)] == [job(name) for name in names]

    async def test_a_repeated_result_is_accepted_and_recorded_once(self, broker: Broker) -> None:
        await leased(broker, "a")
        assert await broker.complete(MODEL, ANN, [done("a"), done("a")], T0) == [True, True]
        assert await broker.complete(MODEL, ANN, [done("a")], T0 + 1) == [True]
        assert len(await take_outcomes(broker, T0 + 1)) == 1
        assert await broker.complete(MODEL, ANN, [done("a")], T0 + 2) == [True]
        assert await take_outcomes(broker, T0 + 2) == []
        assert await broker.complete(MODEL, BOB, [done("a")], T0 + 2) == [False]
        assert await broker.complete(MODEL, ANN, [done("a", 2)], T0 + 2) == [False]

    async def test_a_result_after_its_own_failure_is_void(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.fail(MODEL, ANN, [failure("a")], T0)
        assert await broker.complete(MODEL, ANN, [done("a")], T0) == [False]

    async def test_a_batch_is_judged_job_by_job(self, broker: Broker) -> None:
        await leased(broker, "a", "b", "c")
        await leased(broker, "d", worker=BOB)
        reports = [done("c"), done("d"), done("nobody"), done("a", 7), done("b")]
        assert await broker.complete(MODEL, ANN, reports, T0) == [True, False, False, False, True]
        assert [outcome.id for outcome in await take_outcomes(broker)] == [job("c"), job("b")]
        assert await status(broker, "a") == JobStatus.IN_PROGRESS
        assert await status(broker, "d") == JobStatus.IN_PROGRESS


class FailContract:
    """Failures and retries."""

    async def test_a_failure_without_retry_ends_the_job(self, broker: Broker) -> None:
        await leased(broker, "a")
        assert await broker.fail(MODEL, ANN, [failure("a")], T0 + 3) == [True]
        [outcome] = await take_outcomes(broker)
        assert (outcome.status, outcome.attempt, outcome.worker) == (JobStatus.FAILED, 1, ANN)
        assert (outcome.started_at_s, outcome.finished_at_s) == (T0, T0 + 3)
        assert outcome.error == failure("a").error
        assert await broker.lease(MODEL, ANN, 9, T0 + 999) == []

    async def test_a_retry_waits_for_its_time(self, broker: Broker) -> None:
        await leased(broker, "a")
        assert await broker.fail(MODEL, ANN, [failure("a", retry_after_s=30.0)], T0) == [True]
        [outcome] = await take_outcomes(broker)
        assert (outcome.status, outcome.attempt) == (JobStatus.QUEUED, 1)
        assert outcome.error == failure("a").error
        assert await broker.lease(MODEL, ANN, 9, T0 + 29) == []
        [lease] = await broker.lease(MODEL, BOB, 9, T0 + 31)
        assert (lease.id, lease.attempt) == (job("a"), 2)

    async def test_a_retry_without_delay_is_there_at_once_at_its_old_place(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.enqueue([ticket("b", enqueued_at_s=T0 + 1)], T0 + 1)
        await broker.fail(MODEL, ANN, [failure("a", retry_after_s=0.0)], T0 + 2)
        assert await lease_names(broker, ANN, 9, T0 + 2) == [job("a"), job("b")]

    async def test_due_retries_are_promoted_in_the_order_of_the_queue(self, broker: Broker) -> None:
        await broker.enqueue([ticket(name, enqueued_at_s=T0 + i) for i, name in enumerate("abc")], T0 + 3)
        assert len(await broker.lease(MODEL, ANN, 2, T0 + 3)) == 2
        await broker.fail(MODEL, ANN, [failure("a", retry_after_s=9.0), failure("b", retry_after_s=5.0)], T0 + 3)
        await broker.reap(MODELS, T0 + 20)
        assert await lease_names(broker, BOB, 9, T0 + 20) == [job("a"), job("b"), job("c")]

    async def test_the_last_attempt_fails_for_good(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.fail(MODEL, ANN, [failure("a", retry_after_s=0.0)], T0)
        await lease_names(broker, ANN, 1, T0)
        assert await broker.fail(MODEL, ANN, [failure("a", 2, retry_after_s=0.0)], T0) == [True]
        outcomes = await take_outcomes(broker)
        assert [(o.status, o.attempt) for o in outcomes] == [(JobStatus.QUEUED, 1), (JobStatus.FAILED, 2)]
        assert await status(broker, "a") == JobStatus.FAILED

    async def test_an_attempt_that_stopped_because_it_was_asked_to_cancels_the_job(self, broker: Broker) -> None:
        await leased(broker, "a")
        assert await broker.fail(MODEL, ANN, [failure("a", cancelled=True, retry_after_s=0.0)], T0) == [True]
        [outcome] = await take_outcomes(broker)
        assert outcome.status == JobStatus.CANCELLED

    async def test_failures_of_a_batch_are_judged_one_by_one(self, broker: Broker) -> None:
        await leased(broker, "a", "b", "c")
        await broker.cancel([ref("b")], T0)
        reports = [failure("a", retry_after_s=0.0), failure("b", retry_after_s=0.0), failure("c"), failure("nobody")]
        assert await broker.fail(MODEL, ANN, reports, T0) == [True, True, True, False]
        found = await broker.peek([ref("a"), ref("b"), ref("c")], T0)
        assert [view.status for view in found if view] == [JobStatus.QUEUED, JobStatus.CANCELLED, JobStatus.FAILED]


class ReleaseContract:
    """Attempts given back unspent."""

    async def test_a_released_job_gets_its_attempt_number_and_its_place_back(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.enqueue([ticket("b", enqueued_at_s=T0 + 1)], T0 + 1)
        assert await broker.release(MODEL, ANN, [held("a")], T0 + 2) == [True]
        assert (await look(broker, "a")).attempt == 0
        assert (await look(broker, "a")).ahead == 0
        [first, second] = await broker.lease(MODEL, BOB, 9, T0 + 2)
        assert (first.id, first.attempt, second.id) == (job("a"), 1, job("b"))
        assert await take_outcomes(broker) == []

    async def test_one_cannot_report_what_one_released(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.release(MODEL, ANN, [held("a")], T0)
        assert await broker.complete(MODEL, ANN, [done("a")], T0) == [False]
        await lease_names(broker, BOB, 1, T0)
        assert await broker.complete(MODEL, ANN, [done("a")], T0) == [False]
        assert await broker.complete(MODEL, BOB, [done("a")], T0) == [True]

    async def test_a_cancelling_job_that_is_released_is_cancelled(self, broker: Broker) -> None:
        await leased(broker, "a", "b")
        await broker.cancel([ref("a")], T0)
        assert await broker.release(MODEL, ANN, [held("a"), held("b")], T0) == [True, True]
        assert await status(broker, "a") == JobStatus.CANCELLED
        assert await status(broker, "b") == JobStatus.QUEUED
        assert [(o.id, o.status) for o in await take_outcomes(broker)] == [(job("a"), JobStatus.CANCELLED)]


class ReportsContract(FencingContract, ResumeContract, CompleteContract, FailContract, ReleaseContract):
    """Part two of the suite."""
