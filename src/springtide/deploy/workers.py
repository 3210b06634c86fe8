"""Workers: a Deployment and a disruption budget for each version of a model.

`spec.replicas` is never written: who scales owns it, and an apply that took it would fight (the API server refuses it
with a conflict). A rolling update starts a new worker, waits until its model is loaded, and only then lets an old one
drain; a drain takes as long as the longest job.
"""

from __future__ import annotations

import math

from springtide.deploy import pods, weights
from springtide.deploy.installation import Installation, Object, WorkerGroup
from springtide.domain.ids import parted
from springtide.fleet import labels
from springtide.fleet.rights import gang_rights

LAUNCHER = "launcher"  # the account of workers that start groups of processes, which is asked of the API server
ROLLOUT_MARGIN_S = 300  # beyond loading: a node that must be added, an image that must be fetched
PROBE_EVERY_S = 5
HUNG_GRACE_S = 30  # a worker that answers no probe finishes nothing: it is not waited for as a draining one is
# Ask process 1 to drain, then stay until it has: the kubelet's own signal comes after this, and would be the second,
# which means "at once". With process 1 ends the container, and this with it.
DRAIN = "kill -TERM 1; while :; do sleep 1; done"


def objects(to: Installation) -> list[Object]:
    """All of it, group by group."""
    found: list[Object] = [pods.account(to, labels.WORKER)]
    if started := {group.runs_as for group in to.groups if group.runs_as is not None}:
        found.append(pods.account(to, LAUNCHER, labels.WORKER))
        found += pods.rights(to, LAUNCHER, gang_rights(started), labels.WORKER)
    for group in to.groups:
        selector = labels.worker_selector(to.name, group.model, group.version)
        found.append(deployment(to, group))
        found.append(pods.disruption_budget(metadata(to, group), selector))
    return found


def metadata(to: Installation, group: WorkerGroup, **more: Object) -> Object:
    """Of an object that belongs to a group."""
    own = {labels.MODEL: labels.label_value(group.model), labels.VERSION: labels.label_value(group.version)}
    queue = {"kueue.x-k8s.io/queue-name": group.pods.queue} if group.pods.queue else {}
    return to.metadata(group.object_name, labels.WORKER, labels={**own, **queue}, **more)


def deployment(to: Installation, group: WorkerGroup) -> Object:
    selector = labels.worker_selector(to.name, group.model, group.version)
    notes: Object = {labels.MODEL_ANNOTATION: group.model, labels.MAX_REPLICAS_ANNOTATION: str(group.max_replicas)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(to, group, annotations=notes),
        "spec": {
            "revisionHistoryLimit": 5,
            "progressDeadlineSeconds": group.load_s + ROLLOUT_MARGIN_S,
            "selector": {"matchLabels": selector},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {
                    "labels": {**selector, labels.PART_OF: labels.APP_NAME},
                    "annotations": {
                        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                        pods.CONFIG_ANNOTATION: pods.digest_of(_read_by(to, group)),
                    },
                },
                "spec": _pod(to, group, selector),
            },
        },
    }


def _read_by(to: Installation, group: WorkerGroup) -> Object:
    """The part of the file that a worker of this group reads."""
    sections = {section: to.file.get(section) for section in pods.WORKER_SECTIONS}
    pool = to.file.get("workers", {}).get(group.name)
    return {**sections, "models": [_table(to, name) for name in group.members], "pool": pool}


def _table(to: Installation, name: str) -> list[Object]:
    """What the file says of a model or version; of the others beside it nothing, they come and go by themselves."""
    model, version = parted(name)
    table: Object = to.file["models"][model]
    own = {key: value for key, value in table.items() if key != "versions"}
    return [own] if version is None else [own, table["versions"][version]]


def _pod(to: Installation, group: WorkerGroup, selector: dict[str, str]) -> Object:
    given = group.pods
    return {
        "serviceAccountName": to.named(LAUNCHER if group.launches else labels.WORKER),
        "automountServiceAccountToken": group.launches,
        **pods.pull_secrets(to),
        **pods.priority(to, "workers"),
        **pods.some(runtimeClassName=given.runtime_class, schedulerName=given.scheduler),
        "terminationGracePeriodSeconds": group.grace_s,
        "securityContext": pods.pod_security(),
        **pods.some(nodeSelector=given.node_selector),
        "affinity": {"nodeAffinity": _near_weights(group), "podAntiAffinity": pods.apart(selector)},
        "tolerations": [*given.tolerations, *gone(given.gone_after_s)],
        "topologySpreadConstraints": pods.spread(selector, given.spread_over),
        **({} if group.launches else {"initContainers": [weights.init_container(to, group)]}),
        "containers": [_container(to, group)],
        "volumes": [
            *pods.volumes(to, given.scratch),
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
            *weights.volumes(to, copies=not group.launches),
        ],
    }


def _near_weights(group: WorkerGroup) -> Object:
    terms = [
        {
            "weight": 50,
            "preference": {"matchExpressions": [{"key": labels.weights_label(parted(name)[0]), "operator": "Exists"}]},
        }
        for name in group.members
    ]
    return {"preferredDuringSchedulingIgnoredDuringExecution": terms}


def gone(after_s: int) -> list[Object]:
    """Leave a node that is gone after seconds, not after the five minutes that are usual."""
    return [
        {
            "key": f"node.kubernetes.io/{trouble}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": after_s,
        }
        for trouble in ("not-ready", "unreachable")
    ]


def _container(to: Installation, group: WorkerGroup) -> Object:
    loads = math.ceil(group.load_s / PROBE_EVERY_S)
    return {
        "name": labels.WORKER,
        "image": group.image,
        "imagePullPolicy": to.settings.images.pull_policy,
        "args": ["worker", "--pool" if group.is_pool else "--model", group.name],
        "env": [
            *pods.environment(to, ledger=False),
            *pods.metrics_variables(),
            *(pods.place_variables(to) if group.launches else []),
            *(pods.variable(name, value) for name, value in sorted(group.pods.variables.items())),
        ],
        "ports": [pods.metrics_port()],
        "startupProbe": pods.probe(
            "/readyz", "metrics", every_s=PROBE_EVERY_S, failures=loads, terminationGracePeriodSeconds=HUNG_GRACE_S
        ),
        "livenessProbe": pods.probe(
            "/healthz", "metrics", every_s=10, failures=6, terminationGracePeriodSeconds=HUNG_GRACE_S
        ),
        "readinessProbe": pods.probe("/readyz", "metrics", every_s=PROBE_EVERY_S, failures=2),
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", DRAIN]}}},
        "securityContext": pods.container_security(),
        "resources": group.resources,
        "volumeMounts": [
            *pods.mounts(),
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - the pod's own
            {"name": "weights", "mountPath": pods.WEIGHTS_FOLDER, "readOnly": True},
        ],
    }
