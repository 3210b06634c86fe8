"""OpenAI's error envelope, `{"error": {message, type, param, code}}`, on exactly the routes that are OpenAI's.

Promises: all four keys are always there; 400 where OpenAI says 400 (our 422 for fields and files), so that programs
which catch `openai.BadRequestError` catch it; what is pointless to repeat says so (`x-should-retry: false`), for the
`openai` package repeats every 409 by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Response

ROUTES = ("/v1/audio", "/v1/images", "/v1/videos", "/v1/files", "/v1/batches")
# Codes that OpenAI has under another name, and programs look for.
_CODES = {"unknown_model": "model_not_found", "unauthorized": "invalid_api_key"}
_STAYS_422 = "idempotency_key_reused"  # a conflict for good: 409 would be repeated by the `openai` package
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}


class ErrorBody(msgspec.Struct, kw_only=True):
    """What went wrong. `param` names the field, where it is one."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(msgspec.Struct, kw_only=True):
    """Every error of the OpenAI-compatible routes."""

    error: ErrorBody


def is_openai(path: str) -> bool:
    """Whether this path is one of OpenAI's, or would be if there were such a route."""
    return any(path == route or path.startswith(f"{route}/") for route in ROUTES)


def status_here(status: int, code: str) -> int:
    return 400 if status == 422 and code != _STAYS_422 else status


def envelope(status: int, code: str, message: str, *, param: str | None = None) -> ErrorEnvelope:
    """An error as OpenAI writes it."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return ErrorEnvelope(error=ErrorBody(message=message, type=kind, param=param, code=_CODES.get(code, code)))


def param_of(extensions: Mapping[str, Any]) -> str | None:
    """The one field that an error is about: of several the first."""
    errors = extensions.get("errors") or ()
    first = next((str(error.get("loc") or "") for error in errors), "")
    unknown = extensions.get("unknown") or ()
    return first or next(iter(unknown), None) or None


def answer(
    status: int, code: str, message: str, *, extensions: Mapping[str, Any], headers: Mapping[str, str]
) -> Response[bytes]:
    """An error as a response."""
    status = status_here(status, code)
    headers = dict(headers)
    if status in (409, 422) and "retry-after" not in headers:
        headers.setdefault("x-should-retry", "false")  # only a conflict that ends by itself says when
    content = msgspec.json.encode(envelope(status, code, message, param=param_of(extensions)))
    return Response(content=content, status_code=status, media_type="application/json", headers=headers)


def failed(status: int, body: ErrorEnvelope, *, headers: Mapping[str, str]) -> Response[bytes]:
    """An error that is already written."""
    return Response(
        content=msgspec.json.encode(body), status_code=status, media_type="application/json", headers=dict(headers)
    )
