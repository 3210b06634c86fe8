"""Which file goes into which field of a model, where nobody says: by its kind, and among fields alike by their order.

Only names are looked at. What a file really is, and whether a field takes it, is the server's word.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from springtide.domain.errors import InvalidInput


class Field(Protocol):
    """A file field, as a server or the configuration describes it."""

    @property
    def name(self) -> str: ...
    @property
    def media_types(self) -> Sequence[str]: ...
    @property
    def many(self) -> bool: ...


class Described(Protocol):
    """A model, likewise."""

    @property
    def name(self) -> str: ...
    @property
    def input_files(self) -> Sequence[Field]: ...
    @property
    def output_files(self) -> Sequence[str]: ...
    @property
    def output_media(self) -> Mapping[str, Sequence[str]]: ...


def place(model: Described, files: Sequence[Path]) -> list[tuple[str, Path]]:
    """Each file with the name of its field; a field that takes many may have several. Raises InvalidInput."""
    free = list(model.input_files)
    placed: list[tuple[str, Path]] = []
    for number, path in enumerate(files):
        kind = mimetypes.guess_type(path.name)[0]
        kinds = [kind] if kind else []
        field = first_taking(free, kinds)
        if field is None or (not _takes(field, kinds) and any(_takes(one, kinds) for one in model.input_files)):
            takes = ", ".join(field.name for field in model.input_files) or "no files"
            raise InvalidInput(f"{model.name} takes {takes}; too many: {', '.join(map(str, files[number:]))}")
        placed.append((field.name, path))
        if not field.many:
            free.remove(field)
    return placed


def first_taking(fields: Sequence[Field], kinds: Sequence[str]) -> Field | None:
    """The first field that takes one of these media types; the first of all where none does, or none is known."""
    for field in fields:
        if _takes(field, kinds):
            return field
    return fields[0] if fields else None


def _takes(field: Field, kinds: Sequence[str]) -> bool:
    return any(fnmatchcase(kind, pattern) for kind in kinds for pattern in field.media_types)
