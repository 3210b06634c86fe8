"""What a submit says besides its inputs, read the same way from a JSON body and from a form's text parts.

Every wrong key is reported at once. Values of a form are strings and are read as what they stand for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from springtide.domain.errors import CallerError
from springtide.domain.job import Priority
from springtide.policy.pipelines import MAX_STEPS

KEYS = ("model", "inputs", "priority", "start_deadline_s", "then")
STEP_KEYS = ("model", "inputs", "name")
MAX_DEADLINE_S = 30 * 86400.0  # a month: longer is a mistake in the unit
FieldErrors = list[dict[str, Any]]
STEP_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_decoder = msgspec.json.Decoder()


def in_words(errors: FieldErrors) -> str:
    """All of them in one line; what is wrong with the whole has no name before it."""
    return "; ".join(f"{item['loc']}: {item['message']}" if item["loc"] else str(item["message"]) for item in errors)


class NextStep(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `then`. `model` is empty where it was missing or no string (then `errors` says so)."""

    model: str
    inputs: dict[str, Any]
    name: str | None


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A submit's own fields. `model` is empty where it was missing or no string (then `errors` says so)."""

    model: str
    inputs: dict[str, Any]
    priority: Priority | None  # None: as usual for the tenant
    start_deadline_s: float | None
    then: list[NextStep]
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
    return Envelope(
        model=_model(raw.get("model"), "model", errors),
        inputs=_inputs(raw.get("inputs"), "inputs", errors),
        priority=_priority(raw.get("priority"), errors),
        start_deadline_s=_deadline(raw.get("start_deadline_s"), errors),
        then=_then(raw.get("then"), errors),
        errors=errors,
    )


def _model(value: Any, loc: str, errors: FieldErrors) -> str:
    if isinstance(value, str) and value:
        return value
    errors.append({"loc": loc, "message": "missing" if value is None else "must be the name of a model"})
    return ""


def _inputs(value: Any, loc: str, errors: FieldErrors) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        errors.append({"loc": loc, "message": "must be an object"})
        return {}
    return value or {}


def _then(value: Any, errors: FieldErrors) -> list[NextStep]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        errors.append({"loc": "then", "message": "must be a list of steps, each an object with at least 'model'"})
        return []
    if len(value) >= MAX_STEPS:
        message = f"a pipeline has at most {MAX_STEPS} steps, this one {len(value) + 1}"
        errors.append({"loc": "then", "message": message})
        return []
    return [_step(item, f"then.{number}", errors) for number, item in enumerate(value)]


def _step(raw: Mapping[str, Any], loc: str, errors: FieldErrors) -> NextStep:
    errors += [
        {"loc": f"{loc}.{key}", "message": f"unknown field; a step has {', '.join(STEP_KEYS)}"}
        for key in raw
        if key not in STEP_KEYS
    ]
    name = raw.get("name")
    if name is not None and not (isinstance(name, str) and STEP_NAME.fullmatch(name)):
        message = "must be a letter, then letters, digits, '-' or '_', at most 64 characters"
        errors.append({"loc": f"{loc}.name", "message": message, "value": str(name)[:80]})
        name = None
    return NextStep(
        model=_model(raw.get("model"), f"{loc}.model", errors),
        inputs=_inputs(raw.get("inputs"), f"{loc}.inputs", errors),
        name=name,
    )


def _priority(value: Any, errors: FieldErrors) -> Priority | None:
    if value is None:
        return None
    try:
        return Priority(value)
    except ValueError:
        allowed = ", ".join(Priority)
        errors.append({"loc": "priority", "message": f"must be one of {allowed}", "value": value})
        return None


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
