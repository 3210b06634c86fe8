"""An engine's own table in springtide.toml, checked when the engine is made; and how many processors it may use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from springtide.config.problems import problems_of
from springtide.domain.errors import ConfigError
from springtide.runtime.processors import usable_processors

S = TypeVar("S", bound="EngineSettings")

_MAY_BE_SECRET = re.compile("url|secret|token|password|proxy|fields")  # keys whose values are never shown

# One picture or one piece of speech has no more work to share than for about so many: beyond, threads mostly wait for
# each other, while another model on the same machine, decoding and encoding could use them. `threads` says otherwise.
MOST_THREADS = 8


class EngineSettings(BaseModel):
    """Base of an engine's settings: unknown keys are errors, so a typing mistake never goes unseen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ThreadedSettings(EngineSettings):
    """Settings of an engine that computes on the processor."""

    threads: int | None = Field(
        default=None,
        ge=1,
        le=512,
        description=f"Processor threads of one job. All this process may use, at most {MOST_THREADS}, where absent.",
    )

    @property
    def thread_count(self) -> int:
        return self.threads or default_threads(usable_processors())


def read_settings(kind: type[S], given: Mapping[str, Any], *, engine: str) -> S:
    """Raises ConfigError that names every wrong key, its value and what is allowed."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        told = "; ".join(
            f"{key}: {message}" + ("" if _MAY_BE_SECRET.search(key) else f" (given: {value!r})")
            for key, message, value in problems_of(error, kind)
        )
        raise ConfigError(f"settings of the {engine} engine: {told}") from error


def default_threads(processors: int) -> int:
    """Threads of one job on so many processors: all of them, but no more than MOST_THREADS."""
    return min(processors, MOST_THREADS)
