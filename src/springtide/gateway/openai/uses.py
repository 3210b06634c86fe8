"""Which of OpenAI's routes a model can serve, read from what it takes and gives: an engine declares nothing for it.

- transcriptions: takes sound, gives `text` and `segments`.
- images.edits: takes a picture, gives one (or may, as far as is known), and needs nothing else but perhaps a prompt.
- images.generations: takes a prompt, needs no file, gives a picture.
- videos: gives a video, and takes a prompt, or a face and a voice.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from springtide.domain.model import FileField, Model


class Route(StrEnum):
    """A route that models serve, by its name in the `openai` package."""

    TRANSCRIPTIONS = "audio.transcriptions"
    EDITS = "images.edits"
    GENERATIONS = "images.generations"
    VIDEOS = "videos"


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """A model on one route. `note` says in words what a call does there."""

    route: Route
    note: str


def uses(model: Model) -> tuple[Use, ...]:
    """Every route that the model serves."""
    tests = {
        Route.TRANSCRIPTIONS: _transcribes,
        Route.EDITS: _edits,
        Route.GENERATIONS: _generates,
        Route.VIDEOS: _films,
    }
    return tuple(Use(route=route, note=_note(model, route)) for route, test in tests.items() if test(model))


def takes(field: FileField, kind: str) -> bool:
    """Whether a file field takes files of that kind: image, audio or video."""
    return any(each == "*/*" or each.partition("/")[0] == kind for each in field.media_types)


def properties(model: Model) -> Mapping[str, Any]:
    found: dict[str, Any] = model.input_schema.get("properties", {})
    return found


def can_be_transparent(model: Model) -> bool:
    """Whether leaving `background` out gives transparency: a colour that may be absent, not a choice of methods."""
    kinds = properties(model).get("background", {}).get("anyOf", ())
    return any("pattern" in kind for kind in kinds) and any(kind.get("type") == "null" for kind in kinds)


def speaks(model: Model) -> bool:
    """Whether it takes a voice: a digital human."""
    return any(takes(field, "audio") for field in model.input_files)


def _transcribes(model: Model) -> bool:
    given = model.output_schema.get("properties", {})
    return {"text", "segments"} <= given.keys() and speaks(model) and _needs_only(model, "audio")


def _edits(model: Model) -> bool:
    return _gives(model, "image") and _needs_only(model, "image")


def _generates(model: Model) -> bool:
    no_file = not any(field.required for field in model.input_files)
    return "prompt" in properties(model) and no_file and _declares(model, "image") and _required(model) <= {"prompt"}


def _films(model: Model) -> bool:
    if not model.output_files or _kinds(model) != {"video"}:
        return False
    is_human = speaks(model) and any(takes(field, "image") for field in model.input_files)
    return "prompt" in properties(model) or is_human


def _needs_only(model: Model, kind: str) -> bool:
    """Whether it takes files of that kind, and everything it requires is one of them or a prompt."""
    fitting = {field.name for field in model.input_files if takes(field, kind)}
    return bool(fitting) and _required(model) <= {*fitting, "prompt"}


def _required(model: Model) -> set[str]:
    return set(model.input_schema.get("required", ()))


def _kinds(model: Model) -> set[str]:
    """Kinds of media that the primary output may have, as far as the engine says."""
    return {each.partition("/")[0] for each in model.output_media.get(model.output_files[0], ())}


def _declares(model: Model, kind: str) -> bool:
    return bool(model.output_files) and kind in _kinds(model)


def _gives(model: Model, kind: str) -> bool:
    """The same, where a model that does not say counts as one that may."""
    return bool(model.output_files) and (not _kinds(model) or kind in _kinds(model))


def _note(model: Model, route: Route) -> str:
    what = model.title
    if route is Route.EDITS and can_be_transparent(model):
        return f"{what}: background=transparent cuts the subject out, opaque puts white behind it"
    if route is Route.VIDEOS and "prompt" not in properties(model):
        extra = "; consent in extra_body" if "consent" in properties(model) else ""
        return f"{what}: input_reference is the face, audio_reference the voice{extra}"
    if route is Route.VIDEOS:
        return f"{what}: from prompt, input_reference or both"
    return what
