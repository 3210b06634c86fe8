"""What variables of the environment say of the configuration: `SPRINGTIDE_SERVER__PORT=9000` is `[server] port = 9000`.

Ours and no library's: `pydantic-settings` loads readers for four clouds and a command line with it, 5 MB and 0.1 s in
each process that reads the configuration, against the idle size and the start that are promised.

Promises: names in any case; an empty variable says nothing; lists and tables are JSON, whole or, tables, by key; all
else is text, which the configuration reads as what it wants. Refuses nothing: what does not fit is told by whoever
validates it, under the key it is meant for; what says nothing for want of an underscore, `misspelt` finds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin

from pydantic import BaseModel

PREFIX = "springtide_"
_STRUCTURES = (dict, list, tuple, set)
Table = dict[str, Any]


def from_variables(variables: Mapping[str, str], kind: type[BaseModel]) -> Table:
    """The tables that `variables` fill in. Those of other names, such as SPRINGTIDE_URL, are no business of ours; two
    underscores are, so that a mistyped section is told as in a file."""
    found: Table = {}
    for name in sorted(variables, key=str.lower):  # a whole table before its keys
        if not name.lower().startswith(PREFIX) or not variables[name]:
            continue
        parts = name.lower().removeprefix(PREFIX).split("__")
        if parts[0] in kind.model_fields or len(parts) > 1:
            value: Any = _read(variables[name], kind_at(kind, parts))
            for part in reversed(parts):
                value = {part: value}
            found = overlaid(found, value)
    return found


def misspelt(variables: Mapping[str, str], kind: type[BaseModel]) -> dict[str, str]:
    """Variables that would say something if all their underscores were there, each with the name it should have."""
    found: dict[str, str] = {}
    for name, value in sorted(variables.items()):
        rest = name.lower().removeprefix(PREFIX)
        if rest == name.lower() or "__" in rest or rest in kind.model_fields:
            continue
        if value and not value.startswith("tcp://"):  # Kubernetes tells pods so of a Service called springtide-server
            meant = _apart(rest, kind)
            if meant is not None:
                found[name] = f"{PREFIX}{'__'.join(meant)}".upper()
    return found


def _apart(words: str, kind: Any) -> list[str] | None:
    """The keys that were run together into `words`; None where they lead nowhere."""
    for inner in _choices(kind):
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            for key, field in inner.model_fields.items():
                if words == key:
                    return [key]
                if words.startswith(f"{key}_") and (rest := _apart(words[len(key) + 1 :], field.annotation)):
                    return [key, *rest]
        elif get_origin(inner) is dict:
            parts = words.split("_")
            for size in range(1, len(parts)):  # any name, and a key of what has it
                if rest := _apart("_".join(parts[size:]), get_args(inner)[1]):
                    return ["_".join(parts[:size]), *rest]
    return None


def overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> Table:
    """The two as one: tables key by key, anything else as `above` says."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = overlaid(cast("Table", old), cast("Table", value))
        result[key] = value
    return result


def _read(text: str, kind: Any) -> Any:
    if not any(_is_structure(one) for one in _choices(kind)):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def kind_at(kind: Any, parts: Sequence[str]) -> Any:
    """What the place is for; `object` where nothing is known of it."""
    for part in parts:
        kind = next((inner for one in _choices(kind) if (inner := _inside(one, part)) is not None), object)
    return kind


def _inside(kind: Any, key: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_fields[key].annotation if key in kind.model_fields else None
    return get_args(kind)[1] if get_origin(kind) is dict else None


def _choices(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _is_structure(kind: Any) -> bool:
    return get_origin(kind) in _STRUCTURES or (isinstance(kind, type) and issubclass(kind, (BaseModel, *_STRUCTURES)))
