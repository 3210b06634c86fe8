"""Inputs by URL: what a file field names by `https://…`, `{"url": "https://…"}` or `data:…` is fetched into a blob.

Promises: the guards of `egress` hold (no private address, no redirect, no endless body); the field's own limit on bytes
holds while it streams; every URL that fails is told with its field, without its query. From there on the file is as one
uploaded: sniffed, inspected and gone again unless the job is accepted. The job keeps the blob, never the URL.

Refuses more fetches at once than the settings say, of all tenants and of one, before any is begun.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Generator, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from springtide.domain.errors import Refused, TooLarge, UrlFailed
from springtide.domain.ids import BlobId, TenantId
from springtide.domain.model import FileField
from springtide.gateway.envelope import FieldErrors, in_words
from springtide.gateway.served import ServedModel
from springtide.gateway.services import GatewayServices
from springtide.gateway.submission import SubmitRequest
from springtide.gateway.uploads import Uploads

SCHEMES = ("https://", "http://", "data:")
MAX_URLS = 64  # of one job: more pictures than any model takes at once
AT_ONCE = 4  # of one job
RETRY_S = 5.0  # most fetches take a few seconds


class _Named(msgspec.Struct, frozen=True):
    """A URL in a request, and where it stands."""

    url: str
    field: FileField
    loc: str


class Fetching:
    """Fetches for requests. One for an application: it counts what is under way."""

    def __init__(self, services: GatewayServices) -> None:
        self._services = services
        self._under_way: Counter[TenantId] = Counter()

    def wants(self, asked: SubmitRequest) -> bool:
        """Whether a request names a file by URL. No more than a look: every submit is asked."""
        routing = self._services.routing
        served = routing.find(asked.model)
        if served is None:
            return False
        if served.model.input_files and _names_url(served, asked.inputs):
            return True
        return any(
            _names_url(step, each.inputs) for each in asked.then if (step := routing.find(each.model)) is not None
        )

    async def fill(self, asked: SubmitRequest, uploads: Uploads) -> SubmitRequest:
        """The request with a blob in place of each URL; the blobs are `uploads`. Raises UrlFailed, Refused."""
        found: dict[str, _Named] = {}
        self._collect(asked.model, asked.inputs, "", found)
        for number, step in enumerate(asked.then):
            self._collect(step.model, step.inputs, f"then.{number}.inputs.", found)
        if len(found) > MAX_URLS:
            raise UrlFailed(f"The inputs name {len(found)} URLs, at most {MAX_URLS} are taken.", code="url_refused")
        with self._counted(asked.tenant.id):
            blobs = await self._fetch_all(list(found.values()), uploads)
        return msgspec.structs.replace(
            asked,
            inputs=_replaced(asked.inputs, blobs, self._files(asked.model)),
            then=[
                msgspec.structs.replace(step, inputs=_replaced(step.inputs, blobs, self._files(step.model)))
                for step in asked.then
            ],
            files={**asked.files, **uploads.refs},
        )

    @contextlib.contextmanager
    def _counted(self, tenant: TenantId) -> Generator[None]:
        settings = self._services.settings
        if self._under_way.total() >= settings.max_fetches or self._under_way[tenant] >= settings.max_tenant_fetches:
            message = "Too many inputs are being fetched from URLs. Send this again, or upload the files."
            raise Refused(message, code="too_many_fetches", retry_after_s=RETRY_S)
        self._under_way[tenant] += 1
        try:
            yield
        finally:
            self._under_way[tenant] -= 1
            if not self._under_way[tenant]:
                del self._under_way[tenant]

    def _files(self, model: str) -> Mapping[str, FileField]:
        served = self._services.routing.find(model)
        return {} if served is None else {field.name: field for field in served.model.input_files}

    def _collect(self, model: str, inputs: Mapping[str, Any], prefix: str, found: dict[str, _Named]) -> None:
        """A URL that is named twice is fetched once, within the narrower limit."""
        for field in self._files(model).values():
            for item in _items(inputs.get(field.name)):
                url = _url(item)
                if url is not None and (url not in found or field.max_bytes < found[url].field.max_bytes):
                    found[url] = _Named(url, field, prefix + field.name)

    async def _fetch_all(self, named: list[_Named], uploads: Uploads) -> dict[str, BlobId]:
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(each: _Named) -> BlobId | UrlFailed:
            async with gate:
                try:
                    return await self._fetch(each, uploads)
                except UrlFailed as error:
                    return error

        async with asyncio.TaskGroup() as tasks:
            under_way = [tasks.create_task(one(each)) for each in named]
        results = [task.result() for task in under_way]
        failed = [(each, error) for each, error in zip(named, results, strict=True) if isinstance(error, UrlFailed)]
        if failed:
            raise _told(failed)
        return {each.url: result for each, result in zip(named, results, strict=True) if isinstance(result, str)}

    async def _fetch(self, named: _Named, uploads: Uploads) -> BlobId:
        settings = self._services.settings
        max_bytes = min(named.field.max_bytes, settings.max_upload_bytes)
        if named.url[:5].lower() == "data:":
            media_type, data = _data(named.url, max_bytes)
            return await self._store(named, uploads, _only(data), media_type, name=None)
        async with self._services.egress.get(named.url, max_bytes=max_bytes, total_s=settings.fetch_s) as incoming:
            name = urlsplit(named.url).path.rpartition("/")[2]
            return await self._store(named, uploads, incoming.chunks, incoming.media_type, name=name)

    async def _store(
        self, named: _Named, uploads: Uploads, chunks: AsyncIterator[bytes], media_type: str | None, *, name: str | None
    ) -> BlobId:
        try:
            ref = await uploads.store(
                chunks, field=named.loc, name=name, claimed_type=media_type, max_bytes=named.field.max_bytes
            )
        except TooLarge as error:
            raise UrlFailed(error.message, code="url_too_large") from error
        return ref.id


def _names_url(served: ServedModel, inputs: Mapping[str, Any]) -> bool:
    return any(_url(item) is not None for field in served.model.input_files for item in _items(inputs.get(field.name)))


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _url(item: Any) -> str | None:
    if isinstance(item, dict):
        item = item.get("url") if item.keys() == {"url"} else None
        return item if isinstance(item, str) else None
    return item if isinstance(item, str) and item[:8].lower().startswith(SCHEMES) else None


def _replaced(inputs: dict[str, Any], blobs: Mapping[str, BlobId], files: Mapping[str, FileField]) -> dict[str, Any]:
    def blob(item: Any) -> Any:
        url = _url(item)
        return item if url is None else blobs[url]

    return {
        name: value if name not in files else [blob(item) for item in value] if isinstance(value, list) else blob(value)
        for name, value in inputs.items()
    }


def _data(url: str, max_bytes: int) -> tuple[str | None, bytes]:
    """Media type and bytes of a `data:` URL (RFC 2397). Raises UrlFailed."""
    head, comma, payload = url[5:].partition(",")
    kind, *rest = head.split(";")
    try:
        if not comma:
            raise ValueError("has no comma")
        data = unquote_to_bytes(payload)
        if any(word.strip().lower() == "base64" for word in rest):
            data = base64.b64decode(data, validate=True)
    except (ValueError, binascii.Error) as error:
        raise UrlFailed(f"the data: URL cannot be read: {error}", code="url_refused") from error
    if len(data) > max_bytes:
        raise UrlFailed(f"the data: URL holds {len(data)} bytes, at most {max_bytes} are taken", code="url_too_large")
    return kind or None, data


async def _only(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _told(failed: list[tuple[_Named, UrlFailed]]) -> UrlFailed:
    """One error for all that failed; its code is the first one's."""
    errors: FieldErrors = [{"loc": each.loc, "message": error.message, "code": error.code} for each, error in failed]
    return UrlFailed(in_words(errors[:5]), code=failed[0][1].code, errors=errors)
