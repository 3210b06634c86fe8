"""The API's documentation as one plain page at `/docs`, drawn from the OpenAPI document, and that document itself.

The usual viewers load their scripts from elsewhere; this one works without a network.
"""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, get

from springtide.gateway.access import OPEN
from springtide.gateway.context import AnyRequest, gateway_of
from springtide.gateway.html import esc, html_page
from springtide.gateway.openapi import Document, complete
from springtide.gateway.openapi_access import declare_access

_METHODS = ("get", "post", "put", "patch", "delete")


@get("/openapi.json", include_in_schema=False, opt={"access": OPEN})
async def openapi_document(request: AnyRequest) -> Response[bytes]:
    """The OpenAPI 3.1 document."""
    return Response(_encoded(request), media_type="application/json")


@get("/docs", include_in_schema=False, opt={"access": OPEN})
async def docs_page(request: AnyRequest) -> Response[str]:
    """The documentation for people."""
    document = _document(request)
    operations = [
        _operation(method, path, operation)
        for path, methods in sorted(document["paths"].items())
        for method, operation in methods.items()
        if method in _METHODS
    ]
    schemas = [_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    body = (
        "<h1>Springtide API</h1>"
        f'<p><a href="/">front page</a> · <a href="/openapi.json">OpenAPI {esc(document["openapi"])}</a></p>'
        f"<p>{esc(document['info']['description'])}</p>"
        "<p>Errors are RFC 9457 problems; branch on <code>code</code>, show <code>detail</code>.</p>"
        f"{''.join(operations)}<h2>Shapes</h2>{''.join(schemas)}"
    )
    return html_page("Springtide API", body)


def _document(request: AnyRequest) -> Document:
    state = request.app.state
    if "openapi" not in state:
        models = gateway_of(request).services.models.values()
        document = complete(request.app.openapi_schema.to_schema(), models)
        declare_access(document, request.app)
        state["openapi"] = document
    return state["openapi"]


def _encoded(request: AnyRequest) -> bytes:
    return msgspec.json.encode(_document(request), enc_hook=str)


def _operation(method: str, path: str, operation: Document) -> str:
    parts = [
        f'<h2><span class="m">{esc(method.upper())}</span> <code>{esc(path)}</code></h2>',
        f"<p><strong>{esc(operation.get('summary', ''))}</strong><br> {esc(operation.get('description', ''))}</p>",
    ]
    if operation.get("parameters"):
        rows = "".join(
            f"<tr><td><code>{esc(item['name'])}</code></td><td>{esc(item['in'])}</td>"
            f"<td>{'required' if item.get('required') else 'optional'}</td>"
            f"<td>{esc(item.get('description', ''))}</td></tr>"
            for item in operation["parameters"]
        )
        parts.append(f"<table><tr><th>parameter</th><th>in</th><th></th><th></th></tr>{rows}</table>")
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p>Body <code>{esc(media_type)}</code></p>{_json(content['schema'])}")
    answers = "".join(
        f"<tr><td>{esc(status)}</td><td>{esc(response.get('description', ''))}</td><td>{_shapes(response)}</td></tr>"
        for status, response in sorted(operation.get("responses", {}).items())
    )
    parts.append(f"<table><tr><th>answer</th><th></th><th></th></tr>{answers}</table>")
    return "".join(parts)


def _shapes(response: Document) -> str:
    shown: list[str] = []
    for media_type, content in response.get("content", {}).items():
        reference: str = content.get("schema", {}).get("$ref", "")
        name = reference.rsplit("/", 1)[-1]
        link = f' <a href="#{esc(name)}">{esc(name)}</a>' if name else ""
        shown.append(f"<code>{esc(media_type)}</code>{link}")
    return "<br>".join(shown)


def _schema(name: str, schema: Any) -> str:
    return f'<h3 id="{esc(name)}">{esc(name)}</h3>{_json(schema)}'


def _json(value: Any) -> str:
    text = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode()
    return f"<pre>{esc(text)}</pre>"
