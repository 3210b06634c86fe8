"""Files as OpenAI's parameters name them, found or stored, and put into the file fields of a model.

A file is an upload in the form, the id of a file (or of any blob of the tenant's), a URL (`https:` or `data:`, fetched
as for any job), or an object `{"file_id": …}` or `{"image_url": …}`. Which field it goes to follows from the
parameter's name and from what it is: an `input_reference` that is a film goes to the field for films.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from springtide.domain.errors import InvalidInput
from springtide.domain.ids import BlobId, TenantId, is_blob_id
from springtide.domain.model import FileField, Model
from springtide.gateway.openai.reading import Asked
from springtide.gateway.openai.uses import Route, takes
from springtide.gateway.services import GatewayServices

# Parameters that name files, and the kind each has where its name says so.
KINDS: dict[str, str | None] = {
    "file": "audio",
    "image": "image",
    "images": "image",
    "input_reference": None,
    "image_reference": "image",
    "video_reference": "video",
    "audio_reference": "audio",
}
MAX_FILES = 16  # as OpenAI's images
_KEYS = ("file_id", "image_url", "video_url", "audio_url", "url", "id")
_URL = re.compile(r"data:([^;,]{0,100})|https?://", re.IGNORECASE)


class Named(msgspec.Struct, frozen=True):
    """A file that a parameter names."""

    param: str
    value: str  # the id of a blob, or a URL
    media_type: str | None  # as far as is known before the file is looked at


class Finder:
    """Finds the files of one tenant's request."""

    def __init__(self, services: GatewayServices, tenant: TenantId) -> None:
        self._services = services
        self._tenant = tenant

    async def find(self, asked: Asked, params: Sequence[str]) -> list[Named]:
        """Every file that one of `params` names. Raises InvalidInput."""
        found: list[Named] = []
        for param in params:
            found += [Named(param, ref.id, ref.media_type) for ref in asked.files.get(param, ())]
            value = asked.values.get(param)
            for item in value if isinstance(value, list) else [value]:
                if item not in (None, ""):
                    found.append(await self._named(param, item))
        if len(found) > MAX_FILES:
            raise wrong(found[MAX_FILES].param, f"at most {MAX_FILES} files are taken, {len(found)} were named")
        return found

    async def _named(self, param: str, value: Any) -> Named:
        while isinstance(value, dict):
            key = next((key for key in _KEYS if key in value), None)
            if key is None:
                raise wrong(param, 'must be a file, {"file_id": "..."} or {"image_url": "data:..."}')
            value = value[key]
        if isinstance(value, str) and is_blob_id(value):
            [stored] = await self._services.ledger.get_blobs([BlobId(value)])
            mine = stored is not None and stored.tenant == self._tenant
            return Named(param, BlobId(value), stored.ref.media_type if stored is not None and mine else None)
        if isinstance(value, str) and (match := _URL.match(value)):
            return Named(param, value, match[1].lower() if match[1] else None)
        raise wrong(param, "names no file: send one, the id of one from /v1/files, or a URL (https: or data:)")


def place(model: Model, named: Sequence[Named]) -> tuple[dict[str, Any], dict[str, str]]:
    """The files as inputs of the model, and which parameter each field came from. Raises InvalidInput."""
    inputs: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for file in named:
        field = _field(model, file)
        if field is None:
            listed = ", ".join(f"{each.name} ({', '.join(each.media_types)})" for each in model.input_files) or "none"
            what = file.media_type or "such a file"
            raise wrong(file.param, f"{model.name} takes no {what} here; its files are {listed}")
        if field.many:
            inputs.setdefault(field.name, []).append(file.value)
        elif field.name in inputs:
            raise wrong(file.param, f"{model.name} takes one file for {field.name}, more were named")
        else:
            inputs[field.name] = file.value
        origin[field.name] = file.param
    return inputs, origin


def expected(model: Model, route: Route) -> dict[str, str]:
    """By which parameter a file would have been named that is missing."""
    sound, picture = ("file", "image") if route is not Route.VIDEOS else ("audio_reference", "input_reference")
    return {
        field.name: sound if takes(field, "audio") else picture
        for field in model.input_files
        if field.required or field.name == "image"
    }


def wrong(param: str, message: str) -> InvalidInput:
    return InvalidInput(f"{param}: {message}", errors=[{"loc": param, "message": message}])


def _field(model: Model, file: Named) -> FileField | None:
    fields = model.input_files
    own = next((field for field in fields if field.name == file.param), None)
    kind = KINDS.get(file.param) or (file.media_type or "image").partition("/")[0]
    if own is not None and (file.param not in KINDS or takes(own, kind)):
        return own
    # A field for this kind alone is meant rather than one that takes it among others (sound may come in a film).
    fitting = sorted((field for field in fields if takes(field, kind)), key=lambda field: _breadth(field))
    if kind not in ("image", "video", "audio") and not fitting:  # not recognised: binding says what is wrong with it
        return next((field for field in fields if field.required), next(iter(fields), None))
    return fitting[0] if fitting else None


def _breadth(field: FileField) -> int:
    return len({each.partition("/")[0] for each in field.media_types})
