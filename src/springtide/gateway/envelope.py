"""What a submit says besides its inputs, read the same way from a JSON body and from a form's text parts.

Every wrong key is reported at once. Values of a form are strings and are read as what they stand for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from springtide.domain.errors import CallerError
from springtide.domain.job import Priority

KEYS = ("model", "inputs", "priority", "start_deadline_s")
MAX_DEADLINE_S = 30 * 86400.0  # a month: longer is a mistake in the unit
FieldErrors = list[dict[str, Any]]
_decoder = msgspec.json.Decoder()


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A submit's own fields. `model` is empty where it was missing or no string (then `errors` says so)."""

    model: str
    inputs: dict[str, Any]
    priority: Priority
    start_deadline_s: float | None
    errors: FieldErrors


def decode_body(body: bytes) -> Any:
    """A request's JSON. Raises CallerError: missing_body where there is none, malformed_json for any other reason."""
    if not body.strip():
        raise CallerError(
            'The request has no body. Send JSON such as {"model": "...", "inputs": {...}} or a multipart form with the '
            "same parts; /docs shows the inputs of each model.",
            code="missing_body",
        )
    return decode_json(body)


def decode_json(body: bytes) -> Any:
    """JSON as the client sent it. Raises CallerError (malformed_json), whatever is wrong with it."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CallerError(f"The body is not valid JSON: {error}.", code="malformed_json") from error


def read_envelope(raw: Mapping[str, Any]) -> Envelope:
    """Check the keys of a submit; unknown ones are errors, so that a typing mistake is never silently a default."""
    errors: FieldErrors = [
        {"loc": str(key), "message": f"unknown field; a submit has {', '.join(KEYS)}"} for key in raw if key not in KEYS
    ]
    model = raw.get("model")
    if not isinstance(model, str) or not model:
        errors.append({"loc": "model", "message": "missing" if model is None else "must be the name of a model"})
        model = ""
    inputs = raw.get("inputs")
    if inputs is not None and not isinstance(inputs, dict):
        errors.append({"loc": "inputs", "message": "must be an object"})
        inputs = None
    return Envelope(
        model=model,
        inputs=inputs or {},
        priority=_priority(raw.get("priority"), errors),
        start_deadline_s=_deadline(raw.get("start_deadline_s"), errors),
        errors=errors,
    )


def _priority(value: Any, errors: FieldErrors) -> Priority:
    if value is None:
        return Priority.STANDARD
    try:
        return Priority(value)
    except ValueError:
        allowed = ", ".join(Priority)
        errors.append({"loc": "priority", "message": f"must be one of {allowed}", "value": value})
        return Priority.STANDARD


def _deadline(value: Any, errors: FieldErrors) -> float | None:
    if value is None:
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if 0 < seconds <= MAX_DEADLINE_S:
        return seconds
    message = f"must be seconds from now, more than 0 and at most {MAX_DEADLINE_S:.0f}"
    errors.append({"loc": "start_deadline_s", "message": message, "value": value})
    return None
