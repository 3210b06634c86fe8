"""Following a caller's URL: GET a file from it, POST a message to it, and nothing else.

Promises:

- A name is resolved once, every address it has is judged, and the connection goes to one of these very addresses: a
  name that says something else a moment later changes nothing. `Host`, SNI and the certificate are the name's.
- No redirect is followed, no proxy of the environment is used, nothing is decompressed, no cookie is kept.
- There is a limit on bytes and one on the whole time, which a server that sends a byte a second does not stretch.
- No message holds the query of a URL.

Raises UrlFailed with a stable code: url_refused, url_unreachable, url_timed_out, url_too_large, url_bad_answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from springtide import __version__
from springtide.domain.errors import UrlFailed
from springtide.egress.guard import EgressSettings, Guard, Resolve
from springtide.egress.urls import redacted, target

if TYPE_CHECKING:
    import httpcore

    from springtide.egress.wire import Wire

CONNECT_S = 10.0  # of all addresses together
SILENCE_S = 15.0  # longest wait for the next bytes
MAX_ANSWER_BYTES = 16_384  # of an answer to a message: nobody reads it, its end makes the connection fit for the next
DRAIN_S = 1.0  # how long that end is waited for
_WAITS = {"connect": CONNECT_S, "read": SILENCE_S, "write": SILENCE_S, "pool": CONNECT_S}


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """A file on its way in."""

    media_type: str | None  # as the server says
    chunks: AsyncIterator[bytes]


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What a server said to a message."""

    status: int
    retry_after: str | None  # the header as it came


class Egress:
    """One for a process. Connects, and loads what that needs, when it is first used; `stop` closes what is kept."""

    def __init__(self, settings: EgressSettings | None = None, *, resolve: Resolve | None = None) -> None:
        """resolve: addresses of a name and port; the system's resolver if not given. Raises ConfigError."""
        self._settings = settings or EgressSettings()
        self._guard = Guard(self._settings, resolve)
        self._made: Wire | None = None

    async def start(self) -> None:
        """Nothing yet: most installations never follow a URL."""

    async def stop(self, grace_s: float = 0.0) -> None:
        made, self._made = self._made, None
        if made is not None:
            await made.close()
        self._guard.stop()

    async def check(self, url: str) -> None:
        """Whether the URL could be followed now, as far as its host goes. Raises UrlFailed."""
        asked = target(url)
        async with _bounded(url, CONNECT_S):
            await self._guard.addresses(asked.scheme, asked.host, asked.port)

    @contextlib.asynccontextmanager
    async def get(self, url: str, *, max_bytes: int, total_s: float) -> AsyncGenerator[Incoming]:
        """The file at `url`: answered with 200, not compressed, at most `max_bytes`. `total_s` runs until this context
        is left."""
        headers = [("Accept", "*/*"), ("Accept-Encoding", "identity"), ("Connection", "close")]
        async with _bounded(url, total_s), self._answer("GET", url, headers) as answer:
            said = _headers(answer)
            _check_answer(url, answer.status, said)
            length = said.get("content-length", "")
            if length.isascii() and length.isdigit() and int(length) > max_bytes:
                raise _too_large(url, max_bytes)
            yield Incoming(media_type=said.get("content-type"), chunks=_chunks(url, answer, max_bytes))

    async def post(self, url: str, body: bytes, headers: Sequence[tuple[str, str]], *, total_s: float) -> Answered:
        """Send a message. Whatever is answered is an answer, and its body is not looked at."""
        sized = [*headers, ("Content-Length", str(len(body)))]
        async with _bounded(url, total_s), self._answer("POST", url, sized, body) as answer:
            with contextlib.suppress(UrlFailed):  # it is answered; what follows may be endless, or break off
                async with _bounded(url, DRAIN_S):
                    async for _ in _chunks(url, answer, MAX_ANSWER_BYTES):
                        pass
            return Answered(status=answer.status, retry_after=_headers(answer).get("retry-after"))

    @contextlib.asynccontextmanager
    async def _answer(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes | None = None
    ) -> AsyncGenerator[httpcore.Response]:
        asked = target(url)
        wire = self._made or await self._make()
        import httpcore

        place = httpcore.URL(
            scheme=asked.scheme.encode(), host=asked.host.encode(), port=asked.port, target=asked.path.encode()
        )
        named = [("Host", asked.authority), ("User-Agent", f"Springtide/{__version__}"), *headers]
        extensions = {"timeout": _WAITS}
        request = wire.pool(asked.scheme).stream(method, place, headers=named, content=body, extensions=extensions)
        async with contextlib.AsyncExitStack() as stack:
            with _translated(url):
                answer = await stack.enter_async_context(request)
            yield answer

    async def _make(self) -> Wire:
        """Off the loop: loading TLS and the system's certificates would hold up others. Most processes never do."""

        def make() -> Wire:
            from springtide.egress.wire import Wire

            return Wire(self._guard, self._settings.ca_file)

        made = await asyncio.to_thread(make)
        self._made = self._made or made  # somebody else may have been quicker
        return self._made


@contextlib.asynccontextmanager
async def _bounded(url: str, seconds: float) -> AsyncGenerator[None]:
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise UrlFailed(f"{redacted(url)} takes longer than the {seconds:g} s allowed", code="url_timed_out") from error


@contextlib.contextmanager
def _translated(url: str) -> Generator[None]:
    import httpcore

    try:
        yield
    except httpcore.TimeoutException as error:
        raise UrlFailed(f"{redacted(url)} does not answer in time", code="url_timed_out") from error
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        said = str(error) or type(error).__name__
        message = f"{redacted(url)} cannot be reached: {said[:200]}"
        raise UrlFailed(message, code="url_unreachable", **_because(error)) from error


def _because(error: BaseException) -> dict[str, str]:
    """What of many reasons it is, where who asks can do something about it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return {"because": "certificate"}
        cause = cause.__cause__ or cause.__context__
    return {}


def _headers(answer: httpcore.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}


def _check_answer(url: str, status: int, said: dict[str, str]) -> None:
    """Raises UrlFailed where an answer holds no file."""
    encoding = said.get("content-encoding", "").strip().lower()
    if 300 <= status < 400:
        problem = f"leads on to {redacted(said.get('location', ''))}, which is not followed: name the place itself"
    elif status != HTTPStatus.OK:
        problem = f"answers {status}"
    elif encoding not in ("", "identity"):
        problem = f"answers compressed ({encoding[:40]}), which was not asked for"
    else:
        return
    raise UrlFailed(f"{redacted(url)} {problem}", code="url_bad_answer", answered=status)


async def _chunks(url: str, answer: httpcore.Response, max_bytes: int) -> AsyncGenerator[bytes]:
    """The body. Raises UrlFailed (url_too_large) past `max_bytes`."""
    size = 0
    with _translated(url):
        async with contextlib.aclosing(answer.aiter_stream()) as stream:  # type: ignore[type-var]  # it is a generator
            async for chunk in stream:
                size += len(chunk)
                if size > max_bytes:
                    raise _too_large(url, max_bytes)
                yield chunk


def _too_large(url: str, max_bytes: int) -> UrlFailed:
    message = f"{redacted(url)} has more than the {max_bytes} bytes taken"
    return UrlFailed(message, code="url_too_large", max_bytes=max_bytes)
