"""What is asked of the server, as values: which method, which path, which body. Pure; both clients send the same.

A job's inputs may hold files (`Source` here) anywhere. Where they are small and stand in fields of the first step they
travel with the submit in one form; else they are uploaded first and the submit names their ids.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict
from urllib.parse import quote, urlsplit

import msgspec

from springtide.client.errors import ClientError
from springtide.client.media import Source, is_file, source
from springtide.client.types import Blob, File, Job, Priority

ONE_FORM_BYTES = 64 << 20  # files above this go by an upload of their own: it is not sent again with each try
JSON = {"content-type": "application/json"}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One call. path: below the server's address, or a whole URL (then no key is sent along)."""

    method: str
    path: str
    params: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = {}
    content: bytes | None = None
    fields: Sequence[tuple[str, str]] = ()  # of a form
    files: Sequence[tuple[str, Source]] = ()
    body: Source | None = None
    read_s: float | None = None  # longer than usual, where the server is asked to hold its answer


def order(path: str, *, method: str = "POST", **said: Any) -> Request:
    """An operator's order. said: what is None is left out."""
    content = encoded({name: value for name, value in said.items() if value is not None})
    return Request(method=method, path=path, headers=JSON, content=content)


class From(msgspec.Struct, frozen=True):
    """An input of a later step that is an output of an earlier one: `From("cutout")` of the step before,
    `From("0.cutout")` or `From("matting.cutout")` of another."""

    output: str


class Step(msgspec.Struct, frozen=True):
    """A later step of a pipeline. name: for `From` and for reading; default: its model's."""

    model: str
    inputs: Mapping[str, Any] = {}
    name: str | None = None


class SubmitOptions(TypedDict, total=False):
    """What may be said of a job besides its inputs, as `submit` takes it."""

    then: Sequence[Step]
    priority: Priority | None
    start_deadline_s: float | None
    idempotency_key: str | None


class JobRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A job to submit, as `submit` takes it: for batches."""

    model: str
    inputs: Mapping[str, Any] = {}
    then: Sequence[Step] = ()
    priority: Priority | None = None
    start_deadline_s: float | None = None
    idempotency_key: str | None = None


class Draft(msgspec.Struct, frozen=True):
    """A submit's JSON in which files still stand as sources."""

    envelope: dict[str, Any]

    @property
    def sources(self) -> list[Source]:
        return list(_sources(self.envelope))

    def named(self, blobs: Mapping[int, str]) -> Draft:
        """With the ids of uploaded blobs in the places of their sources; blobs: by `id()` of the source."""
        return Draft(_replaced(self.envelope, blobs))

    @property
    def fits_a_form(self) -> bool:
        """Whether all its files may travel with it."""
        placed = [item for value in self.envelope["inputs"].values() for item in _parts(value)]
        found = self.sources
        return len(placed) == len(found) and sum(one.size for one in found) <= ONE_FORM_BYTES


def drafted(job: JobRequest) -> Draft:
    """The submit of a job. Raises ClientError for a file that cannot be read."""
    envelope: dict[str, Any] = {"model": job.model, "inputs": _plain(job.inputs)}
    if job.priority is not None:
        envelope["priority"] = job.priority
    if job.start_deadline_s is not None:
        envelope["start_deadline_s"] = job.start_deadline_s
    if job.then:
        envelope["then"] = [
            {"model": step.model, "inputs": _plain(step.inputs), **({"name": step.name} if step.name else {})}
            for step in job.then
        ]
    return Draft(envelope)


def new_key() -> str:
    """An idempotency key: one for each logical call, the same on each of its tries."""
    return uuid.uuid4().hex


def submit(draft: Draft, *, key: str, wait_s: float, read_s: float) -> Request:
    """POST /v1/jobs. wait_s: how long the server may hold its answer for the job to end; read_s: the usual patience."""
    headers = {"idempotency-key": key}
    if wait_s > 0:
        headers["prefer"] = f"wait={max(1, round(wait_s))}"
    held_s = read_s + wait_s if wait_s > 0 else None
    if not draft.sources:
        return Request(
            method="POST", path="/v1/jobs", headers={**JSON, **headers}, content=encoded(draft.envelope), read_s=held_s
        )
    inputs: dict[str, Any] = draft.envelope["inputs"]
    files = [(name, one) for name, value in inputs.items() for one in _parts(value)]
    values = {name: value for name, value in inputs.items() if not _parts(value)}
    fields = [("model", str(draft.envelope["model"]))]  # first, so that the files' limits are known
    fields += [(name, _text(value)) for name, value in draft.envelope.items() if name not in ("model", "inputs")]
    fields.append(("inputs", encoded(values).decode()))
    return Request(method="POST", path="/v1/jobs", headers=headers, fields=fields, files=files, read_s=held_s)


def encoded(value: Any) -> bytes:
    """JSON. Raises ClientError for what JSON has no form of."""
    try:
        return msgspec.json.encode(value)
    except TypeError as error:
        raise ClientError(f"an input cannot be sent as JSON: {error}", code="bad_value") from error


def id_of(job: Job | str) -> str:
    """A job's id, fit for a path."""
    return quote(job if isinstance(job, str) else job.id, safe="")


def file_path(what: File | Blob | str) -> str:
    """Where a file is on this server. Of a URL its path counts: the server may be known by several names."""
    if isinstance(what, str) and what.startswith("blob_"):
        return f"/v1/blobs/{quote(what, safe='')}"
    parts = urlsplit(what if isinstance(what, str) else what.url)
    if "/v1/" not in parts.path:
        raise ClientError(f"{what!r} is neither a file of this server nor the id of one", code="bad_url")
    path = parts.path[parts.path.index("/v1/") :]
    return f"{path}?{parts.query}" if parts.query else path


def _plain(value: Any) -> Any:
    """With sources, ids and references in the places of files, blobs and `From`."""
    if isinstance(value, Blob | File):
        return value.id
    if isinstance(value, From):
        return {"$from": value.output}
    if isinstance(value, Source):
        return value
    if is_file(value):
        return source(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _sources(value: Any) -> Iterator[Source]:
    if isinstance(value, Source):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _sources(item)


def _replaced(value: Any, blobs: Mapping[int, str]) -> Any:
    if isinstance(value, Source):
        return blobs[id(value)]
    if isinstance(value, dict):
        return {key: _replaced(item, blobs) for key, item in value.items()}
    return [_replaced(item, blobs) for item in value] if isinstance(value, list) else value


def _parts(value: Any) -> list[Source]:
    """The file parts that a field becomes: one file, or a list of nothing but files."""
    items: list[Any] = value if isinstance(value, list) else [value]
    return items if items and all(isinstance(item, Source) for item in items) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else encoded(value).decode()
