"""The plain page at `/` where the web page was not built: which models are here, and a line to paste for each."""

from __future__ import annotations

import shlex
from typing import Any

import msgspec
from litestar import Response

from springtide.gateway.context import AnyRequest, base_of, gateway_of, headers_of
from springtide.gateway.html import esc, html_page
from springtide.gateway.served import ServedModel

_EXAMPLE_FILES = {"image": "photo.jpg", "audio": "talk.mp3", "video": "clip.mp4"}


def front_page(request: AnyRequest) -> Response[str]:
    """A plain page for people."""
    base = base_of(request, headers_of(request))
    models = gateway_of(request).services.models.values()
    shown = "".join(_model(served, base) for served in models) or "<p>No model is configured.</p>"
    body = (
        "<h1>Springtide</h1><p>Media AI jobs: submit, follow, fetch the result.</p>"
        '<p><a href="/docs">API documentation</a> · <a href="/openapi.json">OpenAPI</a> · '
        '<a href="/v1/models">models as JSON</a> · <a href="/v1/jobs">jobs</a> · <a href="/readyz">readiness</a></p>'
        f"{shown}"
    )
    return html_page("Springtide", body)


def _model(served: ServedModel, base: str) -> str:
    model = served.model
    url = esc(f"/v1/models/{model.name}")
    return (
        f'<h2 id="{esc(model.name)}">{esc(model.title)} <span class="q"><code>{esc(model.name)}</code></span></h2>'
        f"<p>{esc(model.description)}</p>"
        f"<pre>{esc(curl_example(served, base))}</pre>"
        f'<p class="q">version {esc(model.version)} · licence {esc(model.license)} · <a href="{url}">schemas</a></p>'
    )


def curl_example(served: ServedModel, base: str) -> str:
    """A command that submits a job of this model and waits for it: files as a form, anything else as JSON."""
    model = served.model
    url = shlex.quote(f"{base}/v1/jobs")
    required = set(model.input_schema.get("required", []))
    properties: dict[str, Any] = model.input_schema.get("properties", {})
    files = {field.name: field for field in model.input_files}
    values = {name: _example(schema) for name, schema in properties.items() if name in required and name not in files}
    wait = "curl -H 'Prefer: wait=60'"
    if not files:
        body = msgspec.json.encode({"model": model.name, "inputs": values}).decode()
        return f"{wait} -H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)} {url}"
    parts = [f"-F model={shlex.quote(model.name)}"]
    for name, field in files.items():
        if field.required or len(files) == 1:
            kind = field.media_types[0].split("/")[0]
            parts.append(f"-F {name}=@{_EXAMPLE_FILES.get(kind, 'file.bin')}")
    parts += [f"-F {shlex.quote(f'{name}={value}')}" for name, value in values.items()]
    return f"{wait} {' '.join(parts)} \\\n  {url}"


def _example(schema: dict[str, Any]) -> Any:
    if "default" in schema:
        return schema["default"]
    if schema.get("examples"):
        return schema["examples"][0]
    if schema.get("enum"):
        return schema["enum"][0]
    plain: dict[Any, Any] = {"integer": 1, "number": 1.0, "boolean": True, "array": [], "object": {}}
    return schema.get("minimum", plain.get(schema.get("type"), "text"))
