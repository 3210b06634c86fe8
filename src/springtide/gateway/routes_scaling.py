"""`/v1/models/{name}/scaling`: why a model has as many replicas as it has, and how queue and fleet went meanwhile.
`/v1/trace`: the jobs of some time as a trace for the simulator."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from litestar import get
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from springtide.domain.ids import ModelName
from springtide.domain.keys import Scope
from springtide.gateway.context import AnyRequest, gateway_of
from springtide.gateway.headers import iso8601
from springtide.gateway.schemas_models import DecisionView, SampleView, ScalingView
from springtide.ledger.history import FleetHistory, FleetSample, Scaled
from springtide.ledger.traces import HEADER, ran_since, trace_line

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
    scaled_as = served.pool or served.queue
    history, now_s = gateway.services.history, gateway.services.clock.now_s()
    decisions = await history.scaled(scaled_as, before_s=now_s + DAY_S if before_s is None else before_s, limit=limit)
    samples = [] if since_s is None else await history.samples(scaled_as, since_s=since_s, limit=SAMPLES)
    return ScalingView(
        model=served.queue,
        pool=served.pool,
        decisions=[_decision(one) for one in decisions],
        samples=[_sample(one) for one in samples],
    )


@get("/v1/trace", tags=["models"], summary="What arrived, as a trace", opt={"access": Scope.ADMIN})
async def get_trace(
    request: AnyRequest,
    *,
    since_s: Annotated[float | None, QueryParameter(description="From this Unix time; default: a day ago.")] = None,
    model: Annotated[str | None, QueryParameter(description="Only jobs of this model.")] = None,
) -> Stream:
    """The jobs of all tenants that came to a result, one a line: when they came, of which model and tenant, what they
    took. For `springtide simulate` and the model `what-if`."""
    gateway = gateway_of(request)
    begin_s = gateway.services.clock.now_s() - DAY_S if since_s is None else since_s
    name = None if model is None else gateway.submission.served(model).model.name
    lines: Any = Stream(
        _lines(gateway.services.history, begin_s, name), media_type="text/csv", headers={"cache-control": "no-store"}
    )
    return lines


async def _lines(history: FleetHistory, since_s: float, model: ModelName | None) -> AsyncGenerator[bytes]:
    yield HEADER.encode()
    async for page in ran_since(history, since_s, model=model):
        yield "".join(trace_line(one, since_s) for one in page).encode()


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
