"""Every error Springtide raises on purpose, in one tree.

    SpringtideError
    ├── CallerError        the request is wrong; the same request will be wrong again (4xx)
    │   ├── InvalidInput   a field, a file or a header does not hold what the model asks for (422)
    │   ├── BadMedia       a file is not what it claims to be, is broken or is too large to decode (422)
    │   ├── TooLarge       more bytes than the limit (413)
    │   ├── UrlFailed      a URL that the caller gave may not be followed, or leads nowhere (422)
    │   ├── Unauthorized   no key, or one that does not hold (401)
    │   ├── Forbidden      a key that does not allow this (403)
    │   ├── NotFound       no such job, blob or model for this tenant (404)
    │   └── Conflict       the thing is in a state that forbids this (409)
    ├── Refused            right request, wrong moment; try again after `retry_after_s` (429 or 503)
    ├── Unavailable        a dependency (ledger, broker, blob store) is down (503)
    ├── OutcomeUnknown     may have happened or not; only an idempotent retry is safe (504)
    ├── LeaseLost          this worker no longer owns this attempt; drop its result
    ├── AttemptFailed      an attempt ended without a result, retryable or not
    └── ConfigError        a setting is wrong: key, value, allowed range

`code` is stable and snake_case: clients may branch on it. `message` says what, with which value, and what to do.
"""

from __future__ import annotations

from typing import Any


class SpringtideError(Exception):
    """Base of every deliberate error."""

    code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, Any] = details
        if code is not None:
            self.code = code


class CallerError(SpringtideError):
    """The request is wrong and will stay wrong."""

    code = "invalid_request"


class InvalidInput(CallerError):
    """A field does not hold what the model asks for. `details["errors"]` lists every problem at once."""

    code = "invalid_input"


class BadMedia(CallerError):
    """A file is not what it claims to be, is broken, or would be too large once decoded."""

    code = "bad_media"


class TooLarge(CallerError):
    """More bytes than the limit."""

    code = "too_large"


class UrlFailed(CallerError):
    """A URL that a caller gave may not be followed, or following it gave nothing of use."""

    code = "url_unreachable"


class Unauthorized(CallerError):
    """No key came with the request, or one that does not hold."""

    code = "unauthorized"

    def __init__(self, message: str, *, code: str | None = None, was_presented: bool = False) -> None:
        super().__init__(message, code=code)
        self.was_presented = was_presented  # a key was


class Forbidden(CallerError):
    """The key holds, but not for this."""

    code = "forbidden"


class NotFound(CallerError):
    """No such job, blob or model for this tenant."""

    code = "not_found"


class Conflict(CallerError):
    """The thing is in a state that forbids this."""

    code = "conflict"


class Refused(SpringtideError):
    """The right request at the wrong moment."""

    code = "refused"

    def __init__(self, message: str, *, retry_after_s: float, code: str | None = None, **details: Any) -> None:
        super().__init__(message, code=code, **details)
        self.retry_after_s = retry_after_s


class Unavailable(SpringtideError):
    """A dependency is down: ledger, broker or blob store."""

    code = "unavailable"


class OutcomeUnknown(SpringtideError):
    """May have happened; only an idempotent retry is safe."""

    code = "outcome_unknown"


class LeaseLost(SpringtideError):
    """Another attempt owns the job now; whatever this worker holds for it is void."""

    code = "lease_lost"


class AttemptFailed(SpringtideError):
    """An attempt ended without a result."""

    code = "engine_failed"

    def __init__(self, message: str, *, retryable: bool, code: str | None = None, **details: Any) -> None:
        super().__init__(message, code=code, **details)
        self.retryable = retryable


class ConfigError(SpringtideError):
    """A setting is wrong. The message names key, value and what is allowed, one problem a line."""

    code = "bad_config"


class IllegalTransition(SpringtideError):
    """A job was asked to do what its state forbids: a bug in the caller, never in the user's request."""

    code = "illegal_transition"
