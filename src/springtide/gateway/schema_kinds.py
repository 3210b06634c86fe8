"""Which JSON types a schema lets through, as far as it says."""

from __future__ import annotations

from typing import Any


def kinds(schema: dict[str, Any], defs: dict[str, Any]) -> set[str]:
    """JSON types a schema allows, `X | None` and references included; empty where it does not say."""
    kind = schema.get("type")
    found: set[str] = {kind} if isinstance(kind, str) else set(kind or ())
    for option in schema.get("anyOf", []):
        found |= kinds(option, defs)
    if "$ref" in schema:
        found |= kinds(defs.get(schema["$ref"].rsplit("/", 1)[-1], {}), {})
    return found


def value_kinds(document: dict[str, Any], field: str) -> set[str]:
    """The kinds of one field of an object's schema as binding tells them apart: one kind of number, no null."""
    found = kinds(document.get("properties", {}).get(field, {}), document.get("$defs", {}))
    return {"number" if kind in ("integer", "boolean") else kind for kind in found} - {"null"}
