"""Broker suite, part one: what is queued, in which order it is leased, and what can be seen of it."""

from __future__ import annotations

import pytest

from springtide.broker.protocol import TOMBSTONE_S, Broker
from springtide.domain.fleet import Usage
from springtide.domain.job import JobError, JobStatus, Priority
from springtide.domain.lease import LEASE_TTL_S, WorkerState
from springtide.testing.broker_cases import (
    ANN,
    BOB,
    MODEL,
    MODELS,
    OTHER,
    T0,
    beat,
    done,
    failure,
    held,
    job,
    lease_names,
    leased,
    look,
    progress,
    ref,
    status,
    take_outcomes,
    ticket,
)


class EnqueueContract:
    """The way in."""

    async def test_a_job_enqueued_twice_is_queued_once(self, broker: Broker) -> None:
        assert await broker.enqueue([ticket("a")], T0) == [True]
        assert await broker.enqueue([ticket("a"), ticket("b")], T0) == [False, True]
        assert await lease_names(broker, ANN, 9, T0) == [job("a"), job("b")]

    async def test_a_job_named_twice_in_one_batch_is_queued_once(self, broker: Broker) -> None:
        assert await broker.enqueue([ticket("a"), ticket("a")], T0) == [True, False]
        assert len(await broker.lease(MODEL, ANN, 9, T0)) == 1

    async def test_a_running_job_is_not_queued_again(self, broker: Broker) -> None:
        await leased(broker, "a")
        assert await broker.enqueue([ticket("a")], T0 + 1) == [False]
        assert await broker.lease(MODEL, BOB, 9, T0 + 1) == []

    async def test_an_ended_job_is_remembered_while_its_outcome_is_not_on_record(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.complete(MODEL, ANN, [done("a")], T0)
        later = T0 + 100 * TOMBSTONE_S
        await broker.reap(MODELS, later)
        assert await broker.enqueue([ticket("a")], later) == [False]

    async def test_a_tombstone_keeps_a_late_enqueue_out(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.complete(MODEL, ANN, [done("a")], T0)
        assert len(await take_outcomes(broker, T0 + 10)) == 1
        still = T0 + 10 + TOMBSTONE_S - 1
        await broker.reap(MODELS, still)
        assert await broker.enqueue([ticket("a")], still) == [False]
        assert await status(broker, "a", still) == JobStatus.COMPLETED

    async def test_reap_drops_a_tombstone_when_its_time_is_over(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.complete(MODEL, ANN, [done("a")], T0)
        await take_outcomes(broker, T0 + 10)
        over = T0 + 10 + TOMBSTONE_S + 1
        await broker.reap(MODELS, over)
        assert await broker.peek([ref("a")], over) == [None]
        assert await broker.enqueue([ticket("a")], over) == [True]

    async def test_acking_a_retry_does_not_forget_the_job(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.fail(MODEL, ANN, [failure("a", retry_after_s=0.0)], T0)
        await take_outcomes(broker, T0)
        await broker.reap(MODELS, T0 + 2 * TOMBSTONE_S)
        assert await status(broker, "a") == JobStatus.QUEUED
        assert await broker.enqueue([ticket("a")], T0 + 2 * TOMBSTONE_S) == [False]

    async def test_a_ticket_goes_on_counting_attempts_where_it_stood(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a", attempt=1)], T0)
        [lease] = await broker.lease(MODEL, ANN, 1, T0)
        assert lease.attempt == 2

    async def test_a_ticket_without_attempts_left_fails_at_once(self, broker: Broker) -> None:
        assert await broker.enqueue([ticket("a", attempt=2, max_attempts=2)], T0) == [True]
        assert await broker.lease(MODEL, ANN, 1, T0) == []
        [outcome] = await take_outcomes(broker)
        assert (outcome.id, outcome.status, outcome.attempt) == (job("a"), JobStatus.FAILED, 2)
        assert outcome.error is not None
        assert outcome.error.code == "attempts_spent"

    async def test_nothing_in_gives_nothing_out(self, broker: Broker) -> None:
        assert await broker.enqueue([], T0) == []
        assert await broker.cancel([], T0) == []
        assert await broker.lease(MODEL, ANN, 9, T0) == []
        assert await broker.complete(MODEL, ANN, [], T0) == []
        assert await broker.fail(MODEL, ANN, [], T0) == []
        assert await broker.release(MODEL, ANN, [], T0) == []
        assert await broker.publish(MODEL, ANN, [], T0) == []
        assert await broker.peek([], T0) == []
        assert await broker.queues([], T0) == []
        assert await broker.held(MODELS, T0, min_age_s=0.0) == []
        assert await broker.reap(MODELS, T0) == []
        assert await broker.read_outcomes(9) == []
        assert await broker.cancel([ref("nobody")], T0) == [None]
        await broker.announce(MODEL, [])
        await broker.ack_outcomes([], T0)
        await broker.leave(MODEL, ANN, T0)


class AdoptionContract:
    """Tickets of a rebuilt broker whose worker may still be at work."""

    async def test_a_held_ticket_is_leased_already(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a", attempt=1, held_by=ANN)], T0)
        assert await broker.lease(MODEL, BOB, 1, T0) == []
        found = await look(broker, "a")
        assert (found.status, found.attempt, found.worker) == (JobStatus.IN_PROGRESS, 1, ANN)

    async def test_an_adopted_attempt_may_be_reported(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a", attempt=1, held_by=ANN)], T0)
        assert await broker.complete(MODEL, BOB, [done("a")], T0) == [False]
        assert await broker.complete(MODEL, ANN, [done("a")], T0) == [True]

    async def test_a_beat_that_names_an_adopted_attempt_keeps_it(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a", attempt=1, held_by=ANN)], T0)
        assert await beat(broker, ANN, "a", now_s=T0 + LEASE_TTL_S - 1) == ()
        assert await broker.reap(MODELS, T0 + LEASE_TTL_S + 1) == []

    async def test_an_adopted_attempt_that_no_beat_names_goes_back(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a", attempt=1, held_by=ANN)], T0)
        await beat(broker, ANN, now_s=T0 + LEASE_TTL_S - 1)
        assert await broker.reap(MODELS, T0 + LEASE_TTL_S - 1) == []
        assert await broker.reap(MODELS, T0 + LEASE_TTL_S + 1) == [job("a")]
        [lease] = await broker.lease(MODEL, BOB, 1, T0 + LEASE_TTL_S + 1)
        assert lease.attempt == 2

    async def test_a_held_ticket_on_its_last_attempt_is_not_failed(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a", attempt=2, max_attempts=2, held_by=ANN)], T0)
        assert await take_outcomes(broker) == []
        assert await broker.complete(MODEL, ANN, [done("a", 2)], T0) == [True]

    async def test_an_adopted_job_can_be_cancelled(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a", attempt=1, held_by=ANN)], T0)
        assert await broker.cancel([ref("a")], T0) == [JobStatus.CANCELLING]
        reply = await broker.beat(MODEL, ANN, [held("a")], WorkerState.BUSY, T0)
        assert reply.cancelled == (job("a"),)


class LeaseContract:
    """Order, and what a lease holds."""

    async def test_a_lease_carries_what_a_worker_needs(self, broker: Broker) -> None:
        payload = bytes(range(256))
        await broker.enqueue([ticket("a", payload=payload, timeout_s=7.5, max_attempts=3, enqueued_at_s=T0 - 4)], T0)
        [lease] = await broker.lease(MODEL, ANN, 1, T0)
        assert (lease.id, lease.model, lease.tenant, lease.worker) == (job("a"), MODEL, "default", ANN)
        assert (lease.attempt, lease.max_attempts, lease.timeout_s) == (1, 3, 7.5)
        assert lease.payload == payload
        assert lease.enqueued_at_s == T0 - 4

    async def test_a_lease_takes_at_most_what_was_asked_for(self, broker: Broker) -> None:
        await broker.enqueue([ticket(name, enqueued_at_s=T0 + i) for i, name in enumerate("abc")], T0)
        assert await lease_names(broker, ANN, 2, T0 + 9) == [job("a"), job("b")]
        assert await lease_names(broker, BOB, 2, T0 + 9) == [job("c")]

    async def test_models_have_queues_of_their_own(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a"), ticket("b", model=OTHER)], T0)
        assert await lease_names(broker, ANN, 9, T0) == [job("a")]
        assert [lease.id for lease in await broker.lease(OTHER, BOB, 9, T0)] == [job("b")]

    async def test_higher_classes_are_served_first_and_older_jobs_first_within_one(self, broker: Broker) -> None:
        await broker.enqueue(
            [
                ticket("batch", priority=Priority.BATCH, enqueued_at_s=T0 - 90),
                ticket("late", enqueued_at_s=T0 - 1),
                ticket("early", enqueued_at_s=T0 - 8),
                ticket("urgent", priority=Priority.INTERACTIVE, enqueued_at_s=T0),
            ],
            T0,
        )
        order = [job("urgent"), job("early"), job("late"), job("batch")]
        assert await lease_names(broker, ANN, 9, T0) == order

    async def test_reading_ahead_takes_only_jobs_that_have_waited(self, broker: Broker) -> None:
        await broker.enqueue([ticket("old", enqueued_at_s=T0 - 3), ticket("new", enqueued_at_s=T0)], T0)
        assert await lease_names(broker, ANN, 9, T0, min_wait_s=1.0) == [job("old")]
        assert await lease_names(broker, ANN, 9, T0, min_wait_s=1.0) == []
        assert await lease_names(broker, ANN, 9, T0 + 2, min_wait_s=1.0) == [job("new")]

    async def test_reading_ahead_looks_past_a_young_job_of_a_higher_class(self, broker: Broker) -> None:
        await broker.enqueue(
            [ticket("new", priority=Priority.INTERACTIVE), ticket("old", enqueued_at_s=T0 - 3)],
            T0,
        )
        assert await lease_names(broker, ANN, 9, T0, min_wait_s=1.0) == [job("old")]

    async def test_a_job_accepted_by_a_clock_that_runs_ahead_is_still_leased(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a", enqueued_at_s=T0 + 30)], T0)
        assert await lease_names(broker, ANN, 1, T0) == [job("a")]

    @pytest.mark.parametrize("verb", ["lease", "reap"])
    async def test_a_queued_job_past_its_start_deadline_expires(self, broker: Broker, verb: str) -> None:
        await broker.enqueue([ticket("a", start_deadline_at_s=T0 + 5), ticket("b", start_deadline_at_s=T0 + 50)], T0)
        await broker.reap(MODELS, T0 + 4)
        assert await status(broker, "a") == JobStatus.QUEUED
        if verb == "lease":
            assert await lease_names(broker, ANN, 9, T0 + 6) == [job("b")]
        else:
            await broker.reap(MODELS, T0 + 6)
        assert await status(broker, "a") == JobStatus.EXPIRED
        [outcome] = await take_outcomes(broker, T0 + 6)
        assert (outcome.id, outcome.status, outcome.attempt) == (job("a"), JobStatus.EXPIRED, 0)

    async def test_a_running_job_does_not_mind_its_start_deadline(self, broker: Broker) -> None:
        await leased(broker, "a", start_deadline_at_s=T0 + 5)
        await broker.reap(MODELS, T0 + 6)
        assert await status(broker, "a") == JobStatus.IN_PROGRESS
        assert await broker.complete(MODEL, ANN, [done("a")], T0 + 7) == [True]

    async def test_a_retry_that_waits_past_the_start_deadline_expires(self, broker: Broker) -> None:
        await leased(broker, "a", start_deadline_at_s=T0 + 5)
        await broker.fail(MODEL, ANN, [failure("a", retry_after_s=60.0)], T0 + 1)
        await broker.reap(MODELS, T0 + 6)
        assert await status(broker, "a") == JobStatus.EXPIRED

    @pytest.mark.parametrize("verb", ["release", "fail", "lose"])
    async def test_a_job_that_comes_back_after_its_start_deadline_expires(self, broker: Broker, verb: str) -> None:
        await leased(broker, "a", start_deadline_at_s=T0 + 5)
        await broker.reap(MODELS, T0 + 6)
        match verb:
            case "release":
                await broker.release(MODEL, ANN, [held("a")], T0 + 7)
            case "fail":
                await broker.fail(MODEL, ANN, [failure("a", retry_after_s=0.0)], T0 + 7)
            case _:
                await broker.leave(MODEL, ANN, T0 + 7)
        assert await broker.lease(MODEL, BOB, 9, T0 + 8) == []
        assert await status(broker, "a") == JobStatus.EXPIRED


class LookingContract:
    """What can be seen from outside."""

    async def test_a_job_nobody_enqueued_is_unknown(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a")], T0)
        assert await broker.peek([ref("x"), ref("a", OTHER)], T0) == [None, None]

    async def test_known_is_what_a_look_would_find(self, broker: Broker) -> None:
        await broker.enqueue([ticket("a"), ticket("b"), ticket("c")], T0)
        await lease_names(broker, ANN, 2, T0)
        await broker.complete(MODEL, ANN, [done("a")], T0)
        names = [ref("c"), ref("x"), ref("b"), ref("a"), ref("b", OTHER)]
        assert await broker.known(names) == [True, False, True, True, False]
        await take_outcomes(broker, T0)
        assert await broker.known([ref("a")]) == [True]
        await broker.reap(MODELS, T0 + TOMBSTONE_S + 1)
        assert await broker.known([ref("a"), ref("c")]) == [False, True]
        assert await broker.known([]) == []

    async def test_peek_counts_the_jobs_ahead(self, broker: Broker) -> None:
        await broker.enqueue(
            [
                ticket("a", enqueued_at_s=T0 + 1),
                ticket("b", enqueued_at_s=T0 + 2),
                ticket("batch", priority=Priority.BATCH, enqueued_at_s=T0),
                ticket("elsewhere", model=OTHER, enqueued_at_s=T0),
            ],
            T0,
        )
        found = await broker.peek([ref("batch"), ref("a"), ref("b")], T0 + 3)
        assert [view.ahead for view in found if view is not None] == [2, 0, 1]
        await broker.cancel([ref("a")], T0 + 3)
        assert (await look(broker, "batch")).ahead == 1

    async def test_peek_shows_the_attempt_under_way_and_its_progress(self, broker: Broker) -> None:
        await leased(broker, "a", now_s=T0 + 2)
        await broker.publish(MODEL, ANN, [progress("a", 0.25, stage="decode")], T0 + 3)
        found = await look(broker, "a", T0 + 3)
        assert (found.id, found.status, found.attempt, found.worker) == (job("a"), JobStatus.IN_PROGRESS, 1, ANN)
        assert (found.started_at_s, found.fraction, found.stage, found.ahead) == (T0 + 2, 0.25, "decode", None)

    async def test_peek_shows_when_a_retry_is_due(self, broker: Broker) -> None:
        await leased(broker, "a")
        await broker.publish(MODEL, ANN, [progress("a", 0.25)], T0)
        await broker.fail(MODEL, ANN, [failure("a", retry_after_s=30.0)], T0 + 1)
        found = await look(broker, "a", T0 + 2)
        assert (found.status, found.attempt, found.retry_at_s, found.fraction) == (JobStatus.QUEUED, 1, T0 + 31, None)
        await broker.reap(MODELS, T0 + 32)
        found = await look(broker, "a", T0 + 32)
        assert (found.status, found.retry_at_s, found.ahead) == (JobStatus.QUEUED, None, 0)

    async def test_a_queue_is_seen_with_its_work_and_its_workers(self, broker: Broker) -> None:
        names = ["a", "b", "c", "d"]
        await broker.enqueue([ticket(n, enqueued_at_s=T0 + i, predicted_s=2.5) for i, n in enumerate(names)], T0)
        await lease_names(broker, ANN, 2, T0 + 4)
        await beat(broker, ANN, "a", "b", now_s=T0 + 5)
        await broker.fail(MODEL, ANN, [failure("a", retry_after_s=60.0)], T0 + 6)
        [view, empty] = await broker.queues(MODELS, T0 + 7)
        assert (view.model, view.queued, view.leased, view.taken_at_s) == (MODEL, 3, 1, T0 + 7)
        assert view.predicted_s == pytest.approx(7.5)
        [worker] = view.workers
        assert (worker.worker, worker.model, worker.state) == (ANN, MODEL, WorkerState.BUSY)
        assert (worker.held, worker.beat_at_s) == (1, T0 + 5)
        assert (empty.model, empty.queued, empty.leased, empty.predicted_s) == (OTHER, 0, 0, 0)
        assert (empty.oldest_enqueued_at_s, empty.workers) == (None, ())

    async def test_a_queue_tells_its_oldest_job_of_any_class(self, broker: Broker) -> None:
        await broker.enqueue(
            [ticket("a", enqueued_at_s=T0 - 1), ticket("b", priority=Priority.BATCH, enqueued_at_s=T0 - 8)], T0
        )
        [view] = await broker.queues([MODEL], T0)
        assert view.oldest_enqueued_at_s == T0 - 8
        await broker.cancel([ref("b")], T0)
        [view] = await broker.queues([MODEL], T0)
        assert (view.queued, view.oldest_enqueued_at_s) == (1, T0 - 1)

    async def test_a_worker_that_only_asked_for_work_counts_as_alive_for_one_ttl(self, broker: Broker) -> None:
        await broker.lease(MODEL, ANN, 1, T0)
        [view] = await broker.queues([MODEL], T0 + 1)
        assert [(worker.worker, worker.held) for worker in view.workers] == [(ANN, 0)]
        [view] = await broker.queues([MODEL], T0 + LEASE_TTL_S + 1)
        assert view.workers == ()
        await broker.reap(MODELS, T0 + LEASE_TTL_S + 1)
        [view] = await broker.queues([MODEL], T0 + LEASE_TTL_S + 1)
        assert view.workers == ()

    async def test_workers_show_the_state_they_last_told(self, broker: Broker) -> None:
        await broker.beat(MODEL, ANN, [], WorkerState.STARTING, T0)
        await broker.beat(MODEL, BOB, [], WorkerState.READY, T0)
        await broker.beat(MODEL, BOB, [], WorkerState.DRAINING, T0 + 1)
        [view] = await broker.queues([MODEL], T0 + 2)
        states = {worker.worker: worker.state for worker in view.workers}
        assert states == {ANN: WorkerState.STARTING, BOB: WorkerState.DRAINING}

    async def test_a_worker_shows_why_its_engine_does_not_load_until_it_does(self, broker: Broker) -> None:
        details = {"failed_loads": 2, "load_attempts": 6}
        problem = JobError(code="load_failed", message="OSError: no such device", retryable=True, details=details)
        await broker.beat(MODEL, ANN, [], WorkerState.FAILING, T0, problem=problem)
        await broker.lease(MODEL, ANN, 1, T0 + 1)
        [view] = await broker.queues([MODEL], T0 + 2)
        assert [(worker.state, worker.problem) for worker in view.workers] == [(WorkerState.FAILING, problem)]
        await broker.beat(MODEL, ANN, [], WorkerState.READY, T0 + 3)
        [view] = await broker.queues([MODEL], T0 + 4)
        assert [(worker.state, worker.problem) for worker in view.workers] == [(WorkerState.READY, None)]

    async def test_a_worker_shows_what_it_uses_as_its_last_beat_told_it(self, broker: Broker) -> None:
        problem = JobError(code="load_failed", message="OSError: no such device")
        usage = Usage(at_s=T0, cpus=1.7, cpu=0.425, memory_mb=812.5, memory=0.2, gpu=0.9, gpu_memory=0.0)
        await broker.beat(MODEL, ANN, [], WorkerState.FAILING, T0, problem=problem, usage=usage)
        await broker.beat(MODEL, BOB, [], WorkerState.READY, T0, usage=Usage(at_s=T0 - 3, memory_mb=90.0))
        await broker.lease(MODEL, ANN, 1, T0 + 1)
        [view] = await broker.queues([MODEL], T0 + 2)
        told = {worker.worker: (worker.usage, worker.problem) for worker in view.workers}
        assert told == {ANN: (usage, problem), BOB: (Usage(at_s=T0 - 3, memory_mb=90.0), None)}
        await broker.beat(MODEL, ANN, [], WorkerState.READY, T0 + 3)
        [view] = await broker.queues([MODEL], T0 + 4)
        assert {worker.worker: worker.usage for worker in view.workers}[ANN] is None

    async def test_held_lists_the_attempts_that_have_run_for_a_while(self, broker: Broker) -> None:
        await leased(broker, "long", now_s=T0)
        await leased(broker, "short", worker=BOB, now_s=T0 + 8)
        await broker.enqueue([ticket("waiting")], T0)
        [found] = await broker.held(MODELS, T0 + 10, min_age_s=5.0)
        assert (found.id, found.attempt, found.worker, found.started_at_s) == (job("long"), 1, ANN, T0)
        everything = await broker.held(MODELS, T0 + 10, min_age_s=0.0)
        assert {view.id for view in everything} == {job("long"), job("short")}


class QueueContract(EnqueueContract, AdoptionContract, LeaseContract, LookingContract):
    """Part one of the suite."""
