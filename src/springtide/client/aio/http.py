"""Requests over httpx, with retries: the one place where the client meets the network.

Promises: a failure that a repeat can mend is tried again, a bounded number of times, with the same idempotency key and
the same bytes; the key goes to the server only, never to where it redirects. Library errors end here.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec

from springtide import __version__
from springtide.client.errors import ApiError, ClientError, Unreachable, api_error
from springtide.client.media import PIECE, Source
from springtide.client.requests import Request
from springtide.client.retrying import delay_s
from springtide.client.settings import Settings

T = TypeVar("T")
OnBytes = Callable[[int], object]  # how many more were sent or have come


class AsyncHttp:
    """One server, and the connections to it. Close it, or use it as a context."""

    def __init__(
        self,
        settings: Settings,
        *,
        client: httpx.AsyncClient | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self.patience = settings.patience
        self.sleep = sleep
        self._is_own = client is None
        self._client = client or httpx.AsyncClient(trust_env=not settings.is_local)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; a client that was given stays open."""
        if self._is_own:
            await self._client.aclose()

    async def json(self, request: Request, type: type[T]) -> T:
        """The answer, decoded. Raises ApiError, Unreachable, or ClientError where it is no such thing."""
        return decoded(await self.send(request), type)

    async def send(
        self, request: Request, *, on_bytes: OnBytes | None = None, tries: int | None = None
    ) -> httpx.Response:
        """The whole answer of a request that succeeded. tries: at most so many. Raises ApiError or Unreachable."""
        tried = 0
        while True:
            tried += 1
            failure: ApiError | Unreachable
            try:
                async with self.open(request, on_bytes=on_bytes) as response:
                    await response.aread()
                    return response
            except (ApiError, Unreachable) as error:
                failure = error
            told = failure if isinstance(failure, ApiError) else None
            if told is not None:
                told.tries = tried
            wait_s = delay_s(self.patience, tried, told, rand=random.random())  # noqa: S311 - spreads clients, no secret
            if wait_s is None or tried == tries:
                raise failure
            await self.sleep(wait_s)

    @contextlib.asynccontextmanager
    async def open(
        self, request: Request, *, on_bytes: OnBytes | None = None, read_s: float | None = None
    ) -> AsyncGenerator[httpx.Response]:
        """The answer of one try, to be read as it comes. read_s: patience with silence. Raises ApiError, and
        Unreachable also where it breaks off."""
        with contextlib.ExitStack() as opened, self._translated():
            built = self._built(request, opened, on_bytes, read_s)
            response = await self._client.send(built, stream=True, follow_redirects=request.method == "GET")
            try:
                if not response.is_success:
                    body = await response.aread()
                    raise api_error(
                        response.status_code, response.headers, body, what=f"{request.method} {built.url.path}"
                    )
                yield response
            finally:
                await response.aclose()

    @contextlib.contextmanager
    def _translated(self) -> Any:
        try:
            yield
        except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects) as error:
            raise ClientError(f"{self.settings.url} cannot be asked: {error}", code="bad_url") from error
        except (httpx.TransportError, httpx.StreamError) as error:
            raise self.unreachable(error) from error

    def unreachable(self, error: BaseException) -> Unreachable:
        """That there was no answer, and what to look at."""
        hint = " Is `springtide up` running?" if self.settings.is_local else ""
        return Unreachable(f"cannot reach {self.settings.url}: {error or type(error).__name__}.{hint}")

    @property
    def authorization(self) -> dict[str, str]:
        """The key, as a header."""
        return {"authorization": f"Bearer {self.settings.api_key}"} if self.settings.api_key else {}

    def _built(
        self, request: Request, opened: contextlib.ExitStack, on_bytes: OnBytes | None, read_s: float | None
    ) -> httpx.Request:
        patience = self.patience
        is_elsewhere = "://" in request.path
        url = request.path if is_elsewhere else self.settings.url + request.path
        headers = {"user-agent": f"springtide-python/{__version__}", **request.headers}
        if not is_elsewhere:
            headers |= self.authorization
        body: dict[str, Any] = {}
        if request.files or request.fields:
            parts: list[tuple[str, Any]] = [(name, (None, value)) for name, value in request.fields]
            parts += [
                (name, (one.name, opened.enter_context(one.opened()), one.media_type)) for name, one in request.files
            ]
            body = {"files": parts}
        elif request.body is not None:
            headers["content-length"] = str(request.body.size)
            body = {"content": pieces(request.body, on_bytes)}
        elif request.content is not None:
            body = {"content": request.content}
        timeout = httpx.Timeout(
            patience.read_s, connect=patience.connect_s, read=read_s or request.read_s or patience.read_s
        )
        params = httpx.QueryParams(list(request.params)) if request.params else None
        return self._client.build_request(request.method, url, params=params, headers=headers, timeout=timeout, **body)


async def pieces(source: Source, on_bytes: OnBytes | None) -> AsyncIterator[bytes]:
    """A file from its beginning."""
    with source.opened() as file:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece
            if on_bytes is not None:
                on_bytes(len(piece))


def decoded(response: httpx.Response, type: type[T]) -> T:
    """The JSON of an answer. Raises ClientError where it is something else: then it was not this server's."""
    try:
        return msgspec.json.decode(response.content, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"{response.request.url} answered something that this client does not understand: {error}"
        raise ClientError(message, code="bad_answer") from error
