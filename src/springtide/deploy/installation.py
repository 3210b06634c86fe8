"""What is to be rendered, in one value: the configuration, and what follows from it for each group of workers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from springtide.config import Config, ModelConfig, WorkersConfig
from springtide.config.kubernetes import KubernetesConfig, WorkerPodConfig
from springtide.domain.errors import ConfigError
from springtide.domain.ids import parted
from springtide.fleet import labels
from springtide.fleet.gangs import Runs

Object = dict[str, Any]  # a Kubernetes object, or a part of one, as JSON has it

PORT = 8321  # of the gateway's containers; the Service listens on 80
METRICS_PORT = 9321  # /metrics without a key, /healthz and /readyz of every process
SCALER_PORT = 9322  # gRPC of KEDA's external scaler, in the controller
LEAVE_MARGIN_S = 45  # beyond a worker's grace: it may wait 30 s for a broker to take its last report
LAUNCHER_MEMORY = "512Mi"  # of who starts groups: 60 MB and what its inputs and outputs pass through
LOAD_MARGIN_S = 60  # beyond all loads of a model: time to fail what waits with the reason


class WorkerGroup:
    """Workers that one Deployment holds: those of a version of a model, or of a [workers] entry."""

    def __init__(self, config: Config, name: str) -> None:
        """name: of a model, of a version beside it (`matting@2`), or of a [workers] entry."""
        self.name = name
        self.model, version = parted(name)
        self.version = version or labels.STABLE
        self.is_pool = name in config.workers
        self._sizes: ModelConfig | WorkersConfig = config.workers[name] if self.is_pool else config.units[name]
        members = config.workers[name].models if self.is_pool else [name]
        self.members = {member: config.units[member] for member in members}
        self.pods: WorkerPodConfig = config.kubernetes.worker
        for one in dict.fromkeys((self.model, name)):  # a version's own on top of its model's
            if (own := config.kubernetes.models.get(one)) is not None:
                self.pods = own.over(self.pods)
        self.image = self.pods.image or config.kubernetes.images.worker
        self.object_name = labels.worker_name(config.kubernetes.name, self.model, self.version)

    @property
    def min_replicas(self) -> int:
        return self._sizes.min_replicas

    @property
    def max_replicas(self) -> int:
        return self._sizes.max_replicas

    @property
    def cpus(self) -> float | None:
        return self._sizes.cpus

    @property
    def accelerators(self) -> float:
        return self._sizes.accelerators

    @property
    def launches(self) -> bool:
        """Whether its jobs run in groups of processes that it starts: it computes nothing itself."""
        return any(model.is_distributed for model in self.members.values())

    @property
    def runs_as(self) -> Runs | None:
        """What those groups are in a cluster; None where it starts none."""
        [first, *_] = self.members.values()
        if not self.launches:
            return None
        return Runs.PYTORCHJOB if first.group.runs_as == "auto" else Runs(first.group.runs_as)

    @property
    def grace_s(self) -> int:
        """How long a pod may take to leave: as long as the longest job that it may hold, and its report."""
        longest = max(max(model.timeout_s, model.grace_s) for model in self.members.values())
        return math.ceil(longest) + LEAVE_MARGIN_S

    @property
    def load_s(self) -> int:
        """How long it may take until it is ready, failed loads included."""
        return math.ceil(max(one.load_timeout_s * one.load_attempts for one in self.members.values())) + LOAD_MARGIN_S

    @property
    def resources(self) -> Object:
        """Requests and limits. What is extended (GPUs) must be the same in both."""
        if self.launches:
            return {
                "requests": {"cpu": "250m", "memory": LAUNCHER_MEMORY},
                "limits": {"cpu": "2", "memory": LAUNCHER_MEMORY},
            }
        pods = self.pods
        own = None if self.cpus is None else f"{math.ceil(self.cpus * 1000)}m"
        gpus = self._gpus()
        return {
            "requests": {"cpu": pods.cpu or own or "1", "memory": pods.memory, **gpus},
            "limits": {"cpu": pods.cpu_limit or own or "4", "memory": pods.memory, **gpus},
        }

    def _gpus(self) -> Object:
        if self.accelerators <= 0:
            return {}
        pods = self.pods
        asked = {pods.gpu_resource: str(math.ceil(self.accelerators))}
        if pods.gpu_memory_resource and pods.gpu_memory_mb:
            asked[pods.gpu_memory_resource] = str(pods.gpu_memory_mb)
        if pods.gpu_cores_resource:
            each = self.accelerators / math.ceil(self.accelerators)
            asked[pods.gpu_cores_resource] = str(math.ceil(each * 100))
        return asked


class Installation:
    """One installation of Springtide in a cluster."""

    def __init__(self, config: Config, file: Mapping[str, Any]) -> None:
        """file: what the pods are to read, as `values.file_of` makes it."""
        self.config = config
        self.file = file

    @property
    def settings(self) -> KubernetesConfig:
        return self.config.kubernetes

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def namespace(self) -> str:
        return self.settings.namespace

    def named(self, part: str) -> str:
        """Name of a part that is there once."""
        return labels.object_name(self.name, part)

    @cached_property
    def groups(self) -> list[WorkerGroup]:
        """Every Deployment of workers, models before pools, each in the file's order."""
        pooled = {member for pool in self.config.workers.values() for member in pool.models}
        names = [name for name in self.config.units if name not in pooled]
        return [WorkerGroup(self.config, name) for name in (*names, *self.config.workers)]

    def metadata(self, name: str, component: str, **more: Any) -> Object:
        """Of an object of ours; more: further keys, such as annotations."""
        own = {**labels.selector(self.name, component), labels.PART_OF: labels.APP_NAME}
        extra = more.pop("labels", {})
        return {"name": name, "namespace": self.namespace, "labels": {**own, **extra}, **more}

    def check(self) -> None:
        """Raises ConfigError that tells all that cannot run in a cluster as configured."""
        config, settings, problems = self.config, self.settings, list[str]()
        if not config.blobs.url.startswith("s3://") and not settings.trial.s3:
            problems.append(
                "blobs.url: pods share no folder, so it must be s3://...; or set kubernetes.trial.s3 = true to try"
            )
        if settings.scaling == "hpa" and (beside := [group.name for group in self.groups if "@" in group.name]):
            problems.append(
                f"kubernetes.scaling: a plain HPA cannot ask for the queue of {', '.join(beside)} (its selectors "
                "take no @); use springtide or keda"
            )
        if here := [group.name for group in self.groups if group.runs_as is Runs.PROCESSES]:
            problems.append(
                f"models.{here[0]}.group.runs_as: in a cluster a group is an object of its own; leave it out, or set "
                "pytorchjob or trainjob"
            )
        if unknown := sorted(set(settings.models) - {group.name for group in self.groups}):
            problems.append(f"kubernetes.models: no workers of that name: {', '.join(unknown)}")
        if settings.scaling == "keda" and settings.keda.fallback_replicas > 0:
            low = [g.name for g in self.groups if g.max_replicas < settings.keda.fallback_replicas]
            if low:
                problems.append(f"kubernetes.keda.fallback_replicas is above max_replicas of {', '.join(low)}")
        if problems:
            raise refused(problems)


def refused(problems: Iterable[str]) -> ConfigError:
    return ConfigError("this cannot be rendered:\n" + "\n".join(f"  {each}" for each in problems))
