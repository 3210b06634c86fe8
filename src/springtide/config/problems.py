"""What a validation found wrong, in the words of whoever wrote the file.

Promises: each problem names its key, what is wrong and what is allowed; a key that does not exist brings the one that
was probably meant, or all that there are. No value is told here: who tells it decides what may be a secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from springtide.config.variables import kind_at
from springtide.domain.meant import meant


def problems_of(error: ValidationError, kind: type[BaseModel]) -> Iterator[tuple[str, str, Any]]:
    """(key, what is wrong with it, what was given) of each. kind: what was validated."""
    for item in error.errors(include_url=False, include_context=False):
        loc = [str(part) for part in item["loc"]]
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = f"there is no such key; {_meant(loc[-1], kind_at(kind, loc[:-1]))}"
        elif item["type"] == "missing":
            message = "is required"
        yield ".".join(loc), message, item["input"]


def _meant(key: str, place: Any) -> str:
    is_known = isinstance(place, type) and issubclass(place, BaseModel)
    keys = list(place.model_fields) if is_known else []
    near = meant(key, keys)
    if near:
        return f"did you mean `{near}`?"
    return f"there are {', '.join(keys)}" if keys else "docs/reference/configuration.md lists them"
