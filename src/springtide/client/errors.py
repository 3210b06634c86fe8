"""Everything the client raises, in one tree; what the server answers as a problem document arrives as one of these.

    SpringtideError                    the base of every deliberate error of the project
    ├── ClientError                    of this package
    │   ├── Unreachable                no answer: refused, cut off or timed out, on every try
    │   ├── WaitTimeout                a wait ended before the job did; it goes on (`waited_for`)
    │   ├── BrokenTransfer             what arrived is not what was sent, by its SHA-256 or length
    │   ├── JobError                   a job ended without a result (`job`, `code`, `retryable`)
    │   │   ├── JobFailed
    │   │   ├── JobCancelled
    │   │   └── JobExpired             its start deadline passed
    │   └── ApiError                   the server answered with an error (`status`, `code`, `errors`, `request_id`)
    │       ├── InvalidRequest         400, 405, 414, 415, 416, 426, 501: the request cannot be understood
    │       │   ├── InvalidInput       422: a field or a file is wrong; `errors` names each
    │       │   └── TooLarge           413
    │       ├── Unauthorized           401: no key, or one that does not hold
    │       ├── Forbidden              403: the key may not do this
    │       ├── NotFound               404: no such job, file or model for this tenant
    │       │   └── Gone               410: it was there, and is deleted
    │       ├── Conflict               409: the thing is in a state that forbids this
    │       ├── Refused                429: the right request at the wrong moment (`retry_after_s`)
    │       └── ServerError            5xx: a defect
    │           └── Unavailable        502, 503, 504: a part of it is down; tried again already

`code` is stable and snake_case, as docs/reference/errors.md lists it: branch on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from springtide.client.types import FieldProblem
from springtide.domain.errors import SpringtideError

if TYPE_CHECKING:
    from springtide.client.batches import Batch
    from springtide.client.types import Job


class ClientError(SpringtideError):
    """Base of everything this package raises on purpose."""


class Unreachable(ClientError):
    """No answer from the server, on every try. Whether the last request arrived is not known; repeat it with the same
    `idempotency_key`."""

    code = "unreachable"


class WaitTimeout(ClientError, TimeoutError):
    """The wait is over and the job is not. It goes on; wait for it again."""

    code = "wait_timeout"

    def __init__(self, waited_for: Job | Batch, timeout_s: float) -> None:
        super().__init__(f"{waited_for.id} is still {waited_for.status} after {timeout_s:g} s; it goes on")
        self.waited_for = waited_for


class BrokenTransfer(ClientError):
    """What arrived is not what was sent, by its SHA-256 or length, also on another try."""

    code = "broken_transfer"


class JobError(ClientError):
    """The job ended without a result."""

    code = "job_failed"

    def __init__(self, job: Job) -> None:
        error = job.error
        told = f": {error.message}" if error is not None and error.message else ""
        super().__init__(
            f"{job.id} ({job.model}) {job.status}{told}", code=error.code if error else f"job_{job.status}"
        )
        self.job = job
        self.retryable = error is not None and error.retryable


class JobFailed(JobError):
    """It failed; `code` says how, `job.error` has all of it."""


class JobCancelled(JobError):
    """It was cancelled."""


class JobExpired(JobError):
    """It did not start before its deadline."""


class ApiError(ClientError):
    """The server answered with an error.

    status: HTTP. errors: each wrong field. request_id: for whoever reads the server's log. retry_after_s: when to come
    again, where the server says so. tries: how often it was asked. should_retry: its own word on whether the same
    request may do better, if any.
    details: further members of the problem document.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        errors: list[FieldProblem] | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.details = dict(details or {})
        self.status = status
        self.errors = errors or []
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry
        self.tries = 1


class InvalidRequest(ApiError):
    """The request is wrong and will stay wrong."""


class InvalidInput(InvalidRequest):
    """A field or a file is not what the model takes."""


class TooLarge(InvalidRequest):
    """More bytes, or more jobs, than the limit."""


class Unauthorized(ApiError):
    """No key, or one that does not hold."""


class Forbidden(ApiError):
    """The key may not do this."""


class NotFound(ApiError):
    """No such job, file or model for this tenant."""


class Gone(NotFound):
    """It was there, and is deleted."""


class Conflict(ApiError):
    """The thing is in a state that forbids this."""


class Refused(ApiError):
    """The right request at the wrong moment: a queue, quota or rate is full."""


class ServerError(ApiError):
    """A defect of the server."""


class Unavailable(ServerError):
    """A part of the server is down, or it is stopping."""


_KINDS: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: TooLarge,
    422: InvalidInput,
    429: Refused,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
_ENDS: dict[str, type[JobError]] = {"cancelled": JobCancelled, "expired": JobExpired}
_OWN = (
    "type",
    "title",
    "status",
    "detail",
    "instance",
    "code",
    "errors",
    "request_id",
    "retry_after_s",
    "should_retry",
)


def job_error(job: Job) -> JobError:
    """The error of a job that ended without a result."""
    return _ENDS.get(job.status, JobFailed)(job)


def api_error(status: int, headers: Mapping[str, str], body: bytes, *, what: str) -> ApiError:
    """The answer as an error. what: method and path, for answers that do not explain themselves.

    headers: names in lower case, or a mapping that does not tell case apart.
    """
    problem = _problem(body)
    errors = _field_problems(problem.get("errors"))
    kind = _KINDS.get(status, ServerError if status >= 500 and status != 501 else InvalidRequest)
    after_s = _seconds(problem.get("retry_after_s"))
    told = {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())
    return kind(
        _message(problem, errors, f"{what} was answered with {status}"),
        status=status,
        code=str(problem.get("code") or f"http_{status}"),
        errors=errors,
        request_id=problem.get("request_id") or headers.get("x-request-id"),
        retry_after_s=_seconds(headers.get("retry-after")) if after_s is None else after_s,
        should_retry=told,
        details={name: value for name, value in problem.items() if name not in _OWN},
    )


def _problem(body: bytes) -> dict[str, Any]:
    """The problem document; also of the routes that answer in OpenAI's shape. Empty where it is something else."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    if not isinstance(found, dict):
        return {}
    inner = found.get("error")
    if isinstance(inner, dict) and "detail" not in found:
        return {"detail": inner.get("message"), "code": inner.get("code") or inner.get("type")}
    return found


def _field_problems(value: Any) -> list[FieldProblem]:
    try:
        return msgspec.convert(value or [], list[FieldProblem])
    except msgspec.ValidationError:
        return []


def _message(problem: Mapping[str, Any], errors: list[FieldProblem], otherwise: str) -> str:
    detail = str(problem.get("detail") or problem.get("title") or otherwise)
    told = (f"{item.loc}: {item.message}" if item.loc else item.message for item in errors)
    return "\n".join([detail, *(f"  {one}" for one in told if one not in detail)])  # most details name every field


def _seconds(value: Any) -> float | None:
    """Of a number or a header; a date is left to the back-off."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
