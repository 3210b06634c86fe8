"""Operating by hand, for keys with the scope `admin`: replicas, pauses, and workers that are to leave.

An order is on record before it is answered, and carried out within a second by whoever keeps queue and fleet.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import msgspec
from litestar import get, post
from litestar.params import FromPath

from springtide.domain.errors import CallerError, InvalidInput, NotFound
from springtide.domain.ids import ModelName, WorkerId
from springtide.domain.keys import Scope
from springtide.domain.orders import Drain, OrderKind, Orders, Pause, Pin, in_force
from springtide.gateway.access import caller_of
from springtide.gateway.context import AnyRequest, gateway_of
from springtide.gateway.headers import instant, iso8601
from springtide.gateway.operating_views import OperatedView, WorkerList, WorkerRow, operated_view, worker_rows
from springtide.gateway.wishes import read_wish

LONGEST_S = 366 * 86_400.0  # what is meant for longer belongs into the configuration
MAX_REPLICAS = 10_000  # where the model says none
_ADMIN = {"access": Scope.ADMIN}
_Note = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Scale(msgspec.Struct, forbid_unknown_fields=True):
    """`replicas`: how many, or "auto" for what the policy wishes. Without `for_s` or `until` it holds until it is taken
    back."""

    replicas: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=MAX_REPLICAS)] | Literal["auto"],
        msgspec.Meta(description=f'how many, 0 to {MAX_REPLICAS:,}, or "auto"'),
    ]
    for_s: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_S)] | None = None
    until: str | None = None
    note: _Note | None = None


class Noted(msgspec.Struct, forbid_unknown_fields=True):
    """`note`: why, for whoever asks. A body may be left out."""

    note: _Note | None = None


@post("/v1/models/{name:str}/scale", status_code=200, tags=["operating"], summary="Set replicas by hand", opt=_ADMIN)
async def scale_model(request: AnyRequest, name: FromPath[str]) -> OperatedView:
    """So many replicas whatever the policy wishes, for a time or until `{"replicas": "auto"}`. A paused model keeps so
    many warm. Of a model that shares its workers, the workers of the whole pool are meant. What runs is finished."""
    services, served = gateway_of(request).services, gateway_of(request).submission.served(name)
    wish = await read_wish(request, Scale)
    scaled_as, now_s = served.pool or served.queue, services.clock.now_s()
    if wish.replicas == "auto":
        if wish.for_s is not None or wish.until is not None:
            raise InvalidInput('`for_s` and `until` say how long a number holds; "auto" is what comes after it.')
        await services.orders.drop_order(OrderKind.PIN, scaled_as)
        return await _operated(request, name)
    most = served.max_replicas
    if most is not None and wish.replicas > most:
        raise InvalidInput(
            f"{wish.replicas} replicas are more than `max_replicas` of {scaled_as} allows: {most}.", max_replicas=most
        )
    pin = Pin(
        model=scaled_as,
        replicas=wish.replicas,
        at_s=now_s,
        by=_who(request),
        until_s=_until_s(wish, now_s),
        note=wish.note,
    )
    await services.orders.put_order(pin)
    return await _operated(request, name)


@post("/v1/models/{name:str}/pause", status_code=200, tags=["operating"], summary="Pause a model", opt=_ADMIN)
async def pause_model(request: AnyRequest, name: FromPath[str]) -> OperatedView:
    """Jobs are taken in and kept, and none is begun until the model is resumed; what runs is finished. Replicas stay
    warm for five minutes and then leave as they fall idle. A start deadline runs on: a job that has one expires if the
    pause outlasts it. A second pause changes the note and keeps the first one's time. All versions of a model are
    paused with it, one by `name@version`."""
    services, queues = gateway_of(request).services, _queues(request, name)
    wish = await read_wish(request, Noted)
    now_s = services.clock.now_s()
    pauses = in_force(await services.orders.all_orders(), now_s).pauses
    for model in queues:
        before = pauses.get(model)
        at_s, note = (now_s, wish.note) if before is None else (before.at_s, wish.note or before.note)
        await services.orders.put_order(Pause(model=model, at_s=at_s, by=_who(request), note=note))
    return await _operated(request, name)


@post("/v1/models/{name:str}/resume", status_code=200, tags=["operating"], summary="Resume a model", opt=_ADMIN)
async def resume_model(request: AnyRequest, name: FromPath[str]) -> OperatedView:
    """The end of a pause: what waited is begun in its old order. Nothing where it was not paused."""
    for model in _queues(request, name):
        await gateway_of(request).services.orders.drop_order(OrderKind.PAUSE, model)
    return await _operated(request, name)


@get("/v1/workers", tags=["operating"], summary="List workers", opt=_ADMIN)
async def list_workers(request: AnyRequest) -> WorkerList:
    """Every worker that the broker has heard of lately: its models, what it runs, what it uses."""
    return WorkerList(data=await _workers(request))


@post("/v1/workers/{worker_id:str}/drain", status_code=200, tags=["operating"], summary="Drain a worker", opt=_ADMIN)
async def drain_worker(request: AnyRequest, worker_id: FromPath[str]) -> WorkerRow:
    """The worker finishes what it holds, takes nothing new, and leaves. Whether another takes its place is decided as
    usual: by the policy, or by the number set by hand."""
    gateway, name = gateway_of(request), WorkerId(worker_id)
    wish = await read_wish(request, Noted)
    found = next((row for row in await _workers(request) if row.id == name), None)
    if found is None:
        raise NotFound(f"There is no worker {worker_id[:64]!r}; `GET /v1/workers` lists them.", code="unknown_worker")
    unit = ModelName(found.models[0].model)
    served = gateway.services.units.get(unit) or gateway.submission.served(unit)
    orders, now_s = gateway.services.orders, gateway.services.clock.now_s()
    if found.drain_asked_at_s is None:
        model = served.pool or served.queue
        await orders.put_order(Drain(worker=name, model=model, at_s=now_s, by=_who(request), note=wish.note))
        found.drain_asked_at, found.drain_asked_at_s = iso8601(now_s), now_s
    return found


def _queues(request: AnyRequest, name: str) -> list[ModelName]:
    """The queues of a model, or of the version that is named. Raises NotFound."""
    gateway = gateway_of(request)
    served = gateway.submission.served(name)
    return [one.queue for one in ([served] if "@" in name else gateway.services.routing.versions(served.model.name))]


async def _workers(request: AnyRequest) -> list[WorkerRow]:
    services = gateway_of(request).services
    models, now_s = services.units, services.clock.now_s()
    views = await services.broker.queues(tuple(models), now_s)
    running = {
        view.model: await services.broker.held([view.model], now_s, min_age_s=0.0) for view in views if view.leased
    }
    return worker_rows(
        views,
        running,
        now_s,
        drains=(await _orders(request)).drains,
        pools={name: served.pool for name, served in models.items()},
    )


async def _operated(request: AnyRequest, name: str) -> OperatedView:
    gateway = gateway_of(request)
    gateway.outlook.forget()  # so that the next look at the model shows the order
    return operated_view(gateway.submission.served(name), await _orders(request))


async def _orders(request: AnyRequest) -> Orders:
    services = gateway_of(request).services
    return in_force(await services.orders.all_orders(), services.clock.now_s())


def _until_s(wish: Scale, now_s: float) -> float | None:
    if wish.for_s is not None and wish.until is not None:
        raise InvalidInput("`for_s` and `until` say the same twice; send one of them.")
    if wish.for_s is not None:
        return now_s + wish.for_s
    until_s = instant("until", wish.until)
    if until_s is not None and not 0 < until_s - now_s <= LONGEST_S:
        message = f"`until` must be later than now, and at most {LONGEST_S:.0f} s."
        raise CallerError(message, code="bad_instant")
    return until_s if until_s is None or math.isfinite(until_s) else None


def _who(request: AnyRequest) -> str:
    """Whose order it is: a key's prefix is no secret."""
    return caller_of(request).key or "local"


ROUTES = [scale_model, pause_model, resume_model, list_workers, drain_worker]
