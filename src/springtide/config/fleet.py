"""The section of what all models share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from springtide.config.sections import Section


class FleetConfig(Section):
    """Where workers are, and what all models may take together (docs/elasticity.md). Where they want more, it goes to
    the one whose jobs would wait longest for their objective, and idle models are unloaded for those that starve. Each
    model says what a worker of it takes."""

    kind: Literal["local", "kubernetes"] = Field(
        default="local",
        description="Where workers are: processes of this machine, or pods of [kubernetes] (docs/kubernetes-fleet.md).",
    )
    accelerators: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="GPUs; a worker is shown those that it takes, one that takes none sees none. Default: unlimited.",
    )
    cpus: float | None = Field(default=None, gt=0, le=65_536, description="Processors. Default: unlimited.")
    memory_mb: int | None = Field(
        default=None,
        ge=64,
        description="Memory, MiB; of a model that names none it is what its workers were seen to use. "
        "Default: unlimited.",
    )

    @property
    def budget(self) -> dict[str, float]:
        """What is limited."""
        limits = {"accelerators": self.accelerators, "cpus": self.cpus, "memory_mb": self.memory_mb}
        return {what: float(much) for what, much in limits.items() if much is not None}
