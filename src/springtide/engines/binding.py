"""Between what clients send and what engines see: JSON with blob ids on one side, typed models with files on the other.

The gateway binds to validate (and to learn the JSON form it keeps), the worker binds the kept form again with the files
it has fetched; both get the same model or the same `InvalidInput` that lists every problem at once. File fields stand
at the top level of a model: `InputFile`, `InputFile | None` or `list[InputFile]`, and the same for `OutputFile`. A file
hidden deeper is refused with a ConfigError when the engine is described, never at job time.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from springtide.domain.errors import ConfigError, InvalidInput
from springtide.domain.ids import BlobId, ModelName
from springtide.domain.model import FileField, Model
from springtide.engines.places import FILE_KEY
from springtide.engines.places import place as place
from springtide.engines.protocol import Engine, InputFile, Media, OutputFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ANY_FILE = Media("*/*")


def describe(
    name: ModelName,
    engine: Engine[Any, Any] | type[Engine[Any, Any]],
    *,
    engine_reference: str,
    max_duration_s: float | None = None,
) -> Model:
    """What clients may know of a model that `engine` serves as `name`. Raises ConfigError for a model of a shape that
    cannot be served.

    max_duration_s: longest sound or video, in place of the engine's own limit.
    """
    outputs = _files_of(engine.Output, OutputFile)
    schema = engine.Input.model_json_schema(mode="validation")
    return Model(
        name=name,
        version=engine.version,
        engine=engine_reference,
        title=engine.title or name,
        description=engine.description or (engine.__doc__ or "").strip(),
        license=engine.license,
        commercial_use=engine.commercial_use,
        generative=engine.generative,
        input_schema={"$schema": DIALECT, **schema, "additionalProperties": False},
        output_schema={"$schema": DIALECT, **engine.Output.model_json_schema(mode="serialization")},
        input_files=_bounded(file_fields(engine.Input), max_duration_s),
        output_files=tuple(outputs),
        stages=engine.stages,
        output_media={
            name: media.type_list for name in outputs if (media := _media(engine.Output.model_fields[name])) is not None
        },
    )


def _bounded(fields: tuple[FileField, ...], max_duration_s: float | None) -> tuple[FileField, ...]:
    if max_duration_s is None:
        return fields
    return tuple(
        field if field.max_duration_s is None else msgspec.structs.replace(field, max_duration_s=max_duration_s)
        for field in fields
    )


@lru_cache(maxsize=256)
def file_fields(input_type: type[BaseModel]) -> tuple[FileField, ...]:
    """The files that a model takes, with their limits, in the order of its fields."""
    return tuple(
        _file_field(name, input_type.model_fields[name], many=many)
        for name, many in _files_of(input_type, InputFile).items()
    )


def bind(
    input_type: type[BaseModel], inputs: Mapping[str, Any], files: Mapping[BlobId, InputFile]
) -> tuple[BaseModel, dict[str, Any]]:
    """Validate `inputs`, whose file fields hold blob ids, with `files` in their places.

    Returns the model and its JSON form: file fields hold blob ids again, defaults are filled in. Text from form fields
    is coerced; a single value for a list becomes a list of one. Raises InvalidInput with every problem.
    """
    shape = _shape(input_type)
    model, ids = _validated(input_type, shape, inputs, files)
    dumped = model.model_dump(mode="json", exclude=shape.file_names)
    return model, {name: ids.get(name) if name in shape.files else dumped[name] for name in shape.fields}


def bind_again(input_type: type[BaseModel], inputs: Mapping[str, Any], files: Mapping[BlobId, InputFile]) -> BaseModel:
    """The model alone, of inputs in the JSON form that `bind` has given."""
    return _validated(input_type, _shape(input_type), inputs, files)[0]


def _validated(
    input_type: type[BaseModel], shape: _Shape, inputs: Mapping[str, Any], files: Mapping[BlobId, InputFile]
) -> tuple[BaseModel, dict[str, Any]]:
    """The model, and the ids of its files by field."""
    values: dict[str, Any] = {}
    ids: dict[str, Any] = {}
    problems: dict[str, dict[str, Any]] = {}
    is_plain = not (files or shape.files or shape.lists)  # nothing to look at field by field
    if is_plain:
        values.update(inputs)
    for name, given in () if is_plain else inputs.items():
        many = shape.files.get(name)
        if many is None:
            if isinstance(given, str) and given in files:
                problems[name] = {"loc": name, "message": "takes no file"}
            else:
                values[name] = _listed(given) if name in shape.lists else given
        elif given is not None:
            try:
                values[name], ids[name] = _resolve(given, files, many=many)
            except ValueError as error:
                problems[name] = {"loc": name, "message": str(error)}
    model: BaseModel | None = None
    try:
        model = input_type.model_validate(values, extra="forbid", by_alias=True, by_name=True)
    except ValidationError as error:
        for item in _problems(error, shape):
            if item["loc"] or not problems:  # what is wrong with the whole follows from a file that is not there
                problems.setdefault(item["loc"], item)
    if model is None or problems:
        raise InvalidInput(_summary(problems), errors=list(problems.values()))
    return model, ids


def collect(output: BaseModel) -> tuple[dict[str, Any], list[OutputFile]]:
    """The JSON form of an output, each file replaced by `{"$file": n}`, and the files in that order."""
    names = _files_of(type(output), OutputFile)
    dumped = output.model_dump(mode="json", exclude=set(names) or None)
    files: list[OutputFile] = []

    def slot(file: OutputFile) -> dict[str, int]:
        files.append(file)
        return {FILE_KEY: len(files) - 1}

    found: dict[str, Any] = {}
    for name in type(output).model_fields:
        if name not in names:
            found[name] = dumped[name]
            continue
        value = getattr(output, name)
        if isinstance(value, OutputFile):
            found[name] = slot(value)
        else:
            found[name] = None if value is None else [slot(file) for file in value]
    return found, files


class _Shape(msgspec.Struct, frozen=True):
    """What binding needs to know of a model, worked out once."""

    fields: tuple[str, ...]
    files: dict[str, bool]  # file field -> whether it takes several
    file_names: set[str]
    lists: frozenset[str]  # fields, not files, that take a list


@lru_cache(maxsize=256)
def _shape(input_type: type[BaseModel]) -> _Shape:
    files = _files_of(input_type, InputFile)
    fields = input_type.model_fields
    lists = frozenset(
        name for name, field in fields.items() if name not in files and _item_of(_without_none(field.annotation))
    )
    return _Shape(fields=tuple(fields), files=files, file_names=set(files), lists=lists)


@lru_cache(maxsize=512)
def _files_of(model: type[BaseModel], kind: type[BaseModel]) -> dict[str, bool]:
    """File fields of a model and whether each takes several. Raises ConfigError for a file in a place not served."""
    found: dict[str, bool] = {}
    for name, field in model.model_fields.items():
        annotation = _without_none(field.annotation)
        if annotation is kind:
            found[name] = False
        elif _item_of(annotation) is kind:
            found[name] = True
        elif _mentions(annotation, kind, seen=set()):
            raise ConfigError(
                f"{model.__name__}.{name}: a file must be a field of its own: {kind.__name__}, "
                f"{kind.__name__} | None or list[{kind.__name__}]"
            )
    return found


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [arg for arg in get_args(annotation) if arg is not type(None)]
        if len(rest) == 1:
            return rest[0]
    return annotation


def _item_of(annotation: Any) -> Any:
    """What a list holds; None where the annotation is no list."""
    if get_origin(annotation) in (list, Sequence):
        return _bare(get_args(annotation)[0])
    return None


def _bare(annotation: Any) -> Any:
    return annotation.__origin__ if hasattr(annotation, "__metadata__") else annotation


def _mentions(annotation: Any, kind: type[BaseModel], *, seen: set[Any]) -> bool:
    if annotation is kind:
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation in seen:
            return False
        seen.add(annotation)
        return any(_mentions(field.annotation, kind, seen=seen) for field in annotation.model_fields.values())
    if get_origin(annotation) is Literal:
        return False
    return any(_mentions(arg, kind, seen=seen) for arg in get_args(annotation))


def _file_field(name: str, field: FieldInfo, *, many: bool) -> FileField:
    media = _media(field) or _ANY_FILE
    visual = any(kind.startswith(("image/", "video/", "*/")) for kind in media.type_list)
    timed = any(kind.startswith(("audio/", "video/", "*/")) for kind in media.type_list)
    return FileField(
        name=name,
        media_types=media.type_list,
        required=field.is_required(),
        many=many,
        max_bytes=media.max_bytes,
        max_pixels=media.max_pixels if visual else None,
        max_duration_s=media.max_duration_s if timed else None,
        animated=media.animated,
        needs_audio=media.needs_audio,
    )


def _media(field: FieldInfo) -> Media | None:
    return next((item for item in _metadata(field) if isinstance(item, Media)), None)


def _metadata(field: FieldInfo) -> list[Any]:
    """`Media` may stand on the field or on what a list or an optional holds."""
    found = list(field.metadata)
    waiting = [field.annotation]
    while waiting:
        annotation: Any = waiting.pop()
        found.extend(getattr(annotation, "__metadata__", ()))
        waiting.extend(get_args(annotation))
    return found


def _resolve(given: Any, files: Mapping[BlobId, InputFile], *, many: bool) -> tuple[Any, Any]:
    """The file(s) for a field and their ids. Raises ValueError with what is wrong."""
    if many:
        ids: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
        return [_one(item, files) for item in ids], ids
    if isinstance(given, list | tuple):
        raise ValueError(f"takes one file, {len(given)} were given")
    return _one(given, files), given


def _one(given: Any, files: Mapping[BlobId, InputFile]) -> InputFile:
    if not isinstance(given, str):
        raise ValueError('must be a file: a multipart part, the id of a blob, or a URL ("https://…")')
    file = files.get(BlobId(given))
    if file is None:
        raise ValueError(f"no such file: {given[:80]!r}; upload it first, or send it as a multipart part")
    return file


def _listed(given: Any) -> Any:
    """A form sends one value for a list of one, or the list as JSON text."""
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith("["):
        try:
            return msgspec.json.decode(given)
        except msgspec.DecodeError:
            return [given]
    return [given] if given else []


def _problems(error: ValidationError, shape: _Shape) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for item in error.errors(include_url=False, include_context=False):
        loc = ".".join(str(part) for part in item["loc"])
        name = str(item["loc"][0]) if item["loc"] else ""
        problem: dict[str, Any] = {"loc": loc, "message": item["msg"].removeprefix("Value error, ")}
        if item["type"] == "missing":
            problem["message"] = "a file is required" if name in shape.files else "is required"
        elif item["type"] == "extra_forbidden":
            problem["message"] = f"is not a field of this model; it takes {', '.join(shape.fields) or 'none'}"
        elif isinstance(item["input"], str | int | float | bool):
            problem["value"] = item["input"] if not isinstance(item["input"], str) else item["input"][:200]
        found.append(problem)
    return found


def _summary(problems: Mapping[str, dict[str, Any]]) -> str:
    told = [f"{loc or 'inputs'}: {item['message']}" for loc, item in problems.items()]
    return "; ".join(told[:5]) + (f"; and {len(told) - 5} more" if len(told) > 5 else "")
