"""A model as the gateway serves it: what the way in, routing and the views know of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from springtide.domain.ids import ModelName
from springtide.domain.model import FileField, Model
from springtide.domain.tenant import MAX_QUEUED
from springtide.engines.protocol import Engine
from springtide.engines.trial import Trial


class ServedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model as the gateway serves it."""

    model: Model
    engine: Engine[Any, Any]  # never loaded here: for its input model and its estimate
    timeout_s: float
    max_attempts: int
    unit: ModelName | None = None  # `model@version` where it is a version beside the model's own
    min_replicas: int = 0
    max_replicas: int | None = None  # None: not known here
    pool: ModelName | None = None  # what it shares its workers with; None: they are its own
    max_running: int | None = None  # attempts in progress; kept by the broker, told to who waits
    max_queued: int | None = MAX_QUEUED  # jobs waiting, of all tenants; None: no limit
    takes: Mapping[str, float] = {}  # of `GatewaySettings.budget`, by each of its workers
    trial: Trial | None = None  # what `springtide models check` found; None: it did not try this

    @property
    def queue(self) -> ModelName:
        """What its jobs wait under."""
        return self.unit or self.model.name

    def file_field(self, name: str) -> FileField | None:
        return next((field for field in self.model.input_files if field.name == name), None)
