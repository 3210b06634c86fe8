"""[kubernetes]: what a cluster needs to know beside the rest of the file (docs/kubernetes.md). Nothing of it matters on
one machine, and nothing secret belongs in it: secrets are named, and live in the cluster.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from springtide import __version__
from springtide.config.sections import Section

Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]
Image = Annotated[str, Field(pattern=r"^[a-z0-9][A-Za-z0-9._/:@-]*$")]
SecretKey = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9._-]+$")]
_PINNED = re.compile(r"@sha256:[0-9a-f]{64}$|:[\w][\w.-]*$")


def _pinned(image: str) -> str:
    if image and (not _PINNED.search(image.rpartition("/")[2]) or image.endswith(":latest")):
        raise ValueError("name a tag other than latest, or a digest: what runs must not change by itself")
    return image


class ImagesConfig(Section):
    """Images of the processes (deploy/images builds them)."""

    gateway: Image = Field(
        default=f"springtide/gateway:{__version__}", description="Image of gateways and controllers; no weights inside."
    )
    worker: Image = Field(
        default=f"springtide/worker:{__version__}", description="Image of workers: engines on a CUDA runtime."
    )
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field(
        default="IfNotPresent", description="When a node fetches an image."
    )
    pull_secrets: list[str] = Field(default_factory=list, description="Secrets of the registry, by name.")

    _tags = field_validator("gateway", "worker")(_pinned)


class ControlConfig(Section):
    """Pods of gateways and of controllers."""

    replicas: int = Field(default=2, ge=1, le=100, description="Pods; of controllers one leads, the others stand by.")
    cpu: Quantity = Field(default="250m", description="Processors asked for.")
    cpu_limit: Quantity = Field(default="2", description="Processors at most.")
    memory: Quantity = Field(default="512Mi", description="Memory asked for, and the limit.")
    node_selector: dict[str, str] = Field(default_factory=dict, description="Labels of the nodes to run on.")
    tolerations: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]], description="Taints tolerated.")


class WorkerPodConfig(Section):
    """Pods of workers, of all models; [kubernetes.models.NAME] says what differs for one. A GPU is asked for where the
    model's `accelerators` says so."""

    image: str = Field(default="", description="Image; default: kubernetes.images.worker.")
    cpu: Quantity | Literal[""] = Field(
        default="", description="Processors asked for; default: the model's cpus, or 1."
    )
    cpu_limit: Quantity | Literal[""] = Field(
        default="", description="Processors at most; default: the model's cpus, or 4."
    )
    memory: Quantity = Field(default="8Gi", description="Memory asked for, and the limit.")
    scratch: Quantity = Field(default="20Gi", description="Disk for inputs and outputs of what runs.")
    gpu_resource: str = Field(
        default="nvidia.com/gpu",
        description="Name by which nodes offer GPUs: nvidia.com/gpu, a MIG profile such as nvidia.com/mig-3g.20gb, "
        "another vendor's.",
    )
    gpu_memory_resource: str = Field(
        default="", description="Where GPUs are shared (HAMi: nvidia.com/gpumem, MiB): the name; default: not asked."
    )
    gpu_memory_mb: int = Field(default=0, ge=0, description="How much of it; 0: not asked.")
    gpu_cores_resource: str = Field(
        default="",
        description="Where GPUs are shared (HAMi: nvidia.com/gpucores, percent): the name. A model with accelerators = "
        "0.5 asks for 50.",
    )
    runtime_class: str = Field(default="", description="runtimeClassName, such as nvidia.")
    scheduler: str = Field(default="", description="schedulerName, such as hami-scheduler or volcano.")
    node_selector: dict[str, str] = Field(default_factory=dict, description="Labels of the nodes to run on.")
    tolerations: list[dict[str, Any]] = Field(
        default_factory=lambda: [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        description="Taints tolerated.",
    )
    gone_after_s: int = Field(
        default=30, ge=0, le=3600, description="A pod on a node that does not answer is replaced after so long."
    )
    spread_over: str = Field(
        default="topology.kubernetes.io/zone", description="Label of nodes over whose values pods are spread."
    )
    variables: dict[str, str] = Field(default_factory=dict, description="Further environment variables.")
    queue: str = Field(default="", description="Label kueue.x-k8s.io/queue-name of the pods' Deployment.")

    _tags = field_validator("image")(_pinned)


class ModelPodConfig(Section):
    """What differs for the workers of one model, or of one [workers] entry; the keys are those of [kubernetes.worker].
    Tables are merged, lists replaced."""

    image: str | None = Field(default=None, description="See [kubernetes.worker].")
    cpu: Quantity | None = Field(default=None, description="See [kubernetes.worker].")
    cpu_limit: Quantity | None = Field(default=None, description="See [kubernetes.worker].")
    memory: Quantity | None = Field(default=None, description="See [kubernetes.worker].")
    scratch: Quantity | None = Field(default=None, description="See [kubernetes.worker].")
    gpu_resource: str | None = Field(default=None, description="See [kubernetes.worker].")
    gpu_memory_resource: str | None = Field(default=None, description="See [kubernetes.worker].")
    gpu_memory_mb: int | None = Field(default=None, ge=0, description="See [kubernetes.worker].")
    gpu_cores_resource: str | None = Field(default=None, description="See [kubernetes.worker].")
    runtime_class: str | None = Field(default=None, description="See [kubernetes.worker].")
    scheduler: str | None = Field(default=None, description="See [kubernetes.worker].")
    node_selector: dict[str, str] | None = Field(default=None, description="See [kubernetes.worker].")
    tolerations: list[dict[str, Any]] | None = Field(default=None, description="See [kubernetes.worker].")
    gone_after_s: int | None = Field(default=None, ge=0, le=3600, description="See [kubernetes.worker].")
    spread_over: str | None = Field(default=None, description="See [kubernetes.worker].")
    variables: dict[str, str] | None = Field(default=None, description="See [kubernetes.worker].")
    queue: str | None = Field(default=None, description="See [kubernetes.worker].")

    def over(self, common: WorkerPodConfig) -> WorkerPodConfig:
        """The common settings with these on top."""
        own = {key: value for key, value in self.model_dump().items() if value is not None}
        below = common.model_dump()
        merged = {key: {**below[key], **value} if isinstance(value, dict) else value for key, value in own.items()}
        return WorkerPodConfig.model_validate({**below, **merged})


class WeightsConfig(Section):
    """Where workers find model files. An init container copies what is missing into a cache, checks each file's
    SHA-256, and goes on to the next source where one is down: the share or image, object storage, package registries.
    """

    image: str = Field(
        default="",
        description="Image volume that holds the weights folder (Kubernetes 1.35, or 1.33 with its feature gate).",
    )
    claim: str = Field(default="", description="PersistentVolumeClaim, read-only-many, that holds the weights folder.")
    url: str = Field(
        default="", pattern=r"^(s3://.+)?$", description="s3://bucket/prefix?endpoint=...: object storage with them."
    )
    pull: bool = Field(default=True, description="Last, fetch from the package registries (`springtide models pull`).")
    share_timeout_s: int = Field(
        default=60, ge=1, le=3600, description="A share that gives nothing for so long is down."
    )
    cache: Literal["pod", "node"] = Field(
        default="pod", description="pod: copied for each pod. node: kept in cache_path on the node, for all pods there."
    )
    cache_path: str = Field(
        default="/var/lib/springtide/weights",
        pattern=r"^/.+",
        description="Folder of the node, writable for user 10001 (docs/kubernetes.md).",
    )
    cache_size: Quantity = Field(default="20Gi", description="Largest cache of a pod.")

    _tags = field_validator("image")(_pinned)

    @model_validator(mode="after")
    def _one(self) -> WeightsConfig:
        if self.image and self.claim:
            raise ValueError("image and claim exclude each other: name one share")
        return self


class SecretsConfig(Section):
    """Which key of which Secret holds what, as "secret/key". They are made outside: Springtide writes no Secret."""

    broker_url: SecretKey = Field(default="springtide/broker-url", description="redis:// URL with its password.")
    ledger_url: SecretKey = Field(default="springtide/ledger-url", description="postgresql:// URL with its password.")
    access_key_id: SecretKey | Literal[""] = Field(
        default="springtide/access-key-id", description="S3; empty: the pods' identity, as the AWS libraries find it."
    )
    secret_access_key: SecretKey | Literal[""] = Field(
        default="springtide/secret-access-key", description="S3, likewise."
    )
    trial_password: SecretKey = Field(
        default="springtide/password", description="Of the servers that [kubernetes.trial] brings along."
    )


class TrialConfig(Section):
    """Single servers in the cluster, to try Springtide with. None of them is safe against the loss of its node."""

    redis: bool = Field(default=False, description="Valkey, instead of secrets.broker_url.")
    postgres: bool = Field(default=False, description="PostgreSQL, instead of secrets.ledger_url.")
    s3: bool = Field(default=False, description="MinIO, instead of blobs.url.")
    storage: Quantity = Field(default="10Gi", description="Disk of each.")
    storage_class: str = Field(default="", description="storageClassName; default: the cluster's own.")
    redis_image: Image = Field(default="valkey/valkey:8.1.4-alpine", description="Image.")
    postgres_image: Image = Field(default="postgres:17.6-bookworm", description="Image.")
    s3_image: Image = Field(default="minio/minio:RELEASE.2025-09-07T16-13-09Z", description="Image.")

    _tags = field_validator("redis_image", "postgres_image", "s3_image")(_pinned)


class IngressConfig(Section):
    """The way in by an Ingress."""

    enabled: bool = Field(default=False, description="Render an Ingress.")
    class_name: str = Field(default="nginx", description="ingressClassName.")
    host: str = Field(default="", description="Name under which it is reached; default: any.")
    tls_secret: str = Field(default="", description="Secret with certificate and key; default: plain HTTP.")
    annotations: dict[str, str] = Field(
        default_factory=dict, description="Further annotations. Body size and time-outs are written for ingress-nginx."
    )


class HttpRouteConfig(Section):
    """The way in by the Gateway API."""

    enabled: bool = Field(default=False, description="Render an HTTPRoute.")
    gateway: str = Field(default="", description="Name of the Gateway.")
    gateway_namespace: str = Field(default="", description="Its namespace; default: the same.")
    section: str = Field(default="", description="Its listener; default: any.")
    hosts: list[str] = Field(default_factory=list, description="Names under which it is reached.")

    @model_validator(mode="after")
    def _named(self) -> HttpRouteConfig:
        if self.enabled and not self.gateway:
            raise ValueError("gateway: name the Gateway that the route belongs to")
        return self


class RouteConfig(Section):
    """Weights of a model's versions as an HTTP route, for model servers of your own that are called past Springtide
    (docs/rollouts.md). Jobs need none: they are parted where they enter."""

    services: dict[str, str] = Field(description="The Service of each version, such as { 1 = 'matting-1' }.")
    weights: dict[str, float] = Field(description="Per cent of each version, 100 together.")
    gateway: str = Field(default="", description="An HTTPRoute of this Gateway.")
    host: str = Field(default="", description="Or an Istio VirtualService of this host.")
    port: int = Field(default=80, ge=1, le=65_535, description="Of the Services, for an HTTPRoute.")

    @model_validator(mode="after")
    def _whole(self) -> RouteConfig:
        if bool(self.gateway) == bool(self.host):
            raise ValueError("say either gateway (an HTTPRoute) or host (a VirtualService)")
        if unknown := sorted(self.weights.keys() - self.services.keys()):
            raise ValueError(f"services: name the Service of version {', '.join(unknown)}")
        if any(not 0 <= weight <= 100 for weight in self.weights.values()) or sum(self.weights.values()) != 100:
            raise ValueError("weights: each of 0 to 100, and 100 together")
        return self


class NetworkConfig(Section):
    """Who may talk to whom."""

    policies: bool = Field(default=True, description="Render NetworkPolicies: everything else is refused.")
    from_namespaces: list[str] = Field(
        default_factory=list, description="Namespaces that may reach the gateway; default: all, and the outside."
    )
    monitoring_namespaces: list[str] = Field(
        default=["monitoring"], description="Namespaces that may read the metrics of controllers and workers."
    )
    keda_namespace: str = Field(default="keda", description="Namespace of KEDA, which asks the controller.")
    egress_ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(
        default=[80, 443, 6443, 8080, 8443, 5432, 6379, 9000, 26379],
        description="Ports that may be reached anywhere, but for the cloud's metadata address: object storage, Redis, "
        "PostgreSQL, the API server, webhooks, inputs by URL.",
    )
    cloud_metadata: bool = Field(
        default=False,
        description="That address too, by which clouds give pods the credentials of their machine or (GKE) their own.",
    )


class QuotaConfig(Section):
    """What the namespace may take."""

    enabled: bool = Field(default=False, description="Render a ResourceQuota.")
    gpus: int = Field(default=8, ge=0, description="GPUs (of worker.gpu_resource).")
    cpu: Quantity = Field(default="64", description="Processors asked for.")
    memory: Quantity = Field(default="256Gi", description="Memory asked for.")
    pods: int = Field(default=100, ge=1, description="Pods.")


class KedaConfig(Section):
    """ScaledObjects, where scaling is "keda"."""

    listen: str = Field(
        default="127.0.0.1:9322",
        pattern=r"^(\[[0-9a-f:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$",
        description="Where the controller answers KEDA, as host:port; in the cluster it is set to 0.0.0.0:9322.",
    )
    push: bool = Field(default=True, description="external-push: a wake from zero within a second; else polled.")
    polling_s: int = Field(default=15, ge=1, le=3600, description="Seconds between two looks.")
    cooldown_s: int = Field(default=300, ge=0, le=86_400, description="Quiet seconds before the last one goes.")
    failures: int = Field(default=3, ge=1, le=100, description="Failed looks until the fallback holds.")
    exact: bool = Field(
        default=False,
        description="Follow wishes that differ from what is there by 10 % or less (11 where there are 10), too: the "
        "HPA's `tolerance`, from Kubernetes 1.35 with a KEDA that knows the field.",
    )
    fallback_replicas: int = Field(
        default=1, ge=0, le=1000, description="Replicas then, where there are not more; none of it at zero replicas."
    )


class HpaConfig(Section):
    """HorizontalPodAutoscalers, where scaling is "hpa"."""

    queue_average: int = Field(default=5, ge=1, le=100_000, description="Jobs waiting for each replica.")
    cpu_percent: int = Field(default=70, ge=1, le=100, description="Of the processors asked for.")
    memory_percent: int = Field(default=80, ge=1, le=100, description="Of the memory asked for.")
    gpu_percent: int = Field(default=70, ge=1, le=100, description="Of the GPUs' time (DCGM exporter).")
    scale_in_after_s: int = Field(default=300, ge=0, le=3600, description="Seconds of less load before one goes.")


class KubernetesConfig(Section):
    """How Springtide runs in a cluster: `springtide deploy render` and the chart write it (docs/kubernetes.md)."""

    name: str = Field(
        default="springtide", pattern=r"^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$", description="What all names begin with."
    )
    namespace: str = Field(
        default="springtide", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="Namespace of everything."
    )
    scaling: Literal["springtide", "keda", "hpa"] = Field(
        default="springtide",
        description="Who sets the number of workers: Springtide's controller; KEDA, asking it; or a plain "
        "HorizontalPodAutoscaler on metrics, which knows no slow starts and never goes to zero.",
    )
    priority_classes: bool = Field(
        default=True, description="Render PriorityClasses (they belong to the whole cluster): control before workers."
    )
    pod_monitors: bool = Field(default=False, description="Render PodMonitors for the Prometheus operator.")
    images: ImagesConfig = Field(default_factory=ImagesConfig, description="See [kubernetes.images].")
    gateway: ControlConfig = Field(default_factory=ControlConfig, description="See [kubernetes.gateway].")
    controller: ControlConfig = Field(default_factory=ControlConfig, description="See [kubernetes.controller].")
    worker: WorkerPodConfig = Field(default_factory=WorkerPodConfig, description="See [kubernetes.worker].")
    models: dict[str, ModelPodConfig] = Field(
        default_factory=dict[str, ModelPodConfig], description="See [kubernetes.models.NAME]."
    )
    weights: WeightsConfig = Field(default_factory=WeightsConfig, description="See [kubernetes.weights].")
    secrets: SecretsConfig = Field(default_factory=SecretsConfig, description="See [kubernetes.secrets].")
    trial: TrialConfig = Field(default_factory=TrialConfig, description="See [kubernetes.trial].")
    ingress: IngressConfig = Field(default_factory=IngressConfig, description="See [kubernetes.ingress].")
    http_route: HttpRouteConfig = Field(default_factory=HttpRouteConfig, description="See [kubernetes.http_route].")
    routes: dict[str, RouteConfig] = Field(
        default_factory=dict[str, RouteConfig], description="See [kubernetes.routes.NAME]."
    )
    network: NetworkConfig = Field(default_factory=NetworkConfig, description="See [kubernetes.network].")
    quota: QuotaConfig = Field(default_factory=QuotaConfig, description="See [kubernetes.quota].")
    keda: KedaConfig = Field(default_factory=KedaConfig, description="See [kubernetes.keda].")
    hpa: HpaConfig = Field(default_factory=HpaConfig, description="See [kubernetes.hpa].")
