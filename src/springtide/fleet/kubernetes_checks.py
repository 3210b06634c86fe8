"""What `springtide doctor` looks at in a cluster: GPUs on nodes, pods that do not come up, quotas, volumes, kinds that
the configuration needs, KEDA.

Each check is a function of the API; what may not be looked at is unknown, never well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec

from springtide.domain.errors import SpringtideError
from springtide.domain.finding import Finding, risk, skipped, trouble, unknown, well
from springtide.domain.ids import ModelName
from springtide.fleet import labels
from springtide.fleet.kubernetes_api import (
    CLAIMS,
    CRDS,
    DEPLOYMENTS,
    NODES,
    PODS,
    QUOTAS,
    SCALED_OBJECTS,
    ApiRefused,
    KubernetesApi,
    Object,
)
from springtide.fleet.kubernetes_pods import trouble_of, trouble_of_deployment
from springtide.fleet.kubernetes_volumes import CODE as VOLUME
from springtide.fleet.kubernetes_volumes import failed_volumes, is_being_set_up
from springtide.fleet.quantities import quantity

CURES = {
    "unschedulable": "free or add nodes with what the pod asks for (`kubectl describe pod` has the figures); check "
    "node selectors and tolerations in [kubernetes.worker]",
    "scheduling_gated": "look at the LocalQueue and ClusterQueue of Kueue: their quota is taken",
    "crash_looping": "`kubectl logs --previous POD` has its last words; out of memory: raise "
    "[kubernetes.worker] memory",
    "image_not_pulled": "see that the image and its tag exist, and name the registry's Secret in "
    "[kubernetes.images] pull_secrets",
    "pod_misconfigured": "make the Secret or ConfigMap that the message names",
    VOLUME: "mend or reach the share (PersistentVolumeClaim, NFS server, CSI driver); [kubernetes.weights] may name "
    "another",
    "quota_exceeded": "raise the namespace's ResourceQuota, or lower max_replicas",
    "pods_refused": "the message has the rule that refuses them (admission, pod security): meet it or change it",
}
FULL = 0.9  # of a quota, at which the next scale-out may fail


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration asks of the cluster."""

    gpu: str | None = None  # the resource that some model asks for
    definitions: Mapping[str, tuple[str, str]] = {}  # of custom kinds, by name: why, and how they come
    scaling: str = "springtide"  # as in [kubernetes]


async def checks(api: KubernetesApi, instance: str, models: Iterable[ModelName], wanted: Wanted) -> list[Finding]:
    """All of them."""
    found: list[Finding] = []
    looks: tuple[tuple[str, Callable[[], Awaitable[Sequence[Finding]]]], ...] = (
        ("deployments", lambda: deployments(api, instance, models)),
        ("pods", lambda: pods(api, instance)),
        ("GPU", lambda: nodes(api, wanted.gpu)),
        ("quota", lambda: quotas(api)),
        ("volume claims", lambda: volumes(api)),
        ("definitions", lambda: definitions(api, wanted)),
        ("KEDA", lambda: keda(api, wanted)),
    )
    for name, look in looks:
        try:
            found += await look()
        except SpringtideError as error:
            cure = "give your user the right, or run it where it has one (springtide.fleet.rights, DOCTOR)"
            found.append(unknown(name, error.message, cure))
    return found


async def deployments(api: KubernetesApi, instance: str, models: Iterable[ModelName]) -> list[Finding]:
    listed = await api.list(DEPLOYMENTS, labels=labels.as_query(labels.worker_selector(instance)))
    there = {one["metadata"]["name"]: one for one in listed.items}
    wanted = {model: labels.worker_name(instance, *labels.parts(model)) for model in models}
    lacking = [model for model, name in wanted.items() if name not in there]
    found = [
        _of(f"deployment {name}", problem.code, problem.message)
        for name, one in there.items()
        if (problem := trouble_of_deployment(one)) is not None
    ]
    if lacking:
        cure = "springtide deploy render | kubectl apply --server-side -f -"
        found.append(trouble("deployments", f"the cluster has none for {', '.join(lacking)}", cure))
    return found or [well("deployments", f"all {len(wanted)} models have theirs")]


async def pods(api: KubernetesApi, instance: str) -> list[Finding]:
    """Workers, gateways and controllers alike."""
    query = labels.as_query({labels.APP: labels.APP_NAME, labels.INSTANCE: instance})
    listed = await api.list(PODS, labels=query)
    found: list[Finding] = []
    stuck: list[Object] = []
    for pod in listed.items:
        name, problem = pod["metadata"]["name"], trouble_of(pod)
        if problem is not None:
            found.append(_of(f"pod {name}", problem.code, problem.message))
        elif is_being_set_up(pod):
            stuck.append(pod)
    if stuck:
        messages = await failed_volumes(api)
        found += [
            _of(f"pod {pod['metadata']['name']}", VOLUME, f"a volume does not come: {message}")
            for pod in stuck
            if (message := messages.get(pod["metadata"]["uid"])) is not None
        ]
    return found or [well("pods", f"{len(listed.items)} are there, none in trouble")]


async def nodes(api: KubernetesApi, gpu: str | None) -> list[Finding]:
    if gpu is None:
        return [skipped("GPU", "no model asks for one")]
    listed = await api.list(NODES)
    offered = sum(int((one.get("status", {}).get("allocatable") or {}).get(gpu, 0)) for one in listed.items)
    if offered == 0:
        cure = (
            "install the device plugin (or the GPU operator) and see that its pods run on the GPU nodes; the name is "
        )
        message = f"none of {len(listed.items)} nodes offers {gpu}"
        return [trouble("GPU", message, cure + "[kubernetes.worker] gpu_resource")]
    return [well("GPU", f"{len(listed.items)} nodes offer {offered} {gpu}")]


async def quotas(api: KubernetesApi) -> list[Finding]:
    found: list[Finding] = []
    for quota in (await api.list(QUOTAS)).items:
        status = quota.get("status", {})
        for what, hard in (status.get("hard") or {}).items():
            used = quantity((status.get("used") or {}).get(what, "0"))
            if quantity(hard) > 0 and used >= FULL * quantity(hard):
                told = f"{quota['metadata']['name']}: {what} is {used / quantity(hard):.0%} used (of {hard})"
                found.append(risk("quota", told, CURES["quota_exceeded"]))
    return found or [well("quota", "there is room, or there is none")]


async def volumes(api: KubernetesApi) -> list[Finding]:
    lost = [one for one in (await api.list(CLAIMS)).items if one.get("status", {}).get("phase") in ("Lost", "Pending")]
    if not lost:
        return [well("volume claims", "each has its volume")]
    cure = "`kubectl describe pvc` says why: no such storage class, no such volume, or the share is down"
    return [trouble("volume claims", f"{one['metadata']['name']} is {one['status']['phase']}", cure) for one in lost]


async def definitions(api: KubernetesApi, wanted: Wanted) -> list[Finding]:
    """Of the kinds that the cluster must have learnt before what is rendered can be applied."""
    if not wanted.definitions:
        return [skipped("definitions", "nothing needs a kind that Kubernetes does not have itself")]
    there = {one["metadata"]["name"] for one in (await api.list(CRDS)).items}
    found = [
        trouble("definitions", f"the CRD {name} is not there, and {because}", cure)
        for name, (because, cure) in wanted.definitions.items()
        if name not in there
    ]
    return found or [well("definitions", f"all {len(wanted.definitions)} that are needed are there")]


async def keda(api: KubernetesApi, wanted: Wanted) -> list[Finding]:
    if wanted.scaling != "keda":
        return [skipped("KEDA", f"kubernetes.scaling is {wanted.scaling}")]
    try:
        listed = await api.list(SCALED_OBJECTS)
    except ApiRefused as error:
        if not error.is_missing:
            raise
        return [skipped("KEDA", "it is not installed")]
    bad = [
        f"{one['metadata']['name']}: {condition.get('message', '')}"
        for one in listed.items
        for condition in one.get("status", {}).get("conditions") or ()
        if condition["type"] == "Ready" and condition["status"] == "False"
    ]
    cure = "see that the controller runs and that KEDA's namespace may reach it (kubernetes.network.keda_namespace)"
    return [trouble("KEDA", told, cure) for told in bad] or [well("KEDA", "it is there, and its objects are ready")]


def _of(check: str, code: str, message: str) -> Finding:
    return trouble(check, f"{code}: {message}", CURES.get(code, "the message says what is wrong"))
