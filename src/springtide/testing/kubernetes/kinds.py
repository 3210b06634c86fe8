"""Which kinds the double serves, and by which paths. Another is added with `Kinds.add`; an unknown one is answered 404
as a cluster answers where a CRD is missing."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

REPLICAS = ("spec", "replicas")
WORKER_REPLICAS = ("spec", "pytorchReplicaSpecs", "Worker", "replicas")


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One resource of the API."""

    group: str  # "" for the core
    version: str
    plural: str
    name: str  # as objects say in `kind`
    is_namespaced: bool = True
    has_status: bool = False  # whether /status is written apart from the rest
    scale: tuple[str, ...] | None = None  # where /scale finds the number of replicas

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """As messages name it: deployments.apps."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


_HPA = "HorizontalPodAutoscaler"
BUILT_IN = (
    Kind(group="", version="v1", plural="namespaces", name="Namespace", is_namespaced=False, has_status=True),
    Kind(group="", version="v1", plural="nodes", name="Node", is_namespaced=False, has_status=True),
    Kind(group="", version="v1", plural="pods", name="Pod", has_status=True),
    Kind(group="", version="v1", plural="events", name="Event"),
    Kind(group="", version="v1", plural="configmaps", name="ConfigMap"),
    Kind(group="", version="v1", plural="secrets", name="Secret"),
    Kind(group="", version="v1", plural="services", name="Service", has_status=True),
    Kind(group="", version="v1", plural="persistentvolumeclaims", name="PersistentVolumeClaim", has_status=True),
    Kind(group="", version="v1", plural="resourcequotas", name="ResourceQuota", has_status=True),
    Kind(group="", version="v1", plural="serviceaccounts", name="ServiceAccount"),
    Kind(group="apps", version="v1", plural="deployments", name="Deployment", has_status=True, scale=REPLICAS),
    Kind(group="apps", version="v1", plural="replicasets", name="ReplicaSet", has_status=True, scale=REPLICAS),
    Kind(group="apps", version="v1", plural="daemonsets", name="DaemonSet", has_status=True),
    Kind(group="apps", version="v1", plural="statefulsets", name="StatefulSet", has_status=True, scale=REPLICAS),
    Kind(group="autoscaling", version="v2", plural="horizontalpodautoscalers", name=_HPA, has_status=True),
    Kind(group="networking.k8s.io", version="v1", plural="ingresses", name="Ingress", has_status=True),
    Kind(group="networking.k8s.io", version="v1", plural="networkpolicies", name="NetworkPolicy"),
    Kind(group="policy", version="v1", plural="poddisruptionbudgets", name="PodDisruptionBudget", has_status=True),
    Kind(group="rbac.authorization.k8s.io", version="v1", plural="roles", name="Role"),
    Kind(group="rbac.authorization.k8s.io", version="v1", plural="rolebindings", name="RoleBinding"),
    Kind(group="scheduling.k8s.io", version="v1", plural="priorityclasses", name="PriorityClass", is_namespaced=False),
    Kind(group="batch", version="v1", plural="jobs", name="Job", has_status=True),
    Kind(group="coordination.k8s.io", version="v1", plural="leases", name="Lease"),
    Kind(group="events.k8s.io", version="v1", plural="events", name="Event"),
    Kind(
        group="apiextensions.k8s.io",
        version="v1",
        plural="customresourcedefinitions",
        name="CustomResourceDefinition",
        is_namespaced=False,
        has_status=True,
    ),
)
PYTORCH_JOB = Kind(
    group="kubeflow.org", version="v1", plural="pytorchjobs", name="PyTorchJob", has_status=True, scale=WORKER_REPLICAS
)
TRAIN_JOB = Kind(group="trainer.kubeflow.org", version="v1alpha1", plural="trainjobs", name="TrainJob", has_status=True)
SCALED_OBJECT = Kind(group="keda.sh", version="v1alpha1", plural="scaledobjects", name="ScaledObject", has_status=True)
CUSTOM = (PYTORCH_JOB, TRAIN_JOB, SCALED_OBJECT)


class Kinds:
    """Those that are served just now."""

    def __init__(self, *custom: Kind) -> None:
        self._kinds = {(kind.group, kind.version, kind.plural): kind for kind in (*BUILT_IN, *custom)}

    def add(self, kind: Kind) -> None:
        """A CRD is established."""
        self._kinds[kind.group, kind.version, kind.plural] = kind

    def remove(self, kind: Kind) -> None:
        """Its CRD is deleted."""
        self._kinds.pop((kind.group, kind.version, kind.plural), None)

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        return self._kinds.get((group, version, plural))

    def named(self, name: str) -> Kind:
        """By the `kind` that objects carry; of Event it is the core's."""
        return next(kind for kind in self._kinds.values() if kind.name == name)

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds.values())
