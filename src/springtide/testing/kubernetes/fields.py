"""Patches and who owns which field: JSON merge patch, strategic merge, JSON patch and server-side apply.

Lists of named things (containers, variables, ports, ...) are merged by their key as the API server does; other lists
are one value. Sources: RFC 7386, RFC 6902, KEP-555 (server-side apply).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

Path = tuple[str, ...]  # an item of a keyed list is one step, such as [name="main"]
Object = dict[str, Any]
_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "conditions": "type",
    "ownerReferences": "uid",
    "imagePullSecrets": "name",
}


def merged(target: Any, patch: Any) -> Any:
    """JSON merge patch: null deletes, a list replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result: Object = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def strategically_merged(target: Any, patch: Any, field: str = "") -> Any:
    """As merge patch, but keyed lists are merged item by item; null deletes."""
    if isinstance(patch, list) and isinstance(target, list) and (key := _key_of(field, [*target, *patch])):
        items = {item[key]: item for item in target}
        for item in patch:
            if item.get("$patch") == "delete":
                items.pop(item[key], None)
            else:
                items[item[key]] = strategically_merged(items.get(item[key], {}), item)
        return list(items.values())
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result: Object = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = strategically_merged(result.get(name), value, name)
    return result


def json_patched(target: Object, operations: Iterable[Mapping[str, Any]]) -> Object:
    """RFC 6902 without move and copy. Raises ValueError where a test fails or a place is not there."""
    result = copy.deepcopy(target)
    for operation in operations:
        *steps, last = [step.replace("~1", "/").replace("~0", "~") for step in str(operation["path"]).split("/")[1:]]
        place: Any = result
        try:
            for step in steps:
                place = place[int(step)] if isinstance(place, list) else place[step]
            _operate(place, last, operation)
        except (KeyError, IndexError) as error:
            raise ValueError(f"the path {operation['path']} is not there") from error
    return result


def _operate(place: Any, last: str, operation: Mapping[str, Any]) -> None:
    kind, value = operation["op"], operation.get("value")
    key: Any = last if isinstance(place, dict) or last == "-" else int(last)
    if kind == "test":
        if place[key] != value:
            raise ValueError(f"testing value {operation['path']} failed")
    elif kind == "remove":
        del place[key]
    elif kind == "add" and isinstance(place, list):
        place.insert(len(place) if key == "-" else key, value)
    elif kind in ("add", "replace"):
        if kind == "replace":
            place[key]  # it must be there
        place[key] = value
    else:
        raise ValueError(f"unknown operation {kind}")


def leaves(value: Any, path: Path = ()) -> dict[Path, Any]:
    """Every field that holds something by itself, with its value."""
    if isinstance(value, dict) and value:
        found: dict[Path, Any] = {}
        for name, inner in value.items():
            found.update(leaves(inner, (*path, name)))
        return found
    if isinstance(value, list) and value and path and (key := _key_of(path[-1], value)):
        return {
            inner: what for item in value for inner, what in leaves(item, (*path, f'[{key}="{item[key]}"]')).items()
        }
    return {path: value}


def without(value: Object, paths: Iterable[Path]) -> Object:
    """A copy that lacks these fields, and what got empty by that."""
    result = copy.deepcopy(value)
    for path in paths:
        _remove(result, path)
    return result


def _remove(place: Any, path: Path) -> None:
    step, rest = path[0], path[1:]
    key: Any = step
    if isinstance(place, list):
        key = next((index for index, item in enumerate(place) if _is_item(item, step)), None)
        if key is None:
            return
    elif not isinstance(place, dict) or step not in place:
        return
    if rest:
        _remove(place[key], rest)
        inner = place[key]
        # What is left of a keyed item is its key alone: nobody owns anything of it any more.
        is_spent = not inner or (isinstance(place, list) and set(inner) == {step[1:].partition("=")[0]})
        if not is_spent:
            return
    del place[key]


def spelled(path: Path) -> str:
    """As the API server says it: .spec.containers[name="main"].image."""
    return "".join(step if step.startswith("[") else f".{step}" for step in path)


def fields_v1(paths: Iterable[Path]) -> Object:
    """The form in `managedFields`."""
    tree: Object = {}
    for path in sorted(paths):
        place = tree
        for step in path:
            name = "k:{" + step[1:-1].replace("=", ":", 1) + "}" if step.startswith("[") else f"f:{step}"
            place = place.setdefault(name, {})
    return tree


def _key_of(field: str, items: list[Any]) -> str | None:
    key = _KEYS.get(field)
    return key if key and all(isinstance(item, dict) and key in item for item in items) else None


def _is_item(item: Any, step: str) -> bool:
    key, _, value = step[1:-1].partition("=")
    return isinstance(item, dict) and f'"{item.get(key)}"' == value
