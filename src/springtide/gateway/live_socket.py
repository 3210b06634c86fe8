"""`/v1/live`: the live events of many jobs over one WebSocket. docs/reference/live.md is its manual.

Every message to the client is a JSON array of events, snapshots and problems; every message from it is one request to
subscribe or unsubscribe. Promises: a request that is wrong is answered and costs nothing else; a job of another tenant
looks like none; the server's end is told by the close code 1012 and loses no event that can be asked for again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import parse_qsl

import msgspec
from litestar import asgi
from litestar.types import Receive, Scope, Send

from springtide.domain.errors import CallerError, Refused, SpringtideError
from springtide.domain.ids import JobId, TenantId, is_job_id
from springtide.domain.keys import Scope as Permission
from springtide.domain.lease import is_seq
from springtide.gateway import problems
from springtide.gateway.access import SUBPROTOCOL
from springtide.gateway.context import Gateway
from springtide.gateway.guarded import WIRE
from springtide.gateway.live_all import MOST_JOBS, too_many
from springtide.gateway.live_listener import Listener, Told, Wire, told_json

PARAMETERS = ("jobs", "all")


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A job, and the last of its events that the client saw."""

    job: str
    after: str | None = None


class Subscribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="subscribe"):
    """Follow these jobs, or all of the tenant's."""

    jobs: list[str | Wanted] = []
    all: bool = False


class Unsubscribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="unsubscribe"):
    """Follow these no longer; `all`: no new ones either."""

    jobs: list[str] = []
    all: bool = False


_decode = msgspec.json.Decoder(Subscribe | Unsubscribe).decode


@asgi("/v1/live", copy_scope=False)
async def live_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Live events of many jobs over one WebSocket."""
    gateway = cast("Gateway", scope["app"].state["gateway"])
    if scope["type"] == "http":
        await _refuse(
            scope,
            send,
            426,
            "upgrade_required",
            "This is a WebSocket; connect to it as one. /docs says how.",
            headers=[(b"upgrade", b"websocket"), (b"connection", b"upgrade")],
        )
        return
    try:
        caller = gateway.access.admit(scope, Permission.READ)
        first = _from_query(scope["query_string"])
        if gateway.hub.listeners >= gateway.services.settings.max_sockets:
            raise Refused("Too many clients follow live events.", retry_after_s=5.0, code="no_capacity")
    except SpringtideError as error:
        more = problems.headers_of(error)
        headers = [(name.encode(), value.encode()) for name, value in more.items()]
        await _refuse(
            scope, send, problems.status_of(error), error.code, error.message, headers=headers, **error.details
        )
        return
    extensions: dict[str, Any] = scope.get("extensions") or {}
    wire: Wire | None = extensions.get(WIRE)
    if wire is None:
        await _refuse(scope, send, 501, "not_implemented", "This server has no WebSockets.")
        return
    await receive()  # websocket.connect
    chosen = SUBPROTOCOL if SUBPROTOCOL in (cast("Any", scope).get("subprotocols") or ()) else None
    await send({"type": "websocket.accept", "subprotocol": chosen, "headers": []})
    await Session(gateway, wire, caller.tenant.id).run(first, receive)


class Session:
    """One client, from its first request to its last."""

    def __init__(self, gateway: Gateway, wire: Wire, tenant: TenantId) -> None:
        self._gateway = gateway
        self._wire = wire
        self._tenant = tenant

    async def run(self, first: Subscribe, receive: Receive) -> None:
        listener = self._gateway.hub.join(self._wire)
        try:
            await self._obey(listener, first)
            while (message := cast("dict[str, Any]", await receive()))["type"] == "websocket.receive":
                try:
                    asked = _decode(message.get("text") or message.get("bytes") or b"")
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    listener.say(_problem(None, "malformed_message", f"The message cannot be read: {error}."))
                    continue
                await self._obey(listener, asked)
        finally:
            self._gateway.all_jobs.remove(listener, self._tenant)
            self._gateway.hub.leave(listener)

    async def _obey(self, listener: Listener, asked: Subscribe | Unsubscribe) -> None:
        try:
            if isinstance(asked, Unsubscribe):
                self._unsubscribe(listener, asked)
            else:
                await self._subscribe(listener, asked)
        except SpringtideError as error:
            listener.say(_problem(None, error.code, error.message))

    async def _subscribe(self, listener: Listener, asked: Subscribe) -> None:
        wanted = [Wanted(one) if isinstance(one, str) else one for one in asked.jobs]
        sound: list[Wanted] = []
        for one in wanted:
            if one.after is not None and not is_seq(one.after):
                listener.say(_problem(one.job, "bad_event_id", f"{one.after[:64]!r} is not the id of an event."))
            elif not is_job_id(one.job):
                listener.say(_unknown(one.job))
            else:
                sound.append(one)
        found = await self._gateway.services.ledger.get([JobId(one.job) for one in sound]) if sound else []
        for one, job in zip(sound, found, strict=True):
            if job is None or job.tenant != self._tenant:
                listener.say(_unknown(one.job))
            elif len(listener.places) >= MOST_JOBS and job.id not in listener.places:
                listener.say(too_many(job.id))
            else:
                await self._gateway.hub.subscribe(listener, job, one.after)
        if asked.all:
            await self._gateway.all_jobs.add(listener, self._tenant)

    def _unsubscribe(self, listener: Listener, asked: Unsubscribe) -> None:
        if asked.all:
            self._gateway.all_jobs.remove(listener, self._tenant)
        for job in list(listener.places) if asked.all else asked.jobs:
            self._gateway.hub.unsubscribe(listener, JobId(job))


def _from_query(query: bytes) -> Subscribe:
    """`jobs=ID,ID:EVENT&all=true`. Raises CallerError."""
    jobs: list[str | Wanted] = []
    every = False
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name == "jobs":
            for text in filter(None, value.split(",")):
                job, _, after = text.partition(":")
                jobs.append(Wanted(job, after or None))
        elif name == "all" and value in ("true", "false"):
            every = value == "true"
        elif name == "all":
            raise CallerError(f"'all' is true or false, not {value[:64]!r}.")
        else:
            known = ", ".join(PARAMETERS)
            raise CallerError(
                f"There is no query parameter {name[:64]!r} here: /v1/live knows the parameters {known}.",
                code="unknown_parameter",
            )
    return Subscribe(jobs, every)


def _problem(job: str | None, code: str, detail: str) -> Told:
    return told_json("problem", None if job is None else JobId(job[:64]), code=code, detail=detail)


def _unknown(job: str) -> Told:
    return _problem(job, "unknown_job", f"There is no job {job[:64]!r}.")


async def _refuse(
    scope: Scope,
    send: Send,
    status: int,
    code: str,
    detail: str,
    *,
    headers: Sequence[tuple[bytes, bytes]] = (),
    **extensions: Any,
) -> None:
    """A problem instead of a handshake."""
    reference = problems.request_id(scope)
    path = scope["path"]
    body = problems.problem_body(status, code, detail, instance=path, request_id=reference, **extensions)
    kind = (b"content-type", b"application/problem+json")
    headers = [kind, (b"content-length", str(len(body)).encode()), *headers]
    prefix = "http.response" if scope["type"] == "http" else "websocket.http.response"
    start: Any = {"type": f"{prefix}.start", "status": status, "headers": headers}
    await send(start)
    end: Any = {"type": f"{prefix}.body", "body": body, "more_body": False}
    await send(end)
