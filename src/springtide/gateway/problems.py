"""Every error as an RFC 9457 problem: one table from error to HTTP status, one shape, `application/problem+json`.

Promises: `code` is stable and may be branched on; `errors` lists each wrong field; 429 and 503 carry `Retry-After`.
Refuses to show internals: an unexpected exception is logged with the request's id and answered 500 with that id only.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import re
from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus
from typing import Any, get_args, get_type_hints

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import Scope

from springtide.domain.errors import (
    BadMedia,
    CallerError,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    Refused,
    SpringtideError,
    TooLarge,
    Unauthorized,
    Unavailable,
    UrlFailed,
)
from springtide.gateway.headers import retry_after
from springtide.gateway.openai import errors as openai_errors
from springtide.runtime.ids import new_job_id

log = logging.getLogger(__name__)

CODE = "springtide.problem"  # in a request's state: the code of the problem it is answered with

TYPE_PREFIX = "urn:springtide:problem:"
REGISTERED = "https://iana.org/assignments/http-problem-types#"  # by the IETF's draft on rate limit headers
TYPE_OF_CODE = {
    "quota_exceeded": REGISTERED + "quota-exceeded",
    "no_capacity": REGISTERED + "temporary-reduced-capacity",
}
LONGEST_RETRY_S = 120.0  # OpenAI's clients wait no longer, and would try again at once instead
UNAVAILABLE_RETRY_S = 2.0  # a restarted broker or database is back within a few seconds

# First match wins: a code is more exact than its class.
STATUS_OF_CODE: dict[str, int] = {
    "job_deleted": 410,
    "batch_deleted": 410,
    "blob_deleted": 410,
    "upload_expired": 410,
    "link_expired": 410,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "url_too_large": 413,
    "no_capacity": 503,
    "shutting_down": 503,
    "still_running": 408,
}
STATUS_OF_CLASS: tuple[tuple[type[SpringtideError], int], ...] = (
    (InvalidInput, 422),
    (BadMedia, 422),
    (TooLarge, 413),
    (UrlFailed, 422),
    (Unauthorized, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (CallerError, 400),
    (Refused, 429),
    (Unavailable, 503),
    (OutcomeUnknown, 504),
)
_CODE_OF_STATUS = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}
_RESERVED = frozenset({"type", "title", "status", "detail", "instance", "code"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_instance = new_job_id()[-8:]  # the random end of an id: two gateway processes never share it
_numbers = itertools.count(1)


def request_id(scope: Scope) -> str:
    """The client's `X-Request-Id` where it is fit to log, else one of ours; the same for the whole request."""
    state: dict[str, Any] = scope["state"]
    known = state.get("request_id")
    if known is None:
        sent = ""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                sent = value.decode("latin-1")
                break
        known = sent if _REQUEST_ID.fullmatch(sent) else new_request_id()
        state["request_id"] = known
    return known


def new_request_id() -> str:
    return f"req_{_instance}_{next(_numbers)}"


def status_of(error: SpringtideError) -> int:
    """The HTTP status of a deliberate error; 500 for those that should never reach a client."""
    by_code = STATUS_OF_CODE.get(error.code)
    if by_code is not None:
        return by_code
    return next((status for kind, status in STATUS_OF_CLASS if isinstance(error, kind)), 500)


def problem(
    request: Request[Any, Any, Any],
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    **extensions: Any,
) -> Response[bytes]:
    """A problem document as a response; on OpenAI's routes their envelope. Extensions that carry a reserved name are
    dropped."""
    path = request.scope["path"]
    request.scope["state"][CODE] = code
    if openai_errors.is_openai(path):
        return openai_errors.answer(status, code, detail, extensions=extensions, headers=headers or {})
    extensions["request_id"] = request_id(request.scope)
    return Response(
        content=problem_body(status, code, detail, instance=path, **extensions),
        status_code=status,
        media_type="application/problem+json",
        headers=dict(headers or {}),
    )


def problem_body(status: int, code: str, detail: str, *, instance: str = "", **extensions: Any) -> bytes:
    """The document itself."""
    return msgspec.json.encode(_fields(status, code, detail, extensions, instance=instance), enc_hook=str)


def _fields(
    status: int, code: str, detail: str, extensions: Mapping[str, Any], *, instance: str = ""
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": TYPE_OF_CODE.get(code) or TYPE_PREFIX + code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code,
    }
    body.update((key, value) for key, value in extensions.items() if key not in _RESERVED and value is not None)
    return body


def item_problem(request: Request[Any, Any, Any], error: SpringtideError, place: str) -> dict[str, Any]:
    """The problem of one part of a request, at JSON pointer `place`, where other parts went well."""
    status = status_of(error)
    reference = request_id(request.scope)
    if status == 500:
        log.error("%s %s failed (%s)", request.method, request.scope["path"], reference, exc_info=error)
        return _fields(500, "internal_error", f"Something broke here; it is logged as {reference}.", {})
    extensions = {**error.details, "request_id": reference}
    if isinstance(error, Refused):
        extensions["retry_after_s"] = error.retry_after_s
    return _fields(status, error.code, error.message, extensions, instance=f"{request.scope['path']}#{place}")


def on_springtide_error(request: Request[Any, Any, Any], error: SpringtideError) -> Response[bytes]:
    """A deliberate error, by the table."""
    status = status_of(error)
    if status == 500:
        return on_unexpected(request, error)
    extensions = dict(error.details)
    if isinstance(error, Refused):
        extensions["retry_after_s"] = error.retry_after_s
    elif status == 503:
        log.warning("%s %s: %s", request.method, request.scope["path"], error)
    return problem(request, status, error.code, error.message, headers=headers_of(error), **extensions)


def headers_of(error: SpringtideError) -> dict[str, str]:
    """What an answer to this error says beside its document."""
    if isinstance(error, Refused):
        again = {} if error.retry_after_s <= LONGEST_RETRY_S else {"x-should-retry": "false"}
        return {"retry-after": retry_after(error.retry_after_s), **again}
    if isinstance(error, Unauthorized):  # RFC 6750, 3
        return {"www-authenticate": 'Bearer realm="springtide"' + ', error="invalid_token"' * error.was_presented}
    status = status_of(error)
    if status == 503:
        return {"retry-after": retry_after(UNAVAILABLE_RETRY_S)}
    if status == 416 and "size" in error.details:
        return {"content-range": f"bytes */{error.details['size']}"}
    return {}


def _choices(request: Request[Any, Any, Any], name: str) -> str:
    """What a parameter takes that has a few values only."""
    waiting: list[Any] = [get_type_hints(inspect.unwrap(request.route_handler.fn)).get(name)]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, Enum):
            return f"; it takes {', '.join(str(one.value) for one in kind)}"
        waiting.extend(get_args(kind))
    return ""


def on_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """What Litestar itself refuses: no such route, wrong method, a parameter out of range."""
    status = error.status_code
    if status >= 500:
        return on_unexpected(request, error)
    code = _CODE_OF_STATUS.get(status, "invalid_request")
    headers = {key.lower(): str(value) for key, value in (error.headers or {}).items()}
    if isinstance(error, ValidationException):
        errors = [
            {"loc": (key := str(item.get("key", ""))), "message": f"{item.get('message', '')}{_choices(request, key)}"}
            for item in (error.extra if isinstance(error.extra, list) else [])
            if isinstance(item, dict)
        ]
        listed = "; ".join(f"{item['loc']}: {item['message']}" for item in errors)
        return problem(request, status, code, f"A parameter is wrong: {listed}", headers=headers, errors=errors)
    if status == 405 and "GET" in headers.get("allow", ""):
        headers["allow"] += ", HEAD"
    detail = {
        404: f"There is nothing at {request.scope['path']}.",
        405: f"{request.method} is not allowed at {request.scope['path']}.",
    }.get(status, error.detail)
    return problem(request, status, code, detail, headers=headers)


def on_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """A bug. The log has the traceback; the client gets the id to find it by."""
    reference = request_id(request.scope)
    log.error("%s %s failed (%s)", request.method, request.scope["path"], reference, exc_info=error)
    detail = f"Something broke here; it is logged as {reference}."
    return problem(request, 500, "internal_error", detail)
