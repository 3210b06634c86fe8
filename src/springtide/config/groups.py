"""The section of a model whose attempts are run by groups of processes."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Literal, cast

from pydantic import Field

from springtide.config.sections import Section


class GroupConfig(Section):
    """The group of processes that runs an attempt of a model with execution = "distributed" (docs/distributed.md). One
    replica of such a model starts and watches groups; it takes of [fleet] what its groups take."""

    processes: int = Field(
        default=1, ge=1, le=1024, description="Processes of a group (ranks); a pod each in a cluster."
    )
    gpus_each: int = Field(default=0, ge=0, le=64, description="GPUs of each process.")
    cpus_each: float = Field(default=0, ge=0, le=1024, description="Processors of each process; 0: not counted.")
    memory_mb_each: int | None = Field(default=None, ge=64, description="Memory of each process, MiB.")
    runs_as: Literal["auto", "processes", "pytorchjob", "trainjob"] = Field(
        default="auto",
        description="What a group is: processes of this machine, a PyTorchJob (kubeflow.org/v1) or a TrainJob "
        "(trainer.kubeflow.org/v1alpha1). auto: a PyTorchJob inside a cluster, else processes.",
    )
    start_timeout_s: float = Field(
        default=600, gt=0, le=86_400, description="Longest start of a group until all its processes run, seconds."
    )
    template: str | None = Field(
        default=None, description="In a cluster: file with the Jinja2 template of the object; default: the shipped one."
    )
    runtime: str = Field(
        default="",
        description="Of a TrainJob: a ClusterTrainingRuntime, such as torch-distributed, where each rank fetches its "
        "inputs itself; default: the TrainingRuntime that `springtide deploy render` writes for the model.",
    )
    queue: str = Field(
        default="",
        description="In a cluster: Kueue's LocalQueue. Sizes are fixed: Kueue restarts every pod of an admitted "
        "PyTorchJob that is scaled.",
    )
    volcano_queue: str = Field(
        default="",
        description="In a cluster: Volcano's queue; `scheduler` of [kubernetes.models.NAME] is then volcano.",
    )
    keep_s: int = Field(
        default=600,
        ge=0,
        le=604_800,
        description="In a cluster: seconds that a PyTorchJob stays if nobody deletes it.",
    )

    def takes(self, groups: int) -> dict[str, float]:
        """What of [fleet] so many groups take; memory only where it is known."""
        processes = float(groups * self.processes)
        known = {} if self.memory_mb_each is None else {"memory_mb": processes * self.memory_mb_each}
        return {"accelerators": processes * self.gpus_each, "cpus": processes * self.cpus_each, **known}


_IDLE_S = 10.0  # no model is loaded in who starts groups: a new one costs half a second, GPUs kept for it cost more
_OF_THE_GROUP = ("accelerators", "cpus", "memory_mb", "memory_limit_mb")


def with_group_defaults(model: Any) -> Any:
    """The table of a model, with the defaults of a distributed one where it is that."""
    if not isinstance(model, Mapping):
        return model
    table = cast("Mapping[str, Any]", model)
    return {"slots": 1, "idle_s": _IDLE_S, **table} if table.get("execution") == "distributed" else table


def check_group(given: Set[str], *, is_distributed: bool) -> None:
    """Raises ValueError where what a model says of groups does not fit the rest. given: the keys that it sets."""
    if not is_distributed:
        if "group" in given:
            raise ValueError('group is set, but execution is not "distributed"')
        return
    if own := sorted(given & set(_OF_THE_GROUP)):
        raise ValueError(f"{', '.join(own)}: of a distributed model say what each process takes, in its group")
    if "batch" in given:
        raise ValueError("batch: a group runs one job")
