"""A model: a served capability with an input and an output schema."""

from __future__ import annotations

from typing import Any

import msgspec

from springtide.domain.ids import ModelName


class FileField(msgspec.Struct, frozen=True, kw_only=True):
    """One file that a model takes or gives."""

    name: str
    media_types: tuple[str, ...]  # such as image/* or audio/wav
    required: bool
    many: bool
    max_bytes: int
    max_pixels: int | None = None  # pictures and video frames
    max_duration_s: float | None = None  # audio and video
    animated: bool = False  # whether a picture may have several frames
    needs_audio: bool = False  # a video must carry an audio track


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What clients may know of a model."""

    name: ModelName
    version: str
    engine: str
    title: str
    description: str
    license: str
    commercial_use: bool | None = None  # whether the licence allows it; None: not known
    generative: bool
    input_schema: dict[str, Any]  # JSON Schema 2020-12
    output_schema: dict[str, Any]
    input_files: tuple[FileField, ...]
    output_files: tuple[str, ...]  # names of output fields that hold a blob; the first is the primary one
    stages: tuple[str, ...] = ()
    output_media: dict[str, tuple[str, ...]] = {}  # output file -> the media types it may have, where the engine says
