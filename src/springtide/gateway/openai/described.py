"""OpenAI's routes in our OpenAPI document: what is read by hand is described by hand; every error is an envelope."""

from __future__ import annotations

from typing import Any

import msgspec

from springtide.gateway.openai.batch_lines import ENDPOINTS
from springtide.gateway.openai.errors import ErrorEnvelope, is_openai
from springtide.gateway.openai.files import PURPOSES
from springtide.gateway.openai.transcripts import FORMS

Document = dict[str, Any]

_WHY = {
    "400": "The request cannot be read, a parameter is wrong or unknown, or a file is not usable.",
    "404": "No such thing for this tenant, no such model on this route, or nobody here serves it.",
    "405": "The method is not there.",
    "408": "The job still runs; the same request again waits further.",
    "409": "The state of the thing forbids this, or it was cancelled.",
    "410": "It was here and has been deleted: things are kept for a time.",
    "413": "More bytes than the limit.",
    "415": "A media type that is not taken here.",
    "416": "The range lies outside the file.",
    "422": "The Idempotency-Key was used for another request.",
    "429": "Too much at once; see Retry-After.",
    "500": "The job failed, or something broke here.",
    "503": "A dependency is down; see Retry-After.",
    "504": "It may have happened; repeat with the same Idempotency-Key.",
}
_READ = ("400", "404", "503")
_MADE = ("400", "404", "413", "415", "422", "429", "503", "504")
_WAITED = (*_MADE, "408", "409", "500")
_STATUSES: dict[tuple[str, str], tuple[str, ...]] = {
    ("/v1/audio/transcriptions", "post"): _WAITED,
    ("/v1/audio/translations", "post"): ("404",),
    ("/v1/audio/speech", "post"): ("404",),
    ("/v1/images/edits", "post"): _WAITED,
    ("/v1/images/generations", "post"): _WAITED,
    ("/v1/images/variations", "post"): ("404",),
    ("/v1/videos", "post"): _MADE,
    ("/v1/videos", "get"): _READ,
    ("/v1/videos/{video_id}", "get"): _READ,
    ("/v1/videos/{video_id}", "delete"): (*_READ, "409"),
    ("/v1/videos/{video_id}/content", "get"): (*_READ, "408", "409", "416", "429"),
    ("/v1/files", "post"): ("400", "413", "415", "503"),
    ("/v1/files", "get"): ("400", "503"),
    ("/v1/files/{file_id}", "get"): _READ,
    ("/v1/files/{file_id}", "delete"): _READ,
    ("/v1/files/{file_id}/content", "get"): (*_READ, "416"),
    ("/v1/batches", "post"): _MADE,
    ("/v1/batches", "get"): ("400", "503"),
    ("/v1/batches/{batch_id}", "get"): _READ,
    ("/v1/batches/{batch_id}/cancel", "post"): _READ,
}
_TEXT = {"type": "string"}
_FILE = {"type": "string", "format": "binary", "description": "A file; or the id of one, or a data: URL, as text."}
_REFERENCE = {
    "anyOf": [
        {"type": "string", "description": "The id of a file, or a data: URL."},
        {"type": "object", "properties": {"file_id": _TEXT, "image_url": _TEXT}},
    ]
}


def describe(document: Document) -> None:
    """Add bodies, errors and streams to the framework's description of these routes."""
    paths: Document = document["paths"]
    _, components = msgspec.json.schema_components([ErrorEnvelope], ref_template="#/components/schemas/{name}")
    document["components"]["schemas"].update(components)
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorEnvelope"}}}
    for path, operations in paths.items():
        for method, operation in operations.items() if is_openai(path) else ():
            responses: Document = operation["responses"]
            for status in _STATUSES[path, method]:
                responses[status] = {"description": _WHY[status], "content": error}
    for (path, method), schema in _BODIES.items():
        content: Document = {"multipart/form-data": {"schema": schema(_FILE)}}
        if path == "/v1/batches":
            content.clear()
        if path != "/v1/files":
            content["application/json"] = {"schema": schema(_REFERENCE)}
        paths[path][method]["requestBody"] = {"required": True, "content": content}
    _describe_answers(paths)


def _describe_answers(paths: Document) -> None:
    paths["/v1/audio/transcriptions"]["post"]["responses"]["200"] = {
        "description": "The transcript; with `stream` as events `transcript.text.delta` and `.done`.",
        "content": {
            "application/json": {
                "schema": {"type": "object", "properties": {"text": _TEXT}, "required": ["text"]},
            },
            "text/plain": {"schema": _TEXT},
            "application/x-subrip": {"schema": _TEXT},
            "text/vtt": {"schema": _TEXT},
            "text/event-stream": {"schema": _TEXT},
        },
    }
    picture = {"type": "object", "properties": {"b64_json": _TEXT, "url": _TEXT}}
    schema = {
        "type": "object",
        "properties": {"created": {"type": "integer"}, "data": {"type": "array", "items": picture}},
        "required": ["created", "data"],
    }
    for path in ("/v1/images/edits", "/v1/images/generations"):
        paths[path]["post"]["responses"]["200"] = {
            "description": "The picture; with `stream` as event `image_edit.completed` (`image_generation.completed`).",
            "content": {"application/json": {"schema": schema}, "text/event-stream": {"schema": _TEXT}},
        }
    binary = {"schema": {"type": "string", "format": "binary"}}
    for path in ("/v1/videos/{video_id}/content", "/v1/files/{file_id}/content"):
        responses: Document = paths[path]["get"]["responses"]
        content = {"application/octet-stream": binary}
        if "video_id" in path:
            content |= {"video/mp4": binary, "image/webp": binary}
        responses["200"] = {"description": "The bytes.", "content": content}
        responses["206"] = {"description": "The range asked for.", "content": content}
        responses["304"] = {"description": "Not changed; a file never does."}
        responses["307"] = {"description": "The same bytes from the blob store itself."}


def _transcription(file: Document) -> Document:
    words = {"type": "array", "items": _TEXT}
    granularities = {"type": "array", "items": {"type": "string", "enum": ["word", "segment"]}}
    return _object(
        {
            "file": file,
            "model": _TEXT,
            "language": _TEXT,
            "prompt": _TEXT,
            "keywords": words,
            "response_format": {"type": "string", "enum": list(FORMS)},
            "timestamp_granularities": granularities,
            "stream": {"type": "boolean"},
            "temperature": {"type": "number"},
        },
        required=["file", "model"],
    )


def _edit(file: Document) -> Document:
    several = {"type": "array", "items": file}
    return _object({"image": file, "images": several, **_PICTURE}, required=[])


def _generation(file: Document) -> Document:
    return _object(_PICTURE, required=["prompt"])


def _video(file: Document) -> Document:
    return _object(
        {
            "prompt": _TEXT,
            "model": _TEXT,
            "input_reference": file,
            "audio_reference": file,
            "video_reference": file,
            "seconds": {"type": ["string", "number"]},
            "size": {"type": "string", "description": "WIDTHxHEIGHT, or auto."},
        },
        required=[],
    )


def _file(file: Document) -> Document:
    return _object({"file": file, "purpose": {"type": "string", "enum": list(PURPOSES)}}, required=["file", "purpose"])


def _batch(_: Document) -> Document:
    properties: Document = {
        "input_file_id": _TEXT,
        "endpoint": {"type": "string", "enum": list(ENDPOINTS)},
        "completion_window": {"type": "string", "pattern": "^[0-9]{1,3}h$", "default": "24h"},
        "metadata": {"type": "object", "additionalProperties": _TEXT},
    }
    return _object(properties, required=["input_file_id", "endpoint"])


_PICTURE: Document = {
    "model": _TEXT,
    "prompt": _TEXT,
    "background": {"type": "string", "description": "transparent, opaque, auto, or what the model itself takes."},
    "output_format": {"type": "string", "enum": ["png", "jpeg", "webp"]},
    "response_format": {"type": "string", "enum": ["url", "b64_json"], "description": "Both where absent."},
    "quality": _TEXT,
    "size": _TEXT,
    "n": {"type": "integer", "const": 1},
    "stream": {"type": "boolean"},
}
_BODIES = {
    ("/v1/audio/transcriptions", "post"): _transcription,
    ("/v1/images/edits", "post"): _edit,
    ("/v1/images/generations", "post"): _generation,
    ("/v1/videos", "post"): _video,
    ("/v1/files", "post"): _file,
    ("/v1/batches", "post"): _batch,
}


def _object(properties: Document, *, required: list[str]) -> Document:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": True,
        "description": "What else the model takes may stand beside these (docs/openai.md).",
    }
