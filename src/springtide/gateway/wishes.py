"""What an operator wishes, as JSON in a body that may be left out where every field may."""

from __future__ import annotations

import re
import typing
from typing import Any, TypeVar

import msgspec

from springtide.domain.errors import InvalidInput
from springtide.gateway import body
from springtide.gateway.context import AnyRequest, gateway_of, headers_of
from springtide.gateway.envelope import decode_json

WishT = TypeVar("WishT", bound=msgspec.Struct)
_FIELD = re.compile(r" - at `\$\.(\w+)`$")


async def read_wish(request: AnyRequest, kind: type[WishT]) -> WishT:
    """Raises InvalidInput naming what the body takes, and of a field that says so in its `Meta` what that takes."""
    limit = gateway_of(request).services.settings.max_json_bytes
    body.refuse_announced(headers_of(request), limit)
    raw = await body.read(request, limit)
    try:
        return msgspec.convert(decode_json(raw) if raw.strip() else {}, kind)
    except msgspec.ValidationError as error:
        at = _FIELD.search(str(error))
        said = None if at is None else _takes(kind, at[1])
        if at is not None and said is not None:
            raise InvalidInput(f"`{at[1]}` takes {said}.", errors=[{"loc": at[1], "message": said}]) from error
        raise InvalidInput(f"The body takes {', '.join(kind.__struct_fields__)}: {error}.") from error


def _takes(kind: type[msgspec.Struct], field: str) -> str | None:
    """The description of a field, where it has one."""
    hint: Any = typing.get_type_hints(kind, include_extras=True).get(field)
    given = getattr(hint, "__metadata__", ())
    return next((one.description for one in given if isinstance(one, msgspec.Meta) and one.description), None)
