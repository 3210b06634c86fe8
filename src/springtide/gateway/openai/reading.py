"""A request of OpenAI's as values and uploads, the same from a multipart form and from JSON.

Names of form parts are read as the `openai` package writes them: `keywords[]` is a list, `input_reference[file_id]` an
object's key; lists are taken without brackets, too. Files stream to the blob store. Promises: constant memory but for
what comes inline (`data:` URLs), which is limited.
"""

from __future__ import annotations

from typing import Any

import msgspec

from springtide.domain.errors import CallerError
from springtide.domain.job import BlobRef
from springtide.gateway import body
from springtide.gateway import headers as http
from springtide.gateway.body import too_large
from springtide.gateway.context import AnyRequest, gateway_of, headers_of, text
from springtide.gateway.envelope import decode_body
from springtide.gateway.multipart import MultipartReader, Part, boundary_of, malformed
from springtide.gateway.uploads import Uploads

MAX_INLINE_BYTES = 32 << 20  # OpenAI's data: URLs have up to 20,971,520 characters; some text beside


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters as sent: of a form text or lists of text, of JSON whatever it holds; and files by parameter."""

    values: dict[str, Any]
    files: dict[str, list[BlobRef]]


async def read(request: AnyRequest, uploads: Uploads) -> Asked:
    """The request's body. Raises CallerError where it cannot be read, TooLarge past a limit."""
    headers = headers_of(request)
    kind = http.media_type(text(headers, b"content-type"))
    if kind == "multipart/form-data":
        reader = MultipartReader(body.chunks(request), boundary_of(text(headers, b"content-type") or ""))
        settings = gateway_of(request).services.settings
        return await _Form(uploads, max_file_bytes=settings.max_upload_bytes, max_parts=settings.max_parts).read(reader)
    if not (kind is None or kind == "application/json" or kind.endswith("+json")):
        message = f"Send application/json or multipart/form-data, not {kind}."
        raise CallerError(message, code="unsupported_media_type")
    body.refuse_announced(headers, MAX_INLINE_BYTES)
    raw = decode_body(await body.read(request, MAX_INLINE_BYTES))
    if not isinstance(raw, dict):
        raise CallerError("The body must be a JSON object.", code="malformed_json")
    return Asked(values={str(key): value for key, value in raw.items() if value is not None}, files={})


class _Form:
    def __init__(self, uploads: Uploads, *, max_file_bytes: int, max_parts: int) -> None:
        self._uploads = uploads
        self._max_file_bytes = max_file_bytes
        self._max_parts = max_parts
        self._text_bytes = 0
        self._values: dict[str, Any] = {}
        self._files: dict[str, list[BlobRef]] = {}

    async def read(self, reader: MultipartReader) -> Asked:
        parts = 0
        while (part := await reader.next_part()) is not None:
            parts += 1
            if parts > self._max_parts:
                raise malformed(f"it has more than {self._max_parts} parts")
            if part.filename is None:
                self._put(part.name, await self._text(part, reader))
            else:
                await self._take_file(part, reader)
        return Asked(values=self._values, files=self._files)

    async def _take_file(self, part: Part, reader: MultipartReader) -> None:
        name = part.name.removesuffix("[]")
        ref = await self._uploads.store(
            reader.data(),
            field=name,
            name=part.filename,
            claimed_type=part.content_type,
            max_bytes=self._max_file_bytes,
        )
        if ref.bytes == 0 and not part.filename:  # a file input left empty in a browser
            await self._uploads.drop(ref)
            return
        self._files.setdefault(name, []).append(ref)

    async def _text(self, part: Part, reader: MultipartReader) -> str:
        data = bytearray()
        async for chunk in reader.data():
            self._text_bytes += len(chunk)
            if self._text_bytes > MAX_INLINE_BYTES:
                raise too_large(MAX_INLINE_BYTES, what="The text of the form")
            data += chunk
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise malformed(f"the part {part.name[:64]!r} is not UTF-8 text") from error

    def _put(self, name: str, value: str) -> None:
        if name.endswith("[]"):
            known = self._values.setdefault(name.removesuffix("[]"), [])
            if isinstance(known, list):
                known.append(value)
            return
        outer, bracket, inner = name.partition("[")
        if bracket and inner.endswith("]"):
            known = self._values.setdefault(outer, {})
            if isinstance(known, dict):
                known[inner[:-1]] = value
            return
        known = self._values.get(name)
        if known is None:
            self._values[name] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            self._values[name] = [known, value]
