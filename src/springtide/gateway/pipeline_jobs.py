"""From a first job and a plan to the job that stands for the whole."""

from __future__ import annotations

import msgspec

from springtide.domain.ids import pipeline_id
from springtide.domain.job import Job, Plan, PlanStep
from springtide.gateway.fingerprints import plan_fingerprint
from springtide.gateway.served import ServedModel
from springtide.policy.pipelines import MODELS_JOINED_BY, models_of


def first_step(served: ServedModel, job: Job) -> PlanStep:
    return PlanStep(
        name=served.model.name,
        model=served.model.name,
        model_version=served.model.version,
        inputs=job.inputs,
        max_attempts=served.max_attempts,
        timeout_s=served.timeout_s,
        predicted_s=job.predicted_s,
        foretold=job.foretold,
        input_files=job.input_files,
        unit=job.unit,
        is_pinned=job.is_pinned,
    )


def as_pipeline(job: Job, plan: Plan) -> Job:
    """The job that stands for `plan`: everything else as `job`, the one that its first step would be alone. It holds
    every file that a step names or a retry goes on from, so that none is deleted before its turn."""
    adopted = [step.adopted.output_files for step in plan.steps if step.adopted is not None]
    files = [*(step.input_files for step in plan.steps), *adopted]
    return msgspec.structs.replace(
        job,
        id=pipeline_id(job.id),
        model=models_of(plan),
        model_version=MODELS_JOINED_BY.join(step.model_version for step in plan.steps),
        input_files=tuple({ref.id: ref for each in files for ref in each}.values()),
        max_attempts=1,  # of the whole; each step has its own
        timeout_s=sum(step.timeout_s for step in plan.steps),
        predicted_s=sum(step.predicted_s for step in plan.steps),
        fingerprint=None if job.idempotency_key is None else plan_fingerprint(plan),
        foretold=None,
        plan=plan,
    )
