"""What comes next in a pipeline: `decide(pipeline, steps, now_s)` looks at the record and says the one thing to do.

Promises: the same record always leads to the same thing, under the same ids, so that whoever died in the middle may be
followed by anybody, twice at once included. Refuses to hand on what the next step does not take: that step is never
submitted, and the pipeline fails with the step's name and the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from springtide.domain.ids import JobId, ModelName, step_id
from springtide.domain.job import BlobRef, Job, JobError, JobRef, JobStatus, Plan, PlanStep
from springtide.domain.lease import Outcome
from springtide.domain.model import FileField

FROM = "$from"
MAX_STEPS = 16  # a step's number must fit beside those of the others in one byte of its id, and in a person's head
MODELS_JOINED_BY = " > "  # no model's name can hold it
LEAST_WEIGHT_S = 0.05  # what a step counts at least in the progress: its queueing is not nothing either

Steps = Sequence[Job | None]  # the job of each step, None where it is not on record


class Submit(msgspec.Struct, frozen=True):
    """The next step is due."""

    job: Job
    began_at_s: float | None  # start of the first step that ran; None where this is the first


class Stop(msgspec.Struct, frozen=True):
    """A step still runs that nobody wants any more."""

    ref: JobRef


class End(msgspec.Struct, frozen=True):
    """The pipeline is over."""

    outcome: Outcome


class _CannotFeed(Exception):
    """What an earlier step gave is not what this one takes."""


def step_jobs(pipeline: Job) -> list[JobId]:
    """The ids of the jobs that run, ran or will run the steps, in order. For an adopted step there will be none."""
    return [step_id(pipeline.id, number) for number in range(len(plan_of(pipeline).steps))]


def current(pipeline: Job, steps: Steps) -> int | None:
    """The first step without a result; None where all have one."""
    for number, (step, job) in enumerate(zip(plan_of(pipeline).steps, steps, strict=True)):
        if step.adopted is None and (job is None or job.status is not JobStatus.COMPLETED):
            return number
    return None


def decide(pipeline: Job, steps: Steps, now_s: float) -> Submit | Stop | End | None:
    """The one thing to do now; None: wait for the step that runs, or nothing is left to do."""
    number = current(pipeline, steps)
    job = None if number is None else steps[number]
    if pipeline.status.is_terminal:
        return None if job is None or job.status.is_terminal else Stop(job.ref)
    if number is None:
        return _end(pipeline, steps, JobStatus.COMPLETED, now_s)
    if job is None:
        if pipeline.cancel_asked_at_s is not None:
            return _end(pipeline, steps, JobStatus.CANCELLED, now_s)
        try:
            return Submit(step_job(pipeline, number, steps, now_s), _began_at_s(steps))
        except _CannotFeed as error:
            failure = JobError(code="invalid_input", message=str(error))
            return _end(pipeline, steps, JobStatus.FAILED, now_s, error=_located(pipeline, number, None, failure))
    if not job.status.is_terminal:
        return None if pipeline.cancel_asked_at_s is None else Stop(job.ref)
    error = job.error and _located(pipeline, number, job, job.error)
    return _end(pipeline, steps, job.status, now_s, error=error)


def step_job(pipeline: Job, number: int, steps: Steps, now_s: float) -> Job:
    """The job of step `number`. Its id depends on nothing but pipeline and number, so it cannot be made twice."""
    step = plan_of(pipeline).steps[number]
    inputs, files = _fed(plan_of(pipeline), step, steps)
    begins = all(job is None for job in steps)
    return Job(
        id=step_id(pipeline.id, number),
        tenant=pipeline.tenant,
        model=step.model,
        model_version=step.model_version,
        status=JobStatus.QUEUED,
        inputs=inputs,
        input_files=files,
        priority=pipeline.priority,
        max_attempts=step.max_attempts,
        timeout_s=step.timeout_s,
        predicted_s=step.predicted_s,
        created_at_s=now_s,
        # The pipeline has started once its first step has: a deadline for starting says nothing about later ones.
        start_deadline_at_s=pipeline.start_deadline_at_s if begins else None,
        traceparent=pipeline.traceparent,
        parent=pipeline.id,
        step=number,
        foretold=step.foretold,
        unit=step.unit,
        is_pinned=step.is_pinned,
    )


def plan_of(pipeline: Job) -> Plan:
    assert pipeline.plan is not None, f"{pipeline.id} is no pipeline"
    return pipeline.plan


def models_of(plan: Plan) -> ModelName:
    """What stands where a job's model does."""
    return ModelName(MODELS_JOINED_BY.join(step.model for step in plan.steps))


def events_ref(pipeline: Job) -> JobRef:
    """Where a pipeline's own live events are kept: beside those of its first model."""
    return JobRef(plan_of(pipeline).steps[0].model, pipeline.id)


def shares(plan: Plan) -> list[float]:
    """How much of the whole each step is, by what it is thought to cost; the sum is 1."""
    weights = [max(step.predicted_s, LEAST_WEIGHT_S) for step in plan.steps]
    return [weight / sum(weights) for weight in weights]


def source_of(value: Any) -> tuple[int, str] | None:
    """Step and output field that a place in a plan's inputs is fed from; None where it holds a value of its own."""
    if not isinstance(value, dict) or value.keys() != {FROM}:
        return None
    number, _, field = str(value[FROM]).partition(".")
    return int(number), field


def sources_of(step: PlanStep) -> list[tuple[int, str]]:
    """Every output that feeds this step."""
    places = [item for value in step.inputs.values() for item in (value if isinstance(value, list) else [value])]
    return [source for place in places if (source := source_of(place)) is not None]


# --- feeding ----------------------------------------------------------------------------------------------------------


def _fed(plan: Plan, step: PlanStep, steps: Steps) -> tuple[dict[str, Any], tuple[BlobRef, ...]]:
    """A step's inputs with outputs of earlier steps in their places, and every blob they name."""
    files = {ref.id: ref for ref in step.input_files}
    inputs: dict[str, Any] = {}
    for name, value in step.inputs.items():
        field = step.takes.get(name)
        if source := source_of(value):
            inputs[name] = _output(plan, steps, source, field, files)
        elif isinstance(value, list):
            items: list[Any] = []
            for item in value:
                source = source_of(item)
                given = _output(plan, steps, source, field, files) if source else item
                items += given if source and field is not None else [given]
            inputs[name] = items
        else:
            inputs[name] = value
    return inputs, tuple(files.values())


def _output(
    plan: Plan, steps: Steps, source: tuple[int, str], field: FileField | None, files: dict[Any, BlobRef]
) -> Any:
    """One output, checked against the field it is for; its files are added to `files`."""
    number, name = source
    outputs, output_files = _result(plan, steps, number)
    value = outputs.get(name)
    if field is None:
        return value
    given = f"{name} of step {number} ({plan.steps[number].name})"
    blobs = value if isinstance(value, list) else [] if value is None else [value]
    if not blobs and field.required:
        raise _CannotFeed(f"{field.name} needs a file, and {given} gave none")
    if len(blobs) > 1 and not field.many:
        raise _CannotFeed(f"{field.name} takes one file, and {given} gave {len(blobs)}")
    refs = {ref.id: ref for ref in output_files}
    for blob in blobs:
        ref = refs.get(blob)
        if ref is None:
            raise _CannotFeed(f"{field.name} takes a file, and {given} gave none")
        _check(field, ref, given)
        files[ref.id] = ref
    return blobs if field.many else next(iter(blobs), None)


def _result(plan: Plan, steps: Steps, number: int) -> tuple[dict[str, Any], tuple[BlobRef, ...]]:
    """Outputs and output files of a step that is done."""
    given = plan.steps[number].adopted or steps[number]
    assert given is not None
    return given.outputs or {}, given.output_files


def _check(field: FileField, ref: BlobRef, given: str) -> None:
    if not accepts(field.media_types, ref.media_type):
        raise _CannotFeed(f"{field.name} takes {', '.join(field.media_types)}, and {given} is {ref.media_type}")
    if ref.bytes > field.max_bytes:
        raise _CannotFeed(f"{field.name} takes at most {field.max_bytes} bytes, and {given} has {ref.bytes}")


def accepts(patterns: Sequence[str], media_type: str) -> bool:
    """Whether one of the patterns (image/png, image/*, */*) takes that media type."""
    kind = media_type.partition("/")[0]
    return any(pattern in ("*/*", media_type, f"{kind}/*") for pattern in patterns)


# --- the end ----------------------------------------------------------------------------------------------------------


def _end(
    pipeline: Job,
    steps: Steps,
    status: JobStatus,
    now_s: float,
    *,
    error: JobError | None = None,
) -> End:
    """The end of the whole; where it is a success, with the result of the last step."""
    outputs, files = None, ()
    if status is JobStatus.COMPLETED:
        outputs, files = _result(plan_of(pipeline), steps, len(steps) - 1)
    return End(
        Outcome(
            seq="",
            id=pipeline.id,
            model=pipeline.model,
            status=status,
            attempt=0,
            finished_at_s=now_s,
            started_at_s=_began_at_s(steps),
            outputs=outputs,
            output_files=files,
            error=error,
        )
    )


def _began_at_s(steps: Steps) -> float | None:
    starts = (job.started_at_s for job in steps if job is not None)
    return min((at_s for at_s in starts if at_s is not None), default=None)


def _located(pipeline: Job, number: int, job: Job | None, error: JobError) -> JobError:
    """A step's error as the pipeline's: the same code and reason, and where it came from."""
    step = plan_of(pipeline).steps[number]
    where: dict[str, Any] = {"step": number, "name": step.name, "model": step.model}
    if job is not None:
        where["job"] = job.id
    return JobError(
        code=error.code,
        message=f"step {number} ({step.name}): {error.message}",
        retryable=error.retryable,
        details={**error.details, "step": where},
    )
