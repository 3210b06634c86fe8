"""Why things are as they are, where a cluster engineer would ask. By kind, and the path of the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from springtide.deploy.yaml_text import Why
from springtide.fleet import labels

_ANY = "*"
_POD = "spec.template.spec"
_WHY: dict[tuple[str, str], str] = {  # (kind, or kind/component) and path -> comment
    (_ANY, f"{_POD}.securityContext"): "The user of the images; nothing here needs to be root.",
    (f"Deployment/{labels.WORKER}", "spec.revisionHistoryLimit"): (
        "There is no `replicas` on purpose: who scales owns it, and an apply that took it would fight."
    ),
    ("Deployment", "spec.strategy.rollingUpdate"): (
        "A new pod is ready before an old one goes: a rolling update never has less than before."
    ),
    (f"Deployment/{labels.WORKER}", "spec.progressDeadlineSeconds"): (
        "As long as the model may take to load, failed loads included, and a node to come."
    ),
    (f"Deployment/{labels.WORKER}", f"{_POD}.terminationGracePeriodSeconds"): (
        "As long as the longest job: a worker that leaves finishes what it runs."
    ),
    (f"Deployment/{labels.WORKER}", f"{_POD}.containers.startupProbe"): (
        "Ready once the model is loaded and has run once. Until then nothing kills the pod, for as long as all "
        "attempts to load may take."
    ),
    (f"Deployment/{labels.WORKER}", f"{_POD}.containers.livenessProbe"): (
        "The worker's own loop, not the engine: a job of an hour is no reason to restart. A worker that is hung drains "
        "nothing, so it gets half a minute."
    ),
    (f"Deployment/{labels.WORKER}", f"{_POD}.containers.lifecycle"): (
        "Drain: what has not begun is given back, what runs is finished. It stays until the worker has left, so that "
        "the kubelet's signal is not the second one, which would mean at once."
    ),
    (f"Deployment/{labels.WORKER}", f"{_POD}.tolerations"): (
        "The last two: a node that does not answer is left after seconds, not after the usual five minutes."
    ),
    (f"Deployment/{labels.WORKER}", f"{_POD}.affinity.nodeAffinity"): (
        "Rather where the model's files are already (label such nodes; docs/kubernetes.md)."
    ),
    (f"Deployment/{labels.WORKER}", "spec.template.metadata.annotations"): (
        "safe-to-evict: the cluster autoscaler removes no node under a running job. config: changes with what this "
        "worker reads of the configuration, and with nothing else."
    ),
    (f"Deployment/{labels.WORKER}", f"{_POD}.initContainers"): (
        "Copies model files into the cache, each checked by its SHA-256, from the first source that gives them."
    ),
    (f"Deployment/{labels.WORKER}", f"{_POD}.topologySpreadConstraints"): (
        "Over zones and hosts where that is possible; a job that waits is worse than two workers on a host."
    ),
    (f"Deployment/{labels.GATEWAY}", f"{_POD}.containers.lifecycle"): (
        "Endpoints are told of a pod's end at the same time as the pod: serve on until they have heard it."
    ),
    (f"Deployment/{labels.GATEWAY}", f"{_POD}.automountServiceAccountToken"): "It asks nothing of the API server.",
    ("PodDisruptionBudget", "spec.maxUnavailable"): (
        "One at a time may be evicted, each after its drain. A minimum would keep a single replica there for ever."
    ),
    (
        "PodDisruptionBudget",
        "spec.unhealthyPodEvictionPolicy",
    ): "Pods that are not ready hold up no node's maintenance.",
    (f"Role/{labels.WORKER}", "rules"): (
        "An attempt of a distributed model is an object, made and deleted by the model's worker; it looks at the pods."
    ),
    ("TrainingRuntime", "spec.template.spec.replicatedJobs.template.spec.backoffLimit"): (
        "Nothing is restarted in place: a lost rank ends its group, and the next attempt has a new one."
    ),
    ("TrainingRuntime", "spec.template.spec.replicatedJobs.template.spec.template.spec.initContainers"): (
        "The model's files, then the inputs of the job, which the TrainJob names."
    ),
    ("Role", "rules"): (
        "The scale of Deployments, and an annotation on pods (pod-deletion-cost: idle ones go first). No right to "
        "change what a Deployment runs, nor to delete."
    ),
    ("NetworkPolicy", "spec.egress"): "Names, the servers Springtide stands on; not the cloud's metadata address.",
    ("ScaledObject", "spec.fallback"): (
        "When the controller does not answer: not fewer than there are. KEDA does this at one replica or more only."
    ),
    (
        "ScaledObject",
        "spec.triggers",
    ): "The metric is the number of replicas that the policy wishes, its target 1 each.",
    ("HorizontalPodAutoscaler", "spec.minReplicas"): "An HPA cannot begin at zero.",
    ("HorizontalPodAutoscaler", "spec.behavior"): "Out at once; in one by one, after a while of less load.",
    ("PriorityClass", "value"): "Far below system-cluster-critical (2000000000).",
    (
        "Ingress",
        "metadata.annotations",
    ): "Bodies as large as [server] max_upload_mb; streams that are quiet for an hour.",
    ("HTTPRoute", "spec.rules.timeouts"): "Streams last as long as jobs: no limit here.",
    ("StatefulSet", "spec.replicas"): "For trials: one pod, one disk.",
}


def why_of(object: Mapping[str, Any]) -> Why:
    """The comments of one object."""
    kind = str(object["kind"])
    component = str(object.get("metadata", {}).get("labels", {}).get(labels.COMPONENT, ""))

    def why(path: tuple[str, ...]) -> str | None:
        dotted = ".".join(path)
        if dotted == "metadata.annotations" and kind == "Deployment":
            return None
        for key in (f"{kind}/{component}", kind, _ANY):
            if found := _WHY.get((key, dotted)):
                return found
        return None

    return why
