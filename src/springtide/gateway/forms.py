"""A submit as `multipart/form-data`: text parts become inputs, file parts go straight to the blob store.

Parts may come in any order; where files arrive before the model is named, the largest limit of any model holds first
and the field's own afterwards. Two files where one is meant are an error, never a silent last-one-wins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from springtide.domain.errors import CallerError
from springtide.domain.job import BlobRef
from springtide.domain.model import FileField
from springtide.gateway.body import too_large
from springtide.gateway.envelope import KEYS, FieldErrors, decode_json
from springtide.gateway.multipart import MultipartReader, Part, malformed
from springtide.gateway.schema_kinds import kinds
from springtide.gateway.served import ServedModel
from springtide.gateway.submission import Submission
from springtide.gateway.uploads import Uploads


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """The submit that a form makes: `envelope` as a JSON body would hold it, its inputs filled from the parts."""

    envelope: dict[str, Any]
    errors: FieldErrors


class FormReader:
    """Reads one form."""

    def __init__(
        self,
        submission: Submission,
        uploads: Uploads,
        *,
        max_text_bytes: int,
        max_parts: int,
        before_file: Callable[[ServedModel], Awaitable[None]] | None = None,
    ) -> None:
        """before_file: may raise to refuse a file before it is taken in, where its model is known by then."""
        self._submission = submission
        self._before_file = before_file
        self._uploads = uploads
        self._max_text_bytes = max_text_bytes
        self._max_parts = max_parts
        self._text_bytes = 0
        self._texts: dict[str, list[str]] = {}
        self._files: dict[str, list[BlobRef]] = {}
        self._counts: dict[str, int] = {}  # file parts by field, those not stored included
        self._errors: FieldErrors = []
        self._defs: dict[str, Any] = {}  # of the model's input schema

    async def read(self, reader: MultipartReader, *, max_file_bytes: int) -> Form:
        """Take in every part. Raises NotFound for an unknown model and TooLarge past a limit, both at once."""
        parts = 0
        while (part := await reader.next_part()) is not None:
            parts += 1
            if parts > self._max_parts:
                raise malformed(f"it has more than {self._max_parts} parts")
            if part.filename is None or part.name in KEYS:
                await self._take_text(part, reader)
            else:
                await self._take_file(part, reader, max_file_bytes)
        served = self._served()
        if served is not None:
            self._check_counts(served)
        envelope: dict[str, Any] = {key: self._only(key) for key in KEYS if key in self._texts}
        if "then" in envelope:
            envelope["then"] = _json_part("then", envelope["then"])
        base = _json_part("inputs", envelope.get("inputs", "{}"))
        if isinstance(base, dict):
            envelope["inputs"] = self._inputs(base, served)
        else:
            envelope["inputs"] = base
        return Form(envelope=envelope, errors=self._errors)

    async def _take_text(self, part: Part, reader: MultipartReader) -> None:
        data = bytearray()
        async for chunk in reader.data():
            self._text_bytes += len(chunk)
            if self._text_bytes > self._max_text_bytes:
                raise too_large(self._max_text_bytes, what="The text of the form")
            data += chunk
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise malformed(f"the part {part.name[:64]!r} is not UTF-8 text") from error
        self._texts.setdefault(_plain(part.name), []).append(text)

    async def _take_file(self, part: Part, reader: MultipartReader, max_file_bytes: int) -> None:
        name = _plain(part.name)
        served = self._served()
        field = served.file_field(name) if served else None
        self._counts[name] = self._counts.get(name, 0) + 1
        if served and (field is None or (self._counts[name] > 1 and not field.many)):
            return  # reported by `_check_counts`; the reader skips its bytes
        if served and self._before_file is not None:
            await self._before_file(served)
        ref = await self._uploads.store(
            reader.data(),
            field=name,
            name=part.filename,
            claimed_type=part.content_type,
            max_bytes=min(field.max_bytes, max_file_bytes) if field else max_file_bytes,
        )
        if ref.bytes == 0 and not part.filename:  # a file input left empty in a browser
            self._counts[name] -= 1
            await self._uploads.drop(ref)
            return
        self._files.setdefault(name, []).append(ref)

    def _served(self) -> ServedModel | None:
        names = self._texts.get("model")
        return self._submission.served(names[0]) if names else None

    def _check_counts(self, served: ServedModel) -> None:
        properties = served.model.input_schema.get("properties", {})
        for name, count in self._counts.items():
            field = served.file_field(name)
            if count and field is None:
                unknown = f"is not a field of this model; it takes {', '.join(properties) or 'none'}"
                message = "takes a value, not a file" if name in properties else unknown
                self._errors.append({"loc": name, "message": message})
            elif field is not None and count > 1 and not field.many:
                self._errors.append({"loc": name, "message": f"takes one file, {count} were sent"})

    def _only(self, key: str) -> str:
        values = self._texts[key]
        if len(values) > 1:
            self._errors.append({"loc": key, "message": f"takes one value, {len(values)} were sent"})
        return values[0]

    def _inputs(self, base: dict[str, Any], served: ServedModel | None) -> dict[str, Any]:
        inputs = dict(base)
        schema: dict[str, Any] = served.model.input_schema if served else {}
        properties: dict[str, Any] = schema.get("properties", {})
        self._defs = schema.get("$defs", {})
        for name, texts in self._texts.items():
            if name in KEYS:
                continue
            self._refuse_twice(name, inputs)
            inputs[name] = self._value(name, texts, properties.get(name, {}))
        for name, refs in self._files.items():
            field: FileField | None = served.file_field(name) if served else None
            if served and field is None:
                continue
            self._refuse_twice(name, inputs)
            inputs[name] = [ref.id for ref in refs] if field and field.many else refs[0].id
        return inputs

    def _refuse_twice(self, name: str, inputs: dict[str, Any]) -> None:
        if name in inputs:
            self._errors.append({"loc": name, "message": "is given twice"})

    def _value(self, name: str, texts: list[str], schema: dict[str, Any]) -> Any:
        allowed = kinds(schema, self._defs)
        if len(texts) == 1:
            return _json_or_text(texts[0]) if "object" in allowed else texts[0]  # binding reads lists from text itself
        if "array" not in allowed:
            self._errors.append({"loc": name, "message": f"takes one value, {len(texts)} were sent"})
        return texts


def _plain(name: str) -> str:
    """Many clients send a list as `name[]`."""
    return name.removesuffix("[]")


def _json_part(name: str, text: str) -> Any:
    try:
        return decode_json(text.encode())
    except CallerError as error:
        raise CallerError(f"The part {name!r} is not valid JSON: {error.__cause__}.", code="malformed_json") from error


def _json_or_text(text: str) -> Any:
    try:
        return decode_json(text.encode())
    except CallerError:
        return text  # binding says what is wrong with it
