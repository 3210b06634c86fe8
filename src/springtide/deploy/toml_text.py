"""Plain data as TOML: what a ConfigMap holds for the pods to read. The standard library only reads TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(data: Mapping[str, Any]) -> str:
    """`data` as a TOML document, keys in their order, tables after values. Refuses None (TypeError)."""
    return "\n".join(_table(data, ())).strip() + "\n"


def to_value(value: Any) -> str:
    """`value` on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(to_value(each) for each in value)}]"
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(str(key))} = {to_value(each)}" for key, each in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    raise TypeError(f"TOML has no way to write {value!r}")


def _table(data: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    tables = {key: value for key, value in data.items() if isinstance(value, Mapping) and value}
    values = {key: value for key, value in data.items() if key not in tables}
    if path and (values or not tables):
        yield f"\n[{'.'.join(map(_key, path))}]"
    for key, value in values.items():
        yield f"{_key(str(key))} = {to_value(value)}"
    for key, value in tables.items():
        yield from _table(value, (*path, str(key)))


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)
