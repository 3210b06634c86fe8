"""Why a job waits, runs or gave no result, in words, with figures, and what would help: `GET /v1/jobs/{id}/explain`.

The reasons of a job that waits are those of its status and its stream (`policy.waiting`); here they are all told, with
what a look at the past adds: how long a cold start usually takes and has been going. The list of reasons is closed:
docs/reference/errors.md has each.
"""

from __future__ import annotations

from springtide.domain.errors import SpringtideError
from springtide.domain.ids import ModelName
from springtide.domain.job import Job, JobError, JobStatus
from springtide.domain.lease import LiveJob
from springtide.domain.rollout import Rollout, RolloutState
from springtide.gateway.disclosure import disclosed
from springtide.gateway.outlook import Outlook
from springtide.gateway.schemas import ExplainedReason, ExplainView
from springtide.gateway.services import GatewayServices
from springtide.gateway.standing import Standing, Standings, at_work
from springtide.policy.waiting import Waiting

START_SEEN_S = 900.0  # how far back the beginning of a cold start is looked for
_SAMPLES = 200

HELPS = {
    "queued_behind": "Wait, or give it `priority: interactive` if somebody waits for it.",
    "tenant_limit": "Wait for your own jobs to end, or ask the operator for a higher `[tenants.NAME] max_running`.",
    "model_limit": "Wait, or ask the operator for a higher `[models.NAME] max_running`.",
    "paused": "Wait: the operator has to resume the model (`springtide resume MODEL`).",
    "no_capacity": "Wait, or ask the operator for a higher `max_replicas` of the model.",
    "fleet_full": "Wait for running jobs to end, or ask the operator for more room in `[fleet]`.",
    "worker_starting": "Wait; where such waits matter, the operator may keep one worker ready (`min_replicas = 1`).",
    "no_worker": "Wait for the controller to start one; where `max_replicas` is 0 the operator has to raise it.",
    "no_room": "Wait, or ask the operator for more `memory_mb` of the workers that share their memory.",
    "retry_delay": "Wait; `GET /v1/jobs/{id}/attempts` says how the earlier attempts ended.",
    "engine_not_loading": "The operator has to mend the model's engine; `springtide models check` shows what fails.",
    "crash_looping": "The operator looks at the worker's log (`kubectl logs --previous` in a cluster) and mends it.",
    "unschedulable": "Wait if a node is being added; else the operator frees or adds GPUs: `springtide doctor`.",
    "scheduling_gated": "Wait for the cluster's queue, or ask its operator for a larger share.",
    "quota_exceeded": "The operator raises the namespace's ResourceQuota, or lowers `max_replicas` of other models.",
    "pods_refused": "The operator reads the message: an admission rule of the cluster refuses the pods.",
    "image_not_pulled": "The operator puts the image right, or the registry's secret (`kubernetes.images`).",
    "pod_misconfigured": "The operator makes the Secret or ConfigMap that the message names.",
    "volume_not_mounted": "The operator mends the share of model files, or names another (`kubernetes.weights`).",
    "no_deployment": "The operator applies what `springtide deploy render` writes.",
    "scaling_refused": "The operator applies the Role that `springtide deploy render` writes.",
    "rollout_aborted": "Nothing: the version that was tried has to be mended. A job that failed there may be retried: "
    "`POST /v1/jobs/{id}/retry`.",
    "model_removed": "The operator has to configure the model again; else cancel the job.",
    "start_deadline": "Submit it again with a later `start_deadline_s`, or none.",
    "not_in_queue": "Wait: it is on record, and the sweep puts it into the queue within a minute.",
    "queue_unreachable": "Wait: the job is on record and lost nothing; the operator should look at the broker.",
    "attempts_spent": "Look at its attempts; if the input is not at fault, retry it: `POST /v1/jobs/{id}/retry`.",
    "crashed": "Look at its attempts; the same input may crash the engine again.",
    "out_of_memory": "Submit a smaller input, or ask the operator for a higher `memory_limit_mb`.",
    "timed_out": "Submit a shorter input, or ask the operator for a higher `timeout_s` of the model.",
    "input_missing": "Upload the input again and submit the job anew.",
    "cancelled": "Retry it if it is wanted after all: `POST /v1/jobs/{id}/retry`.",
    "weights_missing": "The operator runs `springtide models pull`; then retry the job.",
}
_RETRYABLE = "Retry it: `POST /v1/jobs/{id}/retry`."
_SAME_AGAIN = "The same request would end the same; change the input."


class Explaining:
    """Explains jobs."""

    def __init__(self, services: GatewayServices, outlook: Outlook, standings: Standings) -> None:
        self._services = services
        self._outlook = outlook
        self._standings = standings

    async def explain(self, standing: Standing) -> ExplainView:
        """Everything that is known of why `standing` is as it is."""
        job, live = standing.job, standing.live
        status = live.status if live is not None and not job.status.is_terminal else job.status
        eta = await self._standings.eta(standing)
        found = await self._reasons(standing, status)
        return ExplainView(
            job=job.id,
            model=job.model,
            status=status.value,
            summary=_sentence(found[0].message) if found else "Nothing holds it up.",
            reasons=found,
            attempt=max(job.attempt, live.attempt if live else 0),
            max_attempts=job.max_attempts,
            eta_s=eta.s if eta else None,
            eta_range_s=(eta.low_s, eta.high_s) if eta else None,
        )

    async def _reasons(self, standing: Standing, status: JobStatus) -> list[ExplainedReason]:
        job, now_s = standing.job, self._services.clock.now_s()
        taken_back = _taken_back(job, self._services.routing.rollout(job.model))
        if job.status.is_terminal:
            return [_ended(job), *taken_back]
        if status is JobStatus.CANCELLING:
            return [_reason("cancelling", "it was asked to stop; its worker will say when it has")]
        waits = [await self._with_start(standing, one) for one in await self._standings.reasons(standing)]
        found = [_reason(one.code, one.message, one.figures) for one in waits]
        at, live = at_work(standing)
        if not found and status is JobStatus.QUEUED and at is not None:
            found = [await self._unseen(at, live)]
        if status is JobStatus.QUEUED and job.start_deadline_at_s is not None:
            left_s = max(0.0, job.start_deadline_at_s - now_s)
            message = f"it expires in {left_s:.0f} s unless it has started by then (start_deadline_s)"
            found.append(_reason("start_deadline", message, {"left_s": round(left_s, 1)}))
        if not found and status is JobStatus.IN_PROGRESS:
            found = [_running(job, standing.live, now_s)]
        return found + taken_back

    async def _with_start(self, standing: Standing, waiting: Waiting) -> Waiting:
        """A cold start with its usual length, and how long it has been going."""
        at, _ = at_work(standing)
        if waiting.code != "worker_starting" or at is None:
            return waiting
        usual_s = await self._outlook.usual_start_s(at.queue)
        figures, message = {**waiting.figures, "usual_s": round(usual_s, 1)}, waiting.message
        going_s = await self._going_s(at.queue)
        message += f"; that usually takes {usual_s:.0f} s"
        if going_s is not None:
            figures["going_s"] = round(going_s, 1)
            message += f", and has been going for {going_s:.0f} s"
        return Waiting(code=waiting.code, message=message, figures=figures)

    async def _going_s(self, model: ModelName) -> float | None:
        """Since when workers of a model have been loading, by the controller's samples; None where it took none."""
        served, now_s = self._services.units.get(model), self._services.clock.now_s()
        name = model if served is None or served.pool is None else served.pool
        try:
            samples = await self._services.history.samples(name, since_s=now_s - START_SEEN_S, limit=_SAMPLES)
        except SpringtideError:
            return None
        began_at_s: float | None = None
        for sample in samples:
            if not sample.loading:
                began_at_s = None
            elif began_at_s is None:
                began_at_s = sample.at_s
        return None if began_at_s is None else max(0.0, now_s - began_at_s)

    async def _unseen(self, job: Job, live: LiveJob | None) -> ExplainedReason:
        """A queued job of which the broker says nothing."""
        if await self._outlook.view(job.queue) is None:
            return _reason("queue_unreachable", "the queue cannot be asked now; the job is safe on record")
        if live is None:
            return _reason("not_in_queue", "it is on record and not in the queue yet")
        return _reason("queued_behind", "it waits for its turn")


def _ended(job: Job) -> ExplainedReason:
    finished_s = job.finished_at_s if job.finished_at_s is not None else job.created_at_s
    started_s = job.started_at_s if job.started_at_s is not None else finished_s
    figures = {"waited_s": round(started_s - job.created_at_s, 3), "ran_s": round(finished_s - started_s, 3)}
    if job.status is JobStatus.COMPLETED:
        message = f"it has completed: it waited {figures['waited_s']:.1f} s and ran {figures['ran_s']:.1f} s"
        return _reason("completed", message, figures)
    if job.status is JobStatus.EXPIRED:
        figures = {"waited_s": round(finished_s - job.created_at_s, 3)}
        return _reason("start_deadline", f"it had not started after {figures['waited_s']:.1f} s and expired", figures)
    error = disclosed(job.error or JobError(code=job.status.value, message=f"it was {job.status.value}"))
    figures |= {"attempt": float(job.attempt), "max_attempts": float(job.max_attempts)}
    usual = _RETRYABLE if error.retryable else _SAME_AGAIN
    return ExplainedReason(
        code=error.code, message=error.message.rstrip("."), figures=figures, helps=HELPS.get(error.code, usual)
    )


def _running(job: Job, live: LiveJob | None, now_s: float) -> ExplainedReason:
    attempt = live.attempt if live else job.attempt
    started_s = live.started_at_s if live is not None and live.started_at_s is not None else job.started_at_s
    message, figures = f"attempt {attempt} of {job.max_attempts} runs", {"attempt": float(attempt)}
    if started_s is not None:
        figures["running_s"] = round(max(0.0, now_s - started_s), 1)
        message += f" since {figures['running_s']:.0f} s"
    if live is not None and live.fraction is not None:
        figures["progress"] = live.fraction
        message += f"; {live.fraction:.0%} done{': ' + live.stage if live.stage else ''}"
    return _reason("running", message, figures)


def _taken_back(job: Job, rollout: Rollout | None) -> list[ExplainedReason]:
    """Of a job that came while a version was tried that was aborted since: why it is done where it is done."""
    if rollout is None or rollout.state is not RolloutState.ABORTED or job.is_pinned:
        return []
    ended_at_s = rollout.ended_at_s if rollout.ended_at_s is not None else rollout.changed_at_s
    if not rollout.started_at_s <= job.created_at_s <= ended_at_s:
        return []
    why = f"which was aborted ({rollout.reason or 'no reason was given'})"
    if job.model_version == rollout.canary:
        message = f"it went to version {rollout.canary}, a rollout {why}; version {rollout.stable} does such jobs now"
    else:
        message = f"it came during the rollout of version {rollout.canary}, {why}; what waited for that one is done "
        message += f"by version {rollout.stable}"
    return [_reason("rollout_aborted", message)]


def _reason(code: str, message: str, figures: dict[str, float] | None = None) -> ExplainedReason:
    return ExplainedReason(code=code, message=message, figures=figures or {}, helps=HELPS.get(code))


def _sentence(message: str) -> str:
    """What others say (a scheduler, a registry) may end in a full stop already."""
    return f"{message[:1].upper()}{message[1:].removesuffix('.')}."
