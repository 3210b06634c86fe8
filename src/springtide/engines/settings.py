"""An engine's own table in springtide.toml, checked when the engine is made; and how many processors it may use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from springtide.domain.errors import ConfigError

S = TypeVar("S", bound="EngineSettings")

CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2, as mounted in every container


class EngineSettings(BaseModel):
    """Base of an engine's settings: unknown keys are errors, so a typing mistake never goes unseen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ThreadedSettings(EngineSettings):
    """Settings of an engine that computes on the processor."""

    threads: int | None = Field(
        default=None, ge=1, le=512, description="Processor threads of one job. All this process may use where absent."
    )

    @property
    def thread_count(self) -> int:
        return self.threads or usable_processors()


def read_settings(kind: type[S], given: Mapping[str, Any], *, engine: str) -> S:
    """Raises ConfigError that names every wrong key, its value and what is allowed."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']} (given: {item['input']!r})" for item in error.errors()
        )
        raise ConfigError(f"settings of the {engine} engine: {told}") from error


def usable_processors(cpu_max: Path = CGROUP_CPU_MAX) -> int:
    """Processors this process may use: those it is bound to, and no more than its container's quota. More threads than
    quota make a container stand still for the rest of each period."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cpu_max.read_text().split()
        return max(1, min(bound, int(quota) // int(period)))
    except (OSError, ValueError):  # no container, or "max": no quota
        return bound
