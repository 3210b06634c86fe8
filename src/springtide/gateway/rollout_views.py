"""Versions and rollouts as they go out."""

from __future__ import annotations

from springtide.domain.ids import ModelName
from springtide.domain.rollout import Compared, Measured, Rollout
from springtide.gateway.headers import iso8601
from springtide.gateway.outlook import Outlook
from springtide.gateway.routing import Routing
from springtide.gateway.schemas_rollouts import ComparedView, MarginsView, MeasuredVersionView, RolloutView, VersionView
from springtide.gateway.served import ServedModel
from springtide.policy.rollout import state_of


async def version_views(routing: Routing, outlook: Outlook, model: ModelName, base: str) -> list[VersionView]:
    """Every version of a model, its own table's first."""
    rollout, versions = routing.rollout(model), routing.versions(model)
    return [await _version(outlook, one, rollout, base, first=versions[0].model.version) for one in versions]


async def _version(
    outlook: Outlook, served: ServedModel, rollout: Rollout | None, base: str, *, first: str
) -> VersionView:
    version = served.model.version
    state = state_of(rollout, version, first=first)
    live = await outlook.figures(served.queue)
    return VersionView(
        version=version,
        weight=(100.0 if state == "stable" else 0.0) if rollout is None else rollout.weight_of(version),
        state=state,
        engine=served.model.engine,
        unit=served.queue,
        url=f"{base}/v1/models/{served.queue}",
        queued=None if live is None else live.queued,
        running=None if live is None else live.running,
        ready=None if live is None else live.workers.ready + live.workers.busy,
        loading=None if live is None else live.workers.starting,
    )


def rollout_view(rollout: Rollout | None) -> RolloutView | None:
    if rollout is None:
        return None
    margins = rollout.margins
    return RolloutView(
        model=rollout.model,
        number=rollout.number,
        state=rollout.state.value,
        stable=rollout.stable,
        canary=rollout.canary,
        weight=rollout.weight,
        sticky=rollout.sticky.value,
        margins=MarginsView(
            max_failure_rate_margin=margins.failure_rate,
            max_p95_margin=margins.p95,
            min_samples=margins.min_samples,
        ),
        started_at=iso8601(rollout.started_at_s),
        started_at_s=rollout.started_at_s,
        ended_at=None if rollout.ended_at_s is None else iso8601(rollout.ended_at_s),
        ended_at_s=rollout.ended_at_s,
        reason=rollout.reason,
        is_automatic=rollout.is_automatic,
        compared=None if rollout.compared is None else compared_view(rollout.compared),
    )


def compared_view(compared: Compared) -> ComparedView:
    return ComparedView(
        at=iso8601(compared.at_s),
        at_s=compared.at_s,
        stable=_measured(compared.stable),
        canary=_measured(compared.canary),
    )


def _measured(one: Measured) -> MeasuredVersionView:
    return MeasuredVersionView(
        jobs=one.jobs,
        failed=one.failed,
        failure_rate=one.failed / one.jobs if one.jobs else None,
        run_s_p95=one.run_s_p95,
    )
