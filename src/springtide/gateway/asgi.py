"""What the framework leaves undone before a request reaches a route: who calls, HEAD, query parameters nobody knows,
and a short way for the one route that thousands of requests a second take.

Promises: every request is identified before anything else is done for it, and a stream ends with the key it was opened
with; whatever answers GET answers HEAD with the same status and headers and no body (RFC 9110, 9.3.2), and reads no
further than that answer's head; under `/v1/` a parameter that would be ignored is an error that names those there are.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, cast, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl

from litestar import Litestar, Request
from litestar.config.app import AppConfig
from litestar.handlers import ASGIRouteHandler, BaseRouteHandler, HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.response.base import ASGIResponse
from litestar.types import HTTPScope, Message, Receive, Scope, Send

from springtide.domain.errors import CallerError
from springtide.domain.keys import Scope as Permission
from springtide.gateway.access import Access
from springtide.gateway.context import AnyRequest
from springtide.gateway.guarded import Guarded
from springtide.gateway.measuring import Requests

ShortHandler = Callable[[AnyRequest], Awaitable[ASGIResponse]]
# Requests with their bodies that came at one time; None for one that is to be handled by itself.
TogetherHandler = Callable[[Sequence[tuple[AnyRequest, bytes]]], Awaitable[Sequence[ASGIResponse | Exception | None]]]

IS_HEAD = "springtide.is_head"  # in the scope of a GET that is run for a HEAD


class Application(Litestar):
    """Litestar, answering HEAD wherever it answers GET, and with a short way to routes that are called all the time.

    The short way runs the same handler function, error handlers and `before_send` hooks as the router would, without
    what the router does for routes in general: a third of the processor time of a submit (docs/decisions/0011).
    """

    _short: Mapping[str, tuple[ShortHandler, Permission]] = {}
    _together: Mapping[str, TogetherHandler] = {}
    _sockets: Mapping[str, Any] = {}
    _access: Access
    _requests: Requests

    def guard(self, access: Access) -> None:
        """Who says who calls."""
        self._access = access

    def measure(self, requests: Requests) -> None:
        """Who counts requests."""
        self._requests = requests

    def shorten(self, path: str, handler: HTTPRouteHandler, needed: Permission, together: TogetherHandler) -> None:
        """Call the function of a POST route straight away where a request asks for nothing but its path, and `together`
        for many that a front process brings at one time."""
        self._short = {**self._short, path: (handler.fn, needed)}
        self._together = {**self._together, path: together}

    def shorten_socket(self, path: str, handler: ASGIRouteHandler) -> None:
        """The same for a WebSocket: each client would hold six coroutines of the router's for as long as it listens."""
        self._sockets = {**self._sockets, path: handler.fn}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await super().__call__(scope, receive, send)
            return
        self._requests.begin(scope)
        caller = self._access.identify(scope)
        method = scope.get("method")
        if method == "POST" and (short := self._short.get(scope["path"])) and not scope["query_string"]:
            await self._answer(*short, scope=scope, receive=receive, send=send)
        elif method == "HEAD":
            await _answer_head(super().__call__, scope, receive, send)
        elif caller is None or caller.key is None:
            await self._routed(scope, receive, send)
        else:
            guarded = Guarded(scope, receive, send)
            unwatch = self._access.keyring.watch(caller.key, guarded.end)
            try:
                await self._routed(scope, guarded.receive, guarded.send)
            finally:
                unwatch()

    def _routed(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        socket = self._sockets.get(scope["path"]) if scope["type"] == "websocket" else None
        if socket is None:
            return super().__call__(scope, receive, send)
        scope["app"] = scope["litestar_app"] = self
        return socket(scope, receive, send)

    async def answer_each(
        self, path: str, asked: Sequence[tuple[Any, bytes]], reply: Callable[[int, Any, bytes], None]
    ) -> None:
        """POST requests of the short way that came at one time, each as scope and whole body. `reply` is called with a
        request's place, the head of its answer and the body, once for each: for most at one time, too."""
        (function, needed), together = self._short[path], self._together[path]
        entered: list[tuple[int, _Brief, bytes]] = []
        for place, (scope, body) in enumerate(asked):
            self._requests.begin(scope)
            request = _Brief(self, _receiving(body), scope)
            try:
                self._access.identify(scope)
                self._enter(scope, needed)
                entered.append((place, request, body))
            except Exception as error:
                reply(place, *await self._stamped(self._refusal(error, request), scope))
        answers = await together([(cast("AnyRequest", request), body) for _, request, body in entered])
        alone: list[tuple[int, _Brief]] = []
        for (place, request, _), answer in zip(entered, answers, strict=True):
            if answer is None:
                alone.append((place, request))
                continue
            made = self._refusal(answer, request) if isinstance(answer, Exception) else answer
            reply(place, *await self._stamped(made, request.scope))

        async def answer_alone(place: int, request: _Brief) -> None:
            reply(place, *await self._stamped(await self._made(function, request), request.scope))

        await asyncio.gather(*(answer_alone(*each) for each in alone))

    async def _answer(self, function: ShortHandler, needed: Permission, *, scope: Any, receive: Any, send: Any) -> None:
        request = _Brief(self, receive, scope)
        try:
            self._enter(scope, needed)
        except Exception as error:
            answer = self._refusal(error, request)
        else:
            answer = await self._made(function, request)
        start, body = await self._stamped(answer, scope)
        await send(start)
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def _enter(self, scope: Any, needed: Permission) -> None:
        """Raises what `Access.admit` does."""
        scope["app"] = scope["litestar_app"] = self
        scope["path_template"] = scope["path"]
        self._access.admit(scope, needed)

    async def _made(self, function: ShortHandler, request: _Brief) -> ASGIResponse:
        try:
            return await function(cast("AnyRequest", request))
        except Exception as error:
            return self._refusal(error, request)

    def _refusal(self, error: Exception, brief: _Brief) -> ASGIResponse:
        request: AnyRequest = Request(brief.scope, brief.receive)
        handler: Any = next(self.exception_handlers[kind] for kind in type(error).__mro__ if kind in self._handled)
        return handler(request, error).to_asgi_response(app=None, request=request)

    async def _stamped(self, answer: ASGIResponse, scope: Any) -> tuple[Any, bytes]:
        start: Any = {"type": "http.response.start", "status": answer.status_code, "headers": answer.encode_headers()}
        for hook in self.before_send:
            await hook(start, scope)
        return start, answer.body

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        """Without those for kinds of classes that no route takes: finding out loads pydantic's version 1, attrs and
        parts of OpenTelemetry into every gateway."""
        return [*plugins, MsgspecDIPlugin()]

    @staticmethod
    def _patch_opentelemetry_middleware(config: AppConfig) -> AppConfig:
        return config  # its middleware is not used: spans are made from the record (docs/decisions/0040)

    @functools.cached_property
    def _handled(self) -> frozenset[Any]:
        return frozenset(self.exception_handlers)


class _Brief(NamedTuple):
    """As much of a request as the short way's routes ask for: to make all of it takes two microseconds."""

    app: Litestar
    receive: Receive
    scope: Any


def _receiving(body: bytes) -> Receive:
    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _answer_head(app: Any, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the GET, pass its head on, and tell the handler that the client has gone: what streams stops there."""
    is_over = False

    async def send_head(message: Message) -> None:
        nonlocal is_over
        if message["type"] == "http.response.start" and not is_over:
            is_over = True
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def receive_until_over() -> Any:
        return {"type": "http.disconnect"} if is_over else await receive()

    await app({**cast("HTTPScope", scope), "method": "GET", IS_HEAD: True}, receive_until_over, send_head)


def refuse_unknown_parameters(request: AnyRequest) -> None:
    """Before each request. Raises CallerError (unknown_parameter)."""
    query: bytes = request.scope["query_string"]
    if not query or not request.scope["path"].startswith("/v1/"):
        return
    known = _parameters(request.scope["route_handler"])
    sent = (name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    unknown = [name[:64] for name in dict.fromkeys(sent) if name not in known]
    if unknown:
        listed = ", ".join(map(repr, unknown))
        message = f"knows the parameters {', '.join(known)}" if known else "takes no parameters"
        raise CallerError(
            f"There is no query parameter {listed} here: {request.scope['path']} {message}.",
            code="unknown_parameter",
            unknown=unknown,
            known=list(known),
        )


@functools.cache
def _parameters(handler: BaseRouteHandler) -> tuple[str, ...]:
    """The query parameters that a route's function names."""
    function = inspect.unwrap(handler.fn)
    hints = get_type_hints(function, include_extras=True)
    return tuple(
        meta.query or name
        for name, hint in hints.items()
        if get_origin(hint) is Annotated
        for meta in get_args(hint)[1:]
        if isinstance(meta, QueryParameter)
    )
