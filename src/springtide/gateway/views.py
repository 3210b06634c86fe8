"""From the project's values to what goes out: one function for each shape in `schemas`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from springtide.domain.ids import BlobId, batch_of
from springtide.domain.job import BlobRef, Job, JobError, JobStatus, PlanStep
from springtide.domain.lease import LiveEvent, LiveJob
from springtide.domain.orders import Orders
from springtide.gateway.disclosure import disclosed
from springtide.gateway.headers import iso8601
from springtide.gateway.links import Links
from springtide.gateway.openai.uses import Use
from springtide.gateway.readiness import Eta
from springtide.gateway.schemas import (
    AcceptedView,
    AttemptView,
    ErrorView,
    EventView,
    JobView,
    ReasonView,
    StepView,
    WaitingEventView,
)
from springtide.gateway.schemas_files import BlobView, FileView
from springtide.gateway.schemas_models import (
    CapabilityView,
    CommercialUse,
    FileFieldView,
    LiveFigures,
    MeasuredView,
    ModelView,
    WeightsView,
)
from springtide.gateway.schemas_orders import pause_view, pin_view
from springtide.gateway.schemas_rollouts import RolloutView, VersionView
from springtide.gateway.served import ServedModel
from springtide.gateway.standing import Standing
from springtide.ledger.protocol import Attempt, StoredBlob
from springtide.policy.waiting import Waiting

# The broker may know of an end that is not on record yet. It could still be undone, so it is not shown as the end.
_UNTIL_RECORDED = {
    JobStatus.COMPLETED: JobStatus.IN_PROGRESS,
    JobStatus.FAILED: JobStatus.IN_PROGRESS,
    JobStatus.CANCELLED: JobStatus.CANCELLING,
    JobStatus.EXPIRED: JobStatus.QUEUED,
}


def accepted_view(job: Job, base: str, *, eta: Eta | None) -> AcceptedView:
    """What a submit is answered with."""
    url = job_url(job, base)
    return AcceptedView(
        id=job.id,
        model=job.model,
        model_version=job.model_version,
        created_at=iso8601(job.created_at_s),
        created_at_s=job.created_at_s,
        status_url=url,
        result_url=f"{url}/result",
        events_url=f"{url}/events",
        cancel_url=f"{url}/cancel",
        status=job.status.value,
        **_when(eta),
    )


def _when(eta: Eta | None) -> dict[str, Any]:
    if eta is None:
        return {}
    likely_s = (eta.likely_low_s, eta.likely_high_s)
    return {"eta_s": eta.s, "eta_range_s": (eta.low_s, eta.high_s), "eta_likely_s": likely_s}


def standing_view(
    standing: Standing, base: str, links: Links, *, eta: Eta | None = None, waiting: Waiting | None = None
) -> JobView:
    """A job as it stands, with its steps where it is a pipeline."""
    view = job_view(standing.job, base, links, live=standing.live, eta=eta, waiting=waiting)
    plan = standing.job.plan
    if plan is not None and standing.steps:
        view.steps = [
            _step_view(number, step, job, live, base=base, links=links)
            for number, (step, job, live) in enumerate(zip(plan.steps, standing.steps, standing.lives, strict=True))
        ]
    return view


def _step_view(
    number: int, step: PlanStep, job: Job | None, live: LiveJob | None, *, base: str, links: Links
) -> StepView:
    known: dict[str, Any] = {"job": None, "status_url": None, "status": "waiting"}
    if step.adopted is not None:
        url = f"{base}/v1/jobs/{step.adopted.job}"
        known = {"job": step.adopted.job, "status_url": url, "status": "completed", "progress": 1.0}
    elif job is not None:
        view = job_view(job, base, links, live=live)
        known = {
            "job": view.id,
            "status_url": view.status_url,
            "status": view.status,
            "attempt": view.attempt,
            "created_at_s": view.created_at_s,
            "started_at_s": view.started_at_s,
            "finished_at_s": view.finished_at_s,
            "stage": view.stage,
            "progress": view.progress,
            "error": view.error,
        }
    return StepView(
        step=number,
        name=step.name,
        model=step.model,
        model_version=step.model_version,
        reused=step.adopted is not None,
        predicted_s=step.predicted_s,
        inputs=step.inputs,
        **known,
    )


def job_view(
    job: Job,
    base: str,
    links: Links | None,
    *,
    live: LiveJob | None = None,
    eta: Eta | None = None,
    waiting: Waiting | None = None,
) -> JobView:
    """A job on record, with the broker's fresher view of a live one laid over it. links: None shows no outputs."""
    over = live if live is not None and not job.status.is_terminal else None
    status = _UNTIL_RECORDED.get(over.status, over.status) if over else job.status
    started_at_s = over.started_at_s if over and over.started_at_s is not None else job.started_at_s
    url = job_url(job, base)
    return JobView(
        id=job.id,
        model=job.model,
        model_version=job.model_version,
        created_at=iso8601(job.created_at_s),
        created_at_s=job.created_at_s,
        status_url=url,
        result_url=f"{url}/result",
        events_url=f"{url}/events",
        cancel_url=f"{url}/cancel",
        status=status.value,
        **_when(eta),
        priority=job.priority.value,
        attempt=max(over.attempt, job.attempt) if over else job.attempt,
        max_attempts=job.max_attempts,
        timeout_s=job.timeout_s,
        predicted_s=job.predicted_s,
        used_s=job.used_s,
        start_deadline_at_s=job.start_deadline_at_s,
        started_at=_iso(started_at_s),
        started_at_s=started_at_s,
        finished_at=_iso(job.finished_at_s),
        finished_at_s=job.finished_at_s,
        stage=over.stage if over else None,
        progress=over.fraction if over else (1.0 if job.status is JobStatus.COMPLETED else None),
        ahead=over.ahead if over else None,
        retry_at_s=over.retry_at_s if over else None,
        waiting=None
        if waiting is None
        else ReasonView(code=waiting.code, message=waiting.message, figures=waiting.figures),
        inputs=job.inputs,
        outputs=None if job.outputs is None or links is None else outputs_view(job, base, links),
        error=error_view(job.error),
        parent=job.parent,
        step=job.step,
        retry_of=job.retry_of,
        batch=batch_of(job.id),
    )


def outputs_view(job: Job, base: str, links: Links) -> dict[str, Any]:
    """A job's outputs with every file as id, URL, media type and size."""
    refs = {ref.id: ref for ref in job.output_files}
    shown: dict[str, Any] = {}
    for name, value in (job.outputs or {}).items():
        if isinstance(value, str) and value in refs:
            shown[name] = _file_view(job, refs[BlobId(value)], name, base=base, links=links)
        elif isinstance(value, list) and refs:
            shown[name] = [
                _file_view(job, refs[BlobId(item)], item, base=base, links=links)
                if isinstance(item, str) and item in refs
                else item
                for item in value
            ]
        else:
            shown[name] = value
    return shown


def output_file(job: Job, field: str) -> BlobRef | None:
    """The output file that `/files/{field}` means: the field's name, or a file's own id where a field holds several."""
    value = (job.outputs or {}).get(field)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return next((ref for ref in job.output_files if ref.id in (field, value)), None)


def error_view(error: JobError | None) -> ErrorView | None:
    """What the client may know of it."""
    if error is None:
        return None
    told = disclosed(error)
    return ErrorView(code=told.code, message=told.message, retryable=told.retryable, details=told.details)


def attempt_view(attempt: Attempt) -> AttemptView:
    return AttemptView(
        attempt=attempt.attempt,
        worker=attempt.worker,
        started_at_s=attempt.started_at_s,
        finished_at_s=attempt.finished_at_s,
        error=error_view(attempt.error),
    )


def event_view(event: LiveEvent) -> EventView:
    return EventView(
        job=event.job,
        kind=event.kind,
        at=iso8601(event.at_s),
        at_s=event.at_s,
        attempt=event.attempt,
        progress=event.fraction,
        stage=event.stage,
        error=error_view(event.error),
    )


def waiting_view(job: Job, waiting: Waiting, at_s: float) -> WaitingEventView:
    return WaitingEventView(
        job=job.id,
        at=iso8601(at_s),
        at_s=at_s,
        code=waiting.code,
        message=waiting.message,
        figures=waiting.figures,
    )


def blob_view(blob: StoredBlob, base: str, links: Links) -> BlobView:
    ref = blob.ref
    signed = links.sign(ref.id)
    return BlobView(
        id=ref.id,
        media_type=ref.media_type,
        bytes=ref.bytes,
        sha256=ref.sha256,
        url=f"{base}/v1/blobs/{ref.id}",
        signed_url=base + signed.path,
        expires_at=iso8601(signed.expires_at_s),
        expires_at_s=signed.expires_at_s,
        name=ref.name,
        created_at=iso8601(blob.created_at_s),
        created_at_s=blob.created_at_s,
    )


_COMMERCIAL_USE: dict[bool | None, CommercialUse] = {True: "yes", False: "no", None: "unknown"}


def model_view(
    served: ServedModel,
    base: str,
    *,
    live: LiveFigures | None,
    orders: Orders,
    capabilities: Sequence[Use],
    since_s: float,
    versions: Sequence[VersionView] = (),
    rollout: RolloutView | None = None,
) -> ModelView:
    """capabilities: OpenAI's routes that it serves. since_s: when it began to be served here."""
    model = served.model
    return ModelView(
        id=model.name,
        object="model",
        created=int(since_s),
        owned_by="springtide",
        capabilities=[CapabilityView(route=use.route.value, note=use.note) for use in capabilities],
        name=model.name,
        version=model.version,
        engine=model.engine,
        title=model.title,
        description=model.description,
        license=model.license,
        commercial_use=_COMMERCIAL_USE[model.commercial_use],
        generative=model.generative,
        weights=[
            WeightsView(path=one.path, bytes=one.bytes, sha256=one.sha256, license=one.license)
            for one in served.engine.weights
        ],
        stages=list(model.stages),
        input_schema=model.input_schema,
        output_schema=model.output_schema,
        input_files=[
            FileFieldView(
                name=field.name,
                media_types=list(field.media_types),
                required=field.required,
                many=field.many,
                max_bytes=field.max_bytes,
                max_pixels=field.max_pixels,
                max_duration_s=field.max_duration_s,
                animated=field.animated,
                needs_audio=field.needs_audio,
            )
            for field in model.input_files
        ],
        output_files=list(model.output_files),
        output_media={name: list(types) for name, types in model.output_media.items()},
        timeout_s=served.timeout_s,
        max_attempts=served.max_attempts,
        url=f"{base}/v1/models/{model.name}",
        live=live,
        measured=_measured(served),
        paused=pause_view(orders.pauses.get(served.queue)),
        pinned=pin_view(orders.pins.get(served.pool or served.queue)),
        versions=list(versions),
        rollout=rollout,
    )


def _measured(served: ServedModel) -> MeasuredView | None:
    trial = served.trial
    if trial is None or trial.load_s is None:
        return None
    return MeasuredView(
        at=iso8601(trial.at_s),
        at_s=trial.at_s,
        processors=trial.processors,
        load_s=trial.load_s,
        first_run_s=trial.first_run_s,
        run_s=trial.run_s,
        estimated_s=trial.estimated_s,
        loaded_memory_mb=trial.loaded_memory_mb,
        peak_memory_mb=trial.peak_memory_mb,
    )


def job_url(job: Job, base: str) -> str:
    return f"{base}/v1/jobs/{job.id}"


def _file_view(job: Job, ref: BlobRef, field: str, *, base: str, links: Links) -> FileView:
    signed = links.sign(ref.id)
    return FileView(
        id=ref.id,
        url=f"{job_url(job, base)}/files/{field}",
        signed_url=base + signed.path,
        expires_at=iso8601(signed.expires_at_s),
        expires_at_s=signed.expires_at_s,
        media_type=ref.media_type,
        bytes=ref.bytes,
        sha256=ref.sha256,
        name=ref.name,
    )


def _iso(at_s: float | None) -> str | None:
    return None if at_s is None else iso8601(at_s)
