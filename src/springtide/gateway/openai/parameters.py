"""OpenAI's parameters as inputs of a model.

A parameter goes where the model has a field of its meaning. One that OpenAI (or another server of its shape) knows and
this model has no use for is left out, and the answer says so (`x-springtide-ignored`). One that only the model knows
passes as it is, so that `extra_body` reaches everything a model can do. Anything else is an error that names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from springtide.domain.errors import InvalidInput
from springtide.domain.model import Model
from springtide.gateway.openai.references import KINDS, wrong
from springtide.gateway.openai.uses import Route, can_be_transparent, properties

# What a request may say without having an effect, besides what is translated: OpenAI's own, and what vLLM-Omni and
# SGLang have on /v1/videos.
_ANYWHERE = frozenset({"user", "safety_identifier", "moderation", "metadata", "store"})
_IGNORED: dict[Route, frozenset[str]] = {
    Route.TRANSCRIPTIONS: frozenset(
        {"temperature", "chunking_strategy", "known_speaker_names", "known_speaker_references", "languages"}
    ),
    Route.EDITS: frozenset({"input_fidelity", "output_compression", "partial_images", "style", "markup", "svg"}),
    Route.GENERATIONS: frozenset({"output_compression", "partial_images", "style", "svg"}),
    Route.VIDEOS: frozenset(
        {
            "negative_prompt", "num_inference_steps", "guidance_scale", "guidance_scale_2", "true_cfg_scale", "lora",
            "boundary_ratio", "flow_shift", "quality", "output_path", "save_output", "response_format", "n",
        }
    ),
}  # fmt: skip
# How the answer is shown; read by the routes themselves.
_SHOWN = frozenset({"model", "response_format", "stream", "include", "extra_params", "n"})
_QUALITIES = {"low": "fast", "medium": "best", "high": "best", "hd": "best", "xhigh": "best", "max": "best"}
# OpenAI says languages by their English names, models by ISO 639 codes.
LANGUAGES = {
    "ar": "arabic", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "fi": "finnish", "fr": "french", "he": "hebrew", "hi": "hindi", "hu": "hungarian", "id": "indonesian",
    "it": "italian", "ja": "japanese", "ko": "korean", "ms": "malay", "nl": "dutch", "no": "norwegian",
    "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sv": "swedish", "th": "thai",
    "tr": "turkish", "uk": "ukrainian", "vi": "vietnamese", "yue": "cantonese", "zh": "chinese",
}  # fmt: skip
_CODES = {name: code for code, name in LANGUAGES.items()} | {"mandarin": "zh"}

_SIZE = re.compile(r"(\d{1,5})\s*[xX×*]\s*(\d{1,5})")
_LANGUAGES = re.compile(r"([A-Za-z]{2,3})(?:[-_].*)?")


class Translated(msgspec.Struct, frozen=True, kw_only=True):
    """Inputs, what was left out, and by which parameter each input was named (for errors)."""

    inputs: dict[str, Any]
    ignored: list[str]
    origin: dict[str, str]


def translate(model: Model, route: Route, values: Mapping[str, Any]) -> Translated:
    """Everything but files. Raises InvalidInput for a parameter that nobody knows, or that cannot be obeyed."""
    work = _Translation(model, route)
    extra = values.get("extra_params")
    for name, value in {**values, **(extra if isinstance(extra, dict) else {})}.items():
        work.take(name, value, values)
    return Translated(inputs=work.inputs, ignored=work.ignored, origin=work.origin)


def flag(values: Mapping[str, Any], name: str) -> bool:
    """A boolean as JSON or a form has it. Raises InvalidInput."""
    value = values.get(name)
    if isinstance(value, bool) or value in (None, ""):
        return bool(value)
    if isinstance(value, str) and value.lower() in ("true", "false", "1", "0"):
        return value.lower() in ("true", "1")
    raise wrong(name, "must be true or false")


def texts(values: Mapping[str, Any], name: str) -> list[str]:
    """A list of text, or one text, as a list."""
    value = values.get(name)
    if value in (None, ""):
        return []
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def one_of(values: Mapping[str, Any], name: str, allowed: Sequence[str], default: str) -> str:
    """A choice. Raises InvalidInput that lists what there is."""
    value = values.get(name)
    if value in (None, ""):
        return default
    if value not in allowed:
        raise wrong(name, f"must be one of {', '.join(allowed)}, not {str(value)[:64]!r}")
    return str(value)


class _Translation:
    def __init__(self, model: Model, route: Route) -> None:
        self._model = model
        self._route = route
        self._fields = properties(model)
        self.inputs: dict[str, Any] = {}
        self.ignored: list[str] = []
        self.origin: dict[str, str] = {}
        self._special: dict[str, Callable[[Any, Mapping[str, Any]], None]] = {
            "prompt": self._prompt,
            "language": self._language,
            "keywords": self._keywords,
            "background": self._background,
            "output_format": self._output_format,
            "quality": self._quality,
            "seconds": lambda value, _: self._pass("seconds", value),
            "num_frames": self._num_frames,
            "timestamp_granularities": self._granularities,
            "size": self._size,
        }

    def take(self, name: str, value: Any, values: Mapping[str, Any]) -> None:
        if name in self._special:
            self._special[name](value, values)
        elif name in _SHOWN or name in KINDS or any(field.name == name for field in self._model.input_files):
            return
        elif name in self._fields:
            self._set(name, value, name)
        elif name in _ANYWHERE or name in _IGNORED[self._route]:
            self.ignored.append(name)
        else:
            raise InvalidInput(
                f"Unknown parameter: {name[:64]!r}. {self._model.name} takes besides OpenAI's: "
                f"{', '.join(self._fields)}.",
                code="unknown_parameter",
                errors=[{"loc": name[:64], "message": "is not known here"}],
            )

    def _set(self, field: str, value: Any, param: str) -> None:
        self.inputs[field] = value
        self.origin[field] = param

    def _pass(self, name: str, value: Any) -> None:
        """To the field of the same name, where there is one."""
        if name in self._fields:
            self._set(name, value, name)
        else:
            self.ignored.append(name)

    def _prompt(self, value: Any, _: Mapping[str, Any]) -> None:
        if isinstance(value, str) and self._route is Route.TRANSCRIPTIONS:
            most = _longest(self._fields.get("prompt", {}))
            value = value[-most:] if most else value  # as OpenAI: the last words count
        self._pass("prompt", value)

    def _language(self, value: Any, _: Mapping[str, Any]) -> None:
        value = _CODES.get(value.lower(), value) if isinstance(value, str) else value
        match = _LANGUAGES.fullmatch(value) if isinstance(value, str) else None
        if value not in ("", "auto"):
            self._pass("language", match[1].lower() if match else value)

    def _keywords(self, _: Any, values: Mapping[str, Any]) -> None:
        field = "hotwords" if "hotwords" in self._fields else "keywords"
        if field in self._fields:
            self._set(field, [word for word in texts(values, "keywords") if word.strip()], "keywords")
        else:
            self.ignored.append("keywords")

    def _granularities(self, _: Any, values: Mapping[str, Any]) -> None:
        if "word" in texts(values, "timestamp_granularities"):
            self._set("word_times", True, "timestamp_granularities")

    def _background(self, value: Any, _: Mapping[str, Any]) -> None:
        if value in ("auto", "", None):
            return
        if can_be_transparent(self._model):
            if value != "transparent":
                self._set("background", "#ffffff" if value == "opaque" else value, "background")
        elif value == "transparent":
            raise wrong("background", f"{self._model.name} cannot make it transparent")
        elif value != "opaque":
            self._pass("background", value)

    def _output_format(self, value: Any, _: Mapping[str, Any]) -> None:
        if "format" in self._fields:
            self._set("format", "jpeg" if value == "jpg" else value, "output_format")
        elif value not in ("png", None, ""):
            self.ignored.append("output_format")

    def _quality(self, value: Any, _: Mapping[str, Any]) -> None:
        if value in ("auto", "standard", "", None):
            return
        allowed = _choices(self._model, "quality")
        named = value if value in allowed else _QUALITIES.get(str(value))
        if named in allowed:
            self._set("quality", named, "quality")
        elif value in _QUALITIES or not allowed:
            self.ignored.append("quality")
        else:
            self._set("quality", value, "quality")

    def _num_frames(self, value: Any, values: Mapping[str, Any]) -> None:
        if values.get("seconds") in (None, "") and "seconds" in self._fields:
            try:
                self._set("seconds", float(value) / float(values.get("fps") or 16), "num_frames")
            except (TypeError, ValueError, ZeroDivisionError):
                raise wrong("num_frames", "num_frames and fps must be numbers above 0") from None
        else:
            self.ignored.append("num_frames")

    def _size(self, value: Any, values: Mapping[str, Any]) -> None:
        if value in ("auto", "", None):
            return
        if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
            self._pass("size", value)  # the model's own: one number
            return
        match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise wrong("size", "must be WIDTHxHEIGHT in pixels, such as 1280x720, or auto")
        width, height = int(match[1]), int(match[2])
        if {"width", "height"} <= self._fields.keys():
            if values.get("width") in (None, "") and values.get("height") in (None, ""):
                self._set("width", width, "size")
                self._set("height", height, "size")
        elif "size" in self._fields and self._route is Route.VIDEOS:
            self._set("size", max(width, height), "size")  # of a digital human: the longer side
        else:
            self.ignored.append("size")


def _longest(field: Mapping[str, Any]) -> int | None:
    return next((kind["maxLength"] for kind in (field, *field.get("anyOf", ())) if "maxLength" in kind), None)


def _choices(model: Model, name: str) -> Sequence[str]:
    """The values of a field that is a choice."""
    definitions: dict[str, Any] = model.input_schema.get("$defs", {})
    field = properties(model).get(name, {})
    for kind in (field, *field.get("anyOf", ()), *field.get("allOf", ())):
        reference = str(kind.get("$ref", "")).rpartition("/")[2]
        choices = definitions.get(reference, kind).get("enum")
        if choices:
            return choices
    return ()
