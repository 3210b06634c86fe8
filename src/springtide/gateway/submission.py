"""The way in, without HTTP: a request becomes a job on record and in the queue.

Promises: what is wrong is said all at once, before anything is written; when `submit` returns the job is on disk; the
same idempotency key never makes two jobs. A broker that is down does not refuse work: the sweep enqueues it later.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from pydantic import BaseModel

from springtide.domain.errors import (
    BadMedia,
    CallerError,
    InvalidInput,
    OutcomeUnknown,
    Refused,
    SpringtideError,
    Unavailable,
)
from springtide.domain.ids import DEFAULT_TENANT, BlobId, JobId, ModelName, parted
from springtide.domain.job import BlobRef, Foretold, Job, JobStatus, Plan, PlanStep, Priority
from springtide.domain.lease import Ticket
from springtide.domain.tenant import Tenant
from springtide.domain.tickets import ticket_of
from springtide.engines.binding import bind
from springtide.gateway.admission import Admission
from springtide.gateway.envelope import FieldErrors, NextStep, in_words
from springtide.gateway.estimates import foretold
from springtide.gateway.fingerprints import fingerprint
from springtide.gateway.intake import Intake, named_blobs, take_in
from springtide.gateway.outlook import Outlook
from springtide.gateway.pipeline_jobs import as_pipeline, first_step
from springtide.gateway.planning import Earlier, Sender, draft
from springtide.gateway.routing import Routed
from springtide.gateway.served import ServedModel
from springtide.gateway.services import GatewayServices
from springtide.ledger.protocol import Inserted
from springtide.policy.pipelines import MODELS_JOINED_BY, step_job
from springtide.runtime.ids import new_job_id
from springtide.telemetry.metrics_catalogue import JOBS_ACCEPTED

log = logging.getLogger(__name__)

RESTART_S = 5.0  # workers finish what they run before the next start: seconds to minutes, and nobody can say which
_NOTHING = Intake(refs={}, files={}, errors=[])


class SubmitRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for. `files` are uploads that are stored and not yet on record, by the id in `inputs`."""

    model: str
    inputs: dict[str, Any]
    files: Mapping[BlobId, BlobRef] = {}
    priority: Priority | None = None  # as usual for the tenant
    start_deadline_s: float | None = None  # seconds from now
    idempotency_key: str | None = None
    tenant: Tenant = Tenant(id=DEFAULT_TENANT)
    traceparent: str | None = None
    then: Sequence[NextStep] = ()  # what else is to be done, one step after the other
    errors: FieldErrors = []  # what was already found wrong, to be reported with the rest
    id: JobId | None = None  # the job's, where it follows from something; None: a new one


class Prepared(msgspec.Struct, frozen=True):
    """A job that is valid and not yet on record. A pipeline is never queued itself: the ticket is its first step's."""

    job: Job
    ticket: Ticket
    fresh: frozenset[BlobId]  # uploads of this request that the job has
    tenant: Tenant
    first: Job | None = None  # a pipeline: the job of the step to begin with


class Submission:
    """`submit` does it all; `prepare` and `commit` are its halves, for callers that hold uploads in between."""

    def __init__(self, services: GatewayServices, admission: Admission, outlook: Outlook) -> None:
        self._services = services
        self._outlook = outlook
        self._admission = admission

    async def submit(self, request: SubmitRequest) -> Job:
        """Validate, record, enqueue. Raises CallerError where the request is wrong, Unavailable without a ledger."""
        return (await self.commit(await self.prepare(request))).job

    async def prepare(self, request: SubmitRequest) -> Prepared:
        """Everything that can be wrong with the request is found here. Writes nothing."""
        self.check_open()
        routing = self._services.routing
        if request.id is None and (request.then or routing.splits_by_job(request.model)):
            request = msgspec.structs.replace(request, id=new_job_id())  # what its version is chosen by
        routed = routing.route(request.model, tenant=request.tenant.id, key=_sticky_key(request))
        if request.then:
            return await self._prepare_pipeline(routed, request)
        return (await self._prepare_job(routed, request))[0]

    async def _prepare_job(self, routed: Routed, request: SubmitRequest) -> tuple[Prepared, Intake]:
        served = routed.served
        named = named_blobs(served, request.inputs) if served.model.input_files else []
        intake = _NOTHING
        if named:
            tenant = request.tenant.id
            intake = await take_in(self._services, named, fresh=request.files, tenant=tenant)
        bound, inputs = _bind(served, request, intake)
        job = self._job(routed, request, inputs, files=_refs_in_order(named, intake), told=foretold(served, bound))
        fresh = frozenset([ref.id for ref in job.input_files if ref.id in request.files])
        try:
            ticket = ticket_of(job)
        except OverflowError as error:  # an integer beyond 64 bits in a field without a bound
            raise InvalidInput("An integer in the inputs has more than 64 bits.") from error
        return Prepared(job, ticket, fresh, request.tenant), intake

    async def _prepare_pipeline(self, routed: Routed, request: SubmitRequest) -> Prepared:
        """The first step as the job it would be alone, the others checked against it; what is wrong with any of them
        is told together."""
        wrong: CallerError | None = None
        prepared, like = None, None
        try:
            prepared, intake = await self._prepare_job(routed, request)
            like = next(iter(intake.files.values()), None)
        except (InvalidInput, BadMedia) as error:
            wrong = error
        served = routed.served
        first = Earlier(name=served.model.name, model=served.model, like=like)
        sender = Sender(request.tenant.id, _sticky_key(request))
        drafted = await draft(self._services, first, request.then, fresh=request.files, sender=sender)
        if wrong is not None and not drafted.errors:
            raise wrong
        if prepared is None or drafted.errors:
            raise _invalid([*(wrong.details.get("errors", []) if wrong else []), *drafted.errors])
        plan = Plan(steps=(first_step(served, prepared.job), *map(self._sized, drafted.steps)))
        job = as_pipeline(prepared.job, plan)
        begun = step_job(job, 0, [None] * len(plan.steps), job.created_at_s)
        fresh = frozenset(ref.id for ref in job.input_files if ref.id in request.files)
        return Prepared(job, ticket_of(begun), fresh, request.tenant, begun)

    async def commit(self, prepared: Prepared) -> Inserted:
        """Record and enqueue. Not new: the job that already has this idempotency key. Raises Refused (queue_full,
        quota_exceeded); InvalidInput (idempotency_key_reused) where the job of that key was asked for differently."""
        job = prepared.job
        try:
            await self._services.metering.job(job.tenant, job.predicted_s)
            await self._admission.enter(prepared.ticket.model, prepared.tenant)
        except Refused as refusal:
            return _or_raise(*await self._known([(prepared, refusal)]))
        is_queued = False
        try:
            job = self._outlook.promised(job, ahead=self._admission.entered(prepared.ticket.model) - 1)
            [inserted] = await self._services.ledger.insert([job])
            if not inserted.is_new:
                return _or_raise(_replayed(prepared, inserted))
            is_queued = True
            self._services.metrics.add(JOBS_ACCEPTED, prepared.ticket.model, job.tenant)
            if prepared.first is None or await self._begin([prepared]):
                await self._enqueue([prepared.ticket])
            return inserted
        finally:
            self._admission.leave(prepared.ticket.model, job.tenant, is_queued=is_queued)

    async def commit_each(self, prepared: Sequence[Prepared]) -> list[Inserted | SpringtideError]:
        """The same for many without uploads of their own, with one insert and one enqueue; each has its own result."""
        entered: dict[int, Prepared] = {}
        refused: dict[int, tuple[Prepared, Refused]] = {}
        full: set[ModelName] = set()  # one look at a full queue is enough for all of them
        for place, one in enumerate(prepared):
            model = one.ticket.model
            try:
                await self._services.metering.job(one.job.tenant, one.job.predicted_s)
                await self._admission.enter(model, one.tenant, look_again=model not in full)
                entered[place] = one
            except Refused as refusal:
                refused[place] = (one, refusal)
                if refusal.code == "queue_full":
                    full.add(model)
        results: dict[int, Inserted | SpringtideError] = {}
        queued: dict[int, Prepared] = {}
        try:
            inserted = await self._services.ledger.insert_each(self._promised(entered.values()))
            for (place, one), result in zip(entered.items(), inserted, strict=True):
                results[place] = _replayed(one, result) if isinstance(result, Inserted) else result
                if isinstance(result, Inserted) and result.is_new:
                    queued[place] = one
                    self._services.metrics.add(JOBS_ACCEPTED, one.ticket.model, one.job.tenant)
            has_begun = await self._begin(queued.values())
            tickets = [one.ticket for one in queued.values() if one.first is None or has_begun]
            if tickets:
                await self._enqueue(tickets)
        finally:
            for place, one in entered.items():
                self._admission.leave(one.ticket.model, one.job.tenant, is_queued=place in queued)
        results.update(zip(refused, await self._known(list(refused.values())), strict=True))
        return [results[place] for place in range(len(prepared))]

    async def _known(self, refused: Sequence[tuple[Prepared, Refused]]) -> list[Inserted | SpringtideError]:
        """What those get who may not wait: the job that is on record under their key already, else the refusal."""
        keys = [(one.job.tenant, key) for one, _ in refused if (key := one.job.idempotency_key) is not None]
        found = await self._services.ledger.keyed(keys) if keys else []
        known = {(job.tenant, job.idempotency_key): job for job in found if job is not None}
        return [
            refusal
            if (job := known.get((one.job.tenant, one.job.idempotency_key))) is None
            else _replayed(one, Inserted(job, False))
            for one, refusal in refused
        ]

    async def _begin(self, prepared: Iterable[Prepared]) -> bool:
        """Record the first steps of pipelines. The pipeline was the promise: where this fails, the conductor does
        it."""
        first_steps = [one.first for one in prepared if one.first is not None]
        try:
            if first_steps:
                await self._services.ledger.insert(first_steps)
        except (Unavailable, OutcomeUnknown) as error:
            log.warning("the first steps of %d pipelines wait for the conductor: %s", len(first_steps), error)
            return False
        return True

    def check_open(self) -> None:
        """Raises Refused while the server is stopping: a job taken in now would wait for the next start."""
        if self._services.stopping.is_set():
            message = "The server is stopping and takes in no more jobs. Send this one again."
            raise Refused(message, code="shutting_down", retry_after_s=RESTART_S)

    async def known(self, request: SubmitRequest) -> Inserted | None:
        """The job that has the request's idempotency key, where it is of the same model."""
        key = request.idempotency_key
        [job] = await self._services.ledger.keyed([(request.tenant.id, key)]) if key is not None else [None]
        wanted = (parted(each)[0] for each in (request.model, *(step.model for step in request.then)))
        return Inserted(job, False) if job is not None and job.model == MODELS_JOINED_BY.join(wanted) else None

    async def check_room(self, served: ServedModel, tenant: Tenant) -> None:
        """Raises Refused (queue_full) where a job could not wait now: before an upload, which would be in vain."""
        await self._admission.check(served.queue, tenant)

    def served(self, name: str) -> ServedModel:
        """The model, or the version, of that name. Raises NotFound naming those there are."""
        return self._services.routing.served(name)

    def _promised(self, prepared: Iterable[Prepared]) -> list[Job]:
        """Jobs that have all entered, each told of those before it."""
        prepared = list(prepared)
        left = Counter(one.ticket.model for one in prepared)
        ahead = {model: self._admission.entered(model) - many for model, many in left.items()}
        promised: list[Job] = []
        for one in prepared:
            promised.append(self._outlook.promised(one.job, ahead=ahead[one.ticket.model]))
            ahead[one.ticket.model] += 1
        return promised

    def _sized(self, step: PlanStep) -> PlanStep:
        if step.foretold is None:
            return step
        return msgspec.structs.replace(
            step, predicted_s=self._outlook.predicted_s(step.unit or step.model, step.foretold)
        )

    def _job(
        self, routed: Routed, request: SubmitRequest, inputs: dict[str, Any], *, files: list[BlobRef], told: Foretold
    ) -> Job:
        served = routed.served
        asked = f"{served.model.name}@{served.model.version}" if routed.is_pinned else served.model.name
        now_s = self._services.clock.now_s()
        deadline_s = request.start_deadline_s
        return Job(
            id=request.id or new_job_id(),
            tenant=request.tenant.id,
            model=served.model.name,
            model_version=served.model.version,
            status=JobStatus.QUEUED,
            inputs=inputs,
            input_files=tuple(files),
            priority=self._services.metering.priority(request.tenant.id, request.priority),
            max_attempts=served.max_attempts,
            timeout_s=served.timeout_s,
            predicted_s=self._outlook.predicted_s(served.queue, told),
            created_at_s=now_s,
            start_deadline_at_s=None if deadline_s is None else now_s + deadline_s,
            idempotency_key=request.idempotency_key,
            fingerprint=None if request.idempotency_key is None else fingerprint(asked, inputs, files),
            traceparent=request.traceparent,
            unit=served.unit,
            is_pinned=routed.is_pinned,
            foretold=told,
        )

    async def _enqueue(self, tickets: Sequence[Ticket]) -> None:
        # The insert was the promise, so nothing that goes wrong here may reach the client. A broker to which calls are
        # dear gathers those of many requests itself.
        try:
            await self._services.broker.enqueue(tickets, self._services.clock.now_s())
        except (Unavailable, OutcomeUnknown) as error:
            log.warning("%d accepted jobs wait for the sweep: %s", len(tickets), error)
        except Exception:
            log.exception("%d accepted jobs wait for the sweep", len(tickets))


def _sticky_key(request: SubmitRequest) -> str:
    """What stays the same when a request is sent once more, else the job's id."""
    return request.idempotency_key or request.id or ""


def _replayed(prepared: Prepared, inserted: Inserted) -> Inserted | InvalidInput:
    """The job that a request got; an error where it is an older one that was asked for differently."""
    if inserted.is_new or inserted.job.fingerprint == prepared.job.fingerprint:
        return inserted
    return InvalidInput(
        f"The idempotency key was used for another request ({inserted.job.id}).", code="idempotency_key_reused"
    )


def _or_raise(result: Inserted | SpringtideError) -> Inserted:
    if isinstance(result, SpringtideError):
        raise result
    return result


def _bind(served: ServedModel, request: SubmitRequest, intake: Intake) -> tuple[BaseModel, dict[str, Any]]:
    """Bind, and raise one error that holds what was found before, in the files and in the fields."""
    try:
        bound = bind(type(served.engine).Input, request.inputs, intake.files)
    except InvalidInput as error:
        found = [*request.errors, *intake.errors]
        told = {item["loc"] for item in found}
        of_fields = [item for item in error.details.get("errors", []) if item["loc"] not in told]
        # What is wrong with all of them follows from the one that was refused: "give image or video" of a broken image.
        found += [item for item in of_fields if item["loc"] or not found]
        raise _invalid(found or [{"loc": "inputs", "message": error.message}]) from error
    if request.errors or (intake.errors and intake.bad_media is None):
        raise _invalid([*request.errors, *intake.errors])
    if intake.bad_media is not None:
        raise _bad_media(intake.bad_media, intake.errors)
    return bound


def _invalid(errors: FieldErrors) -> InvalidInput:
    listed = in_words(errors[:5])
    more = f" (and {len(errors) - 5} more)" if len(errors) > 5 else ""
    return InvalidInput(f"{listed}{more}", errors=errors)


def _bad_media(first: BadMedia, errors: FieldErrors) -> BadMedia:
    details = {key: value for key, value in first.details.items() if key != "errors"}
    return BadMedia(in_words(errors), code=first.code, errors=errors, **details)


def _refs_in_order(named: Sequence[tuple[Any, BlobId]], intake: Intake) -> list[BlobRef]:
    return [intake.refs[blob] for blob in dict.fromkeys(blob for _, blob in named) if blob in intake.refs]
