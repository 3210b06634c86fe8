"""Distributed models in a cluster: what the worker that starts groups may do, and what their pods are made of.

The pods themselves are made job by job, from a template (`fleet.gang_objects`); what is the same for each is written
into a variable of the worker here, so that it is decided when the rest is rendered.
"""

from __future__ import annotations

import json
from typing import Any

from springtide.deploy import pods, weights
from springtide.deploy.installation import Installation, Object, WorkerGroup
from springtide.fleet import labels
from springtide.fleet.gang_objects import for_variable
from springtide.fleet.rights import GANGS, as_rules

COMPONENT = "groups"
VARIABLE = "SPRINGTIDE_RANK_POD"  # JSON of what templates know as `pod`
LEAVE_S = 10  # a rank has nothing to finish when its group is stopped


def is_distributed(group: WorkerGroup) -> bool:
    return any(model.is_distributed for model in group.members.values())


def rights(to: Installation) -> list[Object]:
    """An account for workers of distributed models, which may make their objects; none where there is no such model."""
    if not any(is_distributed(group) for group in to.groups):
        return []
    name = to.named(COMPONENT)
    metadata = to.metadata(name, COMPONENT)
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": to.namespace}
    rbac = "rbac.authorization.k8s.io/v1"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False},
        {"apiVersion": rbac, "kind": "Role", "metadata": metadata, "rules": [dict(rule) for rule in as_rules(GANGS)]},
        {"apiVersion": rbac, "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [subject]},
    ]


def variables(to: Installation, group: WorkerGroup) -> list[Object]:
    """For the worker of a distributed model."""
    if not is_distributed(group):
        return []
    return [pods.variable(VARIABLE, for_variable(json.dumps(rank_pod(to, group), sort_keys=True)))]


def rank_pod(to: Installation, group: WorkerGroup) -> dict[str, Any]:
    """What all pods of a model's groups have in common, by the names that templates use."""
    [model] = group.members.values()
    shape, given = model.group, group.pods
    gpus = {given.gpu_resource: str(shape.gpus_each)} if shape.gpus_each else {}
    cpu = f"{round(shape.cpus_each * 1000)}m" if shape.cpus_each else None
    memory = f"{shape.memory_mb_each}Mi" if shape.memory_mb_each else given.memory
    return {
        "spec": {
            "serviceAccountName": to.named(labels.WORKER),
            "automountServiceAccountToken": False,
            **pods.pull_secrets(to),
            **pods.some(
                runtimeClassName=given.runtime_class, schedulerName=given.scheduler, nodeSelector=given.node_selector
            ),
            "tolerations": [*given.tolerations, *pods.gone(given.gone_after_s)],
            "securityContext": pods.pod_security(),
            "terminationGracePeriodSeconds": LEAVE_S,
            "volumes": [
                *pods.volumes(to, given.scratch),
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": given.memory}},
                *weights.volumes(to),
            ],
        },
        "before": [weights.init_container(to, group)],
        "container": {
            "image": group.image,
            "imagePullPolicy": to.settings.images.pull_policy,
            "securityContext": pods.container_security(),
            "volumeMounts": [
                *pods.mounts(),
                {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - the pod's own
                {"name": "weights", "mountPath": pods.WEIGHTS_FOLDER, "readOnly": True},
            ],
        },
        "env": [
            *pods.environment(to, ledger=False),
            pods.variable("SPRINGTIDE_RANK_FOLDER", f"{pods.DATA_FOLDER}/rank"),
            *(pods.variable(name, value) for name, value in sorted(given.variables.items())),
        ],
        "resources": {
            "requests": {"cpu": given.cpu or cpu or "1", "memory": memory, **gpus},
            "limits": {"cpu": given.cpu_limit or cpu or "4", "memory": memory, **gpus},
        },
        "fetch_resources": {
            "requests": {"cpu": "500m", "memory": "512Mi"},
            "limits": {"cpu": "2", "memory": "1Gi"},
        },
    }
