"""`/v1/models/{name}/scaling`: why a model has as many replicas as it has, and how queue and fleet went meanwhile."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import FromPath, QueryParameter

from springtide.gateway.context import AnyRequest, gateway_of
from springtide.gateway.headers import iso8601
from springtide.gateway.schemas import DecisionView, SampleView, ScalingView
from springtide.ledger.history import FleetSample, Scaled

SAMPLES = 10_000  # 28 hours at one sample in ten seconds
DAY_S = 86_400.0


@get("/v1/models/{name:str}/scaling", tags=["models"], summary="Why a model has so many replicas")
async def get_scaling(
    request: AnyRequest,
    name: FromPath[str],
    *,
    limit: Annotated[int, QueryParameter(ge=1, le=1000, description="At most so many decisions.")] = 20,
    before_s: Annotated[float | None, QueryParameter(description="Decisions before this Unix time.")] = None,
    since_s: Annotated[float | None, QueryParameter(description="Samples from then on; default: none.")] = None,
) -> ScalingView:
    """The newest decisions that changed something, and samples of queue and fleet for a timeline, oldest first. A model
    that shares its workers with others is scaled together with them, under the name of their pool."""
    gateway = gateway_of(request)
    served = gateway.submission.served(name)
    scaled_as = served.pool or served.model.name
    history, now_s = gateway.services.history, gateway.services.clock.now_s()
    decisions = await history.scaled(scaled_as, before_s=now_s + DAY_S if before_s is None else before_s, limit=limit)
    samples = [] if since_s is None else await history.samples(scaled_as, since_s=since_s, limit=SAMPLES)
    return ScalingView(
        model=served.model.name,
        pool=served.pool,
        decisions=[_decision(one) for one in decisions],
        samples=[_sample(one) for one in samples],
    )


def _decision(one: Scaled) -> DecisionView:
    decision = one.decision
    return DecisionView(
        at=iso8601(one.at_s),
        at_s=one.at_s,
        before=one.before,
        replicas=decision.replicas,
        wish=decision.replicas if decision.wish is None else decision.wish,
        reason=decision.reason,
        message=decision.message,
        figures=dict(decision.figures),
    )


def _sample(one: FleetSample) -> SampleView:
    return SampleView(
        at_s=one.at_s,
        arrived=one.arrived,
        queued=one.queued,
        running=one.running,
        oldest_wait_s=one.oldest_wait_s,
        wait_s_p95=one.wait_s_p95,
        wanted=one.wanted,
        ready=one.ready,
        busy=one.busy,
        loading=one.loading,
        draining=one.draining,
    )
