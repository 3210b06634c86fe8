"""Which kinds of the cluster's own a configuration needs: what `springtide doctor` looks for.

Names of CustomResourceDefinitions, each with what needs it and how it comes into a cluster.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from springtide.deploy.installation import Installation
from springtide.fleet.gangs import Runs


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """One definition that must be there."""

    definition: str
    because: str
    cure: str


_KEDA = "install KEDA (helm install keda kedacore/keda -n keda), or set kubernetes.scaling = springtide"
_PROMETHEUS = (
    "install the Prometheus operator (helm install monitoring prometheus-community/kube-prometheus-stack), or "
)
_GATEWAY = "apply the Gateway API's standard channel (kubernetes-sigs/gateway-api, standard-install.yaml), or "
_OPERATOR = "install Kubeflow's training operator (v1), or set runs_as = trainjob with Kubeflow's trainer"
_TRAINER = (
    "install Kubeflow's trainer (v2), which brings JobSet, or set runs_as = pytorchjob with the training operator"
)
_ISTIO = "install Istio, or route by the Gateway API (gateway)"
_KUEUE = "install Kueue and make the LocalQueue, or take the queue out"
_VOLCANO = "install Volcano and make the queue, or take it out"
_RUNS = {
    Runs.PYTORCHJOB: (_OPERATOR, ("pytorchjobs.kubeflow.org",)),
    Runs.TRAINJOB: (_TRAINER, ("trainjobs.trainer.kubeflow.org", "jobsets.jobset.x-k8s.io")),
}


def needs(to: Installation) -> list[Need]:
    """Each once, in the order in which one would install them."""
    found: dict[str, Need] = {}
    for one in _all(to):
        found.setdefault(one.definition, one)
    return list(found.values())


def _all(to: Installation) -> Iterator[Need]:
    given = to.settings
    if given.scaling == "keda":
        yield Need(definition="scaledobjects.keda.sh", because="kubernetes.scaling is keda", cure=_KEDA)
    if given.pod_monitors:
        cure = f"{_PROMETHEUS}set kubernetes.pod_monitors = false"
        for kind in ("podmonitors", "prometheusrules"):
            yield Need(definition=f"{kind}.monitoring.coreos.com", because="kubernetes.pod_monitors is set", cure=cure)
    if given.http_route.enabled:
        cure = f"{_GATEWAY}use kubernetes.ingress"
        because = "kubernetes.http_route is enabled"
        yield Need(definition="httproutes.gateway.networking.k8s.io", because=because, cure=cure)
    for model, route in given.routes.items():
        because = f"kubernetes.routes.{model} is an {'HTTPRoute' if route.gateway else 'Istio VirtualService'}"
        if route.gateway:
            cure = f"{_GATEWAY}route with Istio (host)"
            yield Need(definition="httproutes.gateway.networking.k8s.io", because=because, cure=cure)
        else:
            yield Need(definition="virtualservices.networking.istio.io", because=because, cure=_ISTIO)
    for group in to.groups:
        if group.runs_as is not None:
            cure, definitions = _RUNS[group.runs_as]
            because = f"jobs of {group.name} are groups of processes"
            yield from (Need(definition=each, because=because, cure=cure) for each in definitions)
        own = [model.group for model in group.members.values() if model.is_distributed]
        if group.pods.queue or any(one.queue for one in own):
            because = f"{group.name} is queued by Kueue"
            yield Need(definition="localqueues.kueue.x-k8s.io", because=because, cure=_KUEUE)
        if group.pods.scheduler == "volcano" or any(one.volcano_queue for one in own):
            because = f"{group.name} is scheduled by Volcano"
            yield Need(definition="podgroups.scheduling.volcano.sh", because=because, cure=_VOLCANO)
