"""`/v1/models/{name}/rollout`: two versions side by side, for keys with the scope `admin`.

A change is on record before it is answered; this gateway follows it at once, the others within a second. Refuses, as
409, what would part callers from what they know: a second rollout of a model beside a running one, and a version that
takes or gives something else than the stable one, for whoever sends a job cannot tell which of them it will meet.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

import msgspec
from litestar import get, patch, post
from litestar.params import FromPath

from springtide.domain.errors import Conflict, InvalidInput, NotFound
from springtide.domain.ids import ModelName, parted
from springtide.domain.keys import Scope
from springtide.domain.rollout import Compared, Margins, Rollout, RolloutState, Sticky, newest
from springtide.gateway.context import AnyRequest, gateway_of
from springtide.gateway.rollout_views import rollout_view
from springtide.gateway.schemas_rollouts import RolloutView
from springtide.gateway.served import ServedModel
from springtide.gateway.services import GatewayServices
from springtide.gateway.wishes import read_wish
from springtide.ledger.rollouts import Rollouts
from springtide.policy.rollout import measured

_ADMIN = {"access": Scope.ADMIN}
SAMPLED_JOBS = 1000  # as the controller samples
_IN_WORDS = frozenset({"title", "description", "examples", "default"})  # of a schema: what no input is refused for
_Weight = Annotated[float, msgspec.Meta(ge=0, le=100)]


class Start(msgspec.Struct, forbid_unknown_fields=True):
    """`version`: as declared in [models.NAME.versions.V]. `weight`: per cent of the jobs that name none. `sticky`:
    whether all jobs of a tenant go to the same version, or each job by itself. The margins say how much worse the
    version may be until the rollout is aborted: so much more of its jobs may fail (0.05 is five of a hundred), its P95
    may be so much longer (0.5 is half as long again), told from `min_samples` jobs of each version on."""

    version: str
    weight: _Weight = 10.0
    sticky: Literal["tenant", "job"] = "job"
    max_failure_rate_margin: Annotated[float, msgspec.Meta(ge=0, le=1)] = Margins().failure_rate
    max_p95_margin: Annotated[float, msgspec.Meta(ge=0, le=100)] = Margins().p95
    min_samples: Annotated[int, msgspec.Meta(ge=5, le=1000)] = Margins().min_samples


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """`weight`: per cent. Who was on the canary stays there when it grows."""

    weight: _Weight


class Reasoned(msgspec.Struct, forbid_unknown_fields=True):
    """`reason`: why, for whoever asks. A body may be left out."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None


@get("/v1/models/{name:str}/rollout", tags=["rollouts"], summary="How a rollout goes", opt=_ADMIN)
async def get_rollout(request: AnyRequest, name: FromPath[str]) -> RolloutView:
    """The model's last rollout; while it runs with both versions as they do now."""
    services, model = gateway_of(request).services, _model(request, name)
    last = await _last(services, model)
    if last is None:
        raise NotFound(f"There never was a rollout of {model}.", code="no_rollout")
    if last.is_running:
        last = msgspec.structs.replace(last, compared=await _compared(services, last))
    return _view(last)


@post("/v1/models/{name:str}/rollout", status_code=201, tags=["rollouts"], summary="Start a rollout", opt=_ADMIN)
async def start_rollout(request: AnyRequest, name: FromPath[str]) -> RolloutView:
    """A share of the jobs that name no version goes to another one from now on, until it is promoted or aborted. It is
    aborted by itself where it is worse by more than the margins."""
    services, model = gateway_of(request).services, _model(request, name)
    wish = await read_wish(request, Start)
    last = await _last(services, model)
    if last is not None and last.is_running:
        raise Conflict(f"The rollout of version {last.canary} runs; promote or abort it first.", code="rollout_running")
    routing, now_s = services.routing, services.clock.now_s()
    stable, canary = routing.served(model), routing.served(f"{model}@{wish.version}")
    if canary is stable:
        raise InvalidInput(f"Version {wish.version} is the stable one.", errors=[{"loc": "version"}])
    if differ := _differ(stable, canary):
        message = f"Versions {stable.model.version} and {wish.version} of {model} differ in {differ}."
        raise Conflict(f"{message} Callers cannot tell which of them they meet.", code="versions_differ")
    started = Rollout(
        model=model,
        number=1 if last is None else last.number + 1,
        revision=1,
        stable=stable.model.version,
        canary=wish.version,
        weight=wish.weight,
        sticky=Sticky(wish.sticky),
        margins=Margins(
            failure_rate=wish.max_failure_rate_margin, p95=wish.max_p95_margin, min_samples=wish.min_samples
        ),
        state=RolloutState.RUNNING,
        started_at_s=now_s,
        changed_at_s=now_s,
    )
    return await _put(services, started)


@patch("/v1/models/{name:str}/rollout", status_code=200, tags=["rollouts"], summary="Change its weight", opt=_ADMIN)
async def change_rollout(request: AnyRequest, name: FromPath[str]) -> RolloutView:
    """More or less of the jobs that name no version, from now on."""
    wish = await read_wish(request, Change)
    return await _changed(request, name, weight=wish.weight)


@post("/v1/models/{name:str}/rollout/promote", status_code=200, tags=["rollouts"], summary="Promote", opt=_ADMIN)
async def promote_rollout(request: AnyRequest, name: FromPath[str]) -> RolloutView:
    """The canary is the stable version from now on. What waits for the old one is still done by it."""
    wish = await read_wish(request, Reasoned)
    reason = wish.reason or "promoted by an operator"
    return await _changed(request, name, state=RolloutState.PROMOTED, reason=reason)


@post("/v1/models/{name:str}/rollout/abort", status_code=200, tags=["rollouts"], summary="Abort", opt=_ADMIN)
async def abort_rollout(request: AnyRequest, name: FromPath[str]) -> RolloutView:
    """All goes to the stable version again, with what waits for the canary, but for jobs that named it. What runs is
    finished."""
    wish = await read_wish(request, Reasoned)
    return await _changed(request, name, state=RolloutState.ABORTED, reason=wish.reason or "aborted by an operator")


async def _changed(request: AnyRequest, name: str, **changed: Any) -> RolloutView:
    services, model = gateway_of(request).services, _model(request, name)
    last = await _last(services, model)
    if last is None or not last.is_running:
        raise Conflict(f"No rollout of {model} runs.", code="no_rollout_running")
    now_s = services.clock.now_s()
    if "state" in changed:
        changed |= {"ended_at_s": now_s, "compared": await _compared(services, last)}
    later = msgspec.structs.replace(last, revision=last.revision + 1, changed_at_s=now_s, **changed)
    return await _put(services, later)


async def _put(services: GatewayServices, rollout: Rollout) -> RolloutView:
    if not await _record(services).put_rollout(rollout):
        raise Conflict("Somebody else has changed the rollout at the same time; look again.", code="rollout_changed")
    await services.routing.refresh()
    return _view(rollout)


async def _last(services: GatewayServices, model: ModelName) -> Rollout | None:
    """As it is on record now: this process may know an older revision."""
    return newest(await _record(services).rollouts()).get(model)


async def _compared(services: GatewayServices, rollout: Rollout) -> Compared | None:
    found = [services.routing.version(rollout.model, version) for version in (rollout.stable, rollout.canary)]
    units = [one.unit for one in found if one is not None]
    if len(units) < len(found):
        return rollout.compared
    stable, canary = [
        measured(await _record(services).sampled(rollout.model, unit, since_s=rollout.started_at_s, limit=SAMPLED_JOBS))
        for unit in units
    ]
    return Compared(at_s=services.clock.now_s(), stable=stable, canary=canary)


def _differ(stable: ServedModel, canary: ServedModel) -> str | None:
    """What of one version a caller of the other would trip over."""
    if _bare(stable.model.input_schema) != _bare(canary.model.input_schema):
        return "their inputs"
    if stable.model.input_files != canary.model.input_files:
        return "the files they take"
    gone = stable.model.output_schema.get("properties", {}).keys() - canary.model.output_schema.get("properties", {})
    return f"outputs: {', '.join(sorted(gone))} would be gone" if gone else None


def _bare(schema: Any) -> Any:
    """A schema without what only explains it."""
    if isinstance(schema, list):
        return [_bare(item) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    given = cast("dict[str, Any]", schema)
    return {key: _bare(value) for key, value in given.items() if key not in _IN_WORDS or isinstance(value, dict)}


def _model(request: AnyRequest, name: str) -> ModelName:
    """Raises NotFound. A rollout is a model's, not a version's."""
    model, version = parted(name)
    gateway_of(request).submission.served(name)
    if version is not None:
        raise InvalidInput(f"A rollout is of a model: {model}, not {name[:64]}.", errors=[{"loc": "name"}])
    return model


def _record(services: GatewayServices) -> Rollouts:
    if services.rollouts is None:
        raise NotFound("There are no rollouts here.", code="no_rollout")
    return services.rollouts


def _view(rollout: Rollout) -> RolloutView:
    shown = rollout_view(rollout)
    assert shown is not None
    return shown


ROUTES = [get_rollout, start_rollout, change_rollout, promote_rollout, abort_rollout]
