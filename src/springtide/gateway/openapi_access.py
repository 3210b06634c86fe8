"""What the OpenAPI document says of keys: how they are sent, which operations need which scope, 401 and 403."""

from __future__ import annotations

from typing import Any

from litestar import Litestar
from litestar.routes import HTTPRoute

from springtide.domain.keys import Scope
from springtide.gateway.access import OPEN

Document = dict[str, Any]
_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_SCHEMES: Document = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "`Authorization: Bearer st_...`. A server on loopback needs no key from its own machine. A "
        "browser's WebSocket sends the subprotocols `springtide.v1` and `springtide.key.st_...`.",
    },
    "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
}


def declare_access(document: Document, app: Litestar) -> None:
    """Add the security schemes, and to each operation what it asks for."""
    document["components"]["securitySchemes"] = _SCHEMES
    for (path, method), need in needs(app).items():
        operation: Document | None = document["paths"].get(path, {}).get(method.lower())
        if operation is None:
            continue
        if need is None:
            operation["security"] = []
            continue
        operation["security"] = [{"bearer": []}, {"header": []}]
        operation["description"] = f"{operation.get('description', '')}\n\nNeeds the scope `{need}`.".strip()
        responses: Document = operation["responses"]
        responses.setdefault("429", {"description": "A quota is used up; see Retry-After.", "content": _PROBLEM})
        responses["401"] = {"description": "No key, or one that does not hold.", "content": _PROBLEM}
        responses["403"] = {"description": f"The key has not the scope `{need}`.", "content": _PROBLEM}


def needs(app: Litestar) -> dict[tuple[str, str], Scope | None]:
    """The scope that each operation asks for, by path and method; None: it is open."""
    found: dict[tuple[str, str], Scope | None] = {}
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                asked = handler.opt.get("access")
                for method in handler.http_methods:
                    usual = Scope.READ if method in ("GET", "HEAD") else Scope.SUBMIT
                    found[route.path_format, method] = None if asked == OPEN else asked or usual
    return found
