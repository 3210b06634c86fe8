"""The OpenAPI 3.1 document: what the framework knows of the routes, plus what only we know of bodies and headers.

Bodies of a submit and of an upload are read by hand for speed and streaming, so they are described by hand here: one
variant for each model, so that a client generated from this document knows every input.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.types import Method
from litestar.types.internal_types import PathParameterDefinition

from springtide import __version__
from springtide.domain.job import Priority
from springtide.domain.keys import Scope
from springtide.gateway.envelope import STEP_NAME
from springtide.gateway.key_views import MAX_NAME
from springtide.gateway.openai import described as openai
from springtide.gateway.openai.errors import is_openai
from springtide.gateway.openapi_statuses import describe_errors
from springtide.gateway.operating_document import describe_operating
from springtide.gateway.routes_estimate import EstimateWish
from springtide.gateway.schemas import AcceptedView, EventView, Problem, WaitingEventView
from springtide.gateway.served import ServedModel
from springtide.gateway.webhook_document import describe_webhooks
from springtide.policy.pipelines import MAX_STEPS

Document = dict[str, Any]


def openapi_config() -> OpenAPIConfig:
    """What the framework needs to describe the routes."""
    return OpenAPIConfig(
        title="Springtide",
        version=__version__,
        description="Media AI jobs: submit, follow, fetch the result. Live events of many jobs at once: the WebSocket "
        "`/v1/live?jobs=ID,ID` (or `?all=true`), whose messages are arrays of EventView, snapshots and problems; "
        '`{"type": "subscribe", "jobs": [...]}` and `{"type": "unsubscribe", "jobs": [...]}` change what is followed.',
        use_handler_docstrings=True,
        path="/docs/framework",
        operation_id_creator=_operation_id,
    )


def _operation_id(handler: HTTPRouteHandler, method: Method, path: Sequence[str | PathParameterDefinition]) -> str:
    """What generators call the operation: `getJob`; OpenAI's by their package's words, `openaiVideosCreate`."""
    words = handler.handler_name.split("_")
    parts = [part for part in path if isinstance(part, str)]
    if is_openai("/" + "/".join(parts)):
        words = ["openai", *parts[1:], *words]
        words = [word for place, word in enumerate(words) if word not in words[:place]]
    return words[0] + "".join(word.title() for word in words[1:])


def complete(document: Document, models: Iterable[ServedModel]) -> Document:
    """The framework's document with bodies, request headers, streams and problems added."""
    document = copy.deepcopy(document)
    schemas: Document = document.setdefault("components", {}).setdefault("schemas", {})
    _, components = msgspec.json.schema_components(
        [Problem, EventView, WaitingEventView, AcceptedView], ref_template="#/components/schemas/{name}"
    )
    schemas.update(components)
    paths: Document = document["paths"]
    _describe_submit(paths["/v1/jobs"]["post"], list(models))
    _describe_acceptance(paths["/v1/jobs/{job_id}/retry"]["post"])
    _describe_batches(paths, paths["/v1/jobs"]["post"])
    for name in ("RefusedItem", "BatchItemView"):
        schemas[name]["properties"]["problem"] = {"$ref": "#/components/schemas/Problem"}
    _describe_upload(paths["/v1/blobs"]["post"])
    _describe_key(paths["/v1/keys"]["post"])
    _describe_estimate(document)
    csv = {"text/csv": {"schema": {"type": "string", "description": "arrival_s,model,tenant,seconds,predicted_s"}}}
    paths["/v1/trace"]["get"]["responses"]["200"] = {"description": "One job a line.", "content": csv}
    _describe_direct(paths["/v1/blobs/uploads"]["post"], paths["/v1/blobs/uploads/{blob_id}"]["put"])
    complete_upload: Document = paths["/v1/blobs/{blob_id}/complete"]["post"]["responses"]
    complete_upload["200"] = {**complete_upload["201"], "description": "It was complete already."}
    _describe_events(paths["/v1/jobs/{job_id}/events"]["get"])
    _describe_download(paths["/v1/links/{blob_id}"]["get"])
    for path in ("/v1/blobs/{blob_id}", "/v1/jobs/{job_id}/files/{field}"):
        _describe_download(paths[path]["get"])
        paths[path]["get"]["responses"]["307"] = {"description": "The same bytes from the blob store itself."}
    describe_webhooks(document)
    describe_operating(document)
    describe_errors(paths)
    openai.describe(document)
    cancel: Document = paths["/v1/jobs/{job_id}/cancel"]["post"]["responses"]
    cancel["200"] = {**cancel["202"], "description": "The job is on record as cancelled."}
    _plain_pairs(document)
    return document


def _plain_pairs(schema: Any) -> None:
    """Tuples of one type as arrays of a fixed length: generators of clients do not read `prefixItems`."""
    if isinstance(schema, list):
        for each in schema:
            _plain_pairs(each)
    if not isinstance(schema, dict):
        return
    if "prefixItems" in schema and len({msgspec.json.encode(each) for each in schema["prefixItems"]}) == 1:
        schema["items"] = schema.pop("prefixItems")[0]
    for each in schema.values():
        _plain_pairs(each)


def _describe_submit(operation: Document, models: list[ServedModel]) -> None:
    own: Document = {
        "priority": {"type": "string", "enum": [priority.value for priority in Priority], "default": "standard"},
        "start_deadline_s": {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": "Expire the job if it has not started this many seconds from now.",
        },
    }
    operation["requestBody"] = {
        "required": True,
        "content": {
            "application/json": {
                "schema": _any_of([_json_body(served, {**own, "then": _then()}) for served in models])
            },
            "multipart/form-data": {
                "schema": _any_of([_form_body(served, {**own, "then": _as_text(_then())}) for served in models])
            },
        },
    }
    _describe_acceptance(operation)


def _describe_acceptance(operation: Document) -> None:
    """What a submit and a retry have in common."""
    operation.setdefault("parameters", []).extend(
        [
            _header("Prefer", "`wait=N` holds the answer up to N seconds (at most 60) for the job's end (RFC 7240)."),
            _header("Idempotency-Key", "Quoted or bare, at most 255 characters; the same key never makes two jobs."),
            _header("traceparent", "W3C trace context, handed to the worker."),
        ]
    )
    responses: Document = operation["responses"]
    responses["202"] = {
        "description": "Accepted, and on disk.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/AcceptedView"}}},
        "headers": {
            "Location": {"schema": {"type": "string"}, "description": "The job."},
            "Idempotency-Replayed": {"schema": {"type": "string"}, "description": "`true` where the key was known."},
            "Preference-Applied": {"schema": {"type": "string"}},
        },
    }
    responses["200"] = {
        "description": "Ended within `Prefer: wait`.",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/JobView"}}},
    }


def _describe_batches(paths: Document, single: Document) -> None:
    operation: Document = paths["/v1/jobs/batches"]["post"]
    one: Document = single["requestBody"]["content"]["application/json"]["schema"]
    item: Document = {
        "allOf": [{"type": "object", "properties": {"idempotency_key": {"type": "string", "maxLength": 255}}}],
        "description": "As the body of POST /v1/jobs, and `idempotency_key`.",
        "anyOf": [{**each, "additionalProperties": True} for each in one.get("oneOf", [one])],
    }
    schema: Document = {
        "type": "object",
        "properties": {"jobs": {"type": "array", "items": item, "minItems": 1, "maxItems": 10_000}},
        "required": ["jobs"],
        "additionalProperties": False,
    }
    lines = {"type": "string", "description": "One JSON object a line, each as an item of `jobs`."}
    content = {"application/json": {"schema": schema}, "application/x-ndjson": {"schema": lines}}
    operation["requestBody"] = {"required": True, "content": content}
    retry: Document = paths["/v1/jobs/batches/{batch_id}/retry"]["post"]
    for each in (operation, retry):
        each.setdefault("parameters", []).extend(
            [
                _header("Idempotency-Key", "The same key never makes two batches."),
                _header("traceparent", "W3C trace context, handed to the worker of each job."),
            ]
        )
        each["responses"]["202"]["headers"] = {
            "Location": {"schema": {"type": "string"}, "description": "The batch."},
            "Idempotency-Replayed": {"schema": {"type": "string"}, "description": "`true` where it was there before."},
        }
    items: Document = paths["/v1/jobs/batches/{batch_id}/items"]["get"]["responses"]["200"]
    items["content"]["application/x-ndjson"] = {
        "schema": {"type": "string", "description": "One BatchItemView a line."}
    }
    cancel: Document = paths["/v1/jobs/batches/{batch_id}/cancel"]["post"]["responses"]
    cancel["200"] = {**cancel["202"], "description": "No job of it is left to stop."}


def _then() -> Document:
    step: Document = {
        "type": "object",
        "properties": {
            "model": {"type": "string"},
            "inputs": {
                "type": "object",
                "description": "The model's own inputs. In place of a value, or of an item of a list, "
                '`{"$from": "field"}` is an output of the step before, `{"$from": "step.field"}` of any earlier one, '
                "by its number from 0, its name, or its model where only one step has it.",
            },
            "name": {"type": "string", "pattern": STEP_NAME.pattern},
        },
        "required": ["model"],
        "additionalProperties": False,
    }
    return {
        "type": "array",
        "items": step,
        "maxItems": MAX_STEPS - 1,
        "description": "Steps to do next, one after the other: the job is then a pipeline with one status, one figure "
        "of progress and the outputs of its last step.",
    }


def _as_text(schema: Document) -> Document:
    return {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}


def _json_body(served: ServedModel, own: Document) -> Document:
    model = served.model
    return {
        "title": model.title,
        "type": "object",
        "properties": {"model": {"const": model.name}, "inputs": _embedded(model.input_schema), **own},
        "required": ["model", *(["inputs"] if model.input_schema.get("required") else [])],
        "additionalProperties": False,
    }


def _form_body(served: ServedModel, own: Document) -> Document:
    model = served.model
    schema = _embedded(model.input_schema)
    properties: Document = dict(schema.get("properties", {}))
    for field in model.input_files:
        limits = f"{', '.join(field.media_types)}; at most {field.max_bytes} bytes. A file, or the id of a blob."
        file: Document = {"type": "string", "format": "binary", "description": limits}
        properties[field.name] = {"type": "array", "items": file} if field.many else file
    described: Document = {
        "title": model.title,
        "type": "object",
        "properties": {
            "model": {"const": model.name},
            "inputs": {"type": "string", "contentMediaType": "application/json", "description": "Inputs as JSON."},
            **own,
            **properties,
        },
        "required": ["model"],
    }
    if "$defs" in schema:
        described["$defs"] = schema["$defs"]
    return described


def _embedded(schema: Document) -> Document:
    """A schema with its own `$defs` written in place, so that its references hold inside this document."""
    definitions: Document = schema.get("$defs", {})

    def resolved(value: Any, depth: int) -> Any:
        if isinstance(value, dict):
            reference = value.get("$ref")
            if isinstance(reference, str) and depth < 8:  # a model that holds itself is shown eight deep
                return resolved(definitions.get(reference.rsplit("/", 1)[-1], {}), depth + 1)
            if isinstance(reference, str):
                return {}
            return {key: resolved(item, depth) for key, item in value.items() if key not in ("$defs", "$schema")}
        if isinstance(value, list):
            return [resolved(item, depth) for item in value]
        return value

    return resolved(schema, 0)


def _any_of(schemas: list[Document]) -> Document:
    return schemas[0] if len(schemas) == 1 else {"oneOf": schemas} if schemas else {"type": "object"}


def _describe_upload(operation: Document) -> None:
    binary = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": {"file": binary}, "required": ["file"]}
    operation["requestBody"] = {
        "required": True,
        "content": {"application/octet-stream": {"schema": binary}, "multipart/form-data": {"schema": form}},
    }


def _describe_direct(ask: Document, put: Document) -> None:
    properties: Document = {
        "bytes": {"type": "integer", "minimum": 1, "description": "How many bytes will be sent."},
        "name": {"type": "string", "description": "File name to show; never used as a path."},
        "media_type": {"type": "string", "description": "Counts only where the bytes do not tell."},
        "sha256": {"type": "string", "pattern": "^[0-9a-fA-F]{64}$", "description": "Checked where it is given."},
    }
    schema = {"type": "object", "properties": properties, "required": ["bytes"], "additionalProperties": False}
    ask["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    binary = {"schema": {"type": "string", "format": "binary"}}
    put["requestBody"] = {"required": True, "content": {"application/octet-stream": binary}}


def _describe_key(operation: Document) -> None:
    scopes: Document = {"type": "array", "items": {"enum": list(Scope)}, "default": ["read", "submit"]}
    properties: Document = {
        "tenant": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"},
        "name": {"type": "string", "maxLength": MAX_NAME, "description": "What it is for."},
        "scopes": scopes,
        "expires_in_s": {"type": "number", "exclusiveMinimum": 0, "description": "Default: it holds until revoked."},
    }
    schema = {"type": "object", "properties": properties, "required": ["tenant"], "additionalProperties": False}
    operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}


def _describe_estimate(document: Document) -> None:
    (wish,), components = msgspec.json.schema_components([EstimateWish], ref_template="#/components/schemas/{name}")
    document["components"]["schemas"].update(components)
    operation: Document = document["paths"]["/v1/jobs/estimate"]["post"]
    operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": wish}}}


def _describe_events(operation: Document) -> None:
    operation.setdefault("parameters", []).append(_header("Last-Event-ID", "Resume after this event."))
    event = {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("EventView", "WaitingEventView")]}
    operation["responses"]["200"] = {
        "description": "Lines `id`, `event` (queued, started, progress, retrying, cancelling, completed, failed, "
        "cancelled, expired) and `data`; the stream ends after the job's end. While a job stays queued, `waiting` "
        "events without an id say why (`code`, `message`), again when the reason changes.",
        "content": {"text/event-stream": {"schema": {"type": "string", "contentSchema": event}}},
    }
    operation["responses"]["204"] = {"description": "The job is over and every event was seen."}


def _describe_download(operation: Document) -> None:
    operation.setdefault("parameters", []).extend(
        [_header("Range", "One byte range."), _header("If-None-Match", "The ETag that is already there.")]
    )
    content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    operation["responses"]["200"] = {"description": "The bytes.", "content": content}
    operation["responses"]["206"] = {"description": "The range asked for.", "content": content}
    operation["responses"]["304"] = {"description": "Not changed; a blob never does."}


def _header(name: str, description: str) -> Document:
    return {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": description}
