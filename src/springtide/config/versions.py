"""Versions of a model in the configuration: what differs, laid over what the model's own table says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from springtide.config.problems import problems_of
from springtide.domain.ids import is_version

_SAME_FOR_ALL = frozenset({"versions", "version"})
ModelT = TypeVar("ModelT", bound=BaseModel)


def not_a_version(name: str) -> str:
    return f"{name!r} is no version's name: lower-case words and numbers joined by '-', '_' or '.', at most 32 letters"


def whole(model: ModelT, versions: Mapping[str, Mapping[str, Any]]) -> dict[str, ModelT]:
    """Each version with all that it has in common with `model`. An engine of the same name keeps the model's settings
    but for those that the version sets. Raises ValueError that tells every problem of every version."""
    common = model.model_dump(exclude=set(_SAME_FOR_ALL), exclude_unset=True)
    found: dict[str, ModelT] = {}
    problems: list[str] = []
    for name, given in versions.items():
        if not is_version(name):
            problems.append(f"versions.{name}: {not_a_version(name)}")
        elif name == getattr(model, "version", None):
            problems.append(f"versions.{name}: the model's own table is version {name}")
        elif wrong := sorted(_SAME_FOR_ALL & given.keys()):
            problems.append(f"versions.{name}: {', '.join(wrong)} cannot be set for a version")
        else:
            try:
                found[name] = type(model).model_validate(_over(common, given))
            except ValidationError as error:
                problems += [f"versions.{name}.{key}: {message}" for key, message, _ in problems_of(error, type(model))]
    if problems:
        raise ValueError("; ".join(problems))
    return found


def _over(common: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    is_same_engine = given.get("engine", common.get("engine")) == common.get("engine")
    settings = {**(common.get("settings", {}) if is_same_engine else {}), **given.get("settings", {})}
    tables = {
        key: {**common[key], **value}
        for key, value in given.items()
        if key != "settings" and isinstance(value, dict) and isinstance(common.get(key), dict)
    }
    return {**common, **given, **tables, "settings": settings}
